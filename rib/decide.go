package rib

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// Choice is what shall be installed for a prefix.
type Choice struct {
	NLRI netip.Prefix
	// NextHops are sorted and distinct, more than one for equal paths (ECMP);
	// empty when nothing is to be installed any more. Shared: do not change.
	NextHops []netip.Addr
	// Received is when the UPDATE that caused the change was read; zero if none
	// did.
	Received time.Time
}

// keptDirty is how long a list of dirty prefixes may be to be used again.
const keptDirty = 16384

// Decide judges and chooses anew for at most max dirty prefixes and calls fn
// for each whose choice changed. It returns whether more are waiting.
func (m *Mirror) Decide(max int, fn func(Choice)) (more bool) {
	n := min(max, len(m.dirty))
	for i, e := range m.dirty[:n] {
		m.dirty[i] = nil
		e.dirty = false
		m.decide(e, fn)
	}
	m.forget()
	if n == len(m.dirty) {
		m.dirty = m.dirty[:0]
		if cap(m.dirty) > keptDirty { // let go of the burst's memory
			m.dirty = nil
		}
		return false
	}
	m.dirty = m.dirty[n:]
	return true
}

// forget takes the prefixes without a path out of the table. That closes the gap
// one leaves by moving those above it, and a neighbor withdraws most often in
// order: from the highest down there is nothing to move.
func (m *Mirror) forget() {
	if n := len(m.gone); n > 0 && m.gone[0].Compare(m.gone[n-1]) < 0 {
		slices.Reverse(m.gone)
	}
	for _, p := range m.gone {
		m.table.Delete(p)
	}
	m.gone = m.gone[:0]
}

// maxPaths bounds how many next hops a prefix has.
const maxPaths = 16

func (m *Mirror) decide(e *entry, fn func(Choice)) {
	for p := e.paths; p != nil; p = p.next {
		m.judge(p)
	}
	equal := m.equal(e)
	installed := equal
	if m.owners.Service(e.nlri) {
		installed = nil // they are only passed on
	}
	chosen := m.choose(e, installed)
	if m.relaying() {
		m.relay(e, equal)
	}
	if e.paths == nil {
		m.gone = append(m.gone, e.nlri)
	}
	if chosen == e.chosen || chosen != nil && e.chosen != nil && slices.Equal(*chosen, *e.chosen) {
		return
	}
	arrived := e.chosen != again
	e.chosen = chosen
	c := Choice{NLRI: e.nlri}
	if chosen != nil {
		c.NextHops = *chosen
	}
	if chosen != nil && arrived {
		c.Received = equal[0].receivedAt()
	}
	fn(c)
}

// equal returns the paths that share the traffic of a prefix, the best first.
// The slice is overwritten by the next call.
//
// The steps are those of RFC 4271 section 9.1.2.2 up to the interior cost, each
// of which leaves fewer of the paths over. MED is compared only among paths of
// one neighboring AS, so this cannot be a comparison of two paths at a time: it
// would depend on their order.
func (m *Mirror) equal(e *entry) []*path {
	list := m.scratch[:0]
	for p := e.paths; p != nil; p = p.next {
		if m.usable(p) == nil {
			continue
		}
		c := 1
		if len(list) > 0 {
			c = m.preferred(p, list[0])
		}
		if c > 0 {
			list = list[:0]
		}
		if c >= 0 {
			list = append(list, p)
		}
	}
	m.scratch = list
	if len(list) < 2 {
		return list
	}
	list = m.lowestMED(list)
	if slices.ContainsFunc(list, func(p *path) bool { return p.from.ebgp }) { // 9.1.2.2 d
		list = slices.DeleteFunc(list, func(p *path) bool { return !p.from.ebgp })
	}
	if len(list) > 1 {
		slices.SortFunc(list, m.tie)
	}
	return list
}

// preferred compares the steps that hold for any two paths: positive if a is
// the better one.
func (m *Mirror) preferred(a, b *path) int {
	x, y := m.usable(a), m.usable(b)
	if a.suspect() != b.suspect() { // RFC 5882 section 4.3: kept, but only for want of another
		if b.suspect() {
			return 1
		}
		return -1
	}
	if c := worst(y) - worst(x); c != 0 { // RFC 9494 section 4.2
		return c
	}
	if c := cmp.Compare(x.LocalPref, y.LocalPref); c != 0 { // 9.1.1
		return c
	}
	if c := cmp.Compare(y.ASPathLen, x.ASPathLen); c != 0 { // 9.1.2.2 a
		return c
	}
	return cmp.Compare(y.Origin, x.Origin) // 9.1.2.2 b
}

// suspect reports whether the path is only kept because its neighbor, which is
// out of reach, may be restarting.
func (p *path) suspect() bool { return p.from.suspect && p.stale() }

func worst(a *caracal.Attrs) int {
	if len(a.Communities) > 0 && filter.Has(a, caracal.LLGRStale) {
		return 1
	}
	return 0
}

// lowestMED removes the paths for which there is another of the same
// neighboring AS with a lower MULTI_EXIT_DISC (9.1.2.2 c); without one it is 0.
func (m *Mirror) lowestMED(list []*path) []*path {
	if !slices.ContainsFunc(list, func(p *path) bool { return m.usable(p).MED != m.usable(list[0]).MED }) {
		return list
	}
	lowest := make(map[uint32]uint32, 2)
	for _, p := range list {
		a := m.usable(p)
		if low, ok := lowest[firstAS(a)]; !ok || a.MED < low {
			lowest[firstAS(a)] = a.MED
		}
	}
	return slices.DeleteFunc(list, func(p *path) bool { a := m.usable(p); return a.MED > lowest[firstAS(a)] })
}

// tie orders paths that are equal, so that one of them is "the" best in every
// listing and the one that is passed on: the lower originator, which stands for
// the router ID, and the shorter cluster list (RFC 4456 section 9), then the
// neighbor's address (9.1.2.2 g).
func (m *Mirror) tie(a, b *path) int {
	x, y := m.usable(a), m.usable(b)
	return cmp.Or(
		x.OriginatorID.Compare(y.OriginatorID),
		cmp.Compare(len(x.ClusterList), len(y.ClusterList)),
		a.from.addr.Compare(b.from.addr),
		cmp.Compare(a.from.name, b.from.name),
		cmp.Compare(a.id, b.id),
	)
}

// choose marks the paths that are used, and returns their next hops; nil if
// there is none.
func (m *Mirror) choose(e *entry, equal []*path) *[]netip.Addr {
	for p := e.paths; p != nil; p = p.next {
		if p.best {
			p.best = false
			p.from.counts.Best--
		}
	}
	var hops *[]netip.Addr
	for _, p := range equal {
		more := m.with(hops, m.usable(p).NextHop)
		if len(*more) > maxPaths {
			continue
		}
		hops = more
		p.best = true
		p.from.counts.Best++
	}
	return hops
}

// with returns hops and nh, sorted. A single next hop is one shared slice, so
// that 100,000 prefixes of a node cost one.
func (m *Mirror) with(hops *[]netip.Addr, nh netip.Addr) *[]netip.Addr {
	if hops == nil {
		s, ok := m.sets[nh]
		if !ok {
			s = &[]netip.Addr{nh}
			m.sets[nh] = s
		}
		return s
	}
	i, dup := slices.BinarySearchFunc(*hops, nh, netip.Addr.Compare)
	if dup {
		return hops
	}
	more := slices.Insert(slices.Clone(*hops), i, nh)
	return &more
}

func firstAS(a *caracal.Attrs) uint32 {
	if len(a.ASPath) == 0 {
		return 0
	}
	return a.ASPath[0]
}
