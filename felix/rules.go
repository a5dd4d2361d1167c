package felix

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"caracal.dev/caracal"
)

// plainNets is how many ranges without exceptions a rule of a policy may have before
// they become a set.
const plainNets = 4

// multiportSlots is what one multiport match holds; a range takes two
// (XT_MULTI_PORTS, xt_multiport.h).
const multiportSlots = 15

// aboutLength bounds Rule.About: a comment has 256 bytes with its zero, and what
// else is in ours needs some (XT_MAX_COMMENT_LEN, xt_comment.h).
const aboutLength = 180

// bound is a direction, as one workload sees it.
type bound uint8

const (
	inbound  bound = iota // ingress
	outbound              // egress
)

var (
	families = [...]Family{IPv4, IPv6}
	bounds   = [...]bound{inbound, outbound}
)

// match and flag are how a rule looks at the address and the interface of the other
// end and of the own one.
func (b bound) match() string { return [...]string{"src", "dst"}[b] }
func (b bound) flag() string  { return [...]string{"-s", "-d"}[b] }
func (b bound) iface() string { return [...]string{"-o", "-i"}[b] }

// RuleAbout returns the [Rule.About] of the rules for one rule of a policy's spec:
// its key, the direction and the rule's place, from 0.
func RuleAbout(policy string, ingress bool, place int) string {
	return cleanAbout(policy, fmt.Sprintf(" %s %d", direction(ingress), place))
}

// cleanAbout joins a name and what is said of it to what may stand in a comment.
// The name is shortened if need be, to its beginning and a hash of it.
func cleanAbout(name, rest string) string {
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune("\"'\\`$", r) {
			return '_'
		}
		return r
	}, name)
	if over := len(clean) + len(rest) - aboutLength; over > 0 {
		clean = clean[:len(clean)-over-17] + "~" + hash(name)
	}
	return clean + rest
}

// hash returns 80 bits of the SHA-256 of the parts in 16 letters and digits. Nobody
// finds a second name for a given hash, and who makes two of his own collide harms
// himself.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:10]))
}

// hashName returns the name of a chain or set: 8 bytes, kind, "-" and a hash of what
// it means.
func hashName(kind string, meaning ...string) string {
	return Prefix + kind + "-" + hash(append([]string{kind}, meaning...)...)
}

// selectorKey returns a text that two selectors share only if they are equal.
func selectorKey(s caracal.LabelSelector) string {
	var b strings.Builder
	for _, r := range s.Requirements {
		fmt.Fprintf(&b, "%q %s %q;", r.Key, r.Op, r.Values)
	}
	return b.String()
}

// selectorText returns a selector as kubectl has it.
func selectorText(s caracal.LabelSelector) string {
	var out []string
	for _, r := range s.Requirements {
		values := strings.Join(r.Values, ",")
		switch {
		case r.Op == caracal.LabelIn && len(r.Values) == 1:
			out = append(out, r.Key+"="+values)
		case r.Op == caracal.LabelIn:
			out = append(out, r.Key+" in ("+values+")")
		case r.Op == caracal.LabelNotIn:
			out = append(out, r.Key+" notin ("+values+")")
		case r.Op == caracal.LabelExists:
			out = append(out, r.Key)
		case r.Op == caracal.LabelDoesNotExist:
			out = append(out, "!"+r.Key)
		default:
			out = append(out, r.Key+" "+string(r.Op)+" "+values)
		}
	}
	return strings.Join(out, ",")
}

func protocolName(proto uint8) string {
	switch proto {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoSCTP:
		return "sctp"
	}
	return ""
}

// rendering is the rules of one policy, direction and family as they are made.
type rendering struct {
	c      *Compiler
	space  *namespace
	family Family
	bound  bound
	target string
	about  string // of the rule at hand
	rules  []Rule
	sets   []*liveSet
}

// render returns the chain of a policy for a direction and family, and the sets
// that it refers to, with one more reference each.
func (c *Compiler) render(p *policy, f Family, b bound) ([]Rule, []*liveSet) {
	r := &rendering{c: c, space: p.space, family: f, bound: b, target: "-j ACCEPT"}
	spec := p.spec.IngressRules
	if b == outbound {
		spec, r.target = p.spec.EgressRules, "-g "+chainTo
	}
	if p.spec.Invalid != "" {
		return nil, nil
	}
	for i, rule := range spec {
		r.about = RuleAbout(p.key, b == inbound, i)
		r.rule(rule)
	}
	return r.rules, r.sets
}

// rule adds the product of a rule's peers and ports.
func (r *rendering) rule(rule caracal.PolicyRule) {
	ports := groupPorts(rule.Ports)
	if len(rule.Ports) == 0 {
		ports = portGroups{numbers: []string{""}}
	}
	peers := r.peers(rule.Peers)
	if len(ports.numbers) > 0 || r.bound == inbound && len(ports.names) > 0 {
		for _, from := range r.addresses(peers, len(rule.Peers) == 0) {
			for _, to := range ports.numbers {
				r.add(to, from)
			}
			for _, n := range ports.names {
				if r.bound == inbound {
					r.add(n.match(), from, r.setMatch(r.c.peerSet(r.family, r.c.here, n.name, n.proto), "dst,dst"))
				}
			}
		}
	}
	if r.bound == outbound {
		r.namedOut(ports.names, peers, len(rule.Peers) == 0)
	}
}

