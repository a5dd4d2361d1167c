package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
)

// errStarting is the answer to what needs the tasks while they wait to start.
func (a *Agent) errStarting() error {
	if reason := a.waiting.Load(); reason != nil {
		return fmt.Errorf("%w: the daemon has not started routing: %s", api.ErrRefused, *reason)
	}
	return fmt.Errorf("%w: the daemon is starting; try again in a moment", api.ErrRefused)
}

// Status implements api.Source.
func (a *Agent) Status(ctx context.Context) (api.Status, error) {
	snap := a.o.Store.Snapshot()
	self, _ := snap.SelfNode()
	st := api.Status{
		Node: snap.Self, Version: a.o.Version, PID: os.Getpid(), ASN: self.ASN, RouterID: self.RouterID,
		Started: a.started, Generation: snap.Generation, Digest: snap.Digest, ConfigSource: a.o.ConfigSource,
		Synced:   synced(snap),
		Problems: slices.Clone(snap.Problems),
		Counts: api.Counts{
			Nodes: snap.Nodes.Len(), Pools: snap.Pools.Len(), Blocks: snap.Blocks.Len(), Peers: snap.Peers.Len(), Workloads: snap.Workloads.Len(),
		},
	}
	st.Drain = a.drain.status(snap)
	policy := a.policy.state.Load()
	st.Policy = policy.status()
	if at := a.configured.Load(); at != nil {
		st.Configured = *at
	}
	if p := a.httpProblem.Load(); p != nil {
		st.Problems = append(st.Problems, *p)
	}
	if a.o.Problems != nil {
		st.Problems = append(st.Problems, a.o.Problems()...)
	}
	if found := a.sysctlProblems.Load(); found != nil {
		st.Problems = append(st.Problems, *found...)
	}
	up := a.up.Load()
	if up == nil {
		reason := "the daemon is starting"
		if r := a.waiting.Load(); r != nil {
			reason = *r
		}
		for _, f := range []*api.Fact{&st.Ready, &st.Converged, &st.Complete} {
			f.Reason = reason
		}
		return st, nil
	}
	st.PodMTU = up.tunnel.state.Load().podMTU
	speaker := up.bgp.state.Load()
	st.Problems = append(st.Problems, speaker.problems...)
	st.Problems = append(st.Problems, slices.Concat(up.links.problems(), up.bfd.problems(), up.tunnel.problems(), policy.issues())...)
	st.Counts.Originated = len(speaker.config.Originate)
	alive, err := a.countSessions(ctx, up, &st)
	if err != nil {
		return st, err
	}
	var routes error
	if err := up.routes.query(ctx, func() { up.routes.fillStatus(&st); routes = up.routes.applyErr }); err != nil {
		return st, err
	}
	judgeReady(&st, speaker, snap, routes, alive)
	if why := policy.unready(time.Now()); why != "" {
		st.Ready = api.Fact{Reason: strings.Join(slices.DeleteFunc([]string{st.Ready.Reason, why}, func(s string) bool { return s == "" }), "; ")}
	}
	return st, nil
}

func synced(snap *caracal.Snapshot) api.Fact {
	f := api.Fact{Holds: snap.Complete()}
	switch {
	case !snap.Synced:
		f.Reason = "the configuration has not been read yet"
	case !f.Holds:
		var kinds []string
		for kind, why := range snap.Incomplete {
			kinds = append(kinds, kind+": "+why)
		}
		slices.Sort(kinds)
		f.Reason = "not readable now, so nothing is removed: " + strings.Join(kinds, "; ")
	}
	return f
}

// countSessions counts them, and reports whether one at least carries routes, if there
// are any: it is up, or its neighbor restarts and its routes are kept.
func (a *Agent) countSessions(ctx context.Context, up *running, st *api.Status) (alive bool, err error) {
	neighbors, err := up.speaker.Neighbors(ctx)
	if err != nil {
		return false, fmt.Errorf("node: list neighbors: %w", err)
	}
	st.Counts.Neighbors = len(neighbors)
	alive = len(neighbors) == 0
	for _, n := range neighbors {
		if n.State == bgp.Established {
			st.Counts.Established++
		}
		alive = alive || n.State == bgp.Established || n.Restarting
	}
	return alive, nil
}

// judgeReady says in words what keeps the node from being ready: BGP listens, the RIB
// has converged, its routes are in the kernel, and one session is up, if there is to
// be any. A source of the configuration that cannot be read now does not: what it said
// last is in force.
func judgeReady(st *api.Status, speaker *speakerState, snap *caracal.Snapshot, routes error, alive bool) {
	var not []string
	if _, ok := snap.SelfNode(); !ok {
		not = append(not, selfMissing(snap))
	}
	if speaker.started.IsZero() {
		why := "BGP has not started"
		for _, p := range speaker.problems {
			why += ": " + p.Message
		}
		not = append(not, why)
	}
	if !st.Converged.Holds && !speaker.started.IsZero() {
		not = append(not, st.Converged.Reason)
	}
	incomplete := slices.Clone(not)
	if !st.Synced.Holds {
		incomplete = append(incomplete, st.Synced.Reason)
	}
	st.Complete = api.Fact{Holds: st.Synced.Holds && st.Converged.Holds, Reason: strings.Join(incomplete, "; ")}
	if routes != nil {
		not = append(not, "routes are not in the kernel as they should be: "+routes.Error())
	}
	if !snap.Synced {
		not = append(not, st.Synced.Reason)
	}
	if !alive && !speaker.started.IsZero() {
		not = append(not, fmt.Sprintf("none of %d BGP sessions is established; caracal show neighbors says why", st.Counts.Neighbors))
	}
	st.Ready = api.Fact{Holds: len(not) == 0, Reason: strings.Join(not, "; ")}
}

