package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// RackOptions are the sizes of [Racks]. The zero value is two nodes in each of
// the two racks, with two pods each.
type RackOptions struct {
	NodesPerRack, PodsPerNode int
	// NoBFD leaves BFD out of the nodes' configuration. The switches have it among
	// themselves all the same.
	NoBFD bool
}

const (
	rackCount = 2
	torCount  = 2 // in each rack
	// maxRack is how many nodes a rack may have: FRR has a session with each.
	maxRack = 40
	// spineASN is the AS number of the spine; a rack's is that and its number.
	spineASN = 65100
	// rackBFD is the interval of BFD in milliseconds, rackMultiplier how many
	// packets may be missing.
	rackBFD        = 100
	rackMultiplier = 3
)

// Racks returns two racks with two top-of-rack switches each, an AS for each
// rack, and a spine between them. Every node has a cable to each switch of its
// rack, without an address of its own: the sessions are unnumbered, and IPv4
// goes by IPv6 next hops (RFC 8950). The switches and the spine are routers, for
// FRR with [RackFRR].
func Racks(o RackOptions) Topology {
	if o.NodesPerRack == 0 {
		o.NodesPerRack = 2
	}
	mesh := Mesh(MeshOptions{Nodes: rackCount * o.NodesPerRack, PodsPerNode: o.PodsPerNode})
	t := Topology{Name: "racks", Pools: mesh.Pools, BGP: BGPSettings{NoMesh: true, HoldTime: 9 * time.Second}, Objects: rackPeers(o.NoBFD)}
	t.Nodes = append(t.Nodes, NodeSpec{Name: "spine", Router: true, ASN: spineASN, Loopback: []netip.Prefix{loopback4(0)}})
	for rack := range rackCount {
		for tor := range torCount {
			name := torName(rack, tor)
			t.Nodes = append(t.Nodes, NodeSpec{Name: name, Router: true, ASN: rackASN(rack),
				Loopback: []netip.Prefix{loopback4(1 + torCount*rack + tor)},
				Links:    []Link{{Name: "uplink", Peer: "spine", PeerName: name}}})
		}
	}
	for i, n := range mesh.Nodes {
		rack := i / o.NodesPerRack
		n.Links = nil
		for tor := range torCount {
			n.Links = append(n.Links, Link{Name: fmt.Sprintf("eth%d", tor), Peer: torName(rack, tor), PeerName: "to-" + n.Name})
		}
		n.Loopback = []netip.Prefix{loopback4(101 + i), loopback6(101 + i)}
		n.Labels = map[string]string{"rack": fmt.Sprintf("r%d", rack+1), "tor-asn": fmt.Sprint(rackASN(rack))}
		n.Sessions = torCount
		t.Nodes = append(t.Nodes, n)
	}
	return t
}

func torName(rack, tor int) string { return fmt.Sprintf("tor%d%d", rack+1, tor+1) }
func rackASN(rack int) uint32      { return uint32(spineASN + rack + 1) }

func loopback4(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 255, 0, byte(i)}), 32)
}

func loopback6(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x55, 15: byte(i)}), 128)
}

// rackPeers are the BGPPeers of all nodes in all racks: one for each cable. The
// nodes have one AS number everywhere, which is therefore in the paths of the
// others (numAllowedLocalASNumbers), and a switch's follows from the node's
// label.
func rackPeers(noBFD bool) []string {
	var out []string
	for tor := range torCount {
		spec := fmt.Sprintf("  interface: eth%d\n  asNumberFromLabel: tor-asn\n  numAllowedLocalASNumbers: 1\n  acceptPools: true\n", tor)
		if !noBFD {
			spec += fmt.Sprintf("  bfd: {transmitInterval: %dms, receiveInterval: %dms, multiplier: %d}\n", rackBFD, rackBFD, rackMultiplier)
		}
		out = append(out, peerDocument(fmt.Sprintf("tor%d", tor+1), spec))
	}
	return out
}

// RackFRR returns FRR's configuration for a router of [Racks]: an unnumbered
// external session on each of its cables. It helps neighbors that restart, as
// FRR does unasked, and does not restart gracefully itself: it would ask its
// neighbors to keep the routes by a switch that BFD finds dead.
func RackFRR(t Topology, router string) FRRConfig {
	self, _ := t.Node(router)
	ports := t.ports(router)
	var zebra, bgp strings.Builder
	for _, p := range ports {
		// FRR learns the neighbor's address from its router advertisements, and the
		// neighbor FRR's.
		fmt.Fprintf(&zebra, "interface %s\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval msec 1000\nexit\n", p)
	}
	fmt.Fprintf(&bgp, "router bgp %d\n bgp router-id %s\n no bgp default ipv4-unicast\n no bgp ebgp-requires-policy\n"+
		" bgp bestpath as-path multipath-relax\n"+
		" neighbor lab peer-group\n neighbor lab remote-as external\n neighbor lab timers 3 9\n neighbor lab timers connect 1\n"+
		" neighbor lab advertisement-interval 0\n neighbor lab bfd\n neighbor lab bfd profile lab\n neighbor lab capability extended-nexthop\n",
		self.ASN, self.Addr(IPv4))
	for _, p := range ports {
		fmt.Fprintf(&bgp, " neighbor %s interface peer-group lab\n", p)
	}
	for _, f := range Families() {
		fmt.Fprintf(&bgp, " address-family %s unicast\n  neighbor lab activate\n  maximum-paths 4\n exit-address-family\n", strings.ToLower(f.String()))
	}
	bfd := fmt.Sprintf("bfd\n profile lab\n  detect-multiplier %d\n  transmit-interval %d\n  receive-interval %d\n exit\nexit\n", rackMultiplier, rackBFD, rackBFD)
	return FRRConfig{Zebra: zebra.String(), BGP: bgp.String(), BFD: bfd}
}

// ports are the interfaces of a node that lead to other nodes directly, in order.
func (t Topology) ports(name string) []string {
	var out []string
	for _, n := range t.Nodes {
		for _, l := range n.Links {
			switch {
			case l.Peer == name:
				out = append(out, l.PeerName)
			case l.Peer != "" && n.Name == name:
				out = append(out, l.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Routers returns the routers in the order of the topology.
func (l *Lab) Routers() []*Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*Node
	for _, n := range l.st.Topology.Nodes {
		if n.Router {
			out = append(out, l.nodes[n.Name])
		}
	}
	return out
}

// StartRouters starts FRR on every router of [Racks].
func (l *Lab) StartRouters() error {
	t := l.Topology()
	for _, n := range l.Routers() {
		if n.ASN == 0 {
			continue
		}
		if err := n.StartFRR(RackFRR(t, n.Name)); err != nil {
			return err
		}
	}
	return nil
}
