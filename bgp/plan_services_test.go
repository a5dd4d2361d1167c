package bgp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// served is the cluster with ranges and Services.
func served() *caracal.Snapshot {
	s := cluster()
	list := func(all ...string) (out []netip.Prefix) {
		for _, p := range all {
			out = append(out, prefix(p))
		}
		return out
	}
	s.BGP.Services = caracal.ServiceRanges{
		ClusterIPs:      list("10.96.0.0/16", "fd00:96::/112"),
		ExternalIPs:     list("198.51.100.0/24"),
		LoadBalancerIPs: list("203.0.113.0/24", "203.0.113.128/25", "203.0.114.1/32", "203.0.114.2/32"),
	}
	service := func(svc caracal.Service) {
		svc.Namespace = "default"
		s.Services = s.Services.Put(svc.Key(), svc)
	}
	addrs := func(all ...string) (out []netip.Addr) {
		for _, a := range all {
			out = append(out, addr(a))
		}
		return out
	}
	service(caracal.Service{Name: "cluster", ClusterIPs: addrs("10.96.0.10", "fd00:96::10"), ExternalIPs: addrs("198.51.100.10", "198.51.101.10"),
		LoadBalancerIPs: addrs("203.0.113.10", "203.0.114.1")})
	service(caracal.Service{Name: "here", ExternalLocal: true, ReadyHere4: true, ReadyHere6: true, ClusterIPs: addrs("10.96.0.11"), ExternalIPs: addrs("198.51.100.11"),
		LoadBalancerIPs: addrs("203.0.113.11", "203.0.113.211")})
	service(caracal.Service{Name: "inside", InternalLocal: true, ReadyHere4: true, ReadyHere6: true, ClusterIPs: addrs("10.96.0.12", "fd00:96::12"), ExternalIPs: addrs("198.51.100.12")})
	service(caracal.Service{Name: "there", ExternalLocal: true, InternalLocal: true, ClusterIPs: addrs("10.96.0.13"), LoadBalancerIPs: addrs("203.0.113.13", "203.0.114.2")})
	return s
}

func originated(c bgp.Config) string {
	var list []string
	for _, p := range c.Originate {
		if slices.ContainsFunc(c.Services, func(r netip.Prefix) bool { return caracal.Covers(r, p) }) {
			list = append(list, p.String())
		}
	}
	return strings.Join(list, " ")
}

