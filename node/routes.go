package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
)

// decideBatch is how many prefixes are decided before they are written: large
// enough to fill netlink batches, small enough that the kernel is at work while
// GoBGP still parses.
const decideBatch = 2048

// routesTask owns the mirror and the FIB. Everything between a path's arrival
// and its route in the kernel happens on its goroutine.
type routesTask struct {
	store  Store
	kernel Kernel
	fib    *fib.FIB
	log    *slog.Logger
	feed   *api.Feed
	beat   func()

	events    func() []bgp.Event // nil until the speaker exists
	eventBell <-chan struct{}
	planned   *atomic.Pointer[bgp.Config] // what the speaker task planned last
	planBell  <-chan struct{}

	kernelEvents <-chan fib.Events
	queries      chan func()
	waits        map[*routeWait]struct{} // for routes of endpoints

	gate       *atomic.Pointer[gate]
	ringGate   func()
	localBell  <-chan struct{} // this node's workloads changed
	ringLocal  func()
	bgpStarted func() time.Time // zero before
	taken      func()           // a Snapshot was
	// tunnelTried is [tunnelTask.tried]; the bell rings when it changes.
	tunnelTried func() bool
	tunnelBell  <-chan struct{}
	deferral    time.Duration
	settled     chan struct{} // closed once everything of the last run is replaced

	relays   *relayTask
	networks *networks
	owners   *rib.Owners
	mirror   *rib.Mirror
	local    *local
	encap    *encap
	snap     *caracal.Snapshot // the last one taken
	conv     convergence

	config bgp.Config // the planned one that the mirror knows

	facts    *sessionFacts // for the next plan
	sessions *atomic.Pointer[map[string]bgp.SessionFact]
	// linksChanged: the networks that the host is on may be others now.
	linksChanged bool

	applyErr    error     // of the last pass
	drift       fib.Drift // as last reported
	failing     int       // routes that could not be installed, as last reported
	gateDue     bool      // local routes changed since the gate was published
	auditing    bool
	auditFailed bool // log a repeating failure once
	auditBegan  time.Time
	lastAudit   time.Time
}

// run turns until ctx ends. Each turn takes everything that has happened,
// decides and writes it, and then waits for a bell.
func (t *routesTask) run(ctx context.Context, storeBell <-chan struct{}) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	audits := make(chan audited, 1)
	for {
		t.beat()
		t.turn(ctx)
		if err := t.markChanged(); err != nil {
			return err
		}
		t.startAudit(ctx, audits)
		wake := time.NewTimer(t.untilDue())
		select {
		case <-ctx.Done():
			wake.Stop()
			return nil
		case <-storeBell:
		case <-t.eventBell:
		case <-t.planBell:
		case <-t.tunnelBell:
		case ev, ok := <-t.kernelEvents:
			if !ok {
				return kernelGone(ctx)
			}
			t.notify(ev)
		case audit := <-audits:
			t.endAudit(audit)
		case q := <-t.queries:
			q()
		case <-wake.C:
		case <-tick.C:
			t.reportDrift()
		}
		wake.Stop()
	}
}

// markChanged asks for a new start when the configuration wants routes of
// another table, protocol or metric: the new process writes those first and
// removes the others after.
func (t *routesTask) markChanged() error {
	if t.snap == nil || !t.snap.Complete() { // the mark may be out of sight
		return nil
	}
	if have, want := t.kernel.Mark(), fib.MarkOf(t.snap.Dataplane); have != want {
		return fmt.Errorf("%w: routes go from table %d, protocol %d, metric %d to table %d, protocol %d, metric %d",
			ErrReexec, have.Table, have.Protocol, have.Metric, want.Table, want.Protocol, want.Metric)
	}
	return nil
}

// untilDue returns the time until the FIB has something to do by itself.
func (t *routesTask) untilDue() time.Duration {
	due := t.fib.Due()
	if due.IsZero() {
		return time.Hour
	}
	return max(time.Until(due), time.Millisecond)
}

// turn brings the kernel up to date with all that is known.
func (t *routesTask) turn(ctx context.Context) {
	t.takeSnapshot()
	t.takeTunnel()
	if t.linksChanged {
		t.setPolicy()
	}
	// Read before the plan is taken: a start that is seen here has published its
	// neighbors, so that convergence waits for them.
	t.conv.started = t.bgpStarted()
	t.takePlan()
	for {
		t.takeEvents()
		t.publishSessions()
		t.takeKernel()
		more := t.mirror.Decide(decideBatch, t.choose)
		more = t.apply(ctx) || more
		t.answer()
		if !more || ctx.Err() != nil {
			break
		}
	}
	t.answerWaits()
	t.sweep(ctx)
	if t.conv.done && !t.conv.said && t.mirror.Clean() {
		t.conv.said = true
		t.relays.done()
	}
}

// kernelGone is the end of the kernel's notifications: expected with ctx's.
func kernelGone(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("node: the kernel's notifications ended; routes can no longer be kept right: restart caracald")
}

