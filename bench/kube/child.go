package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/memory"
	"caracal.dev/caracal/rib"
	"caracal.dev/caracal/store/kube"
	"caracal.dev/caracal/store/kube/apiserver"
)

// report is what the child tells, a line of JSON each time that it is asked, and once
// by itself when it has everything.
type report struct {
	// Since is the time since the process began.
	Since          time.Duration
	CPU            time.Duration
	RSS, Peak      int64 // bytes, of the kernel's count
	Anon           int64 // of RSS, what is not the program's file
	Heap           uint64
	Requests       int64 // streams of the API
	Received, Sent int64 // bytes on the wire
	Snapshots      uint64
	Nodes, Pods    int
	Policies       int
	Problems       []string
	// Seen is, by policy, when a Snapshot had it first.
	Seen map[string]time.Time
}

// wire counts what goes over the wire to the API.
type wire struct {
	requests, received, sent atomic.Int64
}

type countedConn struct {
	net.Conn
	w *wire
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.received.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.w.sent.Add(int64(n))
	return n, err
}

type counted struct {
	http.RoundTripper
	w *wire
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.w.requests.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// connect is [apiserver.Connect] with everything counted.
func connect(path string, w *wire) (*apiserver.Client, error) {
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	c.UserAgent, c.QPS, c.Burst = "bench-kube", 20, 40
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countedConn{conn, w}, err
	}
	c.Wrap(func(rt http.RoundTripper) http.RoundTripper { return counted{rt, w} })
	h, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, err
	}
	binary := rest.CopyConfig(c)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	core, err := kubernetes.NewForConfigAndClient(binary, h)
	if err != nil {
		return nil, err
	}
	own, err := dynamic.NewForConfigAndClient(c, h)
	return &apiserver.Client{Config: c, Core: core, Own: own}, err
}

// follower is the process that is measured: the store, and what a daemon makes of its
// Snapshots.
type follower struct {
	began  time.Time
	wire   wire
	store  *kube.Store
	prev   *caracal.Snapshot
	owners *rib.Owners
	felix  *felix.Compiler
	count  uint64
	seen   map[string]time.Time
}

func child(ctx context.Context, args []string, out io.Writer) error {
	f := &follower{began: time.Now(), owners: rib.NewOwners(), felix: felix.NewCompiler(), seen: map[string]time.Time{}}
	flags := flag.NewFlagSet("child", flag.ExitOnError)
	config, node := flags.String("kubeconfig", "", ""), flags.String("node", "", "")
	dir, profile := flags.String("state", "", ""), flags.String("profile", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	memory.Tune(memory.Objects())
	if err := memory.DropProgram(); err != nil { // as caracald does
		return err
	}
	client, err := connect(*config, &f.wire)
	if err != nil {
		return err
	}
	f.store = kube.New(kube.Options{Client: client, Node: *node, StateDir: *dir})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bell := f.store.Subscribe()
	done := make(chan error, 1)
	go func() { done <- f.store.Run(ctx) }()
	asked := make(chan bool)
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			asked <- lines.Text() == "tidy"
		}
		close(asked)
	}()
	whole := false
	for {
		select {
		case err := <-done:
			return err
		case <-bell:
			f.take(f.store.Snapshot())
			if !whole && f.prev.Complete() {
				whole = true
				f.tell(out)
				if *profile != "" {
					err = errors.Join(err, heapProfile(*profile))
				}
			}
		case tidy, ok := <-asked:
			if !ok {
				cancel()
				return errors.Join(err, <-done)
			}
			if tidy {
				memory.GiveBack()
			}
			f.tell(out)
		}
	}
}

// take does with a Snapshot what caracald does.
func (f *follower) take(s *caracal.Snapshot) {
	for key := range f.added(s) {
		f.seen[key] = time.Now()
	}
	f.owners.Update(f.prev, s)
	f.felix.Update(felix.Input{Snapshot: s})
	f.prev = s
	f.count++
}

// added are the policies that are new in a Snapshot.
func (f *follower) added(s *caracal.Snapshot) map[string]bool {
	list := map[string]bool{}
	if f.prev == nil {
		return list
	}
	s.Policies.Diff(f.prev.Policies, func(a, b caracal.Policy) bool { return true }, func(key string, was, _ *caracal.Policy) {
		if was == nil {
			list[key] = true
		}
	})
	return list
}

func (f *follower) tell(out io.Writer) {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail with this
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r := report{
		Since: time.Since(f.began), CPU: time.Duration(u.Utime.Nano() + u.Stime.Nano()), Heap: m.HeapAlloc,
		Requests: f.wire.requests.Load(), Received: f.wire.received.Load(), Sent: f.wire.sent.Load(), Snapshots: f.count, Seen: f.seen,
	}
	r.RSS, r.Anon, r.Peak = status("VmRSS"), status("RssAnon"), status("VmHWM")
	if s := f.prev; s != nil {
		r.Nodes, r.Pods, r.Policies = s.Nodes.Len(), s.Workloads.Len(), s.Policies.Len()
		for i, p := range s.Problems {
			if i < 5 {
				r.Problems = append(r.Problems, p.Message)
			}
		}
	}
	text, err := json.Marshal(r)
	if err == nil {
		fmt.Fprintf(out, "%s\n", text)
	}
}

// status reads a line of /proc/self/status (proc_pid_status(5)), in bytes.
func status(name string) int64 {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		var n int64
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			_, _ = fmt.Sscanf(value, "%d", &n)
			return n << 10
		}
	}
	return 0
}

func heapProfile(path string) error {
	runtime.GC()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}