// fillStatus adds what only the routes task knows. It runs on that task.
func (t *routesTask) fillStatus(st *api.Status) {
	st.Converged.Holds = t.converged(time.Now())
	st.Converged.Reason = t.conv.reason
	c := &st.Counts
	c.LocalWorkloads = len(t.local.workloads)
	c.Prefixes = t.mirror.Len()
	for _, n := range t.config.Neighbors {
		counts := t.mirror.Counts(n.Name)
		c.Paths += counts.Received
		c.Refused += counts.Received - counts.Accepted
	}
	s := t.fib.Stats()
	c.FIBWanted = s.Prefixes - s.Adopted
	c.FIBInstalled = s.Installed - s.Adopted
	c.FIBFailed = s.Failed + s.Unresolved
	c.FIBStale = s.Adopted
	for _, n := range s.Drift {
		c.DriftRepaired += n
	}
	c.LastAudit = t.lastAudit
	if t.applyErr != nil {
		st.Problems = append(st.Problems, *problem("FIB", "", t.applyErr.Error()))
	}
	st.Problems = append(st.Problems, t.local.problems()...)
	if failed := s.Failed + s.Unresolved - s.Conflicts; failed > 0 {
		st.Problems = append(st.Problems, *problem("FIB", "", t.failedRoutes(failed)))
	}
	if s.Conflicts > 0 {
		st.Problems = append(st.Problems, *problem("FIB", "", fmt.Sprintf(
			"%d routes are not installed because another program has a route of the same prefix and metric; caracal show fib names them", s.Conflicts)))
	}
}

// failedRoutes says how many routes are not installed, and of one why.
func (t *routesTask) failedRoutes(n int) string {
	text := fmt.Sprintf("%d routes are not installed; caracal show fib names them", n)
	t.fib.All(func(s fib.RouteState) bool {
		if !s.Wanted || s.Installed || s.Reason == "" {
			return true
		}
		text += fmt.Sprintf("; %s: %s", s.Dst, s.Reason)
		return false
	})
	return text
}

// Neighbors implements api.Source.
func (a *Agent) Neighbors(ctx context.Context) ([]api.Neighbor, error) {
	up := a.up.Load()
	if up == nil {
		return nil, a.errStarting()
	}
	sessions, err := up.speaker.Neighbors(ctx)
	if err != nil {
		return nil, fmt.Errorf("node: list neighbors: %w", err)
	}
	watched := up.watcher.Status()
	out := make([]api.Neighbor, len(sessions))
	for i, s := range sessions { // a query each: changes go through in between
		err = errors.Join(err, up.routes.query(ctx, func() {
			c := up.routes.mirror.Counts(s.Name)
			out[i] = api.Neighbor{NeighborStatus: s, Prefixes: api.PrefixCounts{
				Received: uint64(c.Received), Accepted: uint64(c.Accepted), Refused: uint64(c.Received - c.Accepted),
				Installed: uint64(up.routes.installedBy(s.Name, c)), Advertised: s.Advertised,
			}, Refusals: refusals(c), BFD: bfdOf(watched, s.Name)}
		}))
	}
	return out, err
}

// installedBy counts the prefixes whose kernel route goes by a neighbor's path.
// Unless something failed those are all of its chosen paths; only then each is
// looked at.
func (t *routesTask) installedBy(name string, c rib.Counts) int {
	s := t.fib.Stats()
	if s.Failed+s.Unresolved == 0 {
		return c.Best
	}
	n := 0
	for _, r := range t.mirror.RefsOf(name) {
		for _, v := range t.mirror.View(r) {
			if v.Neighbor == name && v.Best && t.fib.Installed(v.NLRI) {
				n++
				break
			}
		}
	}
	return n
}

// Monitor implements api.Source.
func (a *Agent) Monitor(ctx context.Context, fn func(api.MonitorEvent) error) error {
	return a.feed.Monitor(ctx, fn)
}

// hops converts the kernel's hops for showing.
func hops(list []fib.Hop) []api.Hop {
	out := make([]api.Hop, len(list))
	for i, h := range list {
		out[i] = api.Hop{Gateway: h.Gateway, Link: h.Device, OnLink: h.OnLink}
	}
	return out
}

// notFound says that there is no such neighbor, and which there are.
func notFound(name string, neighbors []bgp.Neighbor) error {
	names := make([]string, len(neighbors))
	for i, n := range neighbors {
		names[i] = n.Name
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: neighbor %q; there are none", api.ErrNotFound, name)
	}
	return fmt.Errorf("%w: neighbor %q; there are %s", api.ErrNotFound, name, strings.Join(names, ", "))
}

func sourceOf(w fib.Want) api.PathSource {
	switch w.Kind {
	case fib.Discard:
		return api.FromBlock
	case fib.Local:
		return api.FromWorkload
	case fib.Pinned:
		return api.FromPeer
	default:
		return api.FromBGP
	}
}
