package bgp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/filter"
)

// This file says, as values, what GoBGP's one global export policy must be for a
// Config. Every path that GoBGP would announce goes through its statements, for
// every neighbor, so that neighbors without anything to say of them, of which
// there may be a thousand, are decided first.

// markASN begins large communities that only this process uses. It is reserved
// (RFC 7300), and what is received with it is not passed on.
const markASN = 1<<32 - 1

// The marks of paths that are passed on. They never leave this node.
var (
	// markNonClient: of an internal neighbor that is no client, for clients only
	// (RFC 4456 section 6).
	markNonClient = caracal.Community{Large: true, Value: [3]uint32{markASN, 0, 1}}
	// markExternal: from outside, for those whose filter names it.
	markExternal = caracal.Community{Large: true, Value: [3]uint32{markASN, 0, 2}}
)

// prependLeaving is how often our AS number is put before the AS_PATH of what
// should be the last choice of another AS.
const prependLeaving = 3

// source is where a path is from, as GoBGP can tell.
type source uint8

const (
	anySource source = iota
	ourOwn
	passedOn
)

// verdict is what a statement does with a path that matches.
type verdict uint8

const (
	goOn verdict = iota
	accept
	reject
)

// statement is one of the export policy's. Conditions that are not set match.
type statement struct {
	// neighbors it is about; with butNot all others. Empty is all.
	neighbors []netip.Addr
	butNot    bool
	family    uint8 // 4 or 6; 0 is both
	source    source
	prefixes  []prefixRange // any of them
	asPath    string        // a regular expression
	all       []caracal.Community
	any       []caracal.Community // all standard or all large

	add            []caracal.Community
	removeMarks    bool
	dropExtended   bool
	med, localPref *uint32
	prepend        uint32 // AS number
	prependTimes   int
	nextHop        string // "self", "unchanged" or an address
	decision       verdict
}

// prefixRange matches prefixes within one, of these lengths.
type prefixRange struct {
	prefix   netip.Prefix
	min, max int
}

// exportPolicy is GoBGP's for a Config. What no statement decides is rejected.
type exportPolicy struct {
	statements []statement
	// alike are addresses that neighbors on several links have, who are to be
	// announced different things.
	alike map[netip.Addr]bool
}

// passes reports whether anything may be passed on: by a reflector, or by a rule
// that names what is learned from others.
func (c Config) passes() bool {
	if c.ClusterID.IsValid() {
		return true
	}
	named := func(r caracal.Rule) bool { return r.Accept && r.Source == caracal.SourceRemotePeers }
	for _, f := range c.Filters {
		if slices.ContainsFunc(f.Export4, named) || slices.ContainsFunc(f.Export6, named) {
			return true
		}
	}
	return false
}

// exportOf derives the export policy for these neighbors of a Config. passing
// says that something is passed on still, of which the Config need not know.
func exportOf(cfg Config, neighbors []Neighbor, passing bool) exportPolicy {
	p := &exporter{cfg: cfg, passes: passing || cfg.passes()}
	groups, alike := map[netip.Addr]group{}, map[netip.Addr]bool{}
	for _, n := range neighbors {
		addr, g := n.Addr.WithZone(""), p.groupOf(n)
		if other, taken := groups[addr]; taken && other != g {
			alike[addr], g = true, group{is: true, alike: true}
		}
		groups[addr] = g
	}
	special := map[group][]netip.Addr{}
	var others []netip.Addr
	for addr, g := range groups {
		if g != (group{}) {
			special[g], others = append(special[g], addr), append(others, addr)
		}
	}
	p.plain(sorted(others))
	for _, g := range slices.SortedFunc(maps.Keys(special), group.compare) {
		p.group(g, sorted(special[g]))
	}
	return exportPolicy{p.statements, alike}
}

// errAlike is why a neighbor is announced nothing.
var errAlike = errors.New("a neighbor on another link has the same link-local address and is to be announced something else, which cannot be told apart: nothing is announced to either; give both the same filters, AS numbers and nextHopMode, or one another address")

// isExternal reports whether a session crosses the border of an AS, which is
// the type that a filter's rules ask for.
func (c Config) isExternal(n Neighbor) bool { return n.ASN != cmp.Or(n.LocalASN, c.Global.ASN) }

