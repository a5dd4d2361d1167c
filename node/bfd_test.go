package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	paused time.Duration
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

func (w *fakeWatcher) Pause(_ context.Context, d time.Duration) []bfd.Saved {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = d
	var saved []bfd.Saved
	for _, s := range w.want {
		saved = append(saved, bfd.Saved{Name: s.Name, Remote: s.Remote, Discr: 7, Until: time.Unix(1000, 0).UTC()})
	}
	return saved
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

// TestBFDTask: who is watched, from when on, and what becomes of the end.
func TestBFDTask(t *testing.T) {
	dir := t.TempDir()
	w := &fakeWatcher{bell: make(chan struct{}, 1)}
	g := &fakeGround{places: map[netip.Addr]place{ip("192.0.2.2"): {"eth0", 7, true, true}}}
	failed := make(failures, 10)
	sessions := &atomic.Pointer[map[string]bgp.SessionFact]{}
	sessions.Store(&map[string]bgp.SessionFact{})
	task := newBFD(w, g, failed, sessions, dir, slog.New(slog.DiscardHandler))
	task.resumed["mesh/b"] = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); task.run(ctx) }()
	expect := func(what string, lines ...string) {
		t.Helper()
		want := strings.Join(lines, "\n")
		for deadline := time.Now().Add(5 * time.Second); w.text() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: watched are\n%s\nwant\n%s", what, w.text(), want)
			}
		}
	}
	on := caracal.BFD{Enabled: true, Transmit: 100 * time.Millisecond}
	neighbors := []bgp.Neighbor{
		{Name: "mesh/b", Node: "b", Addr: ip("192.0.2.2"), BFD: on, GracefulRestart: true, RestartTime: 90 * time.Second},
		{Name: "mesh/c", Node: "c", Addr: ip("198.51.100.3"), BFD: on, TTLSecurity: 4},
		{Name: "mesh/d", Node: "d", Addr: ip("192.0.2.4")},
		{Name: "peer/tor", Addr: ip("192.0.2.9"), External: true, BFD: on, GracefulRestart: true, RestartTime: 30 * time.Second},
		{Name: "peer/stuck", Addr: ip("192.0.2.66"), External: true, BFD: on},
	}
	task.planned(bgp.Config{Neighbors: neighbors})
	expect("what was paused goes on at once", "mesh/b 192.0.2.2 multihop=false hops=0")
	up := func(names ...string) {
		facts := map[string]bgp.SessionFact{}
		for _, n := range names {
			facts[n] = bgp.SessionFact{Established: true}
		}
		sessions.Store(&facts)
		task.ring()
	}
	up("peer/tor", "mesh/d", "mesh/c")
	expect("with BGP", "mesh/b 192.0.2.2 multihop=false hops=0", "mesh/c 198.51.100.3 multihop=true hops=4", "peer/tor 192.0.2.9 multihop=false hops=0")
	g.set(func() { clear(g.places) }) // eth0 went down: nothing changes its kind
	up()
	expect("without BGP", "mesh/b 192.0.2.2 multihop=false hops=0", "mesh/c 198.51.100.3 multihop=true hops=4", "peer/tor 192.0.2.9 multihop=false hops=0")

	down := bfd.Event{Name: "peer/tor", Was: bfd.Up, State: bfd.Down, Reason: "nothing heard for 300ms"}
	asked, independent, never, removed := down, down, down, down
	asked.RemoteAdminDown = true
	independent.RemoteCPI = true
	never.Was = bfd.Init
	removed.State, removed.Removed = bfd.AdminDown, true
	w.say(asked, never, removed, down, independent)
	for _, want := range []string{"peer/tor: BFD: nothing heard for 300ms, graceful true", "peer/tor: BFD: nothing heard for 300ms, graceful false"} {
		if got := <-failed; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}

	up("peer/stuck")
	neighbors = slices.Clone(neighbors)
	neighbors[3].Addr = ip("192.0.2.10") // another address: not before BGP is up there
	neighbors[1].BFD.Enabled = false
	task.planned(bgp.Config{Neighbors: neighbors})
	expect("changed", "mesh/b 192.0.2.2 multihop=false hops=0", "peer/stuck 192.0.2.66 multihop=false hops=0")
	for len(task.problems()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if p := task.problems()[0]; p.Name != "peer/stuck" || p.Message != "bfd: apply session of peer/stuck: no socket" {
		t.Errorf("problem %+v", p)
	}

	cancel()
	<-done
	if w.paused != 30*time.Second || w.closed != "close(false) " {
		t.Errorf("paused %v, %s", w.paused, w.closed)
	}
	saved, err := takePaused(dir)
	if err != nil || len(saved) != 2 || saved[0].Name != "mesh/b" || saved[0].Discr != 7 || !saved[0].Until.Equal(time.Unix(1000, 0)) {
		t.Errorf("saved %+v, %v", saved, err)
	}
	if saved, err := takePaused(dir); err != nil || len(saved) != 0 {
		t.Errorf("again %+v, %v", saved, err)
	}
}

// TestPausedFile: what cannot be read is no reason not to start.
func TestPausedFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, pausedFile), []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := takePaused(dir); err == nil || !strings.Contains(err.Error(), "node: read paused BFD sessions: ") {
		t.Error(err)
	}
	if saved, err := takePaused(dir); err != nil || saved != nil {
		t.Errorf("it is still there: %v, %v", saved, err)
	}
	if err := writePaused(filepath.Join(dir, "nosuch"), []bfd.Saved{{}}); err == nil {
		t.Error("nowhere to write to, and no error")
	}
	if saved, err := takePaused(""); err != nil || saved != nil {
		t.Error(saved, err)
	}
}

func TestPauseFor(t *testing.T) {
	n := func(enabled bool, restart time.Duration) bgp.Neighbor {
		return bgp.Neighbor{BFD: caracal.BFD{Enabled: enabled}, GracefulRestart: restart > 0, RestartTime: restart}
	}
	for _, c := range []struct {
		neighbors []bgp.Neighbor
		want      time.Duration
	}{
		{nil, pauseLeast},
		{[]bgp.Neighbor{n(true, 0), n(false, 20*time.Second)}, pauseLeast},
		{[]bgp.Neighbor{n(true, 120*time.Second), n(true, 60*time.Second), n(false, 20*time.Second)}, time.Minute},
	} {
		if got := pauseFor(c.neighbors); got != c.want {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}