func TestPlanServices(t *testing.T) {
	const (
		clusterIPs = "10.96.0.0/16 10.96.0.12/32 "
		others     = "198.51.100.0/24 198.51.100.11/32 203.0.113.0/24 203.0.113.11/32 203.0.113.128/25 203.0.113.211/32 203.0.114.1/32"
		six        = " fd00:96::/112 fd00:96::12/128"
		all        = clusterIPs + others + six
	)
	update := func(s *caracal.Snapshot, name string, change func(*caracal.Service)) {
		svc, _ := s.Services.Get("default/" + name)
		change(&svc)
		s.Services = s.Services.Put(svc.Key(), svc)
	}
	for _, c := range []struct {
		name   string
		change func(*caracal.Snapshot)
		facts  bgp.Facts
		want   string
	}{
		{name: "ranges, and addresses with an endpoint here", want: all},
		{name: "no ranges", change: func(s *caracal.Snapshot) { s.BGP.Services = caracal.ServiceRanges{} }},
		{name: "no Services", change: func(s *caracal.Snapshot) { s.Services = caracal.NewTable[string, caracal.Service]() },
			want: "10.96.0.0/16 198.51.100.0/24 203.0.113.0/24 203.0.113.128/25 fd00:96::/112"},
		{name: "an endpoint becomes ready", change: func(s *caracal.Snapshot) {
			update(s, "there", func(v *caracal.Service) { v.ReadyHere4 = true })
		}, want: "10.96.0.0/16 10.96.0.12/32 10.96.0.13/32 198.51.100.0/24 198.51.100.11/32 203.0.113.0/24 203.0.113.11/32 203.0.113.13/32 203.0.113.128/25 203.0.113.211/32 203.0.114.1/32 203.0.114.2/32" + six},
		{name: "the last one here goes", change: func(s *caracal.Snapshot) {
			update(s, "here", func(v *caracal.Service) { v.ReadyHere4, v.ReadyHere6 = false, false })
			update(s, "inside", func(v *caracal.Service) { v.ReadyHere4, v.ReadyHere6 = false, false })
		}, want: "10.96.0.0/16 198.51.100.0/24 203.0.113.0/24 203.0.113.128/25 203.0.114.1/32 fd00:96::/112"},
		{name: "an endpoint of one family is ready", change: func(s *caracal.Snapshot) {
			update(s, "inside", func(v *caracal.Service) { v.ReadyHere6 = false })
		}, want: "10.96.0.0/16 10.96.0.12/32 " + others + " fd00:96::/112"},
		{name: "an address that two share", change: func(s *caracal.Snapshot) {
			update(s, "there", func(v *caracal.Service) { v.LoadBalancerIPs = []netip.Addr{addr("203.0.113.11")} })
		}, want: all},
		{name: "excluded", change: func(s *caracal.Snapshot) {
			edit(s, "b", func(n *caracal.Node) { n.Labels = map[string]string{caracal.ExcludeFromLoadBalancers: ""} })
		}},
		{name: "another node is excluded", change: func(s *caracal.Snapshot) {
			edit(s, "a", func(n *caracal.Node) { n.Labels = map[string]string{caracal.ExcludeFromLoadBalancers: "true"} })
		}, want: all},
		{name: "about to be drained", facts: bgp.Facts{Drain: bgp.DrainLast}, want: all},
		{name: "drained", facts: bgp.Facts{Drain: bgp.DrainOut}},
		{name: "no rules yet", facts: bgp.Facts{Unruled: true}},
		{name: "no IPv6 address", change: func(s *caracal.Snapshot) {
			edit(s, "b", func(n *caracal.Node) { n.IPv6 = netip.Prefix{} })
		}, want: clusterIPs + others},
	} {
		s := served()
		if c.change != nil {
			c.change(s)
		}
		cfg, _ := bgp.Plan(s, func(netip.Prefix) bool { return false }, c.facts)
		if got := originated(cfg); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		// What is listed for people says the same.
		listed := map[netip.Prefix]bool{}
		for _, r := range bgp.Services(s, c.facts) {
			if r.Announced.IsValid() == (r.Why != "") {
				t.Errorf("%s: %+v is announced, or is not, for no reason", c.name, r)
			}
			if r.Announced.IsValid() {
				listed[r.Announced] = true
			}
		}
		var list []string
		for _, p := range sortedKeys(listed) {
			list = append(list, p.String())
		}
		if got := strings.Join(list, " "); got != c.want {
			t.Errorf("%s: listed\n got %s\nwant %s", c.name, got, c.want)
		}
		if strings.Join(rangesOf(cfg), " ") != "10.96.0.0/16 198.51.100.0/24 203.0.113.0/24 203.0.114.1/32 203.0.114.2/32 fd00:96::/112" && s.BGP.Services.ClusterIPs != nil {
			t.Errorf("%s: ranges %v", c.name, cfg.Services)
		}
	}
}

func rangesOf(c bgp.Config) (list []string) {
	for _, p := range c.Services {
		list = append(list, p.String())
	}
	return list
}

