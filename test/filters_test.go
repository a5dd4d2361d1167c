package test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// filterTop is node a with a pod, and a router t beside it, which is a switch in
// AS 65001 or a reflector in a's own AS.
func filterTop() lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 1, PodsPerNode: 1})
	top.Nodes = append(top.Nodes, routerNode("t", 201, top.Nodes[0].Links[0].Switch))
	return top
}

func routerNode(name string, host byte, on string) lab.NodeSpec {
	return lab.NodeSpec{Name: name, Router: true, Links: []lab.Link{{Name: "eth0", Switch: on, Addrs: []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 77, host}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x77, 15: host}), 64),
	}}}}
}

// announced is what t announces, of each family.
type announced [2][]string

// leaks is everything that must not come in unasked, and a prefix of nobody.
func leaks() announced {
	return announced{
		{"0.0.0.0/0", "10.244.0.0/16", "10.244.1.0/26", "10.244.1.2/32", "10.244.9.0/26", "10.0.0.0/8", "192.168.77.1/32", "192.168.77.0/24",
			"192.168.77.128/25", "203.0.113.0/24"},
		{"::/0", "fd00:244::/48", "fd00:244:0:1::/122", "fd00:244:0:1::2/128", "fd00:244:0:9::/122", "fd00:77::1/128", "fd00:77::/64", "2001:db8:1::/48"},
	}
}

// birdPeer is BIRD's configuration on t: one session with node a, on which it
// announces the prefixes.
func birdPeer(asn int, what announced) string {
	var b strings.Builder
	b.WriteString("log stderr all;\nrouter id 192.168.77.201;\nprotocol device {}\n")
	for i, v := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, "protocol static %ss { %s;\n", v, v)
		for _, p := range what[i] {
			fmt.Fprintf(&b, "\troute %s blackhole;\n", p)
		}
		b.WriteString("}\n")
	}
	fmt.Fprintf(&b, "protocol bgp a { local 192.168.77.201 as %d; neighbor 192.168.77.1 as 64512; connect delay time 1; connect retry time 2; graceful restart on;\n"+
		"\tipv4 { import all; export where proto = \"ipv4s\"; next hop self; };\n"+
		"\tipv6 { import all; export where proto = \"ipv6s\"; next hop address fd00:77::c9; };\n}\n", asn)
	return b.String()
}

// frrPeer is FRR's.
func frrPeer(asn int, what announced) lab.FRRConfig {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.168.77.201\n no bgp ebgp-requires-policy\n no bgp network import-check\n"+
		" neighbor 192.168.77.1 remote-as 64512\n neighbor 192.168.77.1 timers connect 1\n neighbor 192.168.77.1 advertisement-interval 0\n", asn)
	for i, v := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n", v)
		for _, p := range what[i] {
			fmt.Fprintf(&b, "  network %s\n", p)
		}
		b.WriteString("  neighbor 192.168.77.1 activate\n  neighbor 192.168.77.1 soft-reconfiguration inbound\n")
		if i == 1 {
			b.WriteString("  neighbor 192.168.77.1 route-map six out\n")
		}
		b.WriteString(" exit-address-family\n")
	}
	b.WriteString("route-map six permit 10\n set ipv6 next-hop global fd00:77::c9\n")
	return lab.FRRConfig{BGP: b.String()}
}

// filterPeer is a story with t running a daemon.
type filterPeer struct {
	t      *testing.T
	l      *lab.Lab
	a, r   *lab.Node
	daemon string
	asn    int
}

func startFilterPeer(t *testing.T, daemon string, asn int, what announced) *filterPeer {
	l := start(t, filterTop())
	p := &filterPeer{t: t, l: l, a: l.Node("a"), r: l.Node("t"), daemon: daemon, asn: asn}
	p.peer("")
	if daemon == "BIRD" {
		must(p.r.StartBIRD(birdPeer(asn, what)))(t)
	} else if err := p.r.StartFRR(frrPeer(asn, what)); err != nil {
		t.Fatal(err)
	}
	must(p.a.StartCaracald())(t)
	eventually(t, 30*time.Second, func() string {
		list, err := p.a.Neighbors(t.Context())
		if err != nil || len(list) != 1 || list[0].State != "Established" || len(list[0].EndOfRIB) != 2 {
			return fmt.Sprintf("%v %+v", err, list)
		}
		return ""
	})
	return p
}