// takeKernel takes what the kernel has said by now. A closed channel is left to
// run to notice.
func (t *routesTask) takeKernel() {
	select {
	case ev, ok := <-t.kernelEvents:
		if ok {
			t.notify(ev)
		}
	default:
	}
}

// reportDrift logs what others did to our routes since it was last called, once
// for each cause: a burst is one line a second.
func (t *routesTask) reportDrift() {
	s := t.fib.Stats()
	for cause, n := range s.Drift {
		if more := n - t.drift[cause]; more > 0 {
			t.log.Warn("routes were not as they should be; repaired", "cause", fib.Cause(cause).String(), "count", more)
		}
	}
	t.drift = s.Drift
	failing := s.Failed + s.Unresolved
	switch {
	case failing > 0 && t.failing == 0:
		t.log.Warn("routes cannot be installed; caracal show fib says which and why", "count", failing)
	case failing == 0 && t.failing > 0:
		t.log.Info("all routes can be installed again")
	}
	t.failing = failing
}

// notify hands what the kernel said to the FIB, and to those who monitor.
func (t *routesTask) notify(ev fib.Events) {
	t.fib.Notify(ev)
	t.linksChanged = t.networks.notify(ev) || t.linksChanged
	if ev.Lost {
		t.log.Warn("kernel notifications were lost, as when another program changes very many routes; everything is read again")
	}
	if !t.feed.Active() {
		return
	}
	if ev.Lost {
		t.monitor(api.MonitorEvent{Kind: api.EventLink, Action: "lost", Detail: "the kernel dropped notifications; everything is read again"})
	}
	for _, l := range ev.Links {
		action := "down"
		switch {
		case l.Gone:
			action = "removed"
		case l.Link.Up && l.Link.Carrier:
			action = "up"
		case l.Link.Up:
			action = "no carrier"
		}
		t.monitor(api.MonitorEvent{Kind: api.EventLink, Action: action, Detail: l.Link.Name})
	}
}

// answer lets waiting queries through between two batches.
func (t *routesTask) answer() {
	for {
		select {
		case q := <-t.queries:
			q()
		default:
			return
		}
	}
}

func (t *routesTask) takeSnapshot() {
	cur := t.store.Snapshot()
	if cur == t.snap || !cur.Synced {
		return
	}
	old := t.snap
	if old == nil {
		old = caracal.NewSnapshot(cur.Self)
	}
	changed := t.owners.Update(t.snap, cur)
	t.mirror.Rejudge(changed)
	t.mirror.ReissueBelow(t.encap.update(cur, changed, t.tunnelTried()))
	set, unset := t.local.update(old, cur, t.owners.OwnerOf)
	for _, w := range set {
		t.fib.Set(w)
	}
	for _, p := range unset {
		t.fib.Unset(p)
		t.mirror.Reissue(p) // a neighbor's path that had to wait
	}
	t.snap = cur
	t.setPolicy()
	t.conv.look = true
	t.taken()
	if len(set)+len(unset) > 0 {
		t.gateDue = true
		t.ringLocal()
	}
	t.monitor(api.MonitorEvent{Kind: api.EventConfig, Action: "taken", Detail: fmt.Sprintf("generation %d, digest %s", cur.Generation, cur.Digest)})
}

// takeTunnel lets the pools that wait for the tunnel have it once the device was
// tried.
func (t *routesTask) takeTunnel() {
	if t.encap.waiting && t.tunnelTried() {
		t.mirror.ReissueBelow(t.encap.update(t.snap, nil, true))
	}
}

func (t *routesTask) takePlan() {
	c := t.planned.Load()
	if c == nil {
		return
	}
	t.planned.CompareAndSwap(c, nil)
	t.config = *c
	t.setPolicy()
	t.mirror.SetNeighbors(c.Global.ASN, c.Neighbors)
	t.conv.look = true
}

// setPolicy tells the mirror what neighbors may announce. Whether this node is a
// reflector the plan says: it stays one until others have taken its place.
func (t *routesTask) setPolicy() {
	if t.snap == nil {
		return
	}
	var networks []netip.Prefix
	if t.snap.Peers.Len() > 0 {
		networks = t.networks.list()
	}
	p := rib.PolicyOf(t.snap, networks)
	if t.config.Global.ASN != 0 {
		p.ClusterID = t.config.ClusterID
	}
	t.mirror.SetPolicy(p)
	t.linksChanged = false
}

func (t *routesTask) takeEvents() {
	for _, ev := range t.events() {
		t.mirror.Apply(ev)
		if ev.Session != nil {
			t.session(ev.Session)
		}
		if ev.EndOfRIB != nil {
			t.facts.endOfRIB(ev.EndOfRIB, t.neighbor(ev.EndOfRIB.Neighbor))
			t.conv.look = true
			t.monitor(api.MonitorEvent{Kind: api.EventSession, Neighbor: ev.EndOfRIB.Neighbor, Action: "End-of-RIB", Detail: familyName(ev.EndOfRIB.IPv6)})
		}
		if ev.Update != nil && t.feed.Active() {
			t.monitorUpdate(ev.Update)
		}
	}
}

