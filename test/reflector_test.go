package test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// gatewayAddr is where the gateway of the stories about foreign reflectors is.
const gatewayAddr = "192.168.77.100"

// object is a document of the configuration.
func object(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: %s\nmetadata: {name: %q}\nspec: %s\n", kind, name, spec)
}

// allReached waits until the routes of the nodes named are those that the
// topology says, and their pods reach each other.
func allReached(t *testing.T, l *lab.Lab, nodes ...string) {
	t.Helper()
	var pods []string
	for _, name := range nodes {
		n := l.Node(name)
		if p := n.Process("caracald"); p != nil {
			eventually(t, 20*time.Second, func() string {
				if diff := same(own(t, n), wantRoutes(l, n)); diff != "" {
					return name + ":\n" + diff
				}
				return ""
			})
		}
		for _, p := range n.Pods {
			pods = append(pods, p.Name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	for _, f := range lab.Families() {
		if _, err := l.WaitPing(ctx, f, pods...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTwoClusters has a reflector for two clients, another of another cluster
// for two others, and one session between the two reflectors: every pod reaches
// every other, and what came from the other side shows both clusters.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	top := lab.Mesh(lab.MeshOptions{Nodes: 6, PodsPerNode: 1})
	for i := range top.Nodes {
		n := &top.Nodes[i]
		half := 1 + i/3
		n.Labels, n.Sessions = map[string]string{"half": fmt.Sprint(half)}, 1
		if i%3 == 2 { // c and f
			n.Labels["reflects"] = fmt.Sprint(half)
			n.Cluster, n.Sessions = netip.AddrFrom4([4]byte{10, 255, 0, byte(half)}), 3
		}
	}
	top.Objects = []string{
		object("BGPPeer", "one", "{nodeSelector: half == '1' && !has(reflects), peerSelector: reflects == '1'}"),
		object("BGPPeer", "two", "{nodeSelector: half == '2' && !has(reflects), peerSelector: reflects == '2'}"),
		object("BGPPeer", "between", "{nodeSelector: has(reflects), peerSelector: has(reflects)}"),
	}
	l := start(t, top)
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	sessionsUp(t, l)
	allReached(t, l, "a", "b", "c", "d", "e", "f")
	out := must(l.Node("a").CLI(t.Context(), "show", "route", l.Node("d").Block(lab.IPv4).String(), "all"))(t)
	if !strings.Contains(out, "10.255.0.1 10.255.0.2") || !strings.Contains(out, l.Node("d").Addr(lab.IPv4).String()) {
		t.Errorf("a's path to d's block does not show both clusters, or d as the originator:\n%s", out)
	}
}

// TestReflectorDies kills one of two reflectors while packets flow between two
// clients, for longer than the time that its routes are kept, and starts it
// again.
func TestReflectorDies(t *testing.T) {
	t.Parallel()
	top := lab.Reflector(lab.MeshOptions{PodsPerNode: 1})
	top.BGP.RestartTime = 3 * time.Second
	l := start(t, top)
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	sessionsUp(t, l)
	allReached(t, l, "a", "b", "c", "d")
	c, d := l.Node("c"), l.Node("d")
	paths := func(n *lab.Node, prefix netip.Prefix, want int) {
		t.Helper()
		eventually(t, 20*time.Second, func() string {
			if paths := must(n.Paths(t.Context(), prefix.String(), "all"))(t); len(paths) != want {
				return fmt.Sprintf("%s has %d paths to %s, not %d", n.Name, len(paths), prefix, want)
			}
			return ""
		})
	}
	for _, f := range lab.Families() { // by each of the two
		paths(c, d.Block(f), 2)
		paths(d, c.Block(f), 2)
	}
	stop := flows(t, l, "c1", "d1")
	if err := l.Node("b").Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	paths(c, d.Block(lab.IPv4), 1)
	must(l.Node("b").Restart(syscall.SIGKILL))(t)
	sessionsUp(t, l)
	allReached(t, l, "a", "b", "c", "d")
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost between clients while a reflector died and came back: %s", r)
	}
}

// gateway is a foreign router that reflects to nodes.
type gateway struct {
	name  string
	start func(t *testing.T, r *lab.Node, clients []*lab.Node, addPath bool)
}

func gateways() []gateway {
	return []gateway{
		{"BIRD", func(t *testing.T, r *lab.Node, clients []*lab.Node, addPath bool) {
			var b strings.Builder
			b.WriteString("log stderr all;\nrouter id 192.0.2.100;\nprotocol device {}\nprotocol direct { ipv4; ipv6; }\n")
			more := ""
			if addPath {
				more = "add paths tx; "
			}
			for _, c := range clients {
				fmt.Fprintf(&b, "protocol bgp %s { local %s as 64512; neighbor %s as 64512; rr client; rr cluster id 10.255.0.9; graceful restart on;\n"+
					"\tipv4 { import all; export all; %s}; ipv6 { import all; export all; %s}; }\n", c.Name, gatewayAddr, c.Addr(lab.IPv4), more, more)
			}
			must(r.StartBIRD(b.String()))(t)
		}},
		{"FRR", func(t *testing.T, r *lab.Node, clients []*lab.Node, addPath bool) {
			var b strings.Builder
			b.WriteString("router bgp 64512\n bgp router-id 192.0.2.100\n bgp cluster-id 10.255.0.9\n no bgp default ipv4-unicast\n bgp graceful-restart\n")
			for _, c := range clients {
				fmt.Fprintf(&b, " neighbor %s remote-as 64512\n neighbor %[1]s timers connect 2\n", c.Addr(lab.IPv4))
			}
			for _, f := range lab.Families() {
				fmt.Fprintf(&b, " address-family %s unicast\n", strings.ToLower(f.String()))
				for _, c := range clients {
					fmt.Fprintf(&b, "  neighbor %s activate\n  neighbor %[1]s route-reflector-client\n", c.Addr(lab.IPv4))
					if addPath {
						fmt.Fprintf(&b, "  neighbor %s addpath-tx-all-paths\n", c.Addr(lab.IPv4))
					}
				}
				b.WriteString(" exit-address-family\n")
			}
			if err := r.StartFRR(lab.FRRConfig{BGP: b.String()}); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// TestForeignReflector has a gateway reflect between two nodes of ours and BIRD
// on a third, which forges the routes of another. What it forges is refused by
// its next hop; with add-path even a forged path that the gateway prefers does
// not hide the right one.
func TestForeignReflector(t *testing.T) {
	for _, g := range gateways() {
		for _, addPath := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/addPath=%v", g.name, addPath), func(t *testing.T) {
				t.Parallel()
				foreignReflector(t, g, addPath)
			})
		}
	}
}

func foreignReflector(t *testing.T, g gateway, addPath bool) {
	top := lab.Mesh(lab.MeshOptions{PodsPerNode: 1})
	top.BGP.NoMesh = true
	top.Nodes = append(top.Nodes, lab.NodeSpec{Name: "gw", Router: true, Links: []lab.Link{{Name: "eth0", Switch: top.Switches[0],
		Addrs: []netip.Prefix{netip.MustParsePrefix(gatewayAddr + "/24"), netip.MustParsePrefix("fd00:77::100/64")}}}})
	top.Objects = []string{object("BGPPeer", "gw", fmt.Sprintf("{peerIP: %s, asNumber: internal, addPath: {receive: %v}}", gatewayAddr, addPath))}
	for i := range top.Nodes {
		top.Nodes[i].Sessions = 1
	}
	l := start(t, top)
	a, b, c, gw := l.Node("a"), l.Node("b"), l.Node("c"), l.Node("gw")
	g.start(t, gw, []*lab.Node{a, b, c}, addPath)
	for _, n := range []*lab.Node{a, b} {
		must(n.StartCaracald())(t)
	}
	more := netip.PrefixFrom(b.Block(lab.IPv4).Addr(), 27)
	forged := []netip.Prefix{more}
	if addPath {
		forged = append(forged, b.Blocks...)
	}
	must(c.StartBIRD(lab.MeshBIRD(lab.Topology{Nodes: []lab.NodeSpec{c.NodeSpec, asNode(gw)}}, "c", forged...)))(t)
	if addPath {
		allReached(t, l, "a", "b") // to itself c has forged what it has not
	} else {
		allReached(t, l, "a", "b", "c")
	}
	eventually(t, 10*time.Second, func() string {
		for _, p := range forged {
			found := ""
			for _, path := range must(a.Paths(t.Context(), p.String(), "all"))(t) {
				found += fmt.Sprintf("%+v\n", path)
				if path.Refused && strings.Contains(path.Why, "belongs to node b") && path.Prefix == p.String() {
					found = "refused"
					break
				}
			}
			if found != "refused" {
				return fmt.Sprintf("%s is not shown as refused:\n%s", p, found)
			}
		}
		return ""
	})
	if diff := same(own(t, a), wantRoutes(l, a)); diff != "" {
		t.Errorf("with the forged routes:\n%s", diff)
	}
}

// TestForeignClients has one node of ours reflect to another, to BIRD and to
// FRR: the pods of all four reach each other.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	top := lab.Mesh(lab.MeshOptions{Nodes: 4, PodsPerNode: 1})
	top.Nodes[0].Cluster, top.Nodes[0].Labels = netip.MustParseAddr("10.255.0.1"), map[string]string{"reflects": "yes"}
	top.Nodes[0].Sessions, top.Nodes[1].Sessions = 3, 1
	top.Objects = []string{object("BGPPeer", "rr", "{peerSelector: has(reflects)}")}
	l := start(t, top)
	a, c, d := l.Node("a"), l.Node("c"), l.Node("d")
	must(a.StartCaracald())(t)
	must(l.Node("b").StartCaracald())(t)
	must(c.StartBIRD(lab.MeshBIRD(lab.Topology{Nodes: []lab.NodeSpec{a.NodeSpec, c.NodeSpec}}, "c")))(t)
	if err := d.StartFRR(lab.MeshFRR(lab.Topology{Nodes: []lab.NodeSpec{a.NodeSpec, d.NodeSpec}}, "d")); err != nil {
		t.Fatal(err)
	}
	allReached(t, l, "a", "b", "c", "d")
	stop := flows(t, l, "b1", "c1")
	must(a.Restart(syscall.SIGKILL))(t)
	sessionsUp(t, l)
	time.Sleep(2 * time.Second)
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost between a client of ours and BIRD while their reflector was killed and started: %s", r)
	}
	allReached(t, l, "a", "b", "c", "d")
}

// asNode is a router as one that others have sessions with.
func asNode(r *lab.Node) lab.NodeSpec {
	spec := r.NodeSpec
	spec.Router = false
	return spec
}