// peer writes the BGPPeer with more lines of its spec.
func (p *filterPeer) peer(more string) {
	p.t.Helper()
	write(p.t, p.l, "peer.yaml", "BGPPeer", "t", fmt.Sprintf("{node: a, peerIP: 192.168.77.201, asNumber: %d%s}", p.asn, more))
}

func (p *filterPeer) filter(spec string) {
	p.t.Helper()
	write(p.t, p.l, "filter.yaml", "BGPFilter", "f", spec)
}

// installed waits until what node a has from t in its kernel is exactly this.
func (p *filterPeer) installed(want ...string) {
	p.t.Helper()
	eventually(p.t, 15*time.Second, func() string {
		var got []string
		for _, r := range must(p.a.OwnRoutes())(p.t) {
			if text := r.String(); strings.Contains(text, "192.168.77.201") || strings.Contains(text, "fd00:77::c9") {
				got = append(got, strings.Fields(text)[0])
			}
		}
		return same(got, want)
	})
}

// refused waits until node a says so of a path, with these words.
func (p *filterPeer) refused(prefix, why string) {
	p.t.Helper()
	eventually(p.t, 10*time.Second, func() string {
		paths := must(p.a.Paths(p.t.Context(), prefix, "all"))(p.t)
		i := slices.IndexFunc(paths, func(r lab.Path) bool { return strings.HasPrefix(r.Neighbor, "peer/t@") })
		if i < 0 || !paths[i].Refused || !strings.Contains(paths[i].Why, why) {
			return fmt.Sprintf("%s: %+v, want refused: %s", prefix, paths, why)
		}
		return ""
	})
}

var spaces = regexp.MustCompile(`\s+`)

// heard waits until t has a route, and says of it what each of the expressions
// matches; with none until it has it no more.
func (p *filterPeer) heard(prefix string, want ...string) {
	p.t.Helper()
	eventually(p.t, 15*time.Second, func() string {
		text := spaces.ReplaceAllString(p.ask(prefix), " ")
		has := strings.Contains(text, "BGP.as_path") || strings.Contains(text, "Origin IGP")
		if has != (len(want) > 0) {
			return fmt.Sprintf("%s is heard: %v: %s", prefix, has, text)
		}
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(text) {
				return fmt.Sprintf("%s: no %s in %s", prefix, w, text)
			}
		}
		return ""
	})
}

func (p *filterPeer) ask(prefix string) string {
	if p.daemon == "BIRD" {
		out, _ := p.r.BIRDC(p.t.Context(), "show", "route", "all", "protocol", "a", "where", "net", "=", prefix)
		return out
	}
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	out, _ := p.r.VTYSH(p.t.Context(), fmt.Sprintf("show bgp %s unicast %s", family, prefix))
	return out
}

// never reset says that the session has been the same from the beginning.
func (p *filterPeer) neverReset() {
	p.t.Helper()
	for _, nb := range must(p.a.Neighbors(p.t.Context()))(p.t) {
		if nb.State != "Established" || nb.Flaps != 0 {
			p.t.Errorf("the session was reset: %+v", nb)
		}
	}
}

// TestNothingComesInUnasked: a switch announces the default route, pods' and
// nodes' prefixes and others. Without a word about it nothing is taken, and each
// word lets in what it says and no more.
func TestNothingComesInUnasked(t *testing.T) {
	t.Parallel()
	p := startFilterPeer(t, "BIRD", torASN, leaks())
	p.refused("203.0.113.0/24", "no import filter and no acceptRanges of BGPPeer t let it in (RFC 8212)")
	p.refused("0.0.0.0/0", "only with acceptDefaultRoute in BGPPeer t")
	p.refused("10.244.9.0/26", "only with acceptPools")
	p.refused("10.244.1.0/26", "belongs to this node")
	p.installed()
	p.heard("10.244.1.0/26", "BGP.as_path: 64512", "BGP.next_hop: 192.168.77.1") // only what is ours goes out
	p.heard("fd00:244:0:1::/122", "BGP.next_hop: fd00:77::1")

	p.peer(`, acceptDefaultRoute: true`)
	p.installed("0.0.0.0/0", "::/0")
	p.peer(`, acceptPools: true`)
	p.installed("10.244.0.0/16", "10.244.9.0/26", "fd00:244::/48", "fd00:244:0:9::/122")
	p.peer(`, acceptRanges: [0.0.0.0/0, "::/0"]`)
	p.installed("10.0.0.0/8", "203.0.113.0/24", "2001:db8:1::/48")
	p.refused("192.168.77.0/24", "a network that this node is on")
	p.refused("192.168.77.1/32", "a network that this node is on")
	p.peer(`, acceptRanges: [192.168.77.128/25]`)
	p.installed("192.168.77.128/25")
	p.peer(``)
	p.installed()
	p.neverReset()
}

