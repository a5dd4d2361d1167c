package node

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/felix"
)

// fakeRules are a kernel that does as it is told, or fails, or hangs.
type fakeRules struct {
	mu     sync.Mutex
	fail   error
	hang   chan struct{} // closed to go on; nil: at once
	calls  []string
	bell   chan struct{}
	repair []string
}

func (r *fakeRules) do(ctx context.Context, what string) (felix.Result, error) {
	r.mu.Lock()
	r.calls = append(r.calls, what)
	hang, fail, repair := r.hang, r.fail, r.repair
	r.repair = nil
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return felix.Result{}, ctx.Err()
		}
	}
	return felix.Result{Repairs: repair}, fail
}

func (r *fakeRules) Apply(ctx context.Context, _ felix.Ruleset, _ felix.Delta) (felix.Result, error) {
	return r.do(ctx, "apply")
}

func (r *fakeRules) Audit(ctx context.Context, _ felix.Ruleset) (felix.Result, error) {
	return r.do(ctx, "audit")
}

func (r *fakeRules) Watch(context.Context) <-chan struct{} { return r.bell }

func (r *fakeRules) Counters(context.Context) ([]felix.Counter, error) {
	return []felix.Counter{{About: "default/deny ingress 0", Packets: 2, Bytes: 100}, {About: "default/deny ingress 0", Packets: 1, Bytes: 60}}, nil
}

func (r *fakeRules) Backend() string { return "nft" }

func (r *fakeRules) Close() {}

func (r *fakeRules) set(change func(*fakeRules)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

func (r *fakeRules) history() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.calls, " ")
}

// policyWorld is a task with what it needs, running.
type policyWorld struct {
	store *fakeStore
	rules *fakeRules
	task  *policyTask
	opens int
	gone  int
}

func pod(name, addr string) caracal.Workload {
	return caracal.Workload{Namespace: "default", Name: name, Node: "a", Interface: "car" + name, Addrs: []netip.Addr{netip.MustParseAddr(addr)},
		Labels: map[string]string{"app": name}}
}

func newPolicyWorld(t *testing.T, adopted bool, change func(*caracal.Snapshot)) *policyWorld {
	t.Helper()
	w := &policyWorld{store: &fakeStore{}, rules: &fakeRules{bell: make(chan struct{}, 1)}}
	snap := caracal.NewSnapshot("a")
	snap.Generation, snap.Synced = 1, true
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), Port: 179})
	if change != nil {
		change(snap)
	}
	w.store.snap.Store(snap)
	w.task = newPolicy(w.store, slog.New(slog.DiscardHandler), func() {})
	w.task.adopted = adopted
	w.task.open = func(string) (Rules, error) { w.opens++; return w.rules, nil }
	w.task.remove = func(context.Context) error { w.gone++; return nil }
	w.task.planned(bgp.Config{})
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(done); _ = w.task.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func (w *policyWorld) until(t *testing.T, what string, ok func(*policyState) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(w.task.state.Load()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so in time: %+v; the kernel saw %s", what, w.task.state.Load(), w.rules.history())
		}
	}
}

func (w *policyWorld) await(t *testing.T, p caracal.Workload, open bool, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return w.task.await(ctx, p, open)
}

func passed(s *policyState) bool { return !s.since.IsZero() && s.err == nil }