func familyName(ipv6 bool) string {
	if ipv6 {
		return "ipv6"
	}
	return "ipv4"
}

func (t *routesTask) session(s *bgp.Session) {
	t.conv.look = true
	t.facts.session(s)
	if s.State == s.Was && !s.Expired && !s.Removed {
		return
	}
	if s.Expired {
		t.log.Warn("restart time over: what it has not announced again is removed", "neighbor", s.Neighbor)
	}
	t.monitor(api.MonitorEvent{Kind: api.EventSession, Neighbor: s.Neighbor, Action: s.State.String(), Detail: s.Reason})
}

// choose hands a changed choice to the FIB. A local route wins: the mirror
// refuses paths for prefixes that this node owns.
func (t *routesTask) choose(c rib.Choice) {
	if _, mine := t.local.wants[c.NLRI]; mine {
		return
	}
	if len(c.NextHops) == 0 {
		t.fib.Unset(c.NLRI)
		t.monitor(api.MonitorEvent{Kind: api.EventRoute, Prefix: c.NLRI, Action: "gone", Detail: "no accepted path is left"})
		return
	}
	if t.feed.Active() {
		t.monitor(api.MonitorEvent{Kind: api.EventRoute, Prefix: c.NLRI, Action: "chosen", Detail: fmt.Sprintf("next hops %v", c.NextHops)})
	}
	w := fib.Want{Dst: c.NLRI, Kind: fib.Learned, NextHops: c.NextHops, Source: "bgp", Received: c.Received}
	t.encap.wrap(&w, t.owners.OwnerOf, t.owners.NodeOf)
	t.fib.Set(w)
}

// apply writes what is to be written and returns whether there is more.
func (t *routesTask) apply(ctx context.Context) (more bool) {
	r := t.fib.Apply(ctx)
	t.logReport(r)
	mine := func(dst netip.Prefix) bool { _, ok := t.local.wants[dst]; return ok }
	if r.Err == nil && (t.gateDue || slices.ContainsFunc(r.Installed, mine)) {
		t.publishGate()
	}
	return r.More
}

// logReport logs a pass that failed as a whole when that starts, changes and
// ends, and tells those who monitor what was written.
func (t *routesTask) logReport(r fib.Report) {
	switch {
	case r.Err != nil && (t.applyErr == nil || t.applyErr.Error() != r.Err.Error()):
		t.log.Error("kernel routes are not up to date; tried again", "err", r.Err)
	case r.Err == nil && t.applyErr != nil:
		t.log.Info("kernel routes are up to date again")
	}
	t.applyErr = r.Err
	if !t.feed.Active() {
		return
	}
	for _, p := range r.Installed {
		s, _ := t.fib.State(p)
		t.monitor(api.MonitorEvent{Kind: api.EventFIB, Prefix: p, Action: "installed", Detail: s.Route.String()})
	}
	for _, p := range r.Uninstalled {
		t.monitor(api.MonitorEvent{Kind: api.EventFIB, Prefix: p, Action: "deleted"})
	}
}

// publishGate tells the speaker task which local prefixes are in the kernel.
// What was in once stays in: a route that is being repaired is not withdrawn.
func (t *routesTask) publishGate() {
	was, open := *t.gate.Load(), gate{}
	for dst := range t.local.wants {
		_, in := was[dst]
		if in || t.fib.InstalledAsWanted(dst) { // not on the strength of somebody else's way
			open[dst] = struct{}{}
		}
	}
	t.gateDue = false
	t.gate.Store(&open)
	t.ringGate()
}

func (t *routesTask) monitor(ev api.MonitorEvent) {
	if t.feed.Active() {
		ev.At = time.Now()
		t.feed.Publish(ev)
	}
}

func (t *routesTask) monitorUpdate(u *bgp.Update) {
	for _, n := range u.Announced {
		ev := api.MonitorEvent{Kind: api.EventRoute, Neighbor: u.Neighbor, Prefix: n.Prefix, Action: "announced", Detail: fmt.Sprintf("next hop %s", u.Attrs.NextHop)}
		if v := t.mirror.Verdict(u.Neighbor, n.Prefix, u.Attrs); v.Code != rib.Accepted {
			ev.Action, ev.Detail = "refused", v.Explain(n.Prefix, u.Attrs.NextHop)
		}
		t.monitor(ev)
	}
	for _, n := range u.Withdrawn {
		t.monitor(api.MonitorEvent{Kind: api.EventRoute, Neighbor: u.Neighbor, Prefix: n.Prefix, Action: "withdrawn"})
	}
}

// query runs f on the task's goroutine, between two batches, and waits for it.
func (t *routesTask) query(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case t.queries <- func() { f(); close(done) }:
	case <-ctx.Done():
		return fmt.Errorf("node: query routes: %w", ctx.Err())
	}
	<-done
	return nil
}
