package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bfd"
	"caracal.dev/caracal/bgp"
)

func TestSeveralHops(t *testing.T) {
	for _, c := range []struct {
		n    bgp.Neighbor
		near bool
		want bool
	}{
		{bgp.Neighbor{Addr: ip("192.0.2.9"), External: true}, true, false},
		{bgp.Neighbor{Addr: ip("192.0.2.9"), External: true}, false, false}, // must be on the link, and is not now
		{bgp.Neighbor{Addr: ip("198.51.100.9"), External: true, Multihop: true}, false, true},
		{bgp.Neighbor{Addr: ip("192.0.2.2"), Node: "b"}, true, false},
		{bgp.Neighbor{Addr: ip("198.51.100.2"), Node: "b"}, false, true},
		{bgp.Neighbor{Addr: ip("192.0.2.2"), Node: "b", Multihop: true}, true, true},
		{bgp.Neighbor{Addr: ip("fe80::1%eth0")}, false, false},
	} {
		if got := severalHops(c.n, c.near); got != c.want {
			t.Errorf("%+v, near %v: %v", c.n, c.near, got)
		}
	}
}

// fakeWatcher remembers what it was told.
type fakeWatcher struct {
	mu     sync.Mutex
	want   []bfd.Session
	passes int
	events []bfd.Event
	bell   chan struct{}
	closed string
}

func (w *fakeWatcher) Apply(want []bfd.Session) map[string]error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want, w.passes = want, w.passes+1
	failed := map[string]error{}
	for _, s := range want {
		if s.Remote == ip("192.0.2.66") {
			failed[s.Name] = fmt.Errorf("bfd: apply session of %s: no socket", s.Name)
		}
	}
	return failed
}

func (w *fakeWatcher) Bell() <-chan struct{} { return w.bell }

func (w *fakeWatcher) Take() []bfd.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.events
	w.events = nil
	return events
}

func (w *fakeWatcher) Close(adminDown bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed += fmt.Sprintf("close(%v) ", adminDown)
}

func (w *fakeWatcher) say(events ...bfd.Event) {
	w.mu.Lock()
	w.events = append(w.events, events...)
	w.mu.Unlock()
	w.bell <- struct{}{}
}

func (w *fakeWatcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, s := range w.want {
		out = append(out, fmt.Sprintf("%s %s multihop=%v hops=%d", s.Name, s.Remote, s.Multihop, s.MaxHops))
	}
	return strings.Join(out, "\n")
}

// TestBFDTask: who is watched and how, and what becomes of a failure.
func TestBFDTask(t *testing.T) {
	w := &fakeWatcher{bell: make(chan struct{}, 1)}
	g := &fakeGround{places: map[netip.Addr]place{ip("192.0.2.2"): {"eth0", 7, true, true}}}
	failed := make(failures, 10)
	task := newBFD(w, g, failed, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); task.run(ctx) }()
	expect := func(what string, lines ...string) {
		t.Helper()
		want := strings.Join(lines, "\n")
		for deadline := time.Now().Add(30 * time.Second); w.text() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: watched are\n%s\nwant\n%s", what, w.text(), want)
			}
		}
	}
	on := caracal.BFD{Enabled: true, Transmit: 100 * time.Millisecond}
	neighbors := []bgp.Neighbor{
		{Name: "mesh/b", Node: "b", Addr: ip("192.0.2.2"), BFD: on},
		{Name: "mesh/c", Node: "c", Addr: ip("198.51.100.3"), BFD: on, TTLSecurity: 4},
		{Name: "mesh/d", Node: "d", Addr: ip("192.0.2.4")},
		{Name: "peer/tor", Addr: ip("192.0.2.9"), External: true, BFD: on, TTLSecurity: 1},
	}
	task.planned(bgp.Config{Neighbors: neighbors})
	b, c := "mesh/b 192.0.2.2 multihop=false hops=0", "mesh/c 198.51.100.3 multihop=true hops=4"
	expect("at first", b, c, "peer/tor 192.0.2.9 multihop=false hops=0")
	g.set(func() { clear(g.places) }) // eth0 went down: nothing changes its kind
	neighbors = slices.Clone(neighbors)
	neighbors[3].Addr = ip("192.0.2.66")
	task.planned(bgp.Config{Neighbors: neighbors})
	expect("without eth0", b, c, "peer/tor 192.0.2.66 multihop=false hops=0")
	for len(task.problems()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if p := task.problems()[0]; p.Name != "peer/tor" || p.Message != "bfd: apply session of peer/tor: no socket" {
		t.Errorf("problem %+v", p)
	}

	down := bfd.Event{Name: "peer/tor", Was: bfd.Up, State: bfd.Down, Reason: "nothing heard for 300ms"}
	asked, independent, never, removed := down, down, down, down
	asked.RemoteAdminDown = true
	independent.RemoteCPI = true
	never.Was = bfd.Init
	removed.State, removed.Removed = bfd.AdminDown, true
	up := bfd.Event{Name: "peer/tor", Was: bfd.Init, State: bfd.Up}
	w.say(asked, never, removed, down, independent, up)
	for _, want := range []string{"peer/tor: BFD: nothing heard for 300ms, graceful true", "peer/tor: BFD: nothing heard for 300ms, graceful false", "peer/tor is back"} {
		if got := <-failed; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}

	neighbors = slices.Clone(neighbors)
	neighbors[0].BFD.Enabled, neighbors[1].BFD.Enabled = false, false
	task.planned(bgp.Config{Neighbors: neighbors[:3]})
	expect("nobody")
	cancel()
	<-done
	if w.closed != "close(false) " {
		t.Error(w.closed)
	}
}
