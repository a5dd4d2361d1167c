package v1

import (
	"fmt"
	"net/netip"

	"caracal.dev/caracal"
)

const (
	// maxRules bounds each list of rules: every path is held against all of them.
	maxRules      = 1000
	maxOperations = 10
	// maxPrepend is more than anybody needs; paths of 50 and more are filtered
	// away by many networks.
	maxPrepend = 20

	actionAccept = "Accept"
	actionReject = "Reject"
)

// rules returns the lists with what tells them apart.
func (s *BGPFilterSpec) rules() []ruleList {
	return []ruleList{
		{"spec.importV4", s.ImportV4, false, false}, {"spec.exportV4", s.ExportV4, false, true},
		{"spec.importV6", s.ImportV6, true, false}, {"spec.exportV6", s.ExportV6, true, true},
	}
}

type ruleList struct {
	path       string
	rules      []BGPFilterRule
	v6, export bool
}

// Default implements [Object].
func (o *BGPFilter) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	for _, l := range o.Spec.rules() {
		for i := range l.rules {
			r := &l.rules[i]
			r.CIDR = canonicalPrefix(r.CIDR)
			if r.Communities != nil {
				r.Communities.Values = canonicalList(r.Communities.Values, canonicalCommunity)
			}
			for _, op := range r.Operations {
				if op.AddCommunity != nil {
					op.AddCommunity.Value = canonicalCommunity(op.AddCommunity.Value)
				}
			}
		}
	}
}

// Warnings implements [Object].
func (o *BGPFilter) Warnings() Errors {
	var w Errors
	for _, l := range o.Spec.rules() {
		for i, r := range l.rules {
			if r.matchesAll() && i < len(l.rules)-1 {
				w = append(w, FieldError{fmt.Sprintf("%s[%d]", l.path, i), "it matches every path, so the rules after it are never asked"})
				break
			}
		}
	}
	return w
}

func (r *BGPFilterRule) matchesAll() bool {
	return r.CIDR == "" && r.PrefixLength == nil && r.Communities == nil && len(r.ASPathPrefix) == 0 && r.Source == "" && r.PeerType == ""
}

// Validate implements [Object].
func (o *BGPFilter) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	for _, l := range o.Spec.rules() {
		if len(l.rules) > maxRules {
			c.failf(l.path, "has %d rules; at most %d are taken, since every path is held against them", len(l.rules), maxRules)
		}
		for i, r := range l.rules {
			c.rule(fmt.Sprintf("%s[%d]", l.path, i), r, l)
		}
	}
	return c.errs
}

func (c *checker) rule(path string, r BGPFilterRule, l ruleList) {
	if r.Action == "" {
		c.failf(path+".action", "is missing; it must be Accept or Reject")
	} else {
		c.oneOf(path+".action", r.Action, actionAccept, actionReject)
	}
	c.ruleCIDR(path, r, l)
	if r.Communities != nil {
		if len(r.Communities.Values) == 0 {
			c.failf(path+".communities.values", "is missing")
		}
		for i, v := range r.Communities.Values {
			c.community(fmt.Sprintf("%s.communities.values[%d]", path, i), v)
		}
	}
	for i, n := range r.ASPathPrefix {
		c.asn(fmt.Sprintf("%s.asPathPrefix[%d]", path, i), &n)
	}
	if r.Source != "" {
		c.oneOf(path+".source", r.Source, string(caracal.SourceRemotePeers), string(caracal.SourceLocal))
		if r.Source == string(caracal.SourceLocal) && !l.export {
			c.failf(path+".source", "nothing that comes from a neighbor is Local; this rule would never match")
		}
	}
	if r.PeerType != "" {
		c.oneOf(path+".peerType", r.PeerType, string(caracal.PeerExternal), string(caracal.PeerInternal))
	}
	if len(r.Operations) > 0 && r.Action == actionReject {
		c.failf(path+".operations", "what is rejected cannot be changed; remove them, or write action: Accept")
	}
	if len(r.Operations) > maxOperations {
		c.failf(path+".operations", "has %d; at most %d are taken", len(r.Operations), maxOperations)
	}
	for i, op := range r.Operations {
		c.operation(fmt.Sprintf("%s.operations[%d]", path, i), op)
	}
}

