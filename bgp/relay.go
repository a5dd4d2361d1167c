package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// own is what is originated of a prefix.
type own struct {
	nextHop     netip.Addr
	communities []caracal.Community
}

func (o own) equal(p own) bool {
	return o.nextHop == p.nextHop && slices.Equal(o.communities, p.communities)
}

func (c Config) own(p netip.Prefix) own { return own{c.nextHop(p), c.Communities[p]} }

// passing is a Relay with what makes of it a path of GoBGP's.
type passing struct {
	Relay
	relayContext
	// id is the router ID of the one it is from in our AS, addr stands for the
	// neighbor: together they are one source.
	id, addr netip.Addr
}

// relayContext is what all paths that are passed on have in common. When it
// changes they are all passed on again.
type relayContext struct {
	reflect netip.Addr // our cluster; invalid if we do not reflect
	leaving bool       // as the last choice
	out     bool       // no more, or not before the export policy knows of it
	// self4 and self6 are ours, for what leads to a neighbor's link-local address.
	self4, self6 netip.Addr
}

func (c Config) relayContext() relayContext {
	return relayContext{
		reflect: c.ClusterID, leaving: c.Drain == DrainLast, out: c.Drain == DrainOut || !c.passes(),
		self4: c.NextHop4, self6: c.NextHop6,
	}
}

// relays is the part of a Speaker about paths that are passed on.
type relays struct {
	context relayContext
	want    map[netip.Prefix][]Relay
	have    map[netip.Prefix][]passing // that GoBGP has
	due     map[netip.Prefix]bool      // what failed
	sources map[string]netip.Addr      // of neighbors, by name
	last    int                        // source that was given
	burst   string                     // export policy that holds one back; empty without
	bursts  int                        // so far
	renamed map[string]string          // former names of neighbors
}

func newRelays() relays {
	return relays{
		want: map[netip.Prefix][]Relay{}, have: map[netip.Prefix][]passing{}, due: map[netip.Prefix]bool{}, sources: map[string]netip.Addr{},
		renamed: map[string]string{},
	}
}

// source returns the address that stands for a neighbor.
func (r *relays) source(neighbor string) netip.Addr {
	a, ok := r.sources[neighbor]
	if !ok {
		r.last++ // sources may become fewer, and none is given twice
		n := r.last
		a = netip.AddrFrom4([4]byte{0, byte(n >> 16), byte(n >> 8), byte(n)})
		r.sources[neighbor] = a
	}
	return a
}

// relayWork bounds how many paths times neighbors one call of GoBGP is about,
// since it holds up all its sessions.
const relayWork = 16384

// errUnknownSource is why a path is not passed on: ORIGINATOR_ID would be made
// up.
var errUnknownSource = errors.New("the router ID of the neighbor it is from is not known")

// Relay passes paths on, or ends to: for each prefix that the list names, what
// it has of it is all there is from now on. Paths with the same prefix go to
// neighbors that take several (RFC 7911); of the others each gets one. What this
// node originates itself is never passed on beside that.
//
// Paths keep their attributes. Those of internal neighbors get ORIGINATOR_ID and
// CLUSTER_LIST if the Config has a ClusterID (RFC 4456 section 8), and go to
// whom section 6 says; those from outside go to neighbors whose export filter
// names them. Nothing goes back to the one it is from.
//
// What could not be done is in the error, and is tried again by the next call,
// also by one with an empty list. It takes long when there are many neighbors,
// and other calls go through in between. Prefixes are passed on in the order of
// the list, or all together: see burst.go. progress is called now and then; it
// may be nil.
func (s *Speaker) Relay(ctx context.Context, list []Relay, progress func()) error {
	if progress == nil {
		progress = func() {}
	}
	s.mu.Lock()
	changed := make(map[netip.Prefix][]Relay, len(list))
	order := make([]netip.Prefix, 0, len(list))
	for _, r := range list {
		if _, ok := changed[r.NLRI]; !ok {
			changed[r.NLRI] = nil
			order = append(order, r.NLRI)
		}
		if r.Attrs != nil {
			if _, known := s.have.neighbors[r.From]; !known {
				r.From = s.relays.name(r.From)
			}
			changed[r.NLRI] = append(changed[r.NLRI], r)
		}
	}
	for nlri, set := range changed {
		if len(set) == 0 {
			delete(s.relays.want, nlri)
		} else {
			s.relays.want[nlri] = set
		}
		s.relays.due[nlri] = true
	}
	for _, nlri := range sortedPrefixes(s.relays.due) { // what failed before
		if _, ok := changed[nlri]; !ok {
			order = append(order, nlri)
		}
	}
	s.mu.Unlock()

	failed := map[netip.Prefix]error{}
	order = s.burst(ctx, order, failed, progress)
	for p := s.newPace(progress); len(order) > 0 && ctx.Err() == nil; {
		n := s.relayBatch(order, failed)
		order = order[n:]
		p.sent(ctx, n*p.neighbors)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("bgp: pass on paths: %w", err)
	}
	for _, nlri := range sortedPrefixes(failed) {
		return fmt.Errorf("bgp: pass on paths: %d failed, to be tried again, the first %s: %w", len(failed), nlri, failed[nlri])
	}
	return nil
}