// namedOut adds the rules for named ports of egress: they are those of the pods that
// the peers select, or, within ranges of addresses and for everybody, of any pod.
func (r *rendering) namedOut(names []namedPort, peers rulePeers, everybody bool) {
	for _, n := range names {
		for _, p := range r.shown(peers.pods) {
			r.add(n.match(), r.setMatch(r.c.peerSet(r.family, p, n.name, n.proto), "dst,dst"))
		}
		for _, to := range r.addresses(rulePeers{nets: peers.nets, split: peers.split}, everybody) {
			any := r.c.peerSet(r.family, r.c.peerFor(nil, nil), n.name, n.proto)
			r.add(n.match(), to, r.setMatch(any, "dst,dst"))
		}
	}
}

func (r *rendering) add(matches ...string) {
	var b strings.Builder
	for _, m := range append(matches, r.target) {
		if m != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(m)
		}
	}
	r.rules = append(r.rules, Rule{Spec: b.String(), About: r.about})
}

func (r *rendering) setMatch(s *liveSet, flags string) string {
	r.sets = append(r.sets, s)
	return matchSet(s.Name, flags)
}

func matchSet(name, flags string) string { return "-m set --match-set " + name + " " + flags }

// rulePeers are the peers of one rule that are of the family.
type rulePeers struct {
	pods []*caracal.PolicyPeer
	nets []netip.Prefix
	// split says that nets are what exceptions left.
	split bool
}

// peers sorts out the peers of a rule. One that is neither workloads nor a range,
// or that is both, is nobody.
func (r *rendering) peers(peers []caracal.PolicyPeer) rulePeers {
	var out rulePeers
	for i := range peers {
		pp := &peers[i]
		workloads := pp.Pods != nil || pp.Namespaces != nil
		switch {
		case workloads == (pp.Net != netip.Prefix{}):
		case workloads:
			out.pods = append(out.pods, pp)
		case !pp.Net.IsValid() || familyOf(pp.Net.Addr()) != r.family || slices.ContainsFunc(pp.Except, func(e netip.Prefix) bool { return !e.IsValid() }):
		default:
			out.nets = append(out.nets, subtract(pp.Net, pp.Except)...)
			out.split = out.split || len(pp.Except) > 0
		}
	}
	out.nets = union(out.nets)
	return out
}

// shown returns the workloads that some peers select, each pair of selectors once,
// for sets to be made of them: one without a set would never be dropped.
func (r *rendering) shown(pods []*caracal.PolicyPeer) []*peer {
	var out []*peer
	for _, pp := range pods {
		if p := r.c.peerFor(r.space, pp); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// addresses returns one match of the other end's address for each alternative; the
// empty one matches all.
func (r *rendering) addresses(peers rulePeers, everybody bool) []string {
	if everybody || slices.ContainsFunc(peers.nets, caracal.IsDefault) {
		return []string{""}
	}
	var out []string
	for _, p := range r.shown(peers.pods) {
		out = append(out, r.setMatch(r.c.peerSet(r.family, p, "", 0), r.bound.match()))
	}
	if len(peers.nets) > plainNets || peers.split && len(peers.nets) > 1 {
		return append(out, r.setMatch(r.c.netSet(r.family, peers.nets), r.bound.match()))
	}
	for _, n := range peers.nets {
		out = append(out, r.bound.flag()+" "+n.String())
	}
	return out
}

// portGroups are the ports of one rule: matches of numbers, and names.
type portGroups struct {
	numbers []string
	names   []namedPort
}

type namedPort struct {
	name  string
	proto uint8
}

func (n namedPort) match() string { return "-p " + protocolName(n.proto) }

// groupPorts puts ports of one protocol together. One that makes no sense is left
// out: a rule with only such ports allows nothing.
func groupPorts(ports []caracal.PolicyPort) portGroups {
	var g portGroups
	for _, proto := range []uint8{protoTCP, protoUDP, protoSCTP} {
		var ranges [][2]int
		var names []namedPort
		known := map[string]bool{}
		all := false
		for _, p := range ports {
			switch end := max(p.Port, p.EndPort); {
			case protocolNumber(p.Protocol) != proto:
			case p.Name != "":
				if !known[p.Name] {
					known[p.Name] = true
					names = append(names, namedPort{p.Name, proto})
				}
			case p.Port == 0 && p.EndPort == 0:
				all = true
			case p.Port == 0 || p.EndPort != 0 && p.EndPort < p.Port:
			default:
				ranges = append(ranges, [2]int{int(p.Port), int(end)})
			}
		}
		match := "-p " + protocolName(proto)
		if all {
			g.numbers = append(g.numbers, match)
			continue
		}
		for _, m := range portMatches(ranges) {
			g.numbers = append(g.numbers, match+" "+m)
		}
		g.names = append(g.names, names...)
	}
	return g
}

// portMatches returns the matches for ranges of ports, as few as possible.
func portMatches(ranges [][2]int) []string {
	slices.SortFunc(ranges, func(a, b [2]int) int { return a[0] - b[0] })
	var merged [][2]int
	for _, r := range ranges {
		if n := len(merged); n > 0 && r[0] <= merged[n-1][1]+1 {
			merged[n-1][1] = max(merged[n-1][1], r[1])
			continue
		}
		merged = append(merged, r)
	}
	var out, list []string
	flush := func() {
		switch {
		case len(list) == 1:
			out = append(out, "--dport "+list[0])
		case len(list) > 1:
			out = append(out, "-m multiport --dports "+strings.Join(list, ","))
		}
		list = nil
	}
	used := 0
	for _, r := range merged {
		text, slots := strconv.Itoa(r[0]), 1
		if r[1] > r[0] {
			text, slots = text+":"+strconv.Itoa(r[1]), 2
		}
		if used+slots > multiportSlots {
			flush()
			used = 0
		}
		list = append(list, text)
		used += slots
	}
	flush()
	return out
}
