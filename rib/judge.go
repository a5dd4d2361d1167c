package rib

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// judge brings a path's verdict, what becomes of its attributes, and its
// neighbor's counts up to date.
func (m *Mirror) judge(p *path) {
	v, attrs := m.judgeFrom(p.from, p.entry.nlri, p.update.attrs)
	if p.kept {
		m.judgeKept(p, v.Code)
	}
	if v.Code.used() {
		attrs = m.finish(p, p.update.attrs, attrs)
	}
	m.alter(p, v.Code.used() && attrs != p.update.attrs, attrs)
	if v.Code != p.code {
		p.from.count(p.code, -1)
		p.from.count(v.Code, 1)
		p.code = v.Code
	}
}

// judgeKept forgets the accepted version of a path that was replaced by a
// refused one, if it would not be accepted any more either.
func (m *Mirror) judgeKept(p *path, code Code) {
	k := m.kept[p]
	v, attrs := m.judgeFrom(p.from, p.entry.nlri, k.received)
	if code == Accepted || !p.from.trusted() || v.Code != Accepted {
		m.keep(p, nil)
		return
	}
	k.attrs = m.finish(p, k.received, attrs)
	m.kept[p] = k
}

func (nb *neighbor) trusted() bool { return nb.known && !nb.external }

func (m *Mirror) verdict(p *path) Verdict {
	v, _ := m.judgeFrom(p.from, p.entry.nlri, p.update.attrs)
	return v
}

// Verdict judges a path that a neighbor announced, without taking it.
func (m *Mirror) Verdict(neighbor string, nlri netip.Prefix, attrs *caracal.Attrs) Verdict {
	nb := m.neighbors[neighbor]
	if nb == nil {
		return Verdict{Code: RefusedUnknown}
	}
	v, _ := m.judgeFrom(nb, nlri, attrs)
	return v
}

// judgeFrom judges a path and returns it as an import filter leaves it.
func (m *Mirror) judgeFrom(nb *neighbor, nlri netip.Prefix, attrs *caracal.Attrs) (Verdict, *caracal.Attrs) {
	switch {
	case !nb.known:
		return Verdict{Code: RefusedUnknown}, attrs
	case m.looped(nb, attrs):
		return Verdict{Code: RefusedLoop}, attrs
	case !nb.ebgp && m.reflected(attrs):
		return Verdict{Code: RefusedReflected}, attrs
	case m.owners.Service(nlri):
		return m.judgeService(nb, nlri, attrs)
	case nb.external:
		return m.judgeExternal(nb, nlri, attrs)
	}
	v := m.owners.Judge(nlri, attrs.NextHop)
	outside := v.Code == RefusedDefault || v.Code == RefusedNoPool || v.Code == RefusedTooWide && v.Pool == ""
	switch {
	case outside && nb.rules.peer != "":
		return m.judgeOutside(nb, nlri, attrs, v)
	case v.Code != Accepted || nb.rules.filters == nil:
		return v, attrs
	}
	// Ownership is not a filter's to give away: it only restricts and changes.
	res := nb.rules.filters.Import(nb.subject(nlri, attrs))
	if res.Decided && !res.Accept {
		v.Code, v.Rule = RefusedFilter, res.Rule
	}
	return v, res.Attrs
}

// judgeService judges what is in a range of Services. Nothing of it gets into the
// kernel: a switch that sends back what nodes announce, or a policy that takes
// too much, must not lead a node's own Services elsewhere. What a node announces
// is used to be passed on, as far as a filter lets it.
func (m *Mirror) judgeService(nb *neighbor, nlri netip.Prefix, attrs *caracal.Attrs) (Verdict, *caracal.Attrs) {
	v := Verdict{Code: RefusedService, NextHopNode: m.owners.NodeOf(attrs.NextHop)}
	if nb.external || v.NextHopNode == "" || v.NextHopNode == m.owners.self {
		return v, attrs
	}
	v.Code = ServiceOfNode
	if nb.rules.filters == nil {
		return v, attrs
	}
	res := nb.rules.filters.Import(nb.subject(nlri, attrs))
	if res.Decided && !res.Accept {
		v.Code, v.Rule = RefusedFilter, res.Rule
	}
	return v, res.Attrs
}

func (nb *neighbor) subject(nlri netip.Prefix, attrs *caracal.Attrs) filter.Subject {
	s := filter.Subject{NLRI: nlri, Attrs: attrs, Source: caracal.SourceRemotePeers, Peer: caracal.PeerInternal}
	if nb.ebgp {
		s.Peer = caracal.PeerExternal
	}
	return s
}

// looped counts our own AS numbers in the AS_PATH (RFC 4271 section 9.1.2).
func (m *Mirror) looped(nb *neighbor, attrs *caracal.Attrs) bool {
	n := 0
	for _, as := range attrs.ASPath {
		if as == m.asn || as == nb.localASN {
			n++
		}
	}
	return n > nb.allowLocalAS
}

// reflected reports whether a path has been here before (RFC 4456 section 8).
func (m *Mirror) reflected(attrs *caracal.Attrs) bool {
	return attrs.OriginatorID.IsValid() && attrs.OriginatorID == m.policy.RouterID ||
		m.policy.ClusterID.IsValid() && slices.Contains(attrs.ClusterList, m.policy.ClusterID)
}

