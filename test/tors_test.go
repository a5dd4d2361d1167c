package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// tors says what the two switches t1 and t2 of [twoTors] are like.
type tors struct {
	// peer is what the nodes' BGPPeers say beside the address and the AS number,
	// as lines of YAML.
	peer string
	// bfd has the switches watch the nodes: "on", or in BIRD "graceful".
	bfd string
	// daemon is "BIRD" or "FRR".
	daemon string
	// node, if it is "BIRD", has that on node a instead of caracald.
	node string
}

const torASN = 65001

// torAddr and nodeAddr are the two ends of the cable between a switch and a
// node: 192.168.TOR.NODE, in a network for each switch and node.
func torAddr(tor, node int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(10*tor + node), 254}), 24)
}

func nodeAddr(tor, node int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(10*tor + node), 1}), 24)
}

// twoTors is two nodes with one pod each, and two switches between them, each
// with a cable to each node: what a node does not reach by one it reaches by the
// other.
func twoTors(o tors) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1, NoIPv6: true})
	nodes := top.Nodes
	top.Name, top.Switches = "tors", nil
	top.BGP = lab.BGPSettings{NoMesh: true, HoldTime: 90 * time.Second, RestartTime: 60 * time.Second}
	top.Nodes = []lab.NodeSpec{{Name: "t1", Router: true}, {Name: "t2", Router: true}}
	for n := range nodes {
		node := &nodes[n]
		node.Links = nil
		node.Sessions = 2
		for i := range 2 {
			tor := i + 1
			node.Links = append(node.Links, lab.Link{
				Name: fmt.Sprintf("eth%d", i), Addrs: []netip.Prefix{nodeAddr(tor, n)},
				Peer: fmt.Sprintf("t%d", tor), PeerName: "to-" + node.Name, PeerAddrs: []netip.Prefix{torAddr(tor, n)},
			})
			top.Objects = append(top.Objects, fmt.Sprintf(
				"apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: t%d-%s}\nspec:\n  node: %s\n  peerIP: %s\n  asNumber: %d\n"+
					"  sourceAddress: %s\n  numAllowedLocalASNumbers: 1\n  acceptPools: true\n%s",
				tor, node.Name, node.Name, torAddr(tor, n).Addr(), torASN, nodeAddr(tor, n).Addr(), o.peer))
		}
		top.Nodes = append(top.Nodes, *node)
	}
	return top
}

// birdTor is BIRD's configuration for a switch.
func birdTor(tor int, bfd string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr all;\nrouter id 192.0.2.%d;\nprotocol device { scan time 2; }\nprotocol direct { ipv4; }\n"+
		"protocol kernel { ipv4 { export where source = RTS_BGP; }; graceful restart on; }\n", tor)
	if bfd != "" {
		b.WriteString("protocol bfd { interface \"*\" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }\n")
	}
	for node, name := range []string{"a", "b"} {
		fmt.Fprintf(&b, "protocol bgp %s {\n\tlocal %s as %d;\n\tneighbor %s as 64512;\n\tconnect retry time 2; connect delay time 1; error wait time 1,2; hold time 90;\n\tgraceful restart on;\n",
			name, torAddr(tor, node).Addr(), torASN, nodeAddr(tor, node).Addr())
		if bfd != "" {
			fmt.Fprintf(&b, "\tbfd %s;\n", bfd)
		}
		b.WriteString("\tipv4 { import all; export where source = RTS_BGP; };\n}\n")
	}
	return b.String()
}

// frrTor is FRR's.
func frrTor(tor int, bfd string) lab.FRRConfig {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.0.2.%d\n no bgp ebgp-requires-policy\n bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n", torASN, tor)
	conf := lab.FRRConfig{}
	for node := range 2 {
		addr := nodeAddr(tor, node).Addr()
		fmt.Fprintf(&b, " neighbor %s remote-as 64512\n neighbor %s timers 30 90\n neighbor %s timers connect 2\n neighbor %s advertisement-interval 0\n", addr, addr, addr, addr)
		if bfd != "" {
			fmt.Fprintf(&b, " neighbor %s bfd\n neighbor %s bfd profile lab\n", addr, addr)
		}
	}
	conf.BGP = b.String()
	if bfd != "" {
		conf.BFD = "bfd\n profile lab\n  detect-multiplier 3\n  transmit-interval 100\n  receive-interval 100\n exit\nexit\n"
	}
	return conf
}

