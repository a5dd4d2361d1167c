package bgp

import (
	"context"
	"fmt"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"

	"net/netip"
)

// exported is the export policy that GoBGP has.
type exported struct {
	policy exportPolicy
	text   string // its, so that it is compared at once
	name   string
	number int
	sets   []*api.DefinedSet
}

// export gives GoBGP the export policy of a Config, if it is another one, and
// returns the one before. It is also about the neighbors that there are still and
// that the Config has no more: they are not to be told more in their last moments
// than before. What is passed on and not yet taken back counts, too.
//
// The policy is exchanged as a whole under a new name, so that no path ever meets
// half of one.
func (s *Speaker) export(ctx context.Context, cfg Config) (before exportPolicy, err error) {
	neighbors := cfg.Neighbors
	known := map[netip.Addr]bool{}
	for _, n := range cfg.Neighbors {
		known[n.Addr] = true
	}
	for _, n := range s.have.neighbors {
		if !known[n.Addr] {
			neighbors = append(neighbors[:len(neighbors):len(neighbors)], n)
		}
	}
	before = s.exported.policy
	want := exportOf(cfg, neighbors, len(s.relays.have) > 0)
	if text := want.text(); text != s.exported.text {
		s.exported.number++ // also if it fails, and leaves something under the name
		next := exported{policy: want, text: text, number: s.exported.number, name: fmt.Sprintf("export-%d", s.exported.number)}
		if next.sets, err = s.engine.setExport(ctx, s.relays.burst, next.name, want); err != nil {
			return before, err
		}
		s.engine.dropExport(ctx, s.exported)
		s.exported = next
	}
	return before, nil
}

// announceAnew has GoBGP look again at what the neighbors are announced for whom
// the export policy says something else now.
func (s *Speaker) announceAnew(ctx context.Context, before exportPolicy, d delta, res *Result) {
	if before.text() == s.exported.text {
		return
	}
	fresh := map[string]bool{}
	for _, list := range [][]Neighbor{d.add, d.reset} {
		for _, n := range list {
			fresh[n.Name] = true
		}
	}
	for name, n := range s.have.neighbors {
		if fresh[name] || len(before.statements) == 0 || before.of(n) == s.exported.policy.of(n) {
			continue
		}
		if err := s.engine.refreshOut(ctx, n.Addr); err != nil {
			res.Failed[name] = err
		}
	}
}

// holdFirst holds back the announcements of a node that passes paths on and
// restarts, before it has any neighbor.
func (s *Speaker) holdFirst(ctx context.Context, cfg Config) error {
	if s.opts.Restarting && !s.begun && cfg.passes() {
		if err := s.hold(ctx); err != nil {
			return fmt.Errorf("a node that passes paths on and restarts cannot hold them back: %w", err)
		}
	}
	s.begun = true
	return nil
}

// setExport puts a new export policy into force, behind that which holds a burst
// back, if any.
func (e *engine) setExport(ctx context.Context, burst, name string, p exportPolicy) ([]*api.DefinedSet, error) {
	sets, policy := toExportPolicy(name, p)
	for _, set := range sets {
		if err := e.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set, Replace: true}); err != nil {
			return nil, fmt.Errorf("define a set of the export policy: %w", err)
		}
	}
	if err := e.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return nil, fmt.Errorf("add the export policy: %w", err)
	}
	if err := e.assignExport(ctx, burst, name); err != nil {
		return nil, fmt.Errorf("put the export policy into force: %w", err)
	}
	return sets, nil
}

// dropExport removes what is left of a policy that is not in force any more.
// What of it stays costs nothing but room.
func (e *engine) dropExport(ctx context.Context, old exported) {
	if old.name == "" {
		return
	}
	_ = e.server.DeletePolicy(ctx, &api.DeletePolicyRequest{Policy: &api.Policy{Name: old.name}, All: true})
	for _, set := range old.sets {
		_ = e.server.DeleteDefinedSet(ctx, &api.DeleteDefinedSetRequest{DefinedSet: set, All: true})
	}
}

// pass adds paths that are passed on.
func (e *engine) pass(list []passing, failed map[netip.Prefix]error) {
	defer e.changes.begin()()
	e.relayed(list, failed, func(paths []*apiutil.Path) error {
		_, err := e.server.AddPath(apiutil.AddPathRequest{Paths: paths})
		return err
	})
}

// passNoMore takes them away, which needs their sources again.
func (e *engine) passNoMore(list []passing, failed map[netip.Prefix]error) {
	defer e.changes.begin()()
	e.relayed(list, failed, func(paths []*apiutil.Path) error {
		return e.server.DeletePath(apiutil.DeletePathRequest{Paths: paths})
	})
}

func (e *engine) relayed(list []passing, failed map[netip.Prefix]error, do func([]*apiutil.Path) error) {
	paths := make([]*apiutil.Path, 0, len(list))
	of := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		path, err := toRelay(p)
		if err != nil {
			failed[p.NLRI] = err
			continue
		}
		paths, of = append(paths, path), append(of, p.NLRI)
	}
	if len(paths) == 0 || do(paths) == nil {
		return
	}
	for i, path := range paths { // GoBGP names no culprit
		if err := do([]*apiutil.Path{path}); err != nil {
			failed[of[i]] = err
		}
	}
}
