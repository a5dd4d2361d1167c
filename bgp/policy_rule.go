package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// This file translates the rules of filters into statements of the export
// policy.

func (p *exporter) chain(names string) *filter.Chain {
	if names == "" {
		return nil
	}
	return filter.Compile(strings.Split(names, ","), func(name string) (caracal.Filter, bool) { f, ok := p.cfg.Filters[name]; return f, ok })
}

// rule translates one of a filter. s has the neighbors and the source.
func (p *exporter) rule(g group, s statement, r filter.Rule, v6 bool) {
	if r.PeerType != "" && (r.PeerType == caracal.PeerExternal) != g.ebgp {
		return
	}
	s.family = 4
	if v6 {
		s.family = 6
	}
	if r.CIDR.IsValid() || r.HasLen {
		if s.prefixes = ranges(r, v6); len(s.prefixes) == 0 {
			return // matches nothing
		}
	}
	if len(r.ASPathPrefix) > 0 {
		path := r.ASPathPrefix
		s.asPath = "^" + sequence(path)
		if g.ebgp { // ours was put before it already
			s.asPath = fmt.Sprintf("^(%d )+%s", g.asn, sequence(path))
		}
		s.asPath += "( .*)?$"
	}
	marked := len(s.all) > 0
	s.all = append(slices.Clip(s.all), r.Communities...)
	s.decision = reject
	if r.Accept {
		s.decision = accept
		p.operations(g, s, r.Operations, marked)
		return
	}
	p.add(s)
}

// operations adds a statement that accepts and changes paths; several where one
// cannot do it all. Then the first marks the path for the others, which must not
// ask again what they may have changed themselves.
func (p *exporter) operations(g group, s statement, ops []caracal.Operation, marked bool) {
	end := s
	var path []uint32
	for _, op := range ops {
		switch {
		case op.AddCommunity != nil:
			end.add = append(slices.Clip(end.add), *op.AddCommunity)
		case op.SetMED != nil:
			end.med = op.SetMED
		case op.SetLocalPref != nil:
			end.localPref = op.SetLocalPref
		default:
			path = append(slices.Clone(op.PrependASPath), path...)
		}
	}
	parts := runs(path, g)
	large := slices.ContainsFunc(end.add, func(c caracal.Community) bool { return c.Large })
	if len(parts) <= 1 && !(marked && large) {
		if len(parts) == 1 {
			end.prepend, end.prependTimes = parts[0].asn, parts[0].times
		}
		end.removeMarks = marked
		p.add(end)
		return
	}
	mark := caracal.Community{Large: true, Value: [3]uint32{markASN, 1, uint32(len(p.statements))}}
	first := s
	first.decision, first.add = goOn, []caracal.Community{mark}
	p.add(first)
	then := statement{neighbors: s.neighbors, family: s.family, any: []caracal.Community{mark}}
	for _, part := range parts {
		one := then
		one.prepend, one.prependTimes = part.asn, part.times
		p.add(one)
	}
	if len(end.add) > 0 || end.med != nil || end.localPref != nil {
		change := then
		change.add, change.med, change.localPref = end.add, end.med, end.localPref
		p.add(change)
	}
	then.removeMarks, then.decision = true, accept
	p.add(then)
}

type run struct {
	asn   uint32
	times int
}

// runs cuts an AS path to be prepended into what one statement each can do, the
// innermost first. Another AS must see our number first (RFC 4271 section
// 5.1.2), which GoBGP has put there before the policy: it is repeated where
// something else was put before it.
func runs(path []uint32, g group) []run {
	var list []run
	for i := len(path) - 1; i >= 0; i-- {
		if n := len(list); n > 0 && list[n-1].asn == path[i] {
			list[n-1].times++
		} else {
			list = append(list, run{path[i], 1})
		}
	}
	if n := len(list); n > 0 && g.ebgp && list[n-1].asn != g.asn {
		list = append(list, run{g.asn, 1})
	}
	return list
}

// sequence writes an AS_PATH as GoBGP does for its regular expressions.
func sequence(path []uint32) string {
	text := make([]string, 0, len(path))
	for _, as := range path {
		text = append(text, fmt.Sprint(as))
	}
	return strings.Join(text, " ")
}

// ranges lists what a rule's CIDR and prefix lengths match. What is outside of a
// CIDR is listed as well: two conditions about prefixes do not fit into one
// statement.
func ranges(r filter.Rule, v6 bool) []prefixRange {
	zero := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if v6 {
		zero = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	most := zero.Addr().BitLen()
	var list []prefixRange
	put := func(p netip.Prefix, low, high int) {
		if r.HasLen {
			low, high = max(low, r.MinLen), min(high, r.MaxLen)
		}
		if low <= high {
			list = append(list, prefixRange{p, low, high})
		}
	}
	bits := r.CIDR.Bits()
	switch {
	case !r.CIDR.IsValid():
		put(zero, 0, most)
	case r.CIDR.Addr().Is6() != v6:
	case r.Match == caracal.MatchIn:
		put(r.CIDR, bits, most)
	case r.Match == caracal.MatchNotIn:
		for i := 1; i <= bits; i++ {
			put(sibling(r.CIDR, i), i, most)
			put(netip.PrefixFrom(r.CIDR.Addr(), i-1).Masked(), i-1, i-1)
		}
	case r.Match == caracal.MatchNotEqual:
		put(zero, 0, bits-1)
		put(zero, bits+1, most)
		for i := 1; i <= bits; i++ {
			put(sibling(r.CIDR, i), bits, bits)
		}
	default:
		put(r.CIDR, bits, bits)
	}
	return list
}

// sibling is the other half of the prefix of length i-1 that covers p.
func sibling(p netip.Prefix, i int) netip.Prefix {
	b := p.Masked().Addr().AsSlice()
	b[(i-1)/8] ^= 0x80 >> ((i - 1) % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, i).Masked()
}
