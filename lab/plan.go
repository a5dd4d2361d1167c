package lab

import (
	"net/netip"
	"slices"
)

// What every pod sees at the other end of its link. 169.254.1.1 and fe80::1
// are Calico's choice; the hardware address is the same on all of them, so that
// a pod's permanent neighbor entry can be planned without reading it back.
var (
	podGateway4 = netip.MustParseAddr("169.254.1.1")
	podGateway6 = netip.MustParseAddr("fe80::1")
)

// hostMAC is a locally administered address; it spells "cara".
const hostMAC = "02:63:61:72:61:01"

// names gives the namespaces of one lab their names.
type names struct{ id string }

func (n names) node(name string) string { return "cl-" + n.id + "-" + name }
func (n names) pod(name string) string  { return "cl-" + n.id + "-pod-" + name }
func (n names) sw(name string) string   { return "cl-" + n.id + "-sw-" + name }

// all lists the namespaces of a whole topology.
func (n names) all(t Topology) []string {
	var out []string
	for _, s := range t.Switches {
		out = append(out, n.sw(s))
	}
	for _, node := range t.Nodes {
		out = append(out, n.ofNode(node)...)
	}
	return out
}

// ofNode lists the namespaces of a node and its pods.
func (n names) ofNode(spec NodeSpec) []string {
	out := []string{n.node(spec.Name)}
	for _, p := range spec.Pods {
		out = append(out, n.pod(p.Name))
	}
	return out
}

// plan lists the steps that build t, in order.
func plan(n names, t Topology) []step {
	var steps []step
	for _, s := range t.Switches {
		ns := n.sw(s)
		steps = append(steps, addNS{ns},
			// A switch has no addresses: it forwards frames and does not answer.
			sysctl{ns, "net/ipv6/conf/default/disable_ipv6", "1"},
			addBridge{ns, "br0"}, setUp{ns, "br0"})
	}
	for _, node := range t.Nodes {
		steps = append(steps, planNode(n, node)...)
	}
	return steps
}

// planNode lists the steps that add one node with its pods to the switches,
// which exist.
func planNode(n names, node NodeSpec) []step {
	ns := n.node(node.Name)
	steps := append(newHost(ns),
		sysctl{ns, "net/ipv4/ip_forward", "1"},
		sysctl{ns, "net/ipv6/conf/all/forwarding", "1"},
		// Only the FIB of the daemon decides where a packet goes: a reverse path
		// filter would hide an asymmetric route instead of showing it.
		sysctl{ns, "net/ipv4/conf/all/rp_filter", "0"},
		sysctl{ns, "net/ipv4/conf/default/rp_filter", "0"},
	)
	for _, l := range node.Links {
		steps = append(steps, planLink(n, node.Name, l)...)
	}
	for _, a := range node.Loopback {
		steps = append(steps, addAddr{ns, "lo", a})
	}
	for _, r := range node.Routes {
		steps = append(steps, addRoute{NS: ns, Dst: r.Dst, Via: r.Via})
	}
	for _, p := range node.Pods {
		steps = append(steps, planPod(n, node.Name, p)...)
	}
	return steps
}

// planLink lists the steps that join a node to a switch or to another node,
// which exists.
func planLink(n names, node string, l Link) []step {
	ns := n.node(node)
	far, port, bridge := n.sw(l.Switch), node+"-"+l.Name, "br0"
	if l.Peer != "" {
		far, port, bridge = n.node(l.Peer), l.PeerName, ""
	}
	steps := []step{addVeth{NS: far, Name: port, Master: bridge, PeerNS: ns, Peer: l.Name}}
	for _, a := range l.PeerAddrs {
		steps = append(steps, addAddr{far, port, a})
	}
	steps = append(steps, setUp{far, port})
	for _, a := range l.Addrs {
		steps = append(steps, addAddr{ns, l.Name, a})
	}
	return append(steps, setUp{ns, l.Name})
}

// planPod lists the steps that make one pod. There is none among them that
// gives the node a route to it.
func planPod(n names, node string, p PodSpec) []step {
	host, ns := n.node(node), n.pod(p.Name)
	dev := PodInterface(p.Name)
	steps := append(newHost(ns), addVeth{NS: host, Name: dev, MAC: hostMAC, PeerNS: ns, Peer: "eth0"},
		sysctl{host, "net/ipv4/conf/" + dev + "/proxy_arp", "1"},
		sysctl{host, "net/ipv6/conf/" + dev + "/proxy_ndp", "1"},
		sysctl{host, "net/ipv4/neigh/" + dev + "/proxy_delay", "0"},
		addAddr{host, dev, netip.PrefixFrom(podGateway6, 64)},
		setUp{host, dev}, setUp{ns, "eth0"})
	for _, a := range p.Addrs {
		steps = append(steps, addAddr{ns, "eth0", netip.PrefixFrom(a, a.BitLen())})
	}
	for _, gw := range []netip.Addr{podGateway4, podGateway6} {
		if !slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return a.Is6() == gw.Is6() }) {
			continue
		}
		// The permanent entry spares the first packet the wait for an answer: a
		// node without a route that covers 169.254.1.1 gives none.
		steps = append(steps, addNeigh{ns, "eth0", gw, hostMAC})
		if gw.Is4() {
			steps = append(steps, addRoute{NS: ns, Dst: netip.PrefixFrom(gw, 32), Dev: "eth0"})
		}
		steps = append(steps, addRoute{NS: ns, Dst: netip.PrefixFrom(unspecified(gw), 0), Via: gw, Dev: "eth0"})
	}
	return steps
}

// newHost lists the steps that every namespace with addresses begins with.
// Without duplicate address detection an address can be used at once.
func newHost(ns string) []step {
	return []step{
		addNS{ns},
		sysctl{ns, "net/ipv6/conf/all/accept_dad", "0"},
		sysctl{ns, "net/ipv6/conf/default/accept_dad", "0"},
		sysctl{ns, "net/ipv6/conf/default/accept_ra", "0"},
		setUp{ns, "lo"},
	}
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
