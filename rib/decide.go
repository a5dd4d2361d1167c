package rib

import (
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// Choice is what shall be installed for a prefix.
type Choice struct {
	NLRI netip.Prefix
	// NextHops are sorted and distinct, more than one for equal paths (ECMP);
	// empty when nothing is to be installed any more. Shared: do not change.
	NextHops []netip.Addr
	// Received is when the UPDATE that caused the change was read.
	Received time.Time
}

// Decide judges and chooses anew for at most max dirty prefixes and calls fn
// for each whose choice changed. It returns whether more are waiting.
func (m *Mirror) Decide(max int, fn func(Choice)) (more bool) {
	n := min(max, len(m.dirty))
	for _, e := range m.dirty[:n] {
		e.dirty = false
		m.decide(e, fn)
	}
	if n == len(m.dirty) {
		m.dirty = nil // let go of the burst's memory
		return false
	}
	m.dirty = m.dirty[n:]
	return true
}

func (m *Mirror) decide(e *entry, fn func(Choice)) {
	var best *path
	for p := e.paths; p != nil; p = p.next {
		m.judge(p)
		if m.usable(p) != nil && (best == nil || m.better(p, best) < 0) {
			best = p
		}
	}
	chosen := m.choose(e, best)
	if e.paths == nil {
		m.table.Delete(e.nlri)
	}
	if chosen == e.chosen || chosen != nil && e.chosen != nil && slices.Equal(*chosen, *e.chosen) {
		return
	}
	e.chosen = chosen
	c := Choice{NLRI: e.nlri}
	if chosen != nil {
		c.NextHops = *chosen
		c.Received = best.receivedAt()
	}
	fn(c)
}

// judge brings a path's verdict, and its neighbor's counts, up to date.
func (m *Mirror) judge(p *path) {
	code := m.verdict(p).Code
	if p.kept && (code == Accepted || !p.from.trusted() || m.owners.Judge(p.entry.nlri, m.kept[p].NextHop).Code != Accepted) {
		m.keep(p, nil)
	}
	if code != p.code {
		p.from.count(p.code, -1)
		p.from.count(code, 1)
		p.code = code
	}
}

func (nb *neighbor) trusted() bool { return nb.known && !nb.external }

func (m *Mirror) verdict(p *path) Verdict { return m.judgeFrom(p.from, p.entry.nlri, p.update.attrs) }

func (m *Mirror) judgeFrom(nb *neighbor, nlri netip.Prefix, attrs *caracal.Attrs) Verdict {
	switch {
	case !nb.known:
		return Verdict{Code: RefusedUnknown}
	case nb.external:
		return Verdict{Code: RefusedExternal}
	case slices.Contains(attrs.ASPath, m.asn):
		return Verdict{Code: RefusedLoop}
	}
	return m.owners.Judge(nlri, attrs.NextHop)
}

// Verdict judges a path that a neighbor announced, without taking it.
func (m *Mirror) Verdict(neighbor string, nlri netip.Prefix, attrs *caracal.Attrs) Verdict {
	nb := m.neighbors[neighbor]
	if nb == nil {
		return Verdict{Code: RefusedUnknown}
	}
	return m.judgeFrom(nb, nlri, attrs)
}

// usable returns the attributes that may be installed for a path; nil if none.
func (m *Mirror) usable(p *path) *caracal.Attrs {
	switch {
	case p.code == Accepted:
		return p.update.attrs
	case p.kept:
		return m.kept[p]
	}
	return nil
}

// choose marks the paths that are as good as best, and returns their next hops;
// nil if there is none.
func (m *Mirror) choose(e *entry, best *path) *[]netip.Addr {
	var hops *[]netip.Addr
	for p := e.paths; p != nil; p = p.next {
		on := best != nil && m.usable(p) != nil && (p == best || m.compare(p, best) == 0)
		if on != p.best {
			p.best = on
			if on {
				p.from.counts.Best++
			} else {
				p.from.counts.Best--
			}
		}
		if on {
			hops = m.with(hops, m.usable(p).NextHop)
		}
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

// compare orders two paths by what makes them unequal (RFC 4271 section
// 9.1.2.2 up to the step before the interior cost); 0 means they share the
// traffic.
func (m *Mirror) compare(a, b *path) int {
	x, y := m.usable(a), m.usable(b)
	switch {
	case x.LocalPref != y.LocalPref:
		return later(x.LocalPref > y.LocalPref)
	case x.ASPathLen != y.ASPathLen: // 9.1.2.2 a
		return later(x.ASPathLen < y.ASPathLen)
	case x.Origin != y.Origin: // 9.1.2.2 b
		return later(x.Origin < y.Origin)
	case x.MED != y.MED && firstAS(x) == firstAS(y): // 9.1.2.2 c
		return later(x.MED < y.MED)
	case a.from.external != b.from.external: // 9.1.2.2 d
		return later(a.from.external)
	}
	return 0
}

func later(first bool) int {
	if first {
		return -1
	}
	return 1
}

// better orders paths wholly, so that one of several equal ones is "the" best
// in every listing: the shorter cluster list (RFC 4456 section 9), then the
// lower originator, then the neighbor's name.
func (m *Mirror) better(a, b *path) int {
	if c := m.compare(a, b); c != 0 {
		return c
	}
	x, y := m.usable(a), m.usable(b)
	if c := len(x.ClusterList) - len(y.ClusterList); c != 0 {
		return c
	}
	if c := x.OriginatorID.Compare(y.OriginatorID); c != 0 {
		return c
	}
	if a.from.name != b.from.name {
		return later(a.from.name < b.from.name)
	}
	return int(int64(a.id) - int64(b.id))
}

func firstAS(a *caracal.Attrs) uint32 {
	if len(a.ASPath) == 0 {
		return 0
	}
	return a.ASPath[0]
}