// sorted returns the distinct addresses in order.
func sorted(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// group is what neighbors have in common that are announced the same. The zero
// value is that of a neighbor without anything to say of it.
type group struct {
	is       bool
	alike    bool // see exportPolicy
	external bool // nothing passed on goes there without a word
	ebgp     bool
	client   bool
	asn      uint32 // ours towards it
	v6       bool   // the session's addresses
	extended bool   // IPv6 next hops for IPv4 prefixes
	nextHop  caracal.NextHopMode
	filters  string
	leaving  bool // tell it to choose others, by the AS_PATH
	services bool // it gets the prefixes of Services, where there are any
}

func (g group) compare(o group) int { return strings.Compare(fmt.Sprint(g), fmt.Sprint(o)) }

type exporter struct {
	cfg        Config
	passes     bool // something may be passed on at all
	statements []statement
}

func (p *exporter) groupOf(n Neighbor) group {
	g := group{
		is: true, external: n.External, ebgp: p.cfg.isExternal(n), client: n.Client, asn: cmp.Or(n.LocalASN, p.cfg.Global.ASN),
		v6: n.Addr.Is6(), extended: n.ExtendedNextHop, nextHop: n.NextHop, filters: n.Filters,
	}
	if g.nextHop == "" {
		g.nextHop = caracal.NextHopAuto
	}
	g.leaving = g.ebgp && p.cfg.Drain == DrainLast
	g.services = len(p.cfg.Services) > 0 && n.getsServices()
	plain := !g.external && g.filters == "" && !g.leaving && !g.services &&
		(g.nextHop == caracal.NextHopAuto || g.nextHop == caracal.NextHopKeep && !g.ebgp) &&
		(!p.passes || !g.ebgp && g.client == p.cfg.ClusterID.IsValid())
	if plain {
		return group{}
	}
	return g
}

func (p *exporter) add(s ...statement) { p.statements = append(p.statements, s...) }

// plain says what goes to all but the special neighbors: what is ours, and if
// we are a reflector, whose clients they are then, what is passed on.
func (p *exporter) plain(special []netip.Addr) {
	to := statement{neighbors: special, butNot: true}
	p.noServices(to)
	if p.passes {
		passed := to
		passed.source = passedOn
		foreign, marked := passed, passed
		foreign.decision = reject
		if p.cfg.ClusterID.IsValid() {
			foreign.any = []caracal.Community{markExternal}
		}
		p.add(foreign)
		if p.cfg.ClusterID.IsValid() {
			marked.any, marked.removeMarks, marked.decision = []caracal.Community{markNonClient}, true, accept
			p.add(marked)
		}
	}
	to.decision = accept
	p.add(to)
}

// group says what goes to the neighbors of one group. It leaves nothing of them
// undecided.
func (p *exporter) group(g group, to []netip.Addr) {
	mine := statement{neighbors: to}
	chain := p.chain(g.filters)
	if g.alike || chain.Missing() != "" {
		mine.decision = reject
		p.add(mine)
		return
	}
	if !g.services {
		p.noServices(mine)
	}
	if p.passes {
		p.passedOn(g, mine)
	}
	p.nextHops(g, mine)
	if g.leaving {
		s := mine
		s.any = []caracal.Community{caracal.GracefulShutdown}
		s.prepend, s.prependTimes = g.asn, prependLeaving
		p.add(s)
	}
	if p.passes {
		p.foreign(g, mine, chain)
	}
	for _, v6 := range []bool{false, true} {
		for _, r := range chain.Exports(v6) {
			s := mine
			switch {
			case g.external && r.Source == caracal.SourceRemotePeers: // see foreign
				continue
			case g.external && p.passes, r.Source == caracal.SourceLocal:
				s.source = ourOwn
			case r.Source == caracal.SourceRemotePeers:
				s.source = passedOn
			}
			p.rule(g, s, r, v6)
		}
	}
	mine.decision = accept
	p.add(mine)
}

// noServices rejects what is in the ranges of Services, ours and what is passed on.
func (p *exporter) noServices(s statement) {
	s.decision = reject
	for _, family := range []uint8{4, 6} {
		s.family, s.prefixes = family, nil
		for _, r := range p.cfg.Services {
			if r.Addr().Is6() == (family == 6) {
				s.prefixes = append(s.prefixes, prefixRange{r, r.Bits(), r.Addr().BitLen()})
			}
		}
		if len(s.prefixes) > 0 {
			p.add(s)
		}
	}
}

// passedOn rejects what must not be passed on whatever the filters say, and
// takes off what is of no more use.
func (p *exporter) passedOn(g group, s statement) {
	s.source = passedOn
	if g.ebgp { // RFC 1997: not out of the AS
		r := s
		r.decision = reject
		r.any = []caracal.Community{caracal.NoExport, noExportSubconfed}
		p.add(r)
		r = s
		r.dropExtended = true // see carried
		p.add(r)
	} else if !g.client {
		r := s
		r.any, r.decision = []caracal.Community{markNonClient}, reject
		p.add(r)
	}
	if g.external || g.client || g.ebgp {
		r := s
		r.removeMarks = true
		r.any = []caracal.Community{markNonClient}
		if g.external {
			r.any = append(r.any, markExternal)
		}
		p.add(r)
	}
}

// noExportSubconfed is NO_EXPORT for the members of a confederation (RFC 1997),
// which we are none of.
var noExportSubconfed = caracal.StandardCommunity(0xffff, 0xff03)

// nextHops says which next hop is announced, by family. GoBGP leaves ours as it
// is, and to another AS makes what is passed on its own address, also where
// that is of the wrong family.
func (p *exporter) nextHops(g group, mine statement) {
	for _, family := range []uint8{4, 6} {
		s := mine
		s.family = family
		own, self := p.cfg.NextHop4, !g.v6 || g.extended
		if family == 6 {
			own, self = p.cfg.NextHop6, g.v6
		}
		us := "self"
		if !self {
			us = ""
			if own.IsValid() {
				us = own.String()
			}
		}
		switch {
		case g.nextHop == caracal.NextHopSelf:
			s.nextHop = us
		case g.nextHop == caracal.NextHopKeep || g.ebgp && !g.external:
			if g.ebgp && p.passes {
				s.source, s.nextHop = passedOn, "unchanged"
			}
		case g.external && g.ebgp && self:
			s.source, s.nextHop = ourOwn, us
		case g.external && g.ebgp && p.passes:
			s.source, s.nextHop = passedOn, us
		}
		if s.nextHop != "" {
			p.add(s)
		}
	}
}

// foreign decides about what is passed on across the border of the AS: only a
// rule that names the source lets it through (RFC 8212).
func (p *exporter) foreign(g group, s statement, chain *filter.Chain) {
	s.source = passedOn
	if !g.external {
		s.all = []caracal.Community{markExternal}
	}
	for _, v6 := range []bool{false, true} {
		for _, r := range chain.Exports(v6) {
			if r.Source == caracal.SourceLocal || r.Source == "" && r.Accept {
				continue
			}
			p.rule(g, s, r, v6)
		}
	}
	s.decision = reject
	p.add(s)
}

// of returns in words what of the policy is about one neighbor: when that is
// another text, what the neighbor was announced must be looked at again.
func (e exportPolicy) of(n Neighbor) string {
	var b strings.Builder
	for _, s := range e.statements {
		if len(s.neighbors) > 0 && slices.Contains(s.neighbors, n.Addr.WithZone("")) == s.butNot {
			continue
		}
		s.neighbors, s.butNot = nil, false
		b.WriteString(s.text())
		if s.decision != goOn && s.everything() {
			break
		}
	}
	return b.String()
}

// everything reports whether a statement has no condition but the neighbor.
func (s statement) everything() bool {
	return s.family == 0 && s.source == anySource && s.prefixes == nil && s.asPath == "" && len(s.all)+len(s.any) == 0
}

// text is the statement in full.
func (s statement) text() string {
	number := func(n *uint32) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	return fmt.Sprintf("to %v not %t family %d source %d prefixes %v path %s all %v any %v: add %v marks %t extended %t med %s pref %s prepend %d x %d hop %s: %d\n",
		s.neighbors, s.butNot, s.family, s.source, s.prefixes, s.asPath, s.all, s.any,
		s.add, s.removeMarks, s.dropExtended, number(s.med), number(s.localPref), s.prepend, s.prependTimes, s.nextHop, s.decision)
}

// text is the policy in full, for a comparison.
func (e exportPolicy) text() string {
	var b strings.Builder
	for _, s := range e.statements {
		b.WriteString(s.text())
	}
	return b.String()
}