// TestPolicyGate: a workload is open when the kernel has its rules, and not before.
func TestPolicyGate(t *testing.T) {
	w := newPolicyWorld(t, false, nil)
	w.until(t, "first pass", passed)
	web := pod("web", "10.0.0.1")
	err := w.await(t, web, true, 50*time.Millisecond)
	if !errors.Is(err, endpoint.ErrNotReady) || !strings.Contains(err.Error(), "has not taken it up") {
		t.Errorf("a workload that is in no Snapshot: %v", err)
	}
	hang := make(chan struct{})
	w.rules.set(func(r *fakeRules) { r.hang = hang })
	w.store.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(web.Key(), web) })
	w.until(t, "it is being written", func(*policyState) bool { return strings.HasSuffix(w.rules.history(), "apply") })
	err = w.await(t, web, true, 100*time.Millisecond)
	if !errors.Is(err, endpoint.ErrNotReady) || !strings.Contains(err.Error(), "being written") {
		t.Errorf("while the kernel is slow: %v", err)
	}
	opened := make(chan error, 1)
	go func() { opened <- w.await(t, web, true, 10*time.Second) }()
	w.rules.set(func(r *fakeRules) { r.hang = nil })
	close(hang)
	if err := <-opened; err != nil {
		t.Errorf("in force: %v", err)
	}
	other := web
	other.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	if err := w.await(t, other, true, 50*time.Millisecond); err == nil {
		t.Error("open with another address")
	}
	if err := w.await(t, web, false, 50*time.Millisecond); err == nil {
		t.Error("closed while it is there")
	}
	w.store.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete(web.Key()) })
	if err := w.await(t, web, false, 10*time.Second); err != nil {
		t.Errorf("closed: %v", err)
	}
}

// TestPolicyFails: what fails is said, tried again by an audit, and opens nothing.
func TestPolicyFails(t *testing.T) {
	w := newPolicyWorld(t, false, nil)
	w.until(t, "first pass", passed)
	broken := errors.New("felix: apply: iptables-restore is missing; install iptables")
	w.rules.set(func(r *fakeRules) { r.fail = broken })
	web := pod("web", "10.0.0.1")
	w.store.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put(web.Key(), web) })
	w.until(t, "failure", func(s *policyState) bool { return s.err != nil })
	if err := w.await(t, web, true, 50*time.Millisecond); !errors.Is(err, endpoint.ErrNotReady) || !strings.Contains(err.Error(), "install iptables") {
		t.Errorf("open: %v", err)
	}
	begin := time.Now()
	if err := w.await(t, web, false, 10*time.Second); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("closed waits for what cannot come: %v after %v", err, time.Since(begin))
	}
	s := w.task.state.Load()
	if why := s.unready(time.Now()); why != "" {
		t.Errorf("not ready at once: %s", why)
	}
	if why := s.unready(time.Now().Add(time.Minute)); !strings.Contains(why, "install iptables") {
		t.Errorf("ready: %q", why)
	}
	if p := s.issues(); len(p) != 1 || !strings.Contains(p[0].Message, "stay as they are") {
		t.Errorf("issues: %+v", p)
	}
	w.rules.set(func(r *fakeRules) { r.fail = nil })
	w.until(t, "again", passed)
	if !strings.HasSuffix(w.rules.history(), "audit") {
		t.Errorf("a failed apply is followed by %s", w.rules.history())
	}
	if err := w.await(t, web, true, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestPolicyFirst: nothing is written before it is known what; a bare kernel only
// gains by what is there.
func TestPolicyFirst(t *testing.T) {
	missing := func(s *caracal.Snapshot) { s.Incomplete = map[string]string{"NetworkPolicy": "cluster cannot be read"} }
	w := newPolicyWorld(t, true, missing)
	w.until(t, "waiting", func(s *policyState) bool { return strings.Contains(s.waiting, "cluster cannot be read") })
	if h := w.rules.history(); h != "" || w.opens != 0 {
		t.Errorf("written: %s", h)
	}
	if s := w.task.state.Load(); s.passed() || s.unready(time.Now()) != "" {
		t.Errorf("the rules of the last run count as no rules, or as those of this one: %+v", s)
	}
	w.store.put(func(s *caracal.Snapshot) { s.Incomplete = nil })
	w.until(t, "complete", passed)
	if h := w.rules.history(); h != "audit" {
		t.Errorf("the first pass was %s", h)
	}
	fresh := newPolicyWorld(t, false, missing)
	fresh.until(t, "a bare kernel", passed)
}

// TestPolicyBell: what others do is repaired at once, and said.
func TestPolicyBell(t *testing.T) {
	w := newPolicyWorld(t, false, nil)
	w.until(t, "first pass", passed)
	w.rules.set(func(r *fakeRules) { r.repair = []string{"chain caracal-in was gone"} })
	w.rules.bell <- struct{}{}
	w.until(t, "repair", func(s *policyState) bool { return s.repaired == 1 && s.repairs[0] == "chain caracal-in was gone" })
}

// TestPolicyDisabled: the gates are open, what was there is removed once, and
// enabling it again writes everything.
func TestPolicyDisabled(t *testing.T) {
	w := newPolicyWorld(t, false, func(s *caracal.Snapshot) { s.Dataplane.Policy.Disabled = true })
	w.until(t, "off", func(s *policyState) bool { return s.off })
	if err := w.await(t, pod("web", "10.0.0.1"), true, time.Second); err != nil {
		t.Error(err)
	}
	w.store.put(func(s *caracal.Snapshot) {})
	w.store.put(func(s *caracal.Snapshot) { s.Dataplane.Policy.Disabled = false })
	w.until(t, "on", func(s *policyState) bool { return !s.off && passed(s) })
	if w.gone != 1 {
		t.Errorf("removed %d times", w.gone)
	}
	if err := w.await(t, pod("web", "10.0.0.1"), true, 50*time.Millisecond); err == nil {
		t.Error("open without rules")
	}
}

// fakeFlusher remembers what it judged by, and ends one connection each time while
// busy.
type fakeFlusher struct {
	mu    sync.Mutex
	snaps []uint64
	busy  bool
}

func (f *fakeFlusher) End(newest func() *caracal.Snapshot) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := newest()
	if s == nil {
		f.snaps = append(f.snaps, 0)
		return 0, nil
	}
	f.snaps = append(f.snaps, s.Generation)
	if f.busy {
		return 1, nil
	}
	return 0, nil
}

