package felix

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// Flow is a connection that somebody asks about, as its first packet has it.
type Flow struct {
	From, To End
	// Protocol is that of the IP header (IANA's protocol numbers).
	Protocol uint8
	// Port is that of the destination; 0 for a protocol without ports.
	Port uint16
}

// The protocols that are named in more than one place (IANA).
const (
	protoIPIP = 4
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// End is one end of a [Flow]: a workload by its key, or an address, or both where
// a workload has several.
type End struct {
	Workload string // "namespace/name"
	Addr     netip.Addr
}

// String returns what the end is called.
func (e End) String() string { return cmp.Or(e.Workload, e.Addr.String()) }

// Verdict says whether a [Flow] is allowed, and why.
type Verdict struct {
	Allowed bool
	// Why is the reason where it is neither side's: a whole sentence.
	Why string
	// From and To are the ends with what is known of them.
	From, To End
	// Egress is what the source's policies say, Ingress what the destination's do.
	// Each is zero where Why says it all.
	Egress, Ingress Side
}

// Side is what the policies of one end say.
type Side struct {
	// Workload is the one whose policies these are; empty for an end outside.
	Workload string
	// Node is where they are enforced.
	Node    string
	Allowed bool
	// Isolated says that some policy selects the workload in this direction;
	// Policies are the keys of those that do, sorted.
	Isolated bool
	Policies []string
	// Policy is the key of the first that allows, and Rule the place, from 0, of
	// its rule; empty where none does or none needs to.
	Policy string
	Rule   int
	// Why is all of that in words.
	Why string
}

// About names the rule that allows, as the kernel's rule has it in [Rule.About].
func (s Side) About(ingress bool) string {
	if s.Policy == "" {
		return ""
	}
	return fmt.Sprintf("%s %s %d", s.Policy, direction(ingress), s.Rule)
}

func direction(ingress bool) string {
	if ingress {
		return "ingress"
	}
	return "egress"
}

// Explain says what the NetworkPolicies of a Snapshot, and the protection of the
// node's own protocols, make of a flow. It evaluates the API's words one by one
// and shares nothing with [Compiler].
func Explain(snap *caracal.Snapshot, f Flow) Verdict {
	j := newJudge(snap, []Flow{f})
	return j.judge(f)
}

// judge evaluates flows over one Snapshot.
type judge struct {
	snap *caracal.Snapshot
	// byAddr has the workloads of the addresses that are asked about.
	byAddr map[netip.Addr]string
	// own are addresses of Self beside those in the Snapshot.
	own map[netip.Addr]bool
	// policies are those of each namespace that was asked about, by key.
	policies map[string][]caracal.Policy
}

// newJudge looks up in one pass what the flows need of the Snapshot.
func newJudge(snap *caracal.Snapshot, flows []Flow) *judge {
	j := &judge{snap: snap, byAddr: map[netip.Addr]string{}, own: map[netip.Addr]bool{}, policies: map[string][]caracal.Policy{}}
	for _, f := range flows {
		for _, e := range []End{f.From, f.To} {
			if e.Addr.IsValid() {
				j.byAddr[e.Addr] = ""
			}
		}
	}
	if len(j.byAddr) > 0 {
		for key, w := range snap.Workloads.All() {
			if w.HostNetwork || w.Completed {
				continue
			}
			for _, a := range w.Addrs {
				if was, asked := j.byAddr[a]; asked && was == "" {
					j.byAddr[a] = key
				}
			}
		}
	}
	for _, p := range snap.Policies.All() {
		j.policies[p.Namespace] = append(j.policies[p.Namespace], p)
	}
	return j
}

// party is an end with what is known of it.
type party struct {
	End
	w    caracal.Workload
	pod  bool   // w is one that policies select
	node string // whose own address it is
	what string // in words, where it is not a pod
}

func (j *judge) party(e End) (party, string) {
	p := party{End: e}
	if e.Workload == "" {
		if key := j.byAddr[e.Addr]; key != "" {
			p.Workload = key
			p.w, p.pod = j.workload(key), true
			return p, ""
		}
		p.node = j.nodeOf(e.Addr)
		p.what = fmt.Sprintf("%s is no workload that this node knows of, so it counts as outside the cluster: only ipBlock can name it", e.Addr)
		if p.node != "" {
			p.what = fmt.Sprintf("%s is an address of node %s, which no policy selects", e.Addr, p.node)
		}
		return p, ""
	}
	w, ok := j.snap.Workloads.Get(e.Workload)
	if !ok {
		return p, fmt.Sprintf("%s is no workload that this node knows of; caracal show workloads lists them", e.Workload)
	}
	p.w = w
	switch {
	case w.HostNetwork:
		p.node = w.Node
		p.what = fmt.Sprintf("%s uses the network of node %s (hostNetwork), so no policy selects it", e.Workload, w.Node)
	case w.Completed:
		p.what = fmt.Sprintf("%s has completed, so no policy selects it, and its addresses may be another's", e.Workload)
	default:
		p.pod = true
	}
	return p, ""
}

func (j *judge) workload(key string) caracal.Workload {
	w, _ := j.snap.Workloads.Get(key)
	return w
}

// nodeOf returns the node that an address is one of the own addresses of.
func (j *judge) nodeOf(a netip.Addr) string {
	if j.own[a] {
		return j.snap.Self
	}
	for name, n := range j.snap.Nodes.All() {
		if a.IsValid() && (n.IPv4.Addr() == a || n.IPv6.Addr() == a || n.Tunnel == a) {
			return name
		}
	}
	return ""
}

// addresses are those that an end can have.
func (j *judge) addresses(p party) []netip.Addr {
	switch {
	case p.Addr.IsValid():
		return []netip.Addr{p.Addr}
	case len(p.w.Addrs) > 0 && !p.w.HostNetwork:
		return p.w.Addrs
	}
	n, _ := j.snap.Nodes.Get(p.node)
	var out []netip.Addr
	for _, a := range []netip.Addr{n.IPv4.Addr(), n.IPv6.Addr()} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// pair gives both ends addresses of one family, IPv4 if both have it.
func (j *judge) pair(from, to *party) bool {
	for _, v6 := range []bool{false, true} {
		of := func(a netip.Addr) bool { return a.Is6() == v6 }
		src, dst := j.addresses(*from), j.addresses(*to)
		s, d := slices.IndexFunc(src, of), slices.IndexFunc(dst, of)
		if s >= 0 && d >= 0 {
			from.Addr, to.Addr = src[s], dst[d]
			return true
		}
	}
	return false
}

func (j *judge) judge(f Flow) Verdict {
	from, unknown := j.party(f.From)
	to, unknownTo := j.party(f.To)
	if why := cmp.Or(unknown, unknownTo); why != "" {
		return Verdict{Why: why, From: f.From, To: f.To}
	}
	if !j.pair(&from, &to) {
		return Verdict{Why: fmt.Sprintf("%s and %s have no addresses of the same family, so there is no way between them", f.From, f.To), From: f.From, To: f.To}
	}
	v := Verdict{From: from.End, To: to.End}
	if allowed, why := j.exempt(f, from, to); why != "" {
		v.Allowed, v.Why = allowed, why
		return v
	}
	v.Egress = j.side(f, from, to, false)
	v.Ingress = j.side(f, to, from, true)
	v.Allowed = v.Egress.Allowed && v.Ingress.Allowed
	switch {
	case !from.pod && !to.pod:
		v.Why = "neither end is a workload that policies select: " + from.what + "; " + to.what
	case !v.Egress.Allowed:
		v.Why = v.Egress.Why
	case !v.Ingress.Allowed:
		v.Why = v.Ingress.Why
	}
	return v
}

// exempt decides what no policy is asked about; an empty why leaves it to them.
func (j *judge) exempt(f Flow, from, to party) (allowed bool, why string) {
	if from.pod && to.pod && from.Workload == to.Workload {
		return true, fmt.Sprintf("%s talks to itself, which no policy can forbid", from.Workload)
	}
	if from.pod {
		if why := j.protected(f, to); why != "" {
			return false, why
		}
	}
	switch {
	case from.node != "" && to.pod && from.node == to.w.Node:
		return true, fmt.Sprintf("%s is on node %s itself, and traffic between a node and its own workloads is always allowed", to.Workload, from.node)
	case to.node != "" && from.pod && to.node == from.w.Node:
		return true, fmt.Sprintf("%s is on node %s itself, and traffic between a node and its own workloads is always allowed", from.Workload, to.node)
	}
	return false, ""
}

// protected says which protocol of the nodes themselves a workload reaches for.
func (j *judge) protected(f Flow, to party) string {
	if f.Protocol == protoIPIP && to.node != "" {
		return fmt.Sprintf("IPIP (protocol 4) from workloads to node %s is dropped, whatever policies say: it would look like another node's tunnel", to.node)
	}
	if f.Protocol != protoTCP {
		return ""
	}
	if !j.isBGP(f.Port, to.node) {
		return ""
	}
	if to.node != "" {
		return fmt.Sprintf("port %d of node %s is BGP's, and workloads may not connect to it, whatever policies say", f.Port, to.node)
	}
	for _, p := range j.snap.Peers.All() {
		if p.Addr.IsValid() && p.Addr.Unmap().WithZone("") == to.Addr {
			return fmt.Sprintf("port %d of %s is that of BGPPeer %s, and workloads may not connect to it, whatever policies say", f.Port, to.Addr, p.Name)
		}
	}
	return ""
}

// isBGP reports whether BGP is spoken on a port: here that of this node alone,
// elsewhere that of any node, and IANA's.
func (j *judge) isBGP(port uint16, node string) bool {
	if node == j.snap.Self {
		n, _ := j.snap.SelfNode()
		return port == cmp.Or(n.Port, 179)
	}
	for _, n := range j.snap.Nodes.All() {
		if port == n.Port {
			return true
		}
	}
	return port == 179
}

// side evaluates the policies of one end against the other.
func (j *judge) side(f Flow, own, other party, ingress bool) Side {
	if !own.pod {
		return Side{Allowed: true, Why: own.what}
	}
	s := Side{Workload: own.Workload, Node: own.w.Node}
	var invalid []string
	for _, p := range j.policies[own.w.Namespace] {
		p = sound(p)
		if !p.Pods.Matches(own.w.Labels) || !isolates(p, ingress) {
			continue
		}
		s.Isolated = true
		s.Policies = append(s.Policies, p.Key())
		if p.Invalid != "" {
			invalid = append(invalid, fmt.Sprintf("%s was rejected and so allows nothing (%s)", p.Key(), p.Invalid))
			continue
		}
		if i := j.allows(f, p, own, other, ingress); i >= 0 && s.Policy == "" {
			s.Policy, s.Rule, s.Allowed = p.Key(), i, true
		}
	}
	slices.Sort(s.Policies)
	at := fmt.Sprintf("%s of %s", direction(ingress), own.Workload)
	switch {
	case !s.Isolated:
		s.Allowed = true
		s.Why = fmt.Sprintf("%s is not isolated: no policy selects it for %s", at, direction(ingress))
	case s.Allowed:
		s.Why = fmt.Sprintf("%s is isolated by %s; rule %d of %s allows this", at, strings.Join(s.Policies, ", "), s.Rule, s.Policy)
	default:
		s.Why = fmt.Sprintf("%s is isolated by %s, and no rule of theirs allows this", at, strings.Join(s.Policies, ", "))
	}
	if len(invalid) > 0 && !s.Allowed {
		s.Why += "; " + strings.Join(invalid, "; ")
	}
	if other.what != "" {
		s.Why += "; " + other.what
	}
	return s
}

// sound takes out of a policy's selector what is no condition that can be met or
// missed, so that it selects all that it may have been meant for, and allows nothing.
func sound(p caracal.Policy) caracal.Policy {
	known := []caracal.LabelOperator{caracal.LabelIn, caracal.LabelNotIn, caracal.LabelExists, caracal.LabelDoesNotExist}
	var rest []caracal.LabelRequirement
	for _, r := range p.Pods.Requirements {
		if slices.Contains(known, r.Op) {
			rest = append(rest, r)
		} else {
			p.Invalid = cmp.Or(p.Invalid, fmt.Sprintf("its podSelector has the operator %q, which there is not", r.Op))
		}
	}
	p.Pods.Requirements = rest
	p.Invalid = cmp.Or(p.Invalid, tooMuch(p))
	return p
}

// isolates reports whether a policy is of the direction. One that was rejected is
// of both: what it was meant to be is not known.
func isolates(p caracal.Policy, ingress bool) bool {
	return p.Invalid != "" || ingress && p.Ingress || !ingress && p.Egress
}

// allows returns the place of the first rule that allows a flow, or -1.
func (j *judge) allows(f Flow, p caracal.Policy, own, other party, ingress bool) int {
	rules, dest := p.EgressRules, other
	if ingress {
		rules, dest = p.IngressRules, own
	}
	return slices.IndexFunc(rules, func(r caracal.PolicyRule) bool {
		peer := len(r.Peers) == 0 || slices.ContainsFunc(r.Peers, func(pp caracal.PolicyPeer) bool { return j.isPeer(p, pp, other) })
		port := len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(pp caracal.PolicyPort) bool { return isPort(pp, f, dest) })
		return peer && port
	})
}

// isPeer reports whether the other end is one that a peer names.
func (j *judge) isPeer(p caracal.Policy, pp caracal.PolicyPeer, other party) bool {
	if pp.Net.IsValid() {
		in := func(n netip.Prefix) bool { return n.Contains(other.Addr) }
		return in(pp.Net) && !slices.ContainsFunc(pp.Except, in)
	}
	if !other.pod || pp.Pods == nil && pp.Namespaces == nil {
		return false
	}
	if pp.Namespaces == nil && other.w.Namespace != p.Namespace {
		return false
	}
	if pp.Namespaces != nil {
		ns, known := j.snap.Namespaces.Get(other.w.Namespace)
		if !known || !pp.Namespaces.Matches(ns.Labels) {
			return false
		}
	}
	return pp.Pods == nil || pp.Pods.Matches(other.w.Labels)
}

// isPort reports whether the flow goes to a port that a rule names. A name is one
// of the destination's own ports, so it names nothing of what is no workload.
func isPort(pp caracal.PolicyPort, f Flow, dest party) bool {
	if protocolNumber(pp.Protocol) != f.Protocol {
		return false
	}
	if pp.Name != "" {
		return dest.pod && slices.ContainsFunc(dest.w.Ports, func(p caracal.Port) bool {
			return p.Name == pp.Name && protocolNumber(p.Protocol) == f.Protocol && p.Port == f.Port
		})
	}
	if pp.Port == 0 && pp.EndPort == 0 {
		return true
	}
	return pp.Port <= f.Port && f.Port <= max(pp.Port, pp.EndPort)
}

// protocolNumber returns the number of a protocol that policies name; TCP is what
// the API takes for none.
func protocolNumber(name string) uint8 {
	switch name {
	case "UDP":
		return protoUDP
	case "SCTP":
		return protoSCTP
	case "TCP", "":
		return protoTCP
	}
	return 0
}
