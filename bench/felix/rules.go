package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"caracal.dev/caracal/bench/felix/cluster"
)

// ruleOptions are what is measured of rules.
type ruleOptions struct {
	backends, sizes []string
	changes         int
	ipv6            bool
	profile         string
	caracald        string
}

func sizeOf(name string) (cluster.Size, error) {
	for _, s := range cluster.Sizes() {
		if s.Name == name {
			return s, nil
		}
	}
	return cluster.Size{}, fmt.Errorf("--sizes %s: there are a, b, c and c-hard", name)
}

// trial is what was measured of one size with one backend.
type trial struct {
	first, again result
	limit        limit
}

// rules measures the way from a Snapshot to the kernel.
func rules(ctx context.Context, out io.Writer, o ruleOptions) error {
	var trials []trial
	for _, size := range o.sizes {
		for _, backend := range o.backends {
			t, err := try(ctx, o, size, backend)
			if err != nil {
				return fmt.Errorf("size %s, %s: %w", size, backend, err)
			}
			trials = append(trials, t)
		}
	}
	reportStarts(out, trials)
	reportChanges(out, trials)
	return nil
}

// try measures one size with one backend: the start in an empty namespace with the
// changes after it, a second start, and the same rules by the programs of iptables
// and ipset in a namespace of their own.
func try(ctx context.Context, o ruleOptions, size, backend string) (t trial, err error) {
	dir, err := os.MkdirTemp("", "bench-felix-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	n, err := newNetns("rules")
	defer n.remove()
	if err != nil {
		return t, err
	}
	a := childArgs{size: size, backend: backend, files: dir, changes: o.changes, ipv6: o.ipv6}
	if o.profile != "" {
		a.profile = fmt.Sprintf("%s-%s-%s", o.profile, size, backend)
	}
	if t.first, err = spawn(ctx, n, a); err != nil {
		return t, err
	}
	again := childArgs{size: size, backend: backend, again: true, ipv6: o.ipv6}
	if a.profile != "" {
		again.profile = a.profile + "-again"
	}
	if t.again, err = spawn(ctx, n, again); err != nil {
		return t, fmt.Errorf("second start: %w", err)
	}
	other, err := newNetns("limit")
	defer other.remove()
	if err != nil {
		return t, err
	}
	t.limit, err = restore(ctx, other, dir, backend)
	return t, err
}

// spawn runs a child process in a namespace.
func spawn(ctx context.Context, n netns, a childArgs) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + string(n), "--", self}, a.list()...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	// Pdeathsig follows the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return r, err
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

func reportStarts(out io.Writer, trials []trial) {
	fmt.Fprint(out, "Wall time, in brackets CPU with that of the programs called. Start: from a Snapshot to all in the kernel.\n\n")
	fmt.Fprintln(out, "| size | backend | rules in chains | sets with members | start | of it compiling | start over the same, nothing written | audit | iptables-restore | ipset restore | RSS peak | of it Snapshot |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, t := range trials {
		f := t.first
		fmt.Fprintf(out, "| %s | %s | %d in %d | %d with %d | **%s** | %s | %s | %s | %s | %s | %d MB | %d MB |\n",
			f.Size.Name, f.Backend, f.Rules.Rules, f.Rules.Chains, f.Rules.Sets, f.Rules.Members,
			f.Compile.plus(f.Program), f.Compile, t.again.Compile.plus(t.again.Program), f.Audit,
			t.limit.Rules, t.limit.Sets, f.PeakRSS>>20, f.ClusterRSS>>20)
	}
	fmt.Fprintln(out)
}

func reportChanges(out io.Writer, trials []trial) {
	fmt.Fprint(out, "Single changes, until they are in the kernel\n\n")
	fmt.Fprintln(out, "| size | backend | change | times | median | 95 % | longest | CPU, median | 95 % | of it compiling, median |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, t := range trials {
		for _, c := range t.first.Changes {
			wall, cpu, compile := split(c.Costs, c.Compile)
			fmt.Fprintf(out, "| %s | %s | %s | %d | %.2f ms | %.2f ms | %.2f ms | %.2f ms | %.2f ms | %.2f ms |\n",
				t.first.Size.Name, t.first.Backend, c.Name, len(c.Costs),
				quantile(wall, 50), quantile(wall, 95), quantile(wall, 100), quantile(cpu, 50), quantile(cpu, 95), quantile(compile, 50))
		}
	}
	fmt.Fprintln(out)
}

// split returns the parts of costs in milliseconds.
func split(all, compile []cost) (wall, cpu, part []float64) {
	for i, c := range all {
		wall, cpu, part = append(wall, milli(c.Wall)), append(cpu, milli(c.CPU)), append(part, milli(compile[i].Wall))
	}
	return wall, cpu, part
}

// quantile returns the smallest value that q of 100 are not above.
func quantile(list []float64, q int) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, (len(sorted)*q+99)/100-1)]
}
