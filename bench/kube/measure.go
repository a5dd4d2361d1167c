package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"caracal.dev/caracal/bench/stand"
	"caracal.dev/caracal/internal/kubetest"
)

// measure runs the child and asks it, and the API server.
type measure struct {
	api     *kubetest.API
	world   *stand.World
	filler  *filler
	out     io.Writer
	dir     string
	config  string
	profile string

	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	last  report
}

// load is what the API server says of itself.
type load struct {
	requests, cpu, rss float64
}

func (m *measure) load(ctx context.Context) (load, error) {
	text, err := m.filler.core.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return load{}, err
	}
	var l load
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if at := strings.LastIndex(line, " "); strings.HasPrefix(line, "apiserver_request_total{") && at > 0 {
			name, value = "apiserver_request_total", strings.TrimSpace(line[at+1:])
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "apiserver_request_total":
			l.requests += v
		case "process_cpu_seconds_total":
			l.cpu = v
		case "process_resident_memory_bytes":
			l.rss = v
		}
	}
	return l, nil
}

// start starts the child, and prints what its start cost.
func (m *measure) start(ctx context.Context, what string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	before, err := m.load(ctx)
	if err != nil {
		return err
	}
	args := []string{"child", "--kubeconfig", m.config, "--node", nodeName(0), "--state", filepath.Join(m.dir, "state")}
	if m.profile != "" {
		args = append(args, "--profile", m.profile)
	}
	m.cmd = exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", m.world.Router, self}, args...)...)
	m.cmd.Stderr = os.Stderr
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	m.lines = bufio.NewScanner(stdout)
	m.lines.Buffer(nil, 64<<20)
	if err := m.cmd.Start(); err != nil {
		return err
	}
	r, err := m.next()
	if err != nil {
		return err
	}
	after, err := m.load(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "A start %s:\n", what)
	fmt.Fprintf(m.out, "  whole after %.2f s and %.2f s of processor time: %d nodes, %d pods, %d policies; %d Snapshots\n", r.Since.Seconds(), r.CPU.Seconds(), r.Nodes, r.Pods, r.Policies, r.Snapshots)
	m.sizes(r)
	m.wire(r, report{})
	fmt.Fprintf(m.out, "  the API server: %.0f requests, %.2f s of processor time, %s in memory (%s more)\n", after.requests-before.requests, after.cpu-before.cpu, mib(int64(after.rss)), mib(int64(after.rss-before.rss)))
	for _, p := range r.Problems {
		fmt.Fprintf(m.out, "  problem: %s\n", p)
	}
	// What the decoder left is given back over minutes; this is the end of that.
	time.Sleep(2 * time.Second)
	if r, err = m.ask("tidy"); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "  and at rest:\n")
	m.sizes(r)
	fmt.Fprintln(m.out)
	return nil
}

func (m *measure) sizes(r report) {
	fmt.Fprintf(m.out, "  resident %s (%s of it the program's file), %s at its peak; Go's heap has %s\n", mib(r.RSS), mib(r.RSS-r.Anon), mib(r.Peak), mib(int64(r.Heap)))
}

func (m *measure) wire(r, was report) {
	fmt.Fprintf(m.out, "  to the API: %d requests and streams, %s received, %s sent\n", r.Requests-was.Requests, traffic(r.Received-was.Received), traffic(r.Sent-was.Sent))
}

// traffic is in KiB below a MiB: a small cluster needs some tens of them.
func traffic(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	}
	return mib(n)
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// next reads a report.
func (m *measure) next() (report, error) {
	if !m.lines.Scan() {
		return report{}, errors.Join(errors.New("the process that is measured has ended"), m.lines.Err())
	}
	var r report
	err := json.NewDecoder(bytes.NewReader(m.lines.Bytes())).Decode(&r)
	m.last = r
	return r, err
}

func (m *measure) ask(what string) (report, error) {
	if _, err := fmt.Fprintln(m.stdin, what); err != nil {
		return report{}, err
	}
	return m.next()
}

// stop has the child end, and keep what it knows on disk.
func (m *measure) stop() error {
	return errors.Join(m.stdin.Close(), m.cmd.Wait())
}

// churn lets pods come and go at a rate.
func (m *measure) churn(ctx context.Context, length time.Duration, rate int) error {
	before, err := m.load(ctx)
	if err != nil {
		return err
	}
	was, err := m.ask("report")
	if err != nil {
		return err
	}
	began := time.Now()
	n, err := m.filler.churn(ctx, length, rate)
	if err != nil {
		return err
	}
	took := time.Since(began)
	is, err := m.ask("report")
	if err != nil {
		return err
	}
	after, err := m.load(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%.1f pods per second come and as many go, for %v:\n", float64(n)/took.Seconds(), took.Round(time.Second))
	fmt.Fprintf(m.out, "  %.1f %% of a processor, %.1f Snapshots per second\n", 100*(is.CPU-was.CPU).Seconds()/took.Seconds(), float64(is.Snapshots-was.Snapshots)/took.Seconds())
	m.wire(is, was)
	m.sizes(is)
	fmt.Fprintf(m.out, "  the API server, the filler's requests among it: %.0f requests, %.1f %% of a processor\n\n", after.requests-before.requests, 100*(after.cpu-before.cpu)/took.Seconds())
	return nil
}

// policies writes NetworkPolicies one by one, and says how long they took to a
// Snapshot.
func (m *measure) policies(ctx context.Context, n int) error {
	written := map[string]time.Time{}
	for i := range n {
		space := spaceName(i % m.filler.size.namespaces)
		name := fmt.Sprint("late-", i)
		written[space+"/"+name] = time.Now()
		if err := m.filler.policyNamed(ctx, name, space, i); err != nil {
			return err
		}
		time.Sleep(rand.N(100 * time.Millisecond))
	}
	var took []time.Duration
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r, err := m.ask("report")
		if err != nil {
			return err
		}
		took = took[:0]
		for key, at := range written {
			if seen, ok := r.Seen[key]; ok {
				took = append(took, seen.Sub(at))
			}
		}
		if len(took) == n {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d policies only %d are in a Snapshot after 30 s", n, len(took))
		}
	}
	slices.Sort(took)
	at := func(p float64) time.Duration { return took[min(int(p*float64(n)), n-1)].Round(100 * time.Microsecond) }
	fmt.Fprintf(m.out, "A NetworkPolicy from before its write to a Snapshot, %d of them: half within %v, 99 %% within %v, all within %v\n", n, at(.5), at(.99), at(1))
	return nil
}