// birdNode is BIRD's configuration in the place of caracald on node a.
func birdNode(top lab.Topology, bfd string) string {
	a, _ := top.Node("a")
	var b strings.Builder
	b.WriteString("log stderr all;\nrouter id 192.0.2.101;\nprotocol device { scan time 2; }\nprotocol direct { ipv4; }\n" +
		"protocol kernel { merge paths on; ipv4 { export where source = RTS_BGP || (source = RTS_STATIC && dest = RTD_UNICAST); }; }\n")
	if bfd != "" {
		b.WriteString("protocol bfd { interface \"*\" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }\n")
	}
	b.WriteString("protocol static pods { ipv4;\n")
	for _, p := range a.Pods {
		fmt.Fprintf(&b, "\troute %s/32 via \"%s\";\n", p.Addr(lab.IPv4), lab.PodInterface(p.Name))
	}
	fmt.Fprintf(&b, "}\nprotocol static owned { ipv4; route %s blackhole; }\n", a.Block(lab.IPv4))
	for tor := 1; tor <= 2; tor++ {
		fmt.Fprintf(&b, "protocol bgp t%d {\n\tlocal %s as 64512;\n\tneighbor %s as %d;\n\tallow local as 1; connect retry time 2; connect delay time 1; error wait time 1,2; hold time 90;\n\tgraceful restart on;\n",
			tor, nodeAddr(tor, 0).Addr(), torAddr(tor, 0).Addr(), torASN)
		if bfd != "" {
			fmt.Fprintf(&b, "\tbfd %s;\n", bfd)
		}
		b.WriteString("\tipv4 { import all; export where proto = \"owned\"; };\n}\n")
	}
	return b.String()
}

// startTors builds twoTors and waits until pods reach each other, by each of the
// two switches.
func startTors(t *testing.T, o tors) *lab.Lab {
	t.Helper()
	top := twoTors(o)
	l := start(t, top)
	for tor := 1; tor <= 2; tor++ {
		startTor(t, l, o, tor)
	}
	for _, n := range []string{"a", "b"} {
		if n == "a" && o.node == "BIRD" {
			must(l.Node(n).StartBIRD(birdNode(top, o.bfd)))(t)
			continue
		}
		must(l.Node(n).StartCaracald())(t)
	}
	twoWays(t, l)
	return l
}

func startTor(t *testing.T, l *lab.Lab, o tors, tor int) {
	t.Helper()
	n := l.Node(fmt.Sprintf("t%d", tor))
	if o.daemon != "FRR" {
		must(n.StartBIRD(birdTor(tor, o.bfd)))(t)
	} else if err := n.StartFRR(frrTor(tor, o.bfd)); err != nil {
		t.Fatal(err)
	}
}

// twoWays waits until both nodes have multipath routes to each other's pods,
// and each switch a route to both.
func twoWays(t *testing.T, l *lab.Lab) {
	t.Helper()
	eventually(t, 30*time.Second, func() string {
		for n, far := range map[string]string{"a": "10.244.2.0/26", "b": "10.244.1.0/26"} {
			if out := run(t, l.Node(n), "ip", "route", "show", far); strings.Count(out, "nexthop") != 2 {
				return n + " has not two ways: " + out
			}
			for _, tor := range []string{"t1", "t2"} {
				if out := run(t, l.Node(tor), "ip", "route", "show", far); out == "" {
					return tor + " has no way to " + far
				}
			}
		}
		return ""
	})
	if _, err := l.WaitPing(t.Context(), lab.IPv4); err != nil {
		t.Fatal(err)
	}
}

// neighbor returns what a node says of the session with a switch.
func neighborOf(t *testing.T, n *lab.Node, tor int) lab.Neighbor {
	t.Helper()
	prefix := fmt.Sprintf("peer/t%d-%s@", tor, n.Name)
	for _, nb := range must(n.Neighbors(t.Context()))(t) {
		if strings.HasPrefix(nb.Name, prefix) {
			return nb
		}
	}
	t.Fatalf("node %s has no session %s", n.Name, prefix)
	return lab.Neighbor{}
}
