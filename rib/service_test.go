package rib

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// servedCluster is the cluster with ranges of Services.
func servedCluster() *caracal.Snapshot {
	s := cluster()
	s.BGP.Services = caracal.ServiceRanges{
		ClusterIPs:      []netip.Prefix{pfx("10.96.0.0/16"), pfx("fd00:96::/112")},
		LoadBalancerIPs: []netip.Prefix{pfx("203.0.113.0/24")},
	}
	return s
}

// Nothing in a range of Services reaches the kernel, whoever announces it and
// whatever policy lets it in; and it is said why.
func TestServicesAreNotInstalled(t *testing.T) {
	w := newWorld(t, servedCluster())
	p := w.m.policy
	p.Peers = p.Peers.Put("tor", caracal.Peer{Name: "tor", AcceptRanges: []netip.Prefix{pfx("0.0.0.0/0"), pfx("::/0")}})
	p.Peers = p.Peers.Put("strict", caracal.Peer{Name: "strict", Filters: []string{"none"}})
	p.Filters = p.Filters.Put("none", caracal.Filter{Name: "none", Import4: []caracal.Rule{{}}})
	w.m.SetPolicy(p)
	w.m.SetNeighbors(64512, []bgp.Neighbor{
		{Name: "mesh/b", Node: "b", ASN: 64512},
		{Name: "mesh/c", Node: "c", ASN: 64512, Peer: "strict"},
		{Name: "tor", ASN: 65001, External: true, Peer: "tor", Addr: ip("198.51.100.1")},
		{Name: "rr", ASN: 64512, Peer: "tor", Addr: ip("198.51.100.2")},
	})
	w.decide()
	const nobody = " is in a range of Services: each node serves those itself, and takes no route for them from anybody"
	for _, c := range []struct {
		from, nlri, nextHop string
		want                Code
		says                string
	}{
		{"mesh/b", "10.96.0.0/16", "192.0.2.2", ServiceOfNode, "10.96.0.0/16 is in a range of Services: node b announces it for others, and this node serves it itself; a reflector passes it on"},
		{"mesh/b", "fd00:96::7/128", "2001:db8::2", ServiceOfNode, ""},
		{"rr", "203.0.113.9/32", "192.0.2.3", ServiceOfNode, ""},
		{"mesh/b", "10.96.0.0/17", "198.51.100.9", RefusedService, "10.96.0.0/17" + nobody}, // no node's
		{"mesh/b", "10.96.0.1/32", "192.0.2.1", RefusedService, ""},                         // this node's
		{"tor", "10.96.0.0/16", "198.51.100.1", RefusedService, "10.96.0.0/16" + nobody},    // sent back
		{"tor", "203.0.113.9/32", "192.0.2.2", RefusedService, ""},
		{"mesh/c", "10.96.0.7/32", "192.0.2.3", RefusedFilter, "rejected by"},
		{"tor", "10.0.0.0/9", "198.51.100.1", Accepted, ""}, // wider is the operator's affair
		{"tor", "203.0.112.0/24", "198.51.100.1", Accepted, ""},
	} {
		w.announce(c.from, c.nlri, c.nextHop)
		v := w.m.View(must(w.m.Ref(pfx(c.nlri))))
		i := slices.IndexFunc(v, func(v PathView) bool { return v.Neighbor == c.from })
		if v[i].Verdict.Code != c.want || !strings.HasPrefix(v[i].Why, c.says) || (c.want == Accepted) != v[i].Best {
			t.Errorf("%s from %s: %v %q, want %v %q", c.nlri, c.from, v[i].Verdict.Code, v[i].Why, c.want, c.says)
		}
	}
	w.want("10.0.0.0/9 [198.51.100.1]", "203.0.112.0/24 [198.51.100.1]")
}

// A reflector passes on what nodes announce of Services, the best path of each,
// and only that.
func TestServicesArePassedOn(t *testing.T) {
	w := newWorld(t, servedCluster())
	told := map[netip.Prefix][]bgp.Relay{}
	w.m.OnRelay(func(p netip.Prefix, r []bgp.Relay) {
		if told[p] = r; len(r) == 0 {
			delete(told, p)
		}
	})
	says := func(want string) {
		t.Helper()
		var got []string
		for p, list := range told {
			for _, r := range list {
				got = append(got, p.String()+" from "+r.From)
			}
		}
		slices.Sort(got)
		if strings.Join(got, "; ") != want {
			t.Fatalf("passed on %q, want %q", got, want)
		}
	}
	w.m.SetNeighbors(64512, []bgp.Neighbor{
		{Name: "mesh/b", Node: "b", ASN: 64512, Client: true, Addr: ip("192.0.2.2")},
		{Name: "mesh/c", Node: "c", ASN: 64512, Client: true, Addr: ip("192.0.2.3")},
		{Name: "tor", ASN: 65001, External: true, Addr: ip("198.51.100.1")},
	})
	w.announce("mesh/b", "203.0.113.9/32", "192.0.2.2")
	says("") // no reflector
	p := w.m.policy
	p.ClusterID = ip("10.9.9.9")
	w.m.SetPolicy(p)
	w.decide()
	says("203.0.113.9/32 from mesh/b")
	w.announce("mesh/c", "203.0.113.9/32", "192.0.2.3")
	w.announce("mesh/c", "10.96.0.0/16", "192.0.2.3")
	w.announce("mesh/c", "10.96.1.0/24", "192.0.2.99") // of no node
	w.announce("tor", "10.96.2.0/24", "198.51.100.1")
	says("10.96.0.0/16 from mesh/c; 203.0.113.9/32 from mesh/b")
	w.withdraw("mesh/b", "203.0.113.9/32") // its endpoint has moved
	says("10.96.0.0/16 from mesh/c; 203.0.113.9/32 from mesh/c")
	w.want()
	// The range is gone, and with it what it lets through.
	next := *w.snap
	next.BGP.Services = caracal.ServiceRanges{ClusterIPs: []netip.Prefix{pfx("10.96.0.0/16")}}
	w.m.Rejudge(w.o.Update(w.snap, &next))
	w.decide()
	says("10.96.0.0/16 from mesh/c")
}