func sortedPrefixes[V any](m map[netip.Prefix]V) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(m))
	for p := range m {
		list = append(list, p)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

// relayBatch passes on the first few of the prefixes, and returns how many.
func (s *Speaker) relayBatch(order []netip.Prefix, failed map[netip.Prefix]error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(max(relayWork/(len(s.have.neighbors)+1), 8), batch, len(order))
	if s.engine == nil || s.left {
		for _, nlri := range order[:n] {
			failed[nlri] = errors.New("BGP has not started, or has ended")
		}
		return n
	}
	for nlri, err := range s.passOn(order[:n]) {
		failed[nlri] = err
	}
	return n
}

// passOn brings GoBGP up to date about prefixes that are passed on. It adds
// before it takes away, so that neighbors are told of a change once. The caller
// holds the lock.
func (s *Speaker) passOn(order []netip.Prefix) map[netip.Prefix]error {
	failed := map[netip.Prefix]error{}
	var add, drop []passing
	ids := s.tracker.routerIDs()
	for _, nlri := range order {
		want, err := s.wanted(nlri, ids)
		if err != nil {
			failed[nlri] = err
			continue
		}
		have := s.relays.have[nlri]
		for _, p := range want {
			if !slices.Contains(have, p) {
				add = append(add, p)
			}
		}
		for _, p := range have {
			if !slices.ContainsFunc(want, p.sameSource) {
				drop = append(drop, p)
			}
		}
	}
	s.engine.pass(add, failed)
	for _, p := range add {
		if failed[p.NLRI] == nil {
			s.passed(p)
		}
	}
	s.passNoMore(drop, failed)
	for _, nlri := range order {
		if failed[nlri] == nil {
			delete(s.relays.due, nlri)
		} else {
			s.relays.due[nlri] = true
		}
	}
	return failed
}

// wanted returns what is to be passed on of a prefix.
func (s *Speaker) wanted(nlri netip.Prefix, ids map[string]netip.Addr) ([]passing, error) {
	if _, ours := s.have.paths[nlri]; ours || s.relays.context.out {
		return nil, nil
	}
	var list []passing
	for _, r := range s.relays.want[nlri] {
		p := passing{Relay: r, relayContext: s.relays.context, addr: s.relays.source(r.From), id: ids[r.From]}
		if r.Internal && r.Attrs.OriginatorID.IsValid() {
			p.id = r.Attrs.OriginatorID
		}
		if !r.Internal {
			p.reflect = netip.Addr{}
		}
		if !p.id.IsValid() {
			return nil, errUnknownSource
		}
		list = append(list, p)
	}
	return list, nil
}

func (p passing) sameSource(q passing) bool { return p.id == q.id && p.addr == q.addr }

// passed notes that GoBGP has a path, in the place of an earlier one.
func (s *Speaker) passed(p passing) {
	s.relays.have[p.NLRI] = append(slices.DeleteFunc(s.relays.have[p.NLRI], p.sameSource), p)
}

// passNoMore takes paths from GoBGP. While it defers, it tells nobody of that;
// before anything was told that does no harm.
func (s *Speaker) passNoMore(drop []passing, failed map[netip.Prefix]error) {
	if len(drop) == 0 {
		return
	}
	if !s.holding && s.engine.deferring() {
		for _, p := range drop {
			failed[p.NLRI] = errDeferring
		}
		return
	}
	s.engine.passNoMore(drop, failed)
	for _, p := range drop {
		if failed[p.NLRI] != nil {
			continue
		}
		s.withdrew(withdrawal{nlri: p.NLRI, from: &p})
		rest := slices.DeleteFunc(s.relays.have[p.NLRI], p.sameSource)
		if len(rest) == 0 {
			delete(s.relays.have, p.NLRI)
		} else {
			s.relays.have[p.NLRI] = rest
		}
	}
}

// rerelay looks again at what is passed on after a change of the configuration:
// at all of it, if it is passed on otherwise now, or else at what became ours or
// ceased to be.
func (s *Speaker) rerelay(cfg Config, d delta, res *Result) {
	order := slices.Concat(d.announce, d.withdraw)
	if now := cfg.relayContext(); now != s.relays.context {
		s.relays.context = now
		for nlri := range s.relays.want {
			order = append(order, nlri)
		}
	}
	order = slices.DeleteFunc(order, func(p netip.Prefix) bool { return len(s.relays.want[p])+len(s.relays.have[p]) == 0 })
	slices.SortFunc(order, netip.Prefix.Compare)
	order = slices.Compact(order)
	for len(order) > 0 {
		n := min(batch, len(order))
		for nlri, err := range s.passOn(order[:n]) {
			res.Failed[nlri.String()] = err
		}
		order = order[n:]
	}
}

// routerIDs returns those of the neighbors by name, as they were in their last
// session; invalid where there was none.
func (t *tracker) routerIDs() map[string]netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make(map[string]netip.Addr, len(t.byAddr))
	for name, nb := range t.parked {
		ids[name] = nb.open.routerID
	}
	for _, nb := range t.byAddr {
		ids[nb.conf.Name] = nb.open.routerID
	}
	return ids
}
