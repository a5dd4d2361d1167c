package convert

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// filters converts BGPFilters.
func (c *conversion) filters() {
	for _, d := range c.byKind["BGPFilter"] {
		f := c.spec(d)
		o := &v1.BGPFilter{}
		o.Name = d.name
		for _, l := range []struct {
			name   string
			to     *[]v1.BGPFilterRule
			export bool
			bits   int
		}{
			{"importV4", &o.Spec.ImportV4, false, 32}, {"exportV4", &o.Spec.ExportV4, true, 32},
			{"importV6", &o.Spec.ImportV6, false, 128}, {"exportV6", &o.Spec.ExportV6, true, 128},
		} {
			for _, g := range f.groups(l.name) {
				*l.to = append(*l.to, c.rule(g, l.export, l.bits)...)
				g.rest()
			}
		}
		f.rest()
		c.add(o)
	}
}

// rule converts a rule of a filter. It becomes none where a condition cannot be
// said, and several where one rule of ours says less.
func (c *conversion) rule(f *fields, export bool, bits int) []v1.BGPFilterRule {
	r := v1.BGPFilterRule{
		Action: f.str("action"), CIDR: f.str("cidr"), MatchOperator: f.str("matchOperator"),
		Source: f.str("source"), PeerType: f.str("peerType"),
	}
	if g := f.group("communities"); g != nil {
		r.Communities = &v1.CommunityMatch{Values: g.strs("values")}
		g.rest()
	}
	if list, ok := f.take("asPathPrefix").([]any); ok {
		for i, e := range list {
			n, ok := parseASN(fmt.Sprint(e))
			if !ok {
				f.lose("asPathPrefix", fmt.Sprintf("element %d is not an AS number; the rule is left out", i), "put it right in the source, and convert again")
				return nil
			}
			r.ASPathPrefix = append(r.ASPathPrefix, n)
		}
	}
	for _, g := range f.groups("operations") {
		r.Operations = append(r.Operations, c.operation(g)...)
	}
	if export && r.Action == "Accept" {
		c.foreignExport(f, r)
	}
	lengths, known := c.lengths(f, r, bits)
	const left = "; the rule is left out, and what it matched is left to the rules after it"
	for _, name := range []string{"interface", "priority"} {
		if f.has(name) {
			f.lose(name, "what device a route leads to, and its metric, are no conditions here"+left, "say it by cidr, source, peerType or communities")
			known = false
		}
	}
	if !known {
		return nil
	}
	return lengths(r)
}

// lengths says how the rule's prefixLength is carried. Calico takes it as a part of
// the range that the operator compares with: a range with lengths is what is in it
// and of such a length, and NotIn the opposite of that.
func (c *conversion) lengths(f *fields, r v1.BGPFilterRule, bits int) (func(v1.BGPFilterRule) []v1.BGPFilterRule, bool) {
	alone := func(r v1.BGPFilterRule) []v1.BGPFilterRule { return []v1.BGPFilterRule{r} }
	g := f.group("prefixLength")
	if g == nil || r.CIDR == "" { // without a range Calico ignores the length
		return alone, true
	}
	lo, hi := 0, bits
	if p, err := netip.ParsePrefix(r.CIDR); err == nil {
		lo = p.Bits()
	}
	smallest := lo
	if n := g.number("min"); n != nil {
		lo = max(lo, int(min(*n, 129)))
	}
	if n := g.number("max"); n != nil {
		hi = min(hi, int(max(*n, -1)))
	}
	g.rest()
	span := func(a, b int) *v1.PrefixLength { return &v1.PrefixLength{Min: &a, Max: &b} }
	switch r.MatchOperator {
	case string(caracal.MatchIn):
		if lo > hi {
			f.lose("prefixLength", "no prefix in the range has such a length; the rule, which matches nothing, is left out", "nothing")
			return nil, false
		}
		return func(r v1.BGPFilterRule) []v1.BGPFilterRule {
			r.PrefixLength = span(lo, hi)
			return []v1.BGPFilterRule{r}
		}, true
	case string(caracal.MatchNotIn):
		return func(r v1.BGPFilterRule) []v1.BGPFilterRule {
			out := []v1.BGPFilterRule{r}
			r.MatchOperator = string(caracal.MatchIn)
			if lo > smallest {
				r.PrefixLength = span(smallest, lo-1)
				out = append(out, r)
			}
			if hi < bits {
				r.PrefixLength = span(hi+1, bits)
				out = append(out, r)
			}
			return out
		}, true
	}
	f.lose("prefixLength", "with matchOperator "+r.MatchOperator+" there is one length only; the rule is written without it", "see that the rule says what it should")
	return alone, true
}

func (c *conversion) operation(f *fields) []v1.FilterOperation {
	defer f.rest()
	var out []v1.FilterOperation
	if g := f.group("addCommunity"); g != nil {
		out = append(out, v1.FilterOperation{AddCommunity: &v1.AddCommunity{Value: g.str("value")}})
		g.rest()
	}
	if g := f.group("prependASPath"); g != nil {
		p := &v1.PrependASPath{}
		list, _ := g.take("prefix").([]any)
		for _, e := range list {
			if n, ok := parseASN(fmt.Sprint(e)); ok {
				p.Prefix = append(p.Prefix, n)
			}
		}
		if len(p.Prefix) < len(list) {
			g.lose("prefix", "holds something that is not an AS number, which is left out", "put it right in the source, and convert again")
		}
		g.rest()
		out = append(out, v1.FilterOperation{PrependASPath: p})
	}
	if g := f.group("setPriority"); g != nil {
		f.lose("setPriority", "the metric of routes is one for all here; the rule is written without it", "say what is preferred by setLocalPreference or setMED")
	}
	return out
}

// foreignExport lists an export rule that lets out what no node of ours announces:
// Calico exports any route of the host that a filter accepts, such as those of its
// devices.
func (c *conversion) foreignExport(f *fields, r v1.BGPFilterRule) {
	if r.Source == string(caracal.SourceRemotePeers) {
		return
	}
	const why = "here a node announces its pods' prefixes and those of Services, and no other route of the host, whatever a filter accepts"
	p, err := netip.ParsePrefix(r.CIDR)
	if r.CIDR != "" && (err != nil || r.MatchOperator == string(caracal.MatchNotEqual) || r.MatchOperator == string(caracal.MatchNotIn)) {
		return
	}
	if r.CIDR != "" && slices.ContainsFunc(c.ranges(), p.Overlaps) {
		return
	}
	f.lose("", why, "list prefixes of the host that must be announced in anycastPrefixes of its NodeConfig")
}

// ranges are what nodes announce prefixes of.
func (c *conversion) ranges() []netip.Prefix {
	var out []netip.Prefix
	add := func(s string) {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	for _, p := range c.poolObjects {
		add(p.Spec.CIDR)
	}
	for _, o := range c.out {
		if b, ok := o.(*v1.BGPConfiguration); ok {
			for _, l := range [][]v1.ServiceRange{b.Spec.ServiceClusterIPs, b.Spec.ServiceExternalIPs, b.Spec.ServiceLoadBalancerIPs} {
				for _, r := range l {
					add(r.CIDR)
				}
			}
		}
	}
	return out
}
