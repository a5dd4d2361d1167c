package node

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/felix"
)

// Rules are the kernel's sets and chains: [felix.Filter].
type Rules interface {
	// Apply writes what differs since the last success.
	Apply(ctx context.Context, want felix.Ruleset, d felix.Delta) (felix.Result, error)
	// Audit reads everything back and repairs it. The first one of a process writes
	// what is not there yet.
	Audit(ctx context.Context, want felix.Ruleset) (felix.Result, error)
	// Watch rings when somebody else may have changed something; nil where the
	// kernel does not tell.
	Watch(ctx context.Context) <-chan struct{}
	// Counters returns what each rule of ours has counted.
	Counters(ctx context.Context) ([]felix.Counter, error)
	// Backend is "nft" or "legacy".
	Backend() string
	Close()
}

// wanted is what the policies come to: [felix.Compiler].
type wanted interface {
	felix.Ruleset
	Update(in felix.Input) (felix.Delta, []caracal.Problem)
	Endpoint(key string) (felix.Endpoint, bool)
	Endpoints() iter.Seq[felix.Endpoint]
	// PolicyOf returns the policy that a chain is of, SetAbout what is in a set.
	PolicyOf(chain string) (key string, ok bool)
	SetAbout(name string) string
}

// policyTask keeps the kernel's rules as the NetworkPolicies ask for them. The
// kernel is written on a goroutine of its own, one operation at a time, so that
// the task can answer meanwhile; what it answers from is then only read.
type policyTask struct {
	store Store
	// open returns the kernel's rules of a backend, when they are first needed; nil
	// is a daemon without rules. remove takes away all that is ours.
	open   func(backend string) (Rules, error)
	remove func(ctx context.Context) error
	log    *slog.Logger
	beat   func()
	// opened tells the speaker that the rules are in for the first time.
	opened func()
	// adopted says that routes of this boot were found, so rules may be there too.
	adopted bool
	latency prometheus.Histogram
	flusher *flushTask

	plan     atomic.Pointer[policyPlan]
	planBell <-chan struct{}
	ringPlan func()
	queries  chan func()
	waits    map[*policyWait]struct{}
	done     chan policyDone

	state atomic.Pointer[policyState]

	// What follows is the task's own.
	want   wanted
	kernel Rules
	watch  <-chan struct{}
	// unwatch ends watch; life is the context of run.
	unwatch context.CancelFunc
	life    context.Context
	sizes   policySizes
	taken   *caracal.Snapshot // that want is of
	fed     *policyPlan       // that want is of
	began   time.Time
	// whole says that the next operation must read everything back; tightened that
	// something was forbidden since the last success.
	whole, tightened bool
	tidy             bool // unused sets are left to be destroyed
	running          bool
	gone             bool // removed, since it is disabled
	bare             bool // nothing was in the kernel when it was enabled again
	failures         int
	retry            time.Time // after a failure; zero without one
	audited          time.Time
	rung             time.Time // when somebody else last changed something
	said             string
}

// policyPlan is what the rules depend on beside the Snapshot.
type policyPlan struct{ input felix.Input }

// policyPlanWait is how long the first pass waits for BGP's plan: until then who
// may connect to the node's BGP port is not known.
const policyPlanWait = 2 * time.Second

// The deadlines of kernel operations. They are longer than what an iptables that
// waits for the lock of another may take.
const (
	policyApplyWait = 20 * time.Second
	policyAuditWait = 60 * time.Second
)

// policyRest is how long after an audit the next one that only a bell asks for
// may begin: another program that writes all the time must not keep us busy.
const policyRest = 500 * time.Millisecond

// policyTidyRest is how long after an audit the next one begins that only destroys
// more of the sets that nobody uses.
const policyTidyRest = 10 * time.Second

func newPolicy(store Store, log *slog.Logger, beat func()) *policyTask {
	bell, ring := bell()
	t := &policyTask{
		store: store, log: log, beat: beat, opened: func() {}, latency: newPolicyLatency(),
		planBell: bell, ringPlan: ring, queries: make(chan func()), waits: map[*policyWait]struct{}{}, done: make(chan policyDone, 1),
		want: felix.NewCompiler(), whole: true, began: time.Now(), sizes: newPolicySizes(),
	}
	t.state.Store(&policyState{waiting: "the first pass has not begun"})
	return t
}

// planned takes the configuration that BGP is about to have.
func (t *policyTask) planned(c bgp.Config) {
	p := &policyPlan{}
	for _, n := range c.Neighbors {
		switch {
		case n.Addr.Zone() != "" && n.Interface != "":
			p.input.Unnumbered = append(p.input.Unnumbered, n.Interface)
		case n.Addr.IsValid():
			p.input.Neighbors = append(p.input.Neighbors, n.Addr.Unmap())
		}
	}
	was := t.plan.Load()
	p.input = withPeers(p.input, t.store.Snapshot())
	if was != nil && slices.Equal(was.input.Neighbors, p.input.Neighbors) && slices.Equal(was.input.Unnumbered, p.input.Unnumbered) {
		return
	}
	t.plan.Store(p)
	t.ringPlan()
}

// withPeers adds those that the configuration names, whether or not a session with
// them is planned at this moment.
func withPeers(in felix.Input, snap *caracal.Snapshot) felix.Input {
	for _, p := range snap.Peers.All() {
		switch {
		case p.Interface != "":
			in.Unnumbered = append(in.Unnumbered, p.Interface)
		case p.Addr.IsValid():
			in.Neighbors = append(in.Neighbors, p.Addr.Unmap())
		}
	}
	slices.Sort(in.Unnumbered)
	in.Unnumbered = slices.Compact(in.Unnumbered)
	slices.SortFunc(in.Neighbors, compareAddrs)
	in.Neighbors = slices.Compact(in.Neighbors)
	return in
}

func (t *policyTask) run(ctx context.Context) error {
	t.life = ctx
	changed := t.store.Subscribe()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		t.beat()
		if !t.running {
			t.begin(ctx)
		}
		wake := time.NewTimer(t.untilDue())
		select {
		case <-ctx.Done():
			wake.Stop()
			if t.running {
				<-t.done
			}
			return nil
		case <-changed:
		case <-t.planBell:
		case _, ok := <-t.watch:
			if !ok {
				t.watch = nil
			}
			t.rung = time.Now()
		case q := <-t.queries:
			q()
		case d := <-t.done:
			t.end(d)
		case <-wake.C:
		case <-tick.C:
		}
		wake.Stop()
	}
}

// untilDue is the time until something may be due by itself that a tick would be
// late for.
func (t *policyTask) untilDue() time.Duration {
	switch {
	case t.running:
	case !t.rung.IsZero():
		return max(time.Until(t.audited.Add(policyRest)), time.Millisecond)
	}
	return time.Hour
}

// query runs f on the task's goroutine and waits for it.
func (t *policyTask) query(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case t.queries <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}
