package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// Subject is a path that a [Chain] is asked about, with where it is from and
// where it would go.
type Subject struct {
	NLRI  netip.Prefix
	Attrs *caracal.Attrs // is not changed
	// Source says where the path was learned, Peer of what type the session is
	// that it comes by, or would leave by.
	Source caracal.PathSource
	Peer   caracal.PeerType
	// Explicit asks for more than a rule that lets everything through: a rule that
	// does not name the Source accepts nothing. It is set for what is passed on to,
	// or from, another AS: without a word about it nothing is (RFC 8212).
	Explicit bool
}

// Result is what a [Chain] says about a path.
type Result struct {
	// Decided says that a rule matched. Otherwise the path is to be judged as if
	// there were no filter, and Attrs are those it came with.
	Decided bool
	Accept  bool
	// Attrs are the path's with the operations of the rule applied: the same
	// pointer if there was none.
	Attrs *caracal.Attrs
	// Rule names the rule in words, for an explanation; empty if none matched.
	Rule string
	// CIDR is what the rule's covers the path by; invalid if the rule speaks of
	// other prefixes than some, or of any.
	CIDR netip.Prefix
}

// Chain is the filters of one peer, compiled. The zero value, and nil, decide
// nothing. It is immutable.
type Chain struct {
	rules [2][2][]Rule // import and export, IPv4 and IPv6
	// missing is said of everything when a filter is not there.
	missing string
}

// Rule is a [caracal.Rule] with its place, compiled.
type Rule struct {
	caracal.Rule
	// Text names it: "rule 2 of importV4 of BGPFilter tor".
	Text string
	// asPath is ASPathPrefix as [caracal.Attrs.ASPathText] has it.
	asPath string
}

const (
	imports = 0
	exports = 1
)

// Compile makes the Chain of the filters with these names. A filter that get
// does not know makes the Chain reject everything: what it would have kept out
// is not known.
func Compile(names []string, get func(name string) (caracal.Filter, bool)) *Chain {
	c := &Chain{}
	for _, name := range names {
		f, ok := get(name)
		if !ok {
			return &Chain{missing: fmt.Sprintf("BGPFilter %s, which is not there: until it is, everything is rejected", name)}
		}
		for _, part := range []struct {
			to    *[]Rule
			rules []caracal.Rule
			where string
		}{
			{&c.rules[imports][0], f.Import4, "importV4"}, {&c.rules[imports][1], f.Import6, "importV6"},
			{&c.rules[exports][0], f.Export4, "exportV4"}, {&c.rules[exports][1], f.Export6, "exportV6"},
		} {
			for n, r := range part.rules {
				if r.CIDR.IsValid() {
					r.CIDR = r.CIDR.Masked()
				}
				*part.to = append(*part.to, Rule{
					Rule: r, asPath: sequence(r.ASPathPrefix),
					Text: fmt.Sprintf("rule %d of %s of BGPFilter %s", n+1, part.where, name),
				})
			}
		}
	}
	return c
}

// Missing says why the Chain rejects everything; empty if it does not.
func (c *Chain) Missing() string {
	if c == nil {
		return ""
	}
	return c.missing
}

// Exports returns the rules for what goes out of a family, in the order in
// which they are asked. It is shared: do not change it.
func (c *Chain) Exports(v6 bool) []Rule { return c.list(exports, v6) }

// Import judges a path that comes from the peer.
func (c *Chain) Import(s Subject) Result { return c.judge(imports, s) }

// Export judges a path that would go to the peer.
func (c *Chain) Export(s Subject) Result { return c.judge(exports, s) }

func (c *Chain) list(direction int, v6 bool) []Rule {
	if c == nil {
		return nil
	}
	family := 0
	if v6 {
		family = 1
	}
	return c.rules[direction][family]
}

func (c *Chain) judge(direction int, s Subject) Result {
	if c != nil && c.missing != "" {
		return Result{Decided: true, Attrs: s.Attrs, Rule: c.missing}
	}
	rules := c.list(direction, s.NLRI.Addr().Is6())
	for i := range rules {
		r := &rules[i]
		if !r.Matches(s) {
			continue
		}
		res := Result{Decided: true, Accept: r.Accept, Attrs: s.Attrs, Rule: r.Text}
		if r.Match != caracal.MatchNotIn && r.Match != caracal.MatchNotEqual {
			res.CIDR = r.CIDR
		}
		if r.Accept {
			res.Attrs = apply(r.Operations, s.Attrs)
		}
		return res
	}
	return Result{Attrs: s.Attrs}
}

// Matches reports whether the rule decides about the path.
func (r *Rule) Matches(s Subject) bool {
	switch {
	case r.Source != "" && r.Source != s.Source,
		r.Source == "" && r.Accept && s.Explicit,
		r.PeerType != "" && r.PeerType != s.Peer,
		r.HasLen && (s.NLRI.Bits() < r.MinLen || s.NLRI.Bits() > r.MaxLen),
		r.CIDR.IsValid() && !matches(r.Match, r.CIDR, s.NLRI):
		return false
	}
	for _, want := range r.Communities {
		if !Has(s.Attrs, want) {
			return false
		}
	}
	return r.beginsASPath(s.Attrs)
}

// matches compares a prefix with a CIDR. One of the other family is none of a
// rule's business, whatever the operator.
func matches(op caracal.MatchOperator, cidr, nlri netip.Prefix) bool {
	if cidr.Addr().Is4() != nlri.Addr().Is4() {
		return false
	}
	switch op {
	case caracal.MatchEqual, "":
		return cidr == nlri
	case caracal.MatchNotEqual:
		return cidr != nlri
	case caracal.MatchIn:
		return caracal.Covers(cidr, nlri)
	case caracal.MatchNotIn:
		return !caracal.Covers(cidr, nlri)
	}
	return false
}

// Has reports whether a community is on a path.
func Has(a *caracal.Attrs, c caracal.Community) bool {
	if c.Large {
		return slices.Contains(a.LargeCommunities, c.Value)
	}
	return slices.Contains(a.Communities, c.Value[0])
}

// beginsASPath compares the text where there is one: in an AS_SET there is no
// order that the flattened numbers could be trusted with.
func (r *Rule) beginsASPath(a *caracal.Attrs) bool {
	n := len(r.ASPathPrefix)
	switch {
	case n == 0:
		return true
	case a.ASPathText == "":
		return len(a.ASPath) >= n && slices.Equal(a.ASPath[:n], r.ASPathPrefix)
	}
	text := a.ASPathText
	return len(text) >= len(r.asPath) && text[:len(r.asPath)] == r.asPath && (len(text) == len(r.asPath) || text[len(r.asPath)] == ' ')
}
