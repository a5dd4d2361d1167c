package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/lab"
)

// forgery is an announcement by node a that nobody may believe, and the one most
// like it that everybody must.
type forgery struct {
	name         string
	prefix, hop  string
	reason       string // part of what is shown
	legal, legit string // prefix and next hop
}

// The mesh of three; b owns 10.244.2.0/26 and fd00:244:0:2::/122. The pod
// "guest" runs on a with an address of b's block.
func forgeries() []forgery {
	const a4, b4, c4, a6 = "192.168.77.1", "192.168.77.2", "192.168.77.3", "fd00:77::1"
	return []forgery{
		{"default route", "0.0.0.0/0", a4, "default route", "10.244.1.0/26", a4},
		{"IPv6 default route", "::/0", a6, "default route", "fd00:244:0:1::/122", a6},
		{"a large part of the Internet", "8.0.0.0/5", a4, "wider than", "10.244.1.0/27", a4},
		{"the whole pool", "10.244.0.0/16", a4, "wider than", "10.244.1.32/27", a4},
		{"another node's block", "10.244.2.0/26", a4, "belongs to node b", "10.244.1.0/28", a4},
		{"another node's IPv6 block", "fd00:244:0:2::/122", a6, "belongs to node b", "fd00:244:0:1::/123", a6},
		{"more specific of another node's block", "10.244.2.0/27", a4, "belongs to node b", "10.244.1.64/27", a4},
		{"another node's pod", "10.244.2.2/32", a4, "belongs to node b", "10.244.1.2/32", a4},
		{"another node's IPv6 pod", "fd00:244:0:2::2/128", a6, "belongs to node b", "fd00:244:0:1::2/128", a6},
		{"an address that a pod here did not borrow", "10.244.2.61/32", a4, "belongs to node b", "10.244.2.60/32", a4},
		{"a block that nobody owns", "10.244.200.0/26", a4, "no node owns", "10.244.1.128/26", a4},
		{"a node's address", "192.168.77.3/32", a4, "in no IPPool", "10.244.1.3/32", a4},
		{"the nodes' network", "192.168.77.0/24", a4, "in no IPPool", "10.244.1.4/32", a4},
		{"a node's IPv6 address", "fd00:77::3/128", a6, "in no IPPool", "fd00:244:0:1::3/128", a6},
		{"a service range", "10.96.0.0/12", a4, "in no IPPool", "10.244.1.5/32", a4},
		{"a service's address", "10.96.0.1/32", a4, "in no IPPool", "10.244.1.6/32", a4},
		{"a public prefix", "198.51.100.0/24", a4, "in no IPPool", "10.244.1.7/32", a4},
		{"loopback", "127.0.0.0/8", a4, "not a range that pods can have", "10.244.1.8/32", a4},
		{"multicast", "224.0.0.0/4", a4, "not a range that pods can have", "10.244.1.9/32", a4},
		{"link-local", "169.254.1.1/32", a4, "not a range that pods can have", "10.244.1.10/32", a4},
		{"own prefix, next hop another node", "10.244.1.16/28", c4, "next hop " + c4 + " is node c", "10.244.1.48/28", a4},
		{"own prefix, next hop the receiver", "10.244.1.11/32", b4, "", "10.244.1.12/32", a4},
		{"own prefix, next hop nobody", "10.244.1.13/32", "192.168.77.200", "address of no node", "10.244.1.14/32", a4},
		{"own prefix, next hop a pod", "10.244.1.15/32", "10.244.1.2", "address of no node", "10.244.1.17/32", a4},
	}
}

// hijackLab is a mesh in which a, whose daemon is a forger, owns more blocks than
// one and has a pod with an address of b's.
func hijackLab(t *testing.T) *lab.Lab {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{PodsPerNode: 1})
	top.Nodes[0].Blocks = append(top.Nodes[0].Blocks, netip.MustParsePrefix("10.244.1.64/26"), netip.MustParsePrefix("10.244.1.128/26"))
	l := start(t, top)
	if err := l.WriteConfig("guest.yaml", workload("guest", "a", "caraguest", "10.244.2.60")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c"} {
		must(l.Node(name).StartCaracald())(t)
	}
	eventually(t, 20*time.Second, func() string { return notUp(t, l.Node("b"), "c") })
	return l
}