func (f *fakeFlusher) Close() {}

func (f *fakeFlusher) last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.snaps) == 0 {
		return 99
	}
	return f.snaps[len(f.snaps)-1]
}

func (f *fakeFlusher) until(t *testing.T, generation uint64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); f.last() != generation; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("judged by Snapshot %d, not %d", f.last(), generation)
		}
	}
}

func flushing(t *testing.T, f *fakeFlusher) (task *flushTask, judgeBy func(generation uint64, flush bool)) {
	task = newFlush(func() (Flusher, error) { return f, nil }, slog.New(slog.DiscardHandler))
	task.rest = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = task.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return task, func(generation uint64, flush bool) {
		s := *caracal.NewSnapshot("a")
		s.Generation, s.Dataplane.Policy.FlushConntrack = generation, flush
		task.judgeBy(&s)
	}
}

// TestPolicyFlush: connections are judged when that is asked for, by the newest
// policies that are in force.
func TestPolicyFlush(t *testing.T) {
	f := &fakeFlusher{}
	task, judgeBy := flushing(t, f)
	for g := range uint64(50) {
		judgeBy(g+1, true)
		task.ask()
	}
	f.until(t, 50)
}

// TestPolicyFlushLoosened: one look at the connections leads to the next for as long as
// some are ended, and policies that allow more by then are what the next one judges by.
func TestPolicyFlushLoosened(t *testing.T) {
	f := &fakeFlusher{busy: true}
	task, judgeBy := flushing(t, f)
	judgeBy(1, true)
	task.ask()
	f.until(t, 1)
	judgeBy(2, true)
	f.until(t, 2)
	judgeBy(3, false) // connections are not to be ended any more
	f.until(t, 0)
}

// TestFirstAnnouncement: nothing is announced before the rules are in for the first
// time; from then on a failing pass withdraws nothing.
func TestFirstAnnouncement(t *testing.T) {
	block := netip.MustParsePrefix("10.0.0.0/26")
	unruled := true
	task := &speakerTask{gate: &atomic.Pointer[gate]{}, unruled: func() bool { return unruled }}
	task.gate.Store(&gate{block: {}})
	if open := task.announceable(); len(open) != 0 {
		t.Errorf("announced without rules: %v", open)
	}
	unruled = false
	for range 2 {
		if open := task.announceable(); len(open) != 1 {
			t.Errorf("not announced: %v", open)
		}
		unruled = true // as after policy was disabled and enabled again
	}
}