// judgeExternal judges what comes from another AS. Prefixes of pools need
// acceptPools, everything else a word of the operator.
func (m *Mirror) judgeExternal(nb *neighbor, nlri netip.Prefix, attrs *caracal.Attrs) (Verdict, *caracal.Attrs) {
	v := Verdict{Code: RefusedExternal}
	var mine bool
	v.Pool, mine = m.owners.Pool(nlri)
	if v.Pool == "" {
		return m.judgeOutside(nb, nlri, attrs, v)
	}
	res := nb.rules.filters.Import(nb.subject(nlri, attrs))
	v.Peer = nb.rules.peer
	switch {
	case unroutable(nlri):
		v.Code = RefusedRange
	case mine:
		v.Code = RefusedLocal
	case !nb.rules.pools:
		v.Code = RefusedPools
	case m.ourself(nb, attrs.NextHop):
		v.Code = RefusedSelf
	case res.Decided && !res.Accept:
		v.Code, v.Rule = RefusedFilter, res.Rule
	default:
		v.Code = Accepted
	}
	return v, res.Attrs
}

// judgeOutside judges a prefix outside of the pools, from a neighbor that a
// BGPPeer speaks of. v is what is said when nothing lets it in.
func (m *Mirror) judgeOutside(nb *neighbor, nlri netip.Prefix, attrs *caracal.Attrs, v Verdict) (Verdict, *caracal.Attrs) {
	v.Peer = nb.rules.peer
	res := nb.rules.filters.Import(nb.subject(nlri, attrs))
	in := slices.IndexFunc(nb.rules.ranges, func(r netip.Prefix) bool { return caracal.Covers(r, nlri) })
	deflt := caracal.IsDefault(nlri)
	switch {
	case !deflt && unroutable(nlri):
		v.Code = RefusedRange
	case deflt && !nb.rules.deflt:
		v.Code = RefusedDefault
	case res.Decided && !res.Accept:
		v.Code, v.Rule = RefusedFilter, res.Rule
	case !deflt && !res.Decided && in < 0:
	case m.ourself(nb, attrs.NextHop):
		v.Code = RefusedSelf
	default:
		by := res.CIDR
		if !res.Decided && in >= 0 {
			by = nb.rules.ranges[in]
		}
		v.Network, v.Code = m.connected(nlri, by), Accepted
		if v.Network.IsValid() || m.owners.self != "" && m.owners.NodeOf(nlri.Addr()) == m.owners.self && nlri.IsSingleIP() {
			v.Code = RefusedConnected
		}
	}
	return v, res.Attrs
}

// ourself reports whether a next hop leads back here.
func (m *Mirror) ourself(nb *neighbor, nextHop netip.Addr) bool {
	return nextHop == nb.local || m.owners.self != "" && m.owners.NodeOf(nextHop) == m.owners.self
}

// connected returns the network that this node is on and that has the prefix
// in it, unless what let the prefix in speaks of that network or a part of it.
func (m *Mirror) connected(nlri, by netip.Prefix) netip.Prefix {
	for _, n := range m.policy.Networks {
		if caracal.Covers(n, nlri) && !(by.IsValid() && caracal.Covers(n, by)) {
			return n
		}
	}
	return netip.Prefix{}
}

// finish applies what communities say of a path that is accepted: traffic is
// to leave it (RFC 8326), or it is a last resort (RFC 9494). received and
// filtered are its attributes before and after the filter.
func (m *Mirror) finish(p *path, received, filtered *caracal.Attrs) *caracal.Attrs {
	leaving := filtered.LocalPref != 0 && filter.Has(filtered, caracal.GracefulShutdown)
	lasting := p.longLived() && !filter.Has(filtered, caracal.LLGRStale)
	if !leaving && !lasting && filtered == received {
		return received
	}
	// Paths of one UPDATE come after one another and share what becomes of them.
	is := altering{received, leaving, lasting, filtered}
	if m.last.altering == is || m.last.received == received && m.last.leaving == leaving && m.last.lasting == lasting &&
		sameAttrs(m.last.filtered, filtered) {
		return m.last.attrs
	}
	a := filtered
	if leaving || lasting {
		b := *filtered
		if leaving {
			b.LocalPref = 0
		}
		if lasting {
			b.Communities = append(slices.Clip(b.Communities), caracal.LLGRStale.Value[0])
		}
		a = &b
	}
	m.last.altering, m.last.attrs = is, a
	return a
}

// altering is what makes attributes differ from those received.
type altering struct {
	received         *caracal.Attrs
	leaving, lasting bool
	filtered         *caracal.Attrs
}

// alter notes what a path's attributes are if not those it came with.
func (m *Mirror) alter(p *path, yes bool, attrs *caracal.Attrs) {
	if yes {
		m.altered[p] = attrs
	} else if p.altered {
		delete(m.altered, p)
	}
	p.altered = yes
}

// usable returns the attributes that may be used of a path; nil if none.
func (m *Mirror) usable(p *path) *caracal.Attrs {
	switch {
	case p.code.used() && p.altered:
		return m.altered[p]
	case p.code.used():
		return p.update.attrs
	case p.kept:
		return m.kept[p].attrs
	}
	return nil
}
