package felix_test

import (
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// verdicts says of each packet whether the node must drop it: the API's words,
// evaluated one by one over the Snapshot.
func verdicts(in felix.Input, packets []packet) []bool {
	out := make([]bool, len(packets))
	for i, p := range packets {
		out[i] = mustDrop(in, p)
	}
	return out
}

func mustDrop(in felix.Input, p packet) bool {
	s := in.Snapshot
	from, fromPod := localOf(s, p.in)
	to, toPod := localOf(s, p.out)
	if fromPod && (from == nil || !slices.Contains(from.Addrs, p.src)) {
		return true // unknown, or not its own address
	}
	if fromPod && toPod && to != nil && slices.Contains(to.Addrs, p.src) {
		return false // to itself
	}
	if fromPod {
		if protected(in, p) || !side(s, *from, p, p.dst, false) {
			return true
		}
	}
	if toPod {
		// What is sent to an interface with another address than its pod's is dropped.
		return to == nil || !slices.Contains(to.Addrs, p.dst) && !toFamily(s, to, p) || !side(s, *to, p, p.src, true)
	}
	return false
}

// toFamily allows for packets to addresses that a pod routes for: an isolated pod's
// rules are for its interface, in the families that it has addresses of.
func toFamily(s *caracal.Snapshot, w *caracal.Workload, p packet) bool {
	return isolated(s, *w, true) && slices.ContainsFunc(w.Addrs, func(a netip.Addr) bool { return a.Is4() == p.dst.Is4() })
}

// localOf returns the workload behind an interface; nil if there is none, or two;
// false if the interface is no workload's.
func localOf(s *caracal.Snapshot, iface string) (w *caracal.Workload, isPod bool) {
	isPod = strings.HasPrefix(iface, "car")
	n := 0
	for _, x := range s.Workloads.All() {
		if x.Node == s.Self && x.Interface == iface && takes(x) && !strings.Contains(iface, " ") {
			w, isPod = &x, true
			n++
		}
	}
	if n != 1 {
		w = nil
	}
	return w, isPod
}

func takes(w caracal.Workload) bool { return !w.HostNetwork && !w.Completed }

func protected(in felix.Input, p packet) bool {
	node, port := false, p.port == 179
	for _, n := range in.Snapshot.Nodes.All() {
		node = node || n.IPv4.Addr() == p.dst || n.IPv6.Addr() == p.dst
		port = port || n.Port == p.port
	}
	return node && p.proto == 4 || p.proto == 6 && port && (node || slices.Contains(in.Neighbors, p.dst))
}

func isolates(p caracal.Policy, w caracal.Workload, ingress bool) bool {
	if p.Namespace != w.Namespace {
		return false
	}
	for _, r := range p.Pods.Requirements {
		if r.Op != "Like" && !r.Matches(w.Labels) {
			return false
		}
	}
	return refused(p) || ingress && p.Ingress || !ingress && p.Egress
}

func refused(p caracal.Policy) bool {
	return p.Invalid != "" || slices.ContainsFunc(p.Pods.Requirements, func(r caracal.LabelRequirement) bool { return r.Op == "Like" })
}

func isolated(s *caracal.Snapshot, w caracal.Workload, ingress bool) bool {
	for _, p := range s.Policies.All() {
		if isolates(p, w, ingress) {
			return true
		}
	}
	return false
}

// side says whether the policies of one workload allow a packet.
func side(s *caracal.Snapshot, w caracal.Workload, p packet, other netip.Addr, ingress bool) bool {
	if !isolated(s, w, ingress) {
		return true
	}
	for _, pol := range s.Policies.All() {
		if !isolates(pol, w, ingress) || refused(pol) {
			continue
		}
		rules := pol.EgressRules
		if ingress {
			rules = pol.IngressRules
		}
		for _, r := range rules {
			// One workload, or one range, must be the peer and have the port.
			for _, dest := range dests(s, r, pol, other, ingress) {
				if len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(pp caracal.PolicyPort) bool { return isPort(s, pp, p, dest) }) {
					return true
				}
			}
		}
	}
	return false
}

// dests returns what a rule's ports have to be the ports of, for each way in which
// the other end is one of its peers; nothing if it is none.
func dests(s *caracal.Snapshot, r caracal.PolicyRule, pol caracal.Policy, other netip.Addr, ingress bool) []portsOf {
	var out []portsOf
	add := func(w *caracal.Workload) {
		switch {
		case ingress:
			out = append(out, portsOf{here: true})
		case w != nil:
			out = append(out, portsOf{workload: w})
		default:
			out = append(out, portsOf{any: true})
		}
	}
	if len(r.Peers) == 0 {
		add(nil)
	}
	for _, pp := range r.Peers {
		if pp.Net.IsValid() {
			in := func(n netip.Prefix) bool { return n.Contains(other) }
			if in(pp.Net) && !slices.ContainsFunc(pp.Except, in) {
				add(nil)
			}
			continue
		}
		if pp.Pods == nil && pp.Namespaces == nil {
			continue
		}
		for _, w := range s.Workloads.All() {
			if !takes(w) || !slices.Contains(w.Addrs, other) {
				continue
			}
			ns, known := s.Namespaces.Get(w.Namespace)
			if pp.Namespaces == nil && w.Namespace != pol.Namespace || pp.Namespaces != nil && (!known || !pp.Namespaces.Matches(ns.Labels)) {
				continue
			}
			if pp.Pods == nil || pp.Pods.Matches(w.Labels) {
				add(&w)
			}
		}
	}
	return out
}

// portsOf says whose named ports count: those of the workloads of this node, of
// those of all known namespaces, or of one.
type portsOf struct {
	here, any bool
	workload  *caracal.Workload
}

func isPort(s *caracal.Snapshot, pp caracal.PolicyPort, p packet, dest portsOf) bool {
	number := map[string]int{"TCP": 6, "UDP": 17, "SCTP": 132}
	if number[pp.Protocol] != p.proto {
		return false
	}
	if pp.Name == "" {
		return pp.Port == 0 && pp.EndPort == 0 || pp.Port <= p.port && p.port <= max(pp.Port, pp.EndPort)
	}
	has := func(w caracal.Workload) bool {
		return slices.Contains(w.Addrs, p.dst) && slices.Contains(w.Ports, caracal.Port{Name: pp.Name, Protocol: pp.Protocol, Port: p.port})
	}
	if dest.workload != nil {
		return has(*dest.workload)
	}
	for _, w := range s.Workloads.All() {
		_, known := s.Namespaces.Get(w.Namespace)
		local := w.Node == s.Self && w.Interface != "" && !strings.Contains(w.Interface, " ")
		if takes(w) && has(w) && (dest.any && known || dest.here && local) {
			return true
		}
	}
	return false
}
