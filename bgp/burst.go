package bgp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/api"
)

// A path that is passed on costs GoBGP an UPDATE for each neighbor: it sends what
// it is given as it comes, which is mostly one by one. Only when it announces its
// whole table to a neighbor does it put the prefixes with the same attributes into one
// message. So a burst, such as the first announcements of all clients, is put into its
// Loc-RIB behind an export policy that lets it out to nobody; then that policy goes, and
// each neighbor is announced the table anew.
//
// Only prefixes that were not passed on before are held back. A session that comes
// up meanwhile is not told of them before its End-of-RIB, as if they had come later.

// burstSends is from how many paths times neighbors on a burst is one. It must
// also be a part of the table, one in burstShare, since all of it is sent.
const (
	burstSends = 100_000
	burstShare = 4
)

// burst passes on those of the prefixes that are worth it, all together, and
// returns the others.
func (s *Speaker) burst(ctx context.Context, order []netip.Prefix, failed map[netip.Prefix]error, progress func()) []netip.Prefix {
	fresh, rest := s.beginBurst(ctx, order)
	if len(fresh) == 0 {
		return order
	}
	for left := fresh; len(left) > 0 && ctx.Err() == nil; progress() {
		left = left[s.relayBatch(left, failed):]
	}
	neighbors, table, err := s.endBurst(ctx)
	if err != nil {
		for _, nlri := range fresh {
			failed[nlri] = err
		}
		return rest
	}
	p := s.newPace(progress)
	for _, n := range neighbors {
		if ctx.Err() != nil {
			break
		}
		s.announceTable(ctx, n.Addr)
		p.sent(ctx, table)
	}
	return rest
}

// beginBurst holds the burst back, if there is one in the prefixes.
func (s *Speaker) beginBurst(ctx context.Context, order []netip.Prefix) (fresh, rest []netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil || s.left || s.holding || s.relays.context.out || s.relays.burst != "" || len(order)*len(s.have.neighbors) < burstSends {
		return nil, order
	}
	for _, nlri := range order {
		if _, ours := s.have.paths[nlri]; !ours && len(s.relays.have[nlri]) == 0 && len(s.relays.want[nlri]) > 0 {
			fresh = append(fresh, nlri)
		} else {
			rest = append(rest, nlri)
		}
	}
	if len(fresh)*len(s.have.neighbors) < burstSends || len(fresh)*burstShare < len(s.relays.have)+len(s.have.paths) {
		return nil, order
	}
	s.relays.bursts++
	s.relays.burst = burstName(s.relays.bursts)
	if err := s.engine.holdBack(ctx, s.relays.burst, fresh, s.exported.name); err != nil {
		s.opts.Log.Warn("a burst of paths is passed on one by one, which takes longer", "count", len(fresh), "err", err)
		_ = s.releaseBurst(ctx)
		return nil, order
	}
	return fresh, rest
}

func burstName(n int) string { return fmt.Sprintf("burst-%d", n) }

// endBurst lets the burst out, and returns to whom it is to be announced, and how
// many paths that is for each.
func (s *Speaker) endBurst(ctx context.Context) (neighbors []Neighbor, table int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil || s.left {
		return nil, 0, errors.New("BGP has ended")
	}
	if err := s.releaseBurst(context.WithoutCancel(ctx)); err != nil {
		return nil, 0, err
	}
	neighbors = slices.SortedFunc(maps.Values(s.have.neighbors), func(a, b Neighbor) int { return a.Addr.Compare(b.Addr) })
	return neighbors, len(s.relays.have) + len(s.have.paths), nil
}

// releaseBurst takes the policy away that holds a burst back. The caller holds
// the lock.
func (s *Speaker) releaseBurst(ctx context.Context) error {
	name := s.relays.burst
	s.relays.burst = ""
	if err := s.engine.assignExport(ctx, s.exported.name); err != nil {
		s.relays.burst = name
		return fmt.Errorf("let a burst of paths out: %w", err)
	}
	s.engine.dropExport(ctx, exported{name: name, sets: burstSets(name, nil)})
	return nil
}

// announceTable announces everything to a neighbor that is Established; for
// others GoBGP does nothing.
func (s *Speaker) announceTable(ctx context.Context, addr netip.Addr) {
	e := s.running.Load()
	if e == nil {
		return
	}
	if err := e.refreshOut(ctx, addr); err != nil && e.counters(addr).known {
		s.opts.Log.Error("a neighbor may lack announcements; `caracal reload out` makes them anew", "neighbor", s.tracker.name(addr), "err", err)
	}
}

// holdBack puts a policy before the export policy that lets none of the prefixes
// out. GoBGP passes withdrawals by all policies.
func (e *engine) holdBack(ctx context.Context, name string, prefixes []netip.Prefix, export string) error {
	policy := &api.Policy{Name: name}
	for _, set := range burstSets(name, prefixes) {
		if len(set.Prefixes) == 0 {
			continue
		}
		if err := e.server.AddDefinedSet(ctx, &api.AddDefinedSetRequest{DefinedSet: set, Replace: true}); err != nil {
			return err
		}
		policy.Statements = append(policy.Statements, &api.Statement{
			Name:       set.Name,
			Conditions: &api.Conditions{PrefixSet: &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: set.Name}},
			Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT},
		})
	}
	if err := e.server.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return err
	}
	return e.assignExport(ctx, name, export)
}

// assignExport puts export policies into force, one after the other.
func (e *engine) assignExport(ctx context.Context, names ...string) error {
	defer e.changes.begin()()
	return e.server.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: toExportAssignment(names...)})
}

// burstSets are the prefixes as GoBGP's sets, one for each family, which it wants
// apart.
func burstSets(name string, prefixes []netip.Prefix) []*api.DefinedSet {
	sets := []*api.DefinedSet{
		{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name + "/4"},
		{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: name + "/6"},
	}
	for _, p := range prefixes {
		set, bits := sets[index(p.Addr().Is6())], uint32(p.Bits())
		set.Prefixes = append(set.Prefixes, &api.Prefix{IpPrefix: p.String(), MaskLengthMin: bits, MaskLengthMax: bits})
	}
	return sets
}
