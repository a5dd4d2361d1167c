package fib

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

// world is a FIB over the real kernel, in a namespace of the test's own.
type world struct {
	*nstest.NS
	t      testing.TB
	f      *FIB
	k      *Netlink
	events <-chan Events
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{NS: nstest.New(t), t: t}
	w.start(DefaultMark)
	return w
}

// start opens the kernel and makes a FIB over it, as a daemon does at its start.
func (w *world) start(m Mark) {
	w.t.Helper()
	var err error
	w.Do(func() { w.k, err = OpenKernel(m) })
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if w.events, err = w.k.Watch(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cancel()
		for range w.events { // until the reader has ended
		}
		w.k.Close()
	})
	w.f = New(w.k, Options{})
}

// apply applies until nothing is left to do at once.
func (w *world) apply() Report {
	w.t.Helper()
	return applyAll(w.t, w.f)
}

func applyAll(t testing.TB, f *FIB) Report {
	t.Helper()
	var sum Report
	for range 1000 {
		r := f.Apply(t.Context())
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		sum.Installed = append(sum.Installed, r.Installed...)
		sum.Uninstalled = append(sum.Uninstalled, r.Uninstalled...)
		sum.Written += r.Written
		sum.Deleted += r.Deleted
		sum.Failed += r.Failed
		if !r.More {
			return sum
		}
	}
	t.Fatal("Apply finds more to do without end")
	return sum
}

// settle runs the FIB's loop until cond holds, as the daemon would.
func (w *world) settle(what string, cond func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for time.Since(start) < time.Minute {
		if cond() {
			return time.Since(start)
		}
		wait := 20 * time.Millisecond
		if due := w.f.Due(); !due.IsZero() {
			wait = min(wait, max(0, time.Until(due)))
		}
		select {
		case ev := <-w.events:
			w.f.Notify(ev)
		case <-time.After(wait):
		}
		if due := w.f.Due(); !due.IsZero() && !due.After(time.Now()) {
			if r := w.f.Apply(w.t.Context()); r.Err != nil {
				w.t.Fatal(r.Err)
			}
		}
		if w.f.AuditDue() {
			if _, err := w.f.Audit(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.t.Fatalf("%s did not happen; kernel has:\n%s", what, w.ours())
	return 0
}

// ours returns the kernel's routes of our protocol, as ip prints them, sorted.
func (w *world) ours() string {
	w.t.Helper()
	var lines []string
	for _, family := range []string{"-4", "-6"} {
		out := w.Run("ip", family, "route", "show", "proto", "67")
		out = strings.ReplaceAll(out, "\n\t", " ")
		for line := range strings.Lines(out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func learned(dst string, nhs ...string) Want {
	w := Want{Dst: pfx(dst), Kind: Learned, Source: "mesh/b"}
	for _, nh := range nhs {
		w.NextHops = append(w.NextHops, netip.MustParseAddr(nh))
	}
	return w
}

func TestKernelRoutes(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24", "fd00::1/64")
	w.Device("cali1")
	w.f.Set(learned("10.1.0.0/26", "10.0.0.2"))
	w.f.Set(learned("10.1.0.64/26", "10.0.0.3", "10.0.0.2"))
	w.f.Set(learned("fd01::/64", "fd00::2"))
	w.f.Set(learned("fd02::/64", "fd00::3", "fd00::2"))
	w.f.Set(Want{Dst: pfx("10.1.1.0/26"), Kind: Discard})
	w.f.Set(Want{Dst: pfx("fd03::/64"), Kind: Discard})
	w.f.Set(Want{Dst: pfx("10.1.1.5/32"), Kind: Local, Link: "cali1"})
	w.f.Set(Want{Dst: pfx("fd03::5/128"), Kind: Local, Link: "cali1"})
	r := w.apply()
	want := strings.TrimSpace(`
10.1.0.0/26 via 10.0.0.2 dev eth0 metric 427
10.1.0.64/26 metric 427 nexthop via 10.0.0.2 dev eth0 weight 1 nexthop via 10.0.0.3 dev eth0 weight 1
10.1.1.5 dev cali1 scope link metric 427
fd01::/64 via fd00::2 dev eth0 metric 427 pref medium
fd02::/64 metric 427 pref medium nexthop via fd00::2 dev eth0 weight 1 nexthop via fd00::3 dev eth0 weight 1
fd03::5 dev cali1 metric 427 pref medium
unreachable 10.1.1.0/26 metric 427
unreachable fd03::/64 dev lo metric 427 pref medium`)
	if got := w.ours(); got != want {
		t.Errorf("kernel has\n%s\nwant\n%s", got, want)
	}
	if r.Written != 8 || len(r.Installed) != 8 {
		t.Errorf("report %+v", r)
	}
	for s := range w.f.All {
		if !s.Installed || s.Reason != "" {
			t.Errorf("%+v", s)
		}
	}
	if rep, err := w.f.Audit(t.Context()); err != nil || rep != (AuditReport{Routes: 8}) {
		t.Errorf("audit %+v, %v", rep, err)
	}
	if r := w.apply(); r.Written+r.Deleted != 0 {
		t.Errorf("the second Apply wrote: %+v", r)
	}
}

// TestLargeBatch writes routes with so many hops that a batch of them is more
// than a socket sends at once, and one that no message can hold.
func TestLargeBatch(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/16")
	link := 0
	links, err := w.k.Links(t.Context())
	for _, l := range links {
		if l.Name == "eth0" {
			link = l.Index
		}
	}
	if err != nil || link == 0 {
		t.Fatal(links, err)
	}
	hops := func(n int) (list []Hop) {
		for i := range n {
			list = append(list, Hop{Gateway: netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(2 + i%250)}), Link: link})
		}
		return list
	}
	ops := make([]Op, batch)
	for i := range ops {
		ops[i] = Op{Verb: Create, Route: Route{Dst: hosts(i + 1)[i].Dst, Kind: Unicast, Hops: hops(100)}}
	}
	ops[7].Route.Hops = hops(5000)
	ops[200].Route.Hops = []Hop{{Gateway: netip.MustParseAddr("192.0.2.1"), Link: link}}
	failed, err := w.k.Write(t.Context(), ops)
	want := []Failure{{Index: 7, Errno: syscall.EMSGSIZE}, {Index: 200, Errno: syscall.ENETUNREACH}}
	for i := range failed {
		failed[i].Text = ""
	}
	if err != nil || !slices.Equal(failed, want) {
		t.Fatalf("failed %+v, %v; want %+v", failed, err, want)
	}
	if n := len(ownRoutes(t, w.k)); n != batch-2 {
		t.Errorf("%d routes, want %d", n, batch-2)
	}
}

// TestListBesideAnAudit lists the table while an audit is in the middle of it.
func TestListBesideAnAudit(t *testing.T) {
	w := newWorld(t)
	w.Device("eth0", "10.0.0.1/24")
	w.f.Set(learned("10.1.0.0/26", "10.0.0.2"))
	w.apply()
	inside, leave, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := w.k.Dump(t.Context(), Filter{Own: true}, func(Read) { close(inside); <-leave })
		done <- err
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := w.k.Dump(ctx, Filter{Table: 254}, func(Read) {}); err != nil {
		t.Errorf("while an audit reads: %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
