package rib

import (
	"net/netip"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

const (
	torName = "peer/tor@198.51.100.1"
	gwName  = "peer/gw@198.51.100.2"
)

// gateways is a world with a switch in another AS and a foreign reflector beside
// the mesh neighbor b.
func gateways(t *testing.T, peers map[string]caracal.Peer, filters ...caracal.Filter) *world {
	s := cluster()
	a, _ := s.Nodes.Get("a")
	a.RouterID = ip("192.0.2.1")
	s.Nodes = s.Nodes.Put("a", a)
	w := &world{t: t, o: owners(s), snap: s, routes: map[netip.Prefix]string{}}
	w.m = NewMirror(w.o)
	w.policy(peers, filters...)
	w.m.SetNeighbors(64512, []bgp.Neighbor{
		{Name: "mesh/b", Node: "b", ASN: 64512, IPv4: true, IPv6: true, Addr: ip("192.0.2.2")},
		{Name: torName, ASN: 65001, IPv4: true, IPv6: true, External: true, Peer: "tor", Addr: ip("198.51.100.1"), Local: ip("198.51.100.9")},
		{Name: gwName, ASN: 64512, IPv4: true, IPv6: true, Peer: "gw", Reflector: true, Addr: ip("198.51.100.2"), Local: ip("198.51.100.9")},
	})
	for _, n := range []string{"mesh/b", torName, gwName} {
		w.up(n)
	}
	return w
}

func (w *world) policy(peers map[string]caracal.Peer, filters ...caracal.Filter) {
	next := *w.snap
	next.Peers, next.Filters = caracal.NewTable[string, caracal.Peer](), caracal.NewTable[string, caracal.Filter]()
	for _, key := range []string{"tor", "gw"} {
		p := peers[key]
		p.Name = key
		next.Peers = next.Peers.Put(key, p)
	}
	for _, f := range filters {
		next.Filters = next.Filters.Put(f.Name, f)
	}
	w.snap = &next
	w.m.SetPolicy(PolicyOf(&next, []netip.Prefix{pfx("198.51.100.0/24"), pfx("2001:db8:9::/64")}))
	w.decide()
}

func (w *world) verdict(neighbor, nlri string, attrs caracal.Attrs) (Code, string) {
	v := w.m.Verdict(neighbor, pfx(nlri), &attrs)
	return v.Code, v.Explain(pfx(nlri), attrs.NextHop)
}

func TestImports(t *testing.T) {
	reject := caracal.Rule{CIDR: pfx("203.0.113.0/24"), Match: caracal.MatchIn}
	accept := caracal.Rule{CIDR: pfx("203.0.0.0/16"), Match: caracal.MatchIn, Accept: true}
	anything := caracal.Rule{Accept: true}
	f := caracal.Filter{Name: "f", Import4: []caracal.Rule{reject, accept}}
	open := caracal.Filter{Name: "open", Import4: []caracal.Rule{anything}, Import6: []caracal.Rule{anything}}
	named := caracal.Filter{Name: "named", Import4: []caracal.Rule{{CIDR: pfx("198.51.100.64/26"), Match: caracal.MatchIn, Accept: true}}}
	filtered := caracal.Peer{Filters: []string{"f"}}
	opened := caracal.Peer{Filters: []string{"open"}}
	for _, c := range []struct {
		peer caracal.Peer
		from string
		nlri string
		want Code
		says string
	}{
		// A switch without a word about it.
		{caracal.Peer{}, torName, "203.0.1.0/24", RefusedExternal, "no import filter and no acceptRanges of BGPPeer tor let it in"},
		{caracal.Peer{}, torName, "0.0.0.0/0", RefusedDefault, "acceptDefaultRoute in BGPPeer tor"},
		{caracal.Peer{}, torName, "10.1.2.0/26", RefusedPools, "in IPPool v4"},
		{caracal.Peer{}, torName, "10.1.1.0/26", RefusedLocal, ""},
		{caracal.Peer{}, torName, "224.0.0.0/4", RefusedRange, ""},
		// Filters.
		{filtered, torName, "203.0.1.0/24", Accepted, ""},
		{filtered, torName, "203.0.113.0/25", RefusedFilter, "rejected by rule 1 of importV4 of BGPFilter f"},
		{filtered, torName, "204.0.0.0/24", RefusedExternal, ""},
		{caracal.Peer{Filters: []string{"f", "gone"}}, torName, "203.0.1.0/24", RefusedFilter, "BGPFilter gone, which is not there"},
		// A filter that accepts everything does not speak of these.
		{opened, torName, "204.0.0.0/24", Accepted, ""},
		{opened, torName, "0.0.0.0/0", RefusedDefault, ""},
		{opened, torName, "10.1.2.0/26", RefusedPools, ""},
		{opened, torName, "10.0.0.0/8", Accepted, ""},
		{opened, torName, "198.51.100.0/24", RefusedConnected, "is in 198.51.100.0/24, a network that this node is on"},
		{opened, torName, "198.51.100.7/32", RefusedConnected, ""},
		{opened, torName, "192.0.2.1/32", RefusedConnected, "is this node itself"},
		{opened, torName, "127.0.0.0/8", RefusedRange, ""},
		{opened, torName, "240.0.0.0/8", RefusedRange, ""},
		{opened, torName, "0.0.0.0/8", RefusedRange, ""},
		{caracal.Peer{Filters: []string{"named"}}, torName, "198.51.100.65/32", Accepted, ""},
		{caracal.Peer{AcceptRanges: []netip.Prefix{pfx("198.51.100.64/26")}}, torName, "198.51.100.65/32", Accepted, ""},
		// Ranges, the default route, pools.
		{caracal.Peer{AcceptRanges: []netip.Prefix{pfx("203.0.0.0/16")}}, torName, "203.0.113.0/24", Accepted, ""},
		{caracal.Peer{AcceptRanges: []netip.Prefix{pfx("0.0.0.0/0")}}, torName, "0.0.0.0/0", RefusedDefault, ""},
		{caracal.Peer{AcceptRanges: []netip.Prefix{pfx("0.0.0.0/0")}}, torName, "10.1.2.0/26", RefusedPools, ""},
		{caracal.Peer{AcceptDefault: true}, torName, "0.0.0.0/0", Accepted, ""},
		{caracal.Peer{AcceptDefault: true}, torName, "::/0", Accepted, ""},
		{caracal.Peer{AcceptDefault: true}, torName, "0.0.0.0/1", RefusedExternal, ""},
		{caracal.Peer{AcceptPools: true}, torName, "10.1.2.0/26", Accepted, ""},
		{caracal.Peer{AcceptPools: true}, torName, "10.1.0.0/16", Accepted, ""},
		{caracal.Peer{AcceptPools: true}, torName, "10.1.1.0/26", RefusedLocal, ""},
		{caracal.Peer{AcceptPools: true}, torName, "10.1.1.7/32", RefusedLocal, ""},
		{caracal.Peer{AcceptPools: true}, torName, "203.0.113.0/24", RefusedExternal, ""},
		// A foreign reflector in our own AS: ownership inside the pools, a word for
		// everything else.
		{caracal.Peer{}, gwName, "203.0.1.0/24", RefusedNoPool, "no import filter or acceptRanges of BGPPeer gw"},
		{filtered, gwName, "203.0.1.0/24", Accepted, ""},
		{opened, gwName, "10.1.2.0/26", RefusedNextHop, ""},
		{opened, gwName, "10.1.1.0/26", RefusedLocal, ""},
		{opened, gwName, "0.0.0.0/0", RefusedDefault, "acceptDefaultRoute in BGPPeer gw"},
		{caracal.Peer{AcceptDefault: true}, gwName, "0.0.0.0/0", Accepted, ""},
		{caracal.Peer{}, "mesh/b", "203.0.1.0/24", RefusedNoPool, "203.0.1.0/24 is in no IPPool"},
	} {
		w := gateways(t, map[string]caracal.Peer{"tor": c.peer, "gw": c.peer}, f, open, named)
		code, why := w.verdict(c.from, c.nlri, caracal.Attrs{NextHop: ip("198.51.100.1"), ASPath: []uint32{65001}})
		if code != c.want || c.says != "" && !strings.Contains(why, c.says) || (code == Accepted) != (why == "") {
			t.Errorf("%s from %s with %+v: %v %q, want %v %q", c.nlri, c.from, c.peer, code, why, c.want, c.says)
		}
	}
}

func TestLoopsAndNextHops(t *testing.T) {
	open := caracal.Peer{AcceptRanges: []netip.Prefix{pfx("0.0.0.0/0")}}
	w := gateways(t, map[string]caracal.Peer{"tor": open, "gw": open})
	for _, c := range []struct {
		from  string
		attrs caracal.Attrs
		want  Code
	}{
		{torName, caracal.Attrs{NextHop: ip("198.51.100.1"), ASPath: []uint32{65001, 64512}}, RefusedLoop},
		{torName, caracal.Attrs{NextHop: ip("198.51.100.9"), ASPath: []uint32{65001}}, RefusedSelf}, // our end
		{torName, caracal.Attrs{NextHop: ip("192.0.2.1"), ASPath: []uint32{65001}}, RefusedSelf},
		{gwName, caracal.Attrs{NextHop: ip("198.51.100.1"), OriginatorID: ip("192.0.2.1")}, RefusedReflected},
		{gwName, caracal.Attrs{NextHop: ip("198.51.100.1"), OriginatorID: ip("192.0.2.7"), ClusterList: []netip.Addr{ip("10.9.9.9")}}, Accepted},
	} {
		if code, why := w.verdict(c.from, "203.0.113.0/24", c.attrs); code != c.want {
			t.Errorf("%s %+v: %v %s, want %v", c.from, c.attrs, code, why, c.want)
		}
	}
	p := w.m.policy
	p.ClusterID = ip("10.9.9.9")
	w.m.SetPolicy(p)
	if code, _ := w.verdict(gwName, "203.0.113.0/24", caracal.Attrs{NextHop: ip("198.51.100.1"), ClusterList: []netip.Addr{ip("10.9.9.9")}}); code != RefusedReflected {
		t.Errorf("our own cluster: %v", code)
	}
	w.m.SetNeighbors(64512, []bgp.Neighbor{{Name: torName, ASN: 65001, External: true, Peer: "tor", AllowLocalAS: 1, Addr: ip("198.51.100.1")}})
	if code, _ := w.verdict(torName, "203.0.113.0/24", caracal.Attrs{NextHop: ip("198.51.100.1"), ASPath: []uint32{65001, 64512}}); code != Accepted {
		t.Errorf("our AS once, which is allowed: %v", code)
	}
	if code, _ := w.verdict(torName, "203.0.113.0/24", caracal.Attrs{NextHop: ip("198.51.100.1"), ASPath: []uint32{64512, 64512}}); code != RefusedLoop {
		t.Errorf("our AS twice: %v", code)
	}
}

// A filter of an internal neighbor restricts and changes, and gives nothing away.
func TestFilterOfAnInternalNeighbor(t *testing.T) {
	pref := uint32(300)
	f := caracal.Filter{Name: "f", Import4: []caracal.Rule{
		{CIDR: pfx("10.1.2.9/32"), Match: caracal.MatchEqual},
		{Accept: true, Operations: []caracal.Operation{{SetLocalPref: &pref}}},
	}}
	w := gateways(t, map[string]caracal.Peer{"gw": {Filters: []string{"f"}}}, f)
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce(gwName, "10.1.2.0/26", "192.0.2.2")
	w.announce(gwName, "10.1.2.9/32", "192.0.2.3")
	w.announce(gwName, "10.1.3.0/26", "192.0.2.2") // c's
	w.want("10.1.2.0/26 [192.0.2.2]")
	views := w.m.View(must(w.m.Ref(pfx("10.1.2.0/26"))))
	if views[0].Neighbor != gwName || !strings.Contains(views[1].Why, "local preference 100, the best path has 300") {
		t.Fatalf("%+v", views)
	}
	if c := w.m.Counts(gwName); c.Refused[RefusedFilter] != 1 || c.Refused[RefusedNotTheirs] != 1 || c.Accepted != 1 {
		t.Fatalf("%+v", c)
	}
}

// A change of a filter, a peer, or the networks of this node is judged at once,
// and only where it matters.
func TestPolicyChanges(t *testing.T) {
	ranges := []netip.Prefix{pfx("203.0.112.0/23")}
	f := caracal.Filter{Name: "f", Import4: []caracal.Rule{{Accept: true}}}
	w := gateways(t, map[string]caracal.Peer{"tor": {AcceptRanges: ranges}})
	w.announce(torName, "203.0.113.0/24", "198.51.100.1")
	w.announce(torName, "204.0.0.0/24", "198.51.100.1")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	b := "10.1.2.0/26 [192.0.2.2]"
	w.want(b, "203.0.113.0/24 [198.51.100.1]")
	w.policy(map[string]caracal.Peer{"tor": {Filters: []string{"f"}}}, f)
	w.want(b, "203.0.113.0/24 [198.51.100.1]", "204.0.0.0/24 [198.51.100.1]")
	f.Import4 = append([]caracal.Rule{{CIDR: pfx("203.0.0.0/16"), Match: caracal.MatchIn}}, f.Import4...)
	w.policy(map[string]caracal.Peer{"tor": {Filters: []string{"f"}}}, f)
	w.want(b, "204.0.0.0/24 [198.51.100.1]")
	w.policy(map[string]caracal.Peer{"tor": {Filters: []string{"f"}}})
	w.want(b) // the filter is gone
	w.policy(map[string]caracal.Peer{"tor": {Filters: []string{"f"}}}, f)
	w.want(b, "204.0.0.0/24 [198.51.100.1]")
	p := w.m.policy
	p.Networks = []netip.Prefix{pfx("204.0.0.0/16")}
	w.m.SetPolicy(p)
	w.decide()
	w.want(b)
	w.m.SetPolicy(p)
	if !w.m.Clean() {
		t.Fatal("the same policy again has paths judged")
	}
}

func TestAnycast(t *testing.T) {
	w := gateways(t, nil)
	serve := func(nodes ...string) {
		w.snapshot(func(s *caracal.Snapshot) {
			for _, name := range []string{"a", "b", "c"} {
				n, _ := s.Nodes.Get(name)
				n.Anycast = nil
				for _, yes := range nodes {
					if yes == name {
						n.Anycast = []netip.Prefix{pfx("203.0.113.53/32"), pfx("10.1.2.53/32")}
					}
				}
				s.Nodes = s.Nodes.Put(name, n)
			}
		})
	}
	serve("b", "c")
	for _, p := range []string{"203.0.113.53/32", "10.1.2.53/32"} {
		w.announce("mesh/b", p, "192.0.2.2")
		w.announce(gwName, p, "192.0.2.3")
	}
	w.want("10.1.2.53/32 [192.0.2.2 192.0.2.3]", "203.0.113.53/32 [192.0.2.2 192.0.2.3]")
	serve("c")
	w.want("10.1.2.53/32 [192.0.2.2 192.0.2.3]", "203.0.113.53/32 [192.0.2.3]") // the block is b's
	if v := w.m.Verdict("mesh/b", pfx("203.0.113.53/32"), &caracal.Attrs{NextHop: ip("192.0.2.2")}); v.Code != RefusedNotTheirs || v.Owner != "c" {
		t.Fatalf("%+v", v)
	}
	serve()
	w.want("10.1.2.53/32 [192.0.2.2]")
}