// TestFilters: what comes in and what goes out is what filters say, at once and
// without a reset, with attributes as a real switch and a real reflector see them.
func TestFilters(t *testing.T) {
	for _, c := range []struct {
		daemon string
		asn    int
	}{{"BIRD", torASN}, {"FRR", torASN}, {"BIRD", 64512}, {"FRR", 64512}} {
		t.Run(fmt.Sprintf("%s-%d", c.daemon, c.asn), func(t *testing.T) {
			t.Parallel()
			p := startFilterPeer(t, c.daemon, c.asn, announced{{"203.0.113.0/24", "203.0.112.0/24", "198.51.100.0/24"}, {"2001:db8:1::/48", "2001:db8:2::/48"}})
			p.imports()
			p.exports()
			p.neverReset()
		})
	}
}

func (p *filterPeer) imports() {
	p.installed()
	p.filter(`{importV4: [{action: Reject, cidr: 203.0.113.0/24, matchOperator: Equal}, {action: Accept, cidr: 203.0.112.0/23, matchOperator: In}],
	  importV6: [{action: Accept, prefixLength: {min: 48, max: 48}, cidr: "2001:db8::/32", matchOperator: In,
	    operations: [{setLocalPreference: {value: 250}}, {addCommunity: {value: "64512:99"}}, {addCommunity: {value: "64512:1:2"}}]}]}`)
	p.peer(`, filters: [f], acceptRanges: [198.51.100.0/24]`)
	p.installed("203.0.112.0/24", "198.51.100.0/24", "2001:db8:1::/48", "2001:db8:2::/48")
	p.refused("203.0.113.0/24", "rejected by rule 1 of importV4 of BGPFilter f")
	// Tightened: what it lets in no more is gone at once.
	p.filter(`{importV4: [{action: Reject}], importV6: [{action: Reject, cidr: "2001:db8:2::/48", matchOperator: Equal}, {action: Accept}]}`)
	p.installed("2001:db8:1::/48")
	p.peer(`, filters: [gone]`)
	p.installed()
	p.peer(`, acceptRanges: [203.0.113.0/24]`)
	p.installed("203.0.113.0/24")
}

func (p *filterPeer) exports() {
	words := map[string][]string{
		"BIRD": {`BGP.community: .*\(64512,99\)`, `BGP.large_community: .*\(64512, 1, 2\)`, `BGP.med: 77`},
		"FRR":  {`Community: 64512:99`, `Large Community: 64512:1:2`, `metric 77`},
	}[p.daemon]
	prepend, pref, path := `{prependASPath: {prefix: [64512, 64512]}}`, "", map[string]string{"BIRD": `BGP.as_path: 64512 64512 64512 BGP`, "FRR": `, best [^!]* 64512 64512 64512 192`}[p.daemon]
	if p.asn == 64512 {
		prepend, pref = `{setLocalPreference: {value: 42}}`, map[string]string{"BIRD": `BGP.local_pref: 42`, "FRR": `localpref 42`}[p.daemon]
		path = "."
	}
	if p.daemon == "FRR" && p.asn != 64512 {
		path = `64512 64512 64512`
	}
	p.heard("10.244.1.0/26", ".")
	rules := fmt.Sprintf(`[{action: Accept, operations: [{addCommunity: {value: "64512:99"}}, {addCommunity: {value: "64512:1:2"}}, {setMED: {value: 77}}, %s]}]`, prepend)
	p.filter(fmt.Sprintf(`{exportV4: %s, exportV6: %s}`, rules, rules))
	p.peer(`, filters: [f]`)
	words = append(words, pref, path)
	p.heard("10.244.1.0/26", words...)
	p.heard("fd00:244:0:1::/122", words...)
	p.filter(fmt.Sprintf(`{exportV4: [{action: Reject, cidr: 10.244.1.0/26, matchOperator: In}], exportV6: %s}`, rules))
	p.heard("10.244.1.0/26")
	p.heard("fd00:244:0:1::/122", words...)
	p.filter(`{exportV6: [{action: Reject, cidr: "fd00::/8", matchOperator: NotIn}, {action: Reject, prefixLength: {min: 100}}]}`)
	p.heard("10.244.1.0/26", ".")
	p.heard("fd00:244:0:1::/122")
	p.peer(``)
	p.heard("fd00:244:0:1::/122", ".")
}