func sortedKeys(m map[netip.Prefix]bool) []netip.Prefix {
	var list []netip.Prefix
	for p := range m {
		list = append(list, p)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

// Before it leaves, a node asks for traffic to go elsewhere, and what ranges of
// communities say goes with Services too.
func TestPlanServiceCommunities(t *testing.T) {
	s := served()
	blue := caracal.StandardCommunity(65000, 1)
	s.BGP.Advertisements = []caracal.Advertisement{{CIDR: prefix("203.0.113.128/25"), Communities: []caracal.Community{blue}}}
	cfg, _ := bgp.Plan(s, nil, bgp.Facts{Drain: bgp.DrainLast})
	for p, want := range map[string][]caracal.Community{
		"10.96.0.0/16":     {caracal.GracefulShutdown},
		"203.0.113.211/32": {blue, caracal.GracefulShutdown},
		"203.0.113.128/25": {blue, caracal.GracefulShutdown},
		"fd00:96::12/128":  {caracal.GracefulShutdown},
		"10.0.0.0/26":      nil, // this node's own
	} {
		if got := cfg.Communities[prefix(p)]; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
}

func TestServiceWords(t *testing.T) {
	s := served()
	edit(s, "b", func(n *caracal.Node) { n.IPv6 = netip.Prefix{} })
	var got strings.Builder
	for _, r := range bgp.Services(s, bgp.Facts{}) {
		if r.Why != "" {
			fmt.Fprintf(&got, "%s %s %s %s: %s\n", r.Service, r.Kind, r.Addr, r.Range, r.Why)
		}
	}
	const want = ` ClusterIP invalid IP fd00:96::/112: node b has no address of that family to be its next hop
 LoadBalancerIP invalid IP 203.0.114.1/32: a range of one address is announced as the Service that has it says
 LoadBalancerIP invalid IP 203.0.114.2/32: a range of one address is announced as the Service that has it says
default/cluster ClusterIP fd00:96::10 fd00:96::/112: node b has no address of that family to be its next hop
default/cluster ExternalIP 198.51.101.10 invalid Prefix: it is in none of the ranges of serviceExternalIPs
default/inside ClusterIP fd00:96::12 fd00:96::/112: node b has no address of that family to be its next hop
default/there ClusterIP 10.96.0.13 10.96.0.0/16: its policy is Local, and no endpoint on this node is ready
default/there LoadBalancerIP 203.0.113.13 203.0.113.0/24: its policy is Local, and no endpoint on this node is ready
default/there LoadBalancerIP 203.0.114.2 203.0.114.2/32: its policy is Local, and no endpoint on this node is ready
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// A reflector may announce the Local addresses of all Services, and is let.
func TestServicesRaiseLimits(t *testing.T) {
	s := served()
	edit(s, "a", func(n *caracal.Node) { n.ClusterID = addr("192.0.2.1") })
	edit(s, "b", func(n *caracal.Node) { n.Reflectors = []string{"a"} })
	s.Peers = s.Peers.Put("rr@a", caracal.Peer{Name: "rr", Node: "a", Selected: true})
	limit := func() uint32 {
		cfg, _ := bgp.Plan(s, nil, bgp.Facts{})
		return cfg.Neighbors[slices.IndexFunc(cfg.Neighbors, func(n bgp.Neighbor) bool { return n.Reflector })].MaxPrefixes
	}
	before := limit()
	services(s, 10_000, 5000)
	if after := limit(); after < 40_000 || before >= after {
		t.Errorf("the limit of a reflector is %d with 10,000 Local addresses, %d without", after, before)
	}
}

// A reflector that puts itself in as the next hop is no way to Local Services.
func TestServicesAroundAReflector(t *testing.T) {
	for _, c := range []struct {
		mode   caracal.NextHopMode
		rule   caracal.Rule
		locals bool
		warns  bool
	}{
		{caracal.NextHopAuto, caracal.Rule{Accept: true, Source: caracal.SourceRemotePeers}, true, true},
		{caracal.NextHopSelf, caracal.Rule{Accept: true, Source: caracal.SourceRemotePeers}, true, true},
		{caracal.NextHopKeep, caracal.Rule{Accept: true, Source: caracal.SourceRemotePeers}, true, false},
		{caracal.NextHopAuto, caracal.Rule{Source: caracal.SourceRemotePeers}, true, false},
		{caracal.NextHopAuto, caracal.Rule{Accept: true}, true, false},
		{caracal.NextHopAuto, caracal.Rule{Accept: true, Source: caracal.SourceRemotePeers}, false, false},
	} {
		s := served()
		if !c.locals {
			s.Services = caracal.NewTable[string, caracal.Service]()
		}
		edit(s, "b", func(n *caracal.Node) { n.ClusterID = addr("192.0.2.2") })
		s.Filters = s.Filters.Put("f", caracal.Filter{Name: "f", Export4: []caracal.Rule{c.rule}})
		s.Peers = s.Peers.Put("tor", caracal.Peer{Name: "tor", Addr: addr("192.0.2.254"), Port: 179, ASN: 65001, NextHop: c.mode, Filters: []string{"f"}})
		_, problems := bgp.Plan(s, nil, bgp.Facts{})
		warned := slices.ContainsFunc(problems, func(p caracal.Problem) bool {
			return p.Kind == "BGPPeer" && strings.Contains(p.Message, "nextHopMode: Keep")
		})
		if warned != c.warns {
			t.Errorf("%s, %+v, Local %t: %+v", c.mode, c.rule, c.locals, problems)
		}
	}
}

// services adds n of them, all of them Local, of which some have a ready endpoint
// here.
func services(s *caracal.Snapshot, n, ready int) {
	s.BGP.Services.LoadBalancerIPs = append(s.BGP.Services.LoadBalancerIPs, prefix("172.20.0.0/16"))
	for i := range n {
		svc := caracal.Service{
			Namespace: fmt.Sprintf("ns-%d", i%50), Name: fmt.Sprintf("service-%d", i),
			ClusterIPs:      []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
			LoadBalancerIPs: []netip.Addr{netip.AddrFrom4([4]byte{172, 20, byte(i >> 8), byte(i)})},
			ExternalLocal:   true, ReadyHere4: i < ready,
		}
		s.Services = s.Services.Put(svc.Key(), svc)
	}
}

func BenchmarkPlanServices(b *testing.B) {
	for _, c := range []struct{ services, ready int }{{0, 0}, {10_000, 100}, {10_000, 5000}} {
		b.Run(fmt.Sprintf("%d,%d-ready", c.services, c.ready), func(b *testing.B) {
			s := served()
			s.BGP.Services.LoadBalancerIPs = nil
			services(s, c.services, c.ready)
			b.ReportAllocs()
			for b.Loop() {
				bgp.Plan(s, nil, bgp.Facts{})
			}
		})
	}
}