// ruleCIDR checks what a rule says about the prefix.
func (c *checker) ruleCIDR(path string, r BGPFilterRule, l ruleList) {
	lo, hi, word := 0, 32, "IPv4"
	if l.v6 {
		hi, word = 128, "IPv6"
	}
	switch {
	case r.CIDR == "" && r.MatchOperator != "":
		c.failf(path+".cidr", "is missing; matchOperator %s compares with it", clip(r.MatchOperator))
	case r.CIDR != "":
		if p, ok := c.prefix(path+".cidr", r.CIDR); ok {
			if p.Addr().Is6() != l.v6 {
				c.failf(path+".cidr", "%s must be %s, as the rules of %s are", p, word, l.path)
			}
			lo = p.Bits()
		}
		if r.MatchOperator == "" {
			c.failf(path+".matchOperator", "is missing; it must be Equal, NotEqual, In or NotIn")
		} else {
			c.oneOf(path+".matchOperator", r.MatchOperator, string(caracal.MatchEqual), string(caracal.MatchNotEqual), string(caracal.MatchIn), string(caracal.MatchNotIn))
		}
	}
	if r.PrefixLength == nil {
		return
	}
	switch r.MatchOperator {
	case string(caracal.MatchEqual):
		c.failf(path+".prefixLength", "with matchOperator Equal there is one length only; remove it, or write In")
		return
	case string(caracal.MatchIn):
	default:
		lo = 0
	}
	minLen, maxLen := r.PrefixLength.bounds(lo, hi)
	switch {
	case r.PrefixLength.Min == nil && r.PrefixLength.Max == nil:
		c.failf(path+".prefixLength", "must have min, max or both")
	case minLen < lo || minLen > hi:
		c.failf(path+".prefixLength.min", "%d must be from %d to %d", minLen, lo, hi)
	case maxLen < minLen || maxLen > hi:
		c.failf(path+".prefixLength.max", "%d must be from %d to %d", maxLen, minLen, hi)
	}
}

func (l *PrefixLength) bounds(lo, hi int) (minLen, maxLen int) {
	if l.Min != nil {
		lo = *l.Min
	}
	if l.Max != nil {
		hi = *l.Max
	}
	return lo, hi
}

func (c *checker) operation(path string, op FilterOperation) {
	set := 0
	if op.AddCommunity != nil {
		set++
		c.community(path+".addCommunity.value", op.AddCommunity.Value)
	}
	if op.PrependASPath != nil {
		set++
		if n := len(op.PrependASPath.Prefix); n == 0 || n > maxPrepend {
			c.failf(path+".prependASPath.prefix", "must list from 1 to %d AS numbers", maxPrepend)
		}
		for i, n := range op.PrependASPath.Prefix {
			c.asn(fmt.Sprintf("%s.prependASPath.prefix[%d]", path, i), &n)
		}
	}
	for _, n := range []struct {
		field string
		to    *SetNumber
	}{{"setLocalPreference", op.SetLocalPreference}, {"setMED", op.SetMED}} {
		if n.to == nil {
			continue
		}
		set++
		if n.to.Value == nil {
			c.failf(path+"."+n.field+".value", "is missing")
		}
	}
	if set != 1 {
		c.failf(path, "must have exactly one of addCommunity, prependASPath, setLocalPreference and setMED; write one operation for each change")
	}
}

// Filter returns the noun of a valid BGPFilter.
func (o *BGPFilter) Filter() caracal.Filter {
	s := &o.Spec
	return caracal.Filter{
		Name:    o.Name,
		Import4: convertRules(s.ImportV4, 32), Import6: convertRules(s.ImportV6, 128),
		Export4: convertRules(s.ExportV4, 32), Export6: convertRules(s.ExportV6, 128),
	}
}

func convertRules(rules []BGPFilterRule, bits int) []caracal.Rule {
	var all []caracal.Rule
	for _, r := range rules {
		out := caracal.Rule{
			Match: caracal.MatchOperator(r.MatchOperator), ASPathPrefix: r.ASPathPrefix,
			Source: caracal.PathSource(r.Source), PeerType: caracal.PeerType(r.PeerType),
			Accept: r.Action == actionAccept,
		}
		if r.CIDR != "" {
			out.CIDR = mustPrefix(r.CIDR)
		}
		if r.PrefixLength != nil {
			lo := 0
			if out.CIDR != (netip.Prefix{}) && out.Match == caracal.MatchIn {
				lo = out.CIDR.Bits()
			}
			out.HasLen = true
			out.MinLen, out.MaxLen = r.PrefixLength.bounds(lo, bits)
		}
		if r.Communities != nil {
			for _, v := range r.Communities.Values {
				com, _ := parseCommunity(v)
				out.Communities = append(out.Communities, com)
			}
		}
		for _, op := range r.Operations {
			out.Operations = append(out.Operations, op.operation())
		}
		all = append(all, out)
	}
	return all
}

func (op FilterOperation) operation() caracal.Operation {
	switch {
	case op.AddCommunity != nil:
		com, _ := parseCommunity(op.AddCommunity.Value)
		return caracal.Operation{AddCommunity: &com}
	case op.PrependASPath != nil:
		return caracal.Operation{PrependASPath: op.PrependASPath.Prefix}
	case op.SetLocalPreference != nil:
		return caracal.Operation{SetLocalPref: op.SetLocalPreference.Value}
	}
	return caracal.Operation{SetMED: op.SetMED.Value}
}