// TestHijackSuite forges from a speaker of our own, which can say anything.
func TestHijackSuite(t *testing.T) {
	t.Parallel()
	l := hijackLab(t)
	announceAll(t, map[string]*forger{"b": forge(t, l, "a", "b"), "c": forge(t, l, "a", "c")})
	checkForgeries(t, l, func(forgery) bool { return false })
}

func announceAll(t *testing.T, to map[string]*forger) {
	t.Helper()
	for _, f := range to {
		for _, c := range forgeries() {
			for _, p := range [][2]string{{c.prefix, c.hop}, {c.legal, c.legit}} {
				path := sender.Path{NextHop: netip.MustParseAddr(p[1]), LocalPref: 100}
				if err := f.Announce([]netip.Prefix{netip.MustParsePrefix(p[0])}, path); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.EndOfRIB(false)
		f.EndOfRIB(true)
	}
}

// checkForgeries looks at the nodes b and c: nothing forged is in the kernel, all
// of it but what is left out is shown and counted, and every legal twin is in.
func checkForgeries(t *testing.T, l *lab.Lab, leftOut func(forgery) bool) {
	t.Helper()
	for _, name := range []string{"b", "c"} {
		n := l.Node(name)
		eventually(t, 10*time.Second, func() string {
			routes := "\n" + strings.Join(own(t, n), "\n")
			for _, c := range forgeries() {
				if !strings.Contains(routes, "\n"+c.legal+" via "+c.legit+" ") {
					return name + ": the legal " + c.legal + " is not installed:" + routes
				}
			}
			return ""
		})
		refused := 0
		for _, c := range forgeries() {
			if !leftOut(c) {
				refused++
				checkForgery(t, n, c)
			}
		}
		eventually(t, 10*time.Second, func() string {
			if st := must(n.Status(t.Context()))(t); st.Counts.Refused < refused {
				return fmt.Sprintf("%s counts %d refused paths, want %d", name, st.Counts.Refused, refused)
			}
			return ""
		})
	}
}

func checkForgery(t *testing.T, n *lab.Node, c forgery) {
	t.Helper()
	var p lab.Path
	eventually(t, 10*time.Second, func() string { // its twin may be of an earlier UPDATE
		paths := must(n.Paths(t.Context(), c.prefix, "all"))(t)
		i := slices.IndexFunc(paths, func(p lab.Path) bool { return p.Neighbor == "mesh/a" && p.Prefix == c.prefix })
		if i < 0 {
			return fmt.Sprintf("%s: %s: %s is not shown", n.Name, c.name, c.prefix)
		}
		p = paths[i]
		return ""
	})
	for _, r := range own(t, n) {
		if strings.HasPrefix(r, c.prefix+" ") && !strings.HasPrefix(r, "unreachable ") && !strings.Contains(r, " via 192.168.77.2 ") && !strings.Contains(r, " via fd00:77::2 ") && !strings.Contains(r, "dev cara") {
			t.Errorf("%s: %s: in the kernel: %s", n.Name, c.name, r)
		}
	}
	want := c.reason
	if strings.Contains(want, "belongs to node "+n.Name) {
		want = "belongs to this node"
	}
	if strings.HasSuffix(want, " is node "+n.Name) {
		want = "is this node"
	}
	if !p.Refused || p.Installed || p.Why == "" || !strings.Contains(p.Why, want) {
		t.Errorf("%s: %s: shown as %+v, want refused for %q", n.Name, c.name, p, want)
	}
}

// TestRightAndForged has the right path and a forged one of the same prefix at
// once, the forged one better, equal and worse, first and last: the right one is
// installed, all the time.
func TestRightAndForged(t *testing.T) {
	t.Parallel()
	l := hijackLab(t)
	c := l.Node("c")
	f := forge(t, l, "a", "c")
	block := l.Node("b").Block(lab.IPv4)
	right := fmt.Sprintf("%s via %s dev eth0 proto %d metric 427", block, l.Node("b").Addr(lab.IPv4), lab.Proto)
	eventually(t, 20*time.Second, func() string { // that b has the session does not say that c is done
		if !slices.Contains(own(t, c), right) {
			return "c has no route to b's block:\n" + lines(own(t, c))
		}
		return ""
	})
	changes := watchRoutes(t, l)
	for _, pref := range []uint32{4294967295, 500, 100, 50, 1} {
		for _, asPath := range [][]uint32{nil, {65001, 65002, 65003}} {
			path := sender.Path{NextHop: l.Node("a").Addr(lab.IPv4), LocalPref: pref, ASPath: asPath}
			if err := f.Announce([]netip.Prefix{block}, path); err != nil {
				t.Fatal(err)
			}
			eventually(t, 5*time.Second, func() string {
				for _, p := range must(c.Paths(t.Context(), block.String(), "all"))(t) {
					if p.Neighbor == "mesh/a" && p.Refused {
						return ""
					}
				}
				return "the forged path is not shown as refused"
			})
			if !slices.Contains(own(t, c), right) {
				t.Errorf("local preference %d, AS path %v: the right route is not installed:\n%s", pref, asPath, lines(own(t, c)))
			}
			if err := f.Withdraw([]netip.Prefix{block}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, line := range changes() {
		if strings.HasPrefix(line, "c: ") && strings.Contains(line, block.String()) {
			t.Errorf("the route changed: %s", line)
		}
	}
}

// TestHijackSuiteBIRD forges from BIRD, with a filter that lies about next hops.
func TestHijackSuiteBIRD(t *testing.T) {
	t.Parallel()
	l := hijackLab(t)
	must(l.Node("a").StartBIRD(forgeBIRD(l)))(t)
	checkForgeries(t, l, func(c forgery) bool {
		// BIRD sends nobody a route by way of himself.
		return birdRefuses(c.prefix) || c.hop == l.Node("b").Addr(lab.IPv4).String() || c.hop == l.Node("c").Addr(lab.IPv4).String()
	})
}

// birdRefuses reports whether BIRD takes no static route of that prefix.
func birdRefuses(prefix string) bool {
	return slices.Contains([]string{"127.0.0.0/8", "224.0.0.0/4"}, prefix)
}

// forgeBIRD is a configuration with which BIRD on node a announces all that
// forgeries has.
func forgeBIRD(l *lab.Lab) string {
	a := l.Node("a")
	asn := l.Topology().ASN()
	static := map[lab.Family]*strings.Builder{lab.IPv4: {}, lab.IPv6: {}}
	var hops strings.Builder
	for _, c := range forgeries() {
		for _, p := range [][2]string{{c.prefix, c.hop}, {c.legal, c.legit}} {
			if birdRefuses(p[0]) {
				continue
			}
			f := lab.IPv4
			if strings.Contains(p[0], ":") {
				f = lab.IPv6
			}
			fmt.Fprintf(static[f], "\troute %s blackhole;\n", p[0])
			fmt.Fprintf(&hops, "\tif net = %s then bgp_next_hop = %s;\n", p[0], p[1])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "log stderr all;\nrouter id %s;\nprotocol device {}\n", a.Addr(lab.IPv4))
	fmt.Fprintf(&b, "filter lie {\n%s\taccept;\n}\n", &hops)
	for _, f := range lab.Families() {
		fmt.Fprintf(&b, "protocol static forged%d {\n\t%s;\n%s}\n", f, strings.ToLower(f.String()), static[f])
	}
	for _, other := range []string{"b", "c"} {
		fmt.Fprintf(&b, "protocol bgp mesh_%s {\n\tlocal %s as %d;\n\tneighbor %s as %d;\n\tconnect delay time 1; connect retry time 1;\n"+
			"\tipv4 { import all; export filter lie; next hop keep; };\n\tipv6 { import all; export filter lie; next hop keep; };\n}\n",
			other, a.Addr(lab.IPv4), asn, l.Node(other).Addr(lab.IPv4), asn)
	}
	return b.String()
}
