package node

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// Neighbor implements api.Commander.
func (a *Agent) Neighbor(ctx context.Context, verb api.NeighborVerb, name string) (string, error) {
	up := a.up.Load()
	if up == nil {
		return "", a.errStarting()
	}
	neighbors := up.bgp.state.Load().config.Neighbors
	if !slices.ContainsFunc(neighbors, func(n bgp.Neighbor) bool { return n.Name == name }) {
		return "", notFound(name, neighbors)
	}
	do := map[api.NeighborVerb]struct {
		call func() error
		said string
	}{
		api.NeighborEnable:    {func() error { return up.speaker.Enable(ctx, name) }, "enabled"},
		api.NeighborDisable:   {func() error { return up.speaker.Disable(ctx, name, "") }, "disabled until it is enabled, or the daemon restarts"},
		api.NeighborRestart:   {func() error { return up.speaker.Restart(ctx, name) }, "session closed; it comes up again by itself"},
		api.NeighborReloadOut: {func() error { return up.speaker.RefreshOut(ctx, name) }, "everything is announced again"},
		api.NeighborReloadIn:  {func() error { return up.routes.rejudge(ctx, name) }, "everything it announced was judged anew"},
	}[verb]
	if do.call == nil {
		return "", fmt.Errorf("%w: %q is nothing that can be done to a neighbor", api.ErrRefused, verb)
	}
	if err := do.call(); err != nil {
		return "", fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	return name + ": " + do.said, nil
}

// rejudge has every path of a neighbor judged and chosen anew. The mirror keeps
// all paths, refused ones too, so there is nothing to ask the neighbor for.
func (t *routesTask) rejudge(ctx context.Context, name string) error {
	return t.query(ctx, func() { t.mirror.RejudgeNeighbor(name) })
}

// drafts is a [Reloader] that can check another directory than its own.
type drafts interface {
	CheckDir(ctx context.Context, dir string) (*caracal.Snapshot, error)
}

// Configure implements api.Commander.
func (a *Agent) Configure(ctx context.Context, o api.ConfigureOptions) (api.ConfigureResult, error) {
	r := a.o.Reloader
	if r == nil {
		return api.ConfigureResult{}, fmt.Errorf("%w: this store is watched and cannot be reread", api.ErrRefused)
	}
	old := a.o.Store.Snapshot()
	var have bgp.Config // before a reload: the speaker may take it at once
	var facts bgp.Facts // without what was planned last: a session that lingers is one that ends
	if up := a.up.Load(); up != nil {
		have, facts = up.bgp.state.Load().config, up.bgp.surroundings()
	}
	var next *caracal.Snapshot
	var err error
	switch {
	case o.Check && o.Dir != "":
		d, ok := r.(drafts)
		if !ok {
			return api.ConfigureResult{}, fmt.Errorf("%w: this store does not read directories", api.ErrRefused)
		}
		next, err = d.CheckDir(ctx, o.Dir)
	case o.Check:
		next, err = r.Check(ctx)
	case o.Confirm:
		_, err = r.Confirm(ctx)
	default:
		_, err = r.Reload(ctx)
	}
	if err != nil {
		return api.ConfigureResult{}, fmt.Errorf("node: configure: %w", err)
	}
	if next == nil {
		next = a.o.Store.Snapshot()
	}
	res := api.ConfigureResult{
		Generation: next.Generation, Digest: next.Digest, Changes: changes(old, next), Problems: next.Problems,
	}
	res.Applied = !o.Check && len(res.Changes) > 0
	for _, p := range next.Problems {
		if p.Severity == caracal.Held {
			res.Held = append(res.Held, p.Message)
		}
	}
	predict(&res, have, next, facts)
	return res, nil
}

// predict says which sessions would drop to take a Snapshot, which would end or
// start with it, and whether the daemon would have to start anew.
func predict(res *api.ConfigureResult, have bgp.Config, next *caracal.Snapshot, facts bgp.Facts) {
	if _, ok := next.SelfNode(); !ok || have.Global == (bgp.Global{}) {
		return
	}
	want, _ := bgp.Plan(next, nil, facts)
	for _, r := range bgp.Resets(have, want) {
		res.Resets = append(res.Resets, api.NeighborReset{Neighbor: r.Neighbor, Reason: "only a new session can take another " + strings.Join(r.Fields, ", ")})
	}
	res.Starts, res.Ends, _ = bgp.Changed(have, want)
	res.Restart = bgp.WhyRestart(have.Global, want.Global)
}

// changes lists what differs between two Snapshots, a line each.
func changes(old, next *caracal.Snapshot) []string {
	var out []string
	if !reflect.DeepEqual(old.BGP, next.BGP) {
		out = append(out, "BGPConfiguration: changed")
	}
	if old.Dataplane != next.Dataplane {
		out = append(out, "DataplaneConfiguration: changed; for another table, protocol or metric the daemon starts itself anew")
	}
	if !slices.Equal(old.IPAM.Reserved, next.IPAM.Reserved) {
		out = append(out, "IPReservation: changed")
	}
	if a, b := old.IPAM, next.IPAM; a.Mode != b.Mode || a.StrictAffinity != b.StrictAffinity || a.MaxBlocks != b.MaxBlocks || a.Cooldown != b.Cooldown {
		out = append(out, "IPAMConfiguration: changed")
	}
	note := func(kind, name string, was, is bool) {
		switch {
		case !was:
			out = append(out, fmt.Sprintf("%s %s: added", kind, name))
		case !is:
			out = append(out, fmt.Sprintf("%s %s: removed", kind, name))
		default:
			out = append(out, fmt.Sprintf("%s %s: changed", kind, name))
		}
	}
	next.Nodes.Diff(old.Nodes, func(a, b caracal.Node) bool { return reflect.DeepEqual(a, b) },
		func(n string, was, is *caracal.Node) { note("NodeConfig", n, was != nil, is != nil) })
	next.Pools.Diff(old.Pools, func(a, b caracal.Pool) bool { return a == b },
		func(n string, was, is *caracal.Pool) { note("IPPool", n, was != nil, is != nil) })
	next.Peers.Diff(old.Peers, func(a, b caracal.Peer) bool { return reflect.DeepEqual(a, b) },
		func(n string, was, is *caracal.Peer) { note("BGPPeer", n, was != nil, is != nil) })
	next.Filters.Diff(old.Filters, func(a, b caracal.Filter) bool { return reflect.DeepEqual(a, b) },
		func(n string, was, is *caracal.Filter) { note("BGPFilter", n, was != nil, is != nil) })
	next.Namespaces.Diff(old.Namespaces, func(a, b caracal.Namespace) bool { return maps.Equal(a.Labels, b.Labels) },
		func(n string, was, is *caracal.Namespace) {
			if labeled(was) || labeled(is) { // not one that only others mention
				note("Namespace", n, was != nil, is != nil)
			}
		})
	next.Policies.Diff(old.Policies, func(a, b caracal.Policy) bool { a.Source = b.Source; return reflect.DeepEqual(a, b) },
		func(n string, was, is *caracal.Policy) { note("NetworkPolicy", n, was != nil, is != nil) })
	sameWorkload := func(a, b caracal.Workload) bool {
		a.Source = b.Source // a file that got another name changes nothing
		return reflect.DeepEqual(a, b)
	}
	next.Workloads.Diff(old.Workloads, sameWorkload,
		func(n string, was, is *caracal.Workload) { note("Workload", n, was != nil, is != nil) })
	return out
}

// labeled reports whether a namespace has labels that somebody gave it.
func labeled(n *caracal.Namespace) bool { return n != nil && len(n.Labels) > 1 }

// Cleanup implements api.Commander.
func (a *Agent) Cleanup(ctx context.Context, yes bool) (api.CleanupResult, error) {
	up := a.up.Load()
	if up == nil {
		return api.CleanupResult{}, a.errStarting()
	}
	const blocked = "a running daemon would put its routes back at once; stop caracald, then run caracal cleanup again"
	if yes {
		return api.CleanupResult{}, fmt.Errorf("%w: %s", api.ErrRefused, blocked)
	}
	res, err := Cleanup(ctx, up.routes.kernel, false)
	res.Blocked = blocked
	if err != nil {
		return res, err
	}
	tunnel, err := CleanupTunnel(ctx, false)
	res.Items, res.Total = append(res.Items, tunnel.Items...), res.Total+tunnel.Total
	if err != nil {
		return res, err
	}
	rules, err := CleanupPolicy(ctx, false)
	res.Items, res.Total = append(res.Items, rules.Items...), res.Total+rules.Total
	return res, err
}
