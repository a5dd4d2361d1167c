package bgp_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// cluster is three nodes: a and b with both families, c with IPv4 only, and d
// with IPv6 only.
func cluster() *caracal.Snapshot {
	s := caracal.NewSnapshot("b")
	s.Synced = true
	s.BGP = caracal.BGP{HoldTime: 90 * time.Second, KeepaliveTime: 30 * time.Second,
		GracefulRestart: true, RestartTime: 120 * time.Second, MeshEnabled: true}
	node := func(name, v4, v6, id string) {
		n := caracal.Node{Name: name, ASN: 64512, RouterID: addr(id), Port: 179, MeshEnabled: true}
		if v4 != "" {
			n.IPv4 = prefix(v4)
		}
		if v6 != "" {
			n.IPv6 = prefix(v6)
		}
		s.Nodes = s.Nodes.Put(name, n)
	}
	node("a", "192.0.2.1/24", "2001:db8::1/64", "192.0.2.1")
	node("b", "192.0.2.2/24", "2001:db8::2/64", "192.0.2.2")
	node("c", "192.0.2.3/24", "", "192.0.2.3")
	node("d", "", "2001:db8::4/64", "192.0.2.4")
	pool := func(name, cidr string, mode caracal.Advertise) {
		s.Pools = s.Pools.Put(name, caracal.Pool{Name: name, CIDR: prefix(cidr), Advertise: mode})
	}
	pool("blocks", "10.0.0.0/16", caracal.AdvertiseBlocks)
	pool("hosts", "10.1.0.0/16", caracal.AdvertiseHosts)
	pool("six", "fd00::/48", caracal.AdvertiseBlocks)
	block := func(cidr, node string) {
		s.Blocks = s.Blocks.Put(prefix(cidr), caracal.Block{CIDR: prefix(cidr), Node: node})
	}
	block("10.0.0.0/26", "b")
	block("10.0.0.64/26", "a")
	block("10.1.0.0/26", "b")
	block("fd00::/122", "b")
	workload(s, "web", "b", "10.0.0.5", "10.1.0.5", "fd00::5")
	return s
}

func workload(s *caracal.Snapshot, name, node string, addrs ...string) {
	w := caracal.Workload{Namespace: "default", Name: name, Node: node}
	for _, a := range addrs {
		w.Addrs = append(w.Addrs, addr(a))
	}
	s.Workloads = s.Workloads.Put(w.Key(), w)
}

func renderPlan(c bgp.Config, problems []caracal.Problem) string {
	var b strings.Builder
	fmt.Fprintf(&b, "AS %d id %s port %d listen %s\n", c.Global.ASN, c.Global.RouterID, c.Global.Port, c.Global.ListenAddrs)
	for _, n := range c.Neighbors {
		fmt.Fprintf(&b, "%s node=%q %s:%d AS %d from %s", n.Name, n.Node, n.Addr, n.Port, n.ASN, n.Local)
		for _, f := range []struct {
			set  bool
			name string
		}{{n.Passive, "passive"}, {n.IPv4, "v4"}, {n.IPv6, "v6"}, {n.Multihop, "multihop"}, {n.GracefulRestart, "gr"}} {
			if f.set {
				b.WriteString(" " + f.name)
			}
		}
		fmt.Fprintf(&b, " hold=%s keepalive=%s max=%d\n", n.HoldTime, n.KeepaliveTime, n.MaxPrefixes)
	}
	for _, p := range c.Originate {
		fmt.Fprintf(&b, "originate %s\n", p)
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "%s %s %s: %s\n", p.Severity, p.Kind, p.Name, p.Message)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	// What every variant of the cluster begins with.
	const mesh = `AS 64512 id 192.0.2.2 port 179 listen 192.0.2.2,2001:db8::2
mesh/a node="a" 192.0.2.1:179 AS 64512 from 192.0.2.2 v4 v6 gr hold=1m30s keepalive=30s max=1000
mesh/c node="c" 192.0.2.3:179 AS 64512 from 192.0.2.2 passive v4 gr hold=1m30s keepalive=30s max=1000
mesh/d node="d" [2001:db8::4]:179 AS 64512 from 2001:db8::2 passive v6 gr hold=1m30s keepalive=30s max=1000
`
	const origin = `originate 10.0.0.0/26
originate 10.1.0.5/32
originate fd00::/122
`
	const alone = "AS 64512 id 192.0.2.2 port 179 listen 192.0.2.2,2001:db8::2\n"
	v6 := strings.NewReplacer("[2001:db8::4]", "2001:db8::4")
	for _, tc := range []struct {
		name   string
		change func(*caracal.Snapshot)
		ready  func(netip.Prefix) bool
		want   string
	}{
		{name: "mesh", want: mesh + origin},
		{name: "no mesh", change: func(s *caracal.Snapshot) { s.BGP.MeshEnabled = false }, want: alone + origin},
		{name: "not this node", change: func(s *caracal.Snapshot) { edit(s, "b", func(n *caracal.Node) { n.MeshEnabled = false }) }, want: alone + origin},
		{
			name:   "unknown node",
			change: func(s *caracal.Snapshot) { s.Self = "z" },
			want:   "AS 0 id invalid IP port 0 listen \nwarning Node z: node z is not configured, so it has no BGP sessions; add a NodeConfig for it\n",
		},
		{
			name:  "only what is in the kernel",
			ready: func(p netip.Prefix) bool { return p.Addr().Is4() && p.Bits() == 26 },
			want:  mesh + "originate 10.0.0.0/26\n",
		},
		{
			name: "borrowed",
			change: func(s *caracal.Snapshot) {
				workload(s, "guest", "b", "10.0.0.70", "172.16.0.1") // in a's block, and in no pool
				workload(s, "far", "a", "10.1.9.9")
			},
			want: mesh + "originate 10.0.0.0/26\noriginate 10.0.0.70/32\noriginate 10.1.0.5/32\noriginate fd00::/122\n",
		},
		{
			name: "podCIDRs",
			change: func(s *caracal.Snapshot) {
				edit(s, "b", func(n *caracal.Node) {
					n.PodCIDRs = []netip.Prefix{prefix("10.0.9.0/24"), prefix("172.16.0.0/24"), prefix("10.1.9.0/24")}
				})
				workload(s, "pod", "b", "10.0.9.1")
			},
			want: mesh + "originate 10.0.0.0/26\noriginate 10.0.9.0/24\noriginate 10.1.0.5/32\noriginate fd00::/122\n",
		},
		{
			name: "a disabled pool is announced, one that is not to be exported is not",
			change: func(s *caracal.Snapshot) {
				for name, p := range s.Pools.All() {
					p.Disabled, p.DisableBGPExport = name == "blocks", name == "six"
					s.Pools = s.Pools.Put(name, p)
				}
				workload(s, "guest", "b", "10.0.0.70")
			},
			want: mesh + "originate 10.0.0.0/26\noriginate 10.0.0.70/32\noriginate 10.1.0.5/32\n",
		},
		{
			name: "no IPv6 here",
			change: func(s *caracal.Snapshot) {
				edit(s, "b", func(n *caracal.Node) { n.IPv6 = netip.Prefix{} })
			},
			want: `AS 64512 id 192.0.2.2 port 179 listen 192.0.2.2
mesh/a node="a" 192.0.2.1:179 AS 64512 from 192.0.2.2 v4 gr hold=1m30s keepalive=30s max=1000
mesh/c node="c" 192.0.2.3:179 AS 64512 from 192.0.2.2 passive v4 gr hold=1m30s keepalive=30s max=1000
originate 10.0.0.0/26
originate 10.1.0.5/32
warning Node b: fd00::/122 cannot be announced: node b has no address of that family to be its next hop
warning Node d: node d and this node have no address family in common, so there is no session; give both an IPv4 or both an IPv6 address
`,
		},
		{
			name: "peers",
			change: func(s *caracal.Snapshot) {
				s.BGP.MeshEnabled = false
				s.BGP.ListenAddrs = []netip.Addr{addr("192.0.2.2"), addr("127.0.0.1")}
				peer(s, caracal.Peer{Name: "tor", Addr: addr("198.51.100.1"), Port: 179, ASN: 65000, Multihop: true, GracefulRestart: true})
				peer(s, caracal.Peer{Name: "six", Addr: addr("2001:db8::9"), Port: 1790, ASN: 65000, Passive: true,
					HoldTime: 9 * time.Second, KeepaliveTime: 3 * time.Second, SourceAddr: addr("2001:db8::77"), GracefulRestart: true})
			},
			want: `AS 64512 id 192.0.2.2 port 179 listen 127.0.0.1,192.0.2.2
peer/six@2001:db8::9 node="" 2001:db8::9:1790 AS 65000 from 2001:db8::77 passive v4 v6 gr hold=9s keepalive=3s max=10000
peer/tor@198.51.100.1 node="" 198.51.100.1:179 AS 65000 from 192.0.2.2 v4 v6 multihop gr hold=1m30s keepalive=30s max=10000
` + origin,
		},
		{
			name: "addresses taken",
			change: func(s *caracal.Snapshot) {
				edit(s, "c", func(n *caracal.Node) { n.IPv4 = prefix("192.0.2.1/24") })
				edit(s, "d", func(n *caracal.Node) { n.IPv6 = prefix("2001:db8::2/64") })
				peer(s, caracal.Peer{Name: "rr", Addr: addr("192.0.2.1"), Port: 179, ASN: 64512})
			},
			want: `AS 64512 id 192.0.2.2 port 179 listen 192.0.2.2,2001:db8::2
mesh/c node="c" 192.0.2.1:179 AS 64512 from 192.0.2.2 v4 hold=1m30s keepalive=30s max=10000
` + origin + `warning Node a: mesh/a and mesh/c of BGPPeer rr have the same address 192.0.2.1; only mesh/c of BGPPeer rr is used, remove one
warning Node d: mesh/d has this node's own address 2001:db8::2, so there is no session; correct one of the two
`,
		},
		{
			name: "another AS and the same router ID",
			change: func(s *caracal.Snapshot) {
				edit(s, "a", func(n *caracal.Node) { n.RouterID = addr("192.0.2.2") })
				edit(s, "c", func(n *caracal.Node) { n.ASN = 64513 })
			},
			want: strings.Replace(mesh, "AS 64512 from 192.0.2.2 passive v4 gr", "AS 64513 from 192.0.2.2 passive v4 multihop gr", 1) + origin +
				"warning Node a: node a has the same router ID 192.0.2.2 as this node, so the session cannot come up (RFC 6286); change one\n",
		},
		{
			name: "a node that owns much",
			change: func(s *caracal.Snapshot) {
				for i := range 300 {
					p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(1 + i/4), byte(i % 4 * 64)}), 26)
					s.Blocks = s.Blocks.Put(p, caracal.Block{CIDR: p, Node: "a"})
				}
			},
			want: strings.Replace(mesh, "max=1000", "max=78000", 1) + origin,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := cluster()
			if tc.change != nil {
				tc.change(s)
			}
			if got := renderPlan(bgp.Plan(s, tc.ready, bgp.Facts{})); v6.Replace(got) != v6.Replace(tc.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

// TestPlanReplaced has blocks take the place of hosts, and of other blocks: what was
// announced stays until the route of what comes is in the kernel, and a while longer.
func TestPlanReplaced(t *testing.T) {
	own := func(s *caracal.Snapshot, list ...string) {
		s.Blocks = caracal.NewSnapshot(s.Self).Blocks
		for _, p := range list {
			s.Blocks = s.Blocks.Put(prefix(p), caracal.Block{CIDR: prefix(p), Node: s.Self})
		}
	}
	const hosts = "10.0.0.5/32 10.1.0.5/32 fd00::5/128" // of pod, see cluster
	for _, tc := range []struct {
		name string
		// last is what was announced, waits what of it stays while nothing new is in
		// the kernel, and adds what stays beside what is new, for a while.
		last, waits, adds, then string
		change                  func(*caracal.Snapshot)
	}{
		{name: "hosts by a block", last: "10.0.0.5/32 10.0.0.6/32", waits: "10.0.0.5/32", adds: "10.0.0.5/32", then: "10.0.0.0/26 10.1.0.5/32 fd00::/122", change: func(s *caracal.Snapshot) {
			workload(s, "moved", "a", "10.0.0.6")
		}},
		{name: "a block by hosts", last: "10.0.0.0/26", waits: "10.0.0.0/26", adds: "10.0.0.0/26", then: hosts, change: func(s *caracal.Snapshot) { own(s) }},
		{name: "a block that somebody else has by hosts", last: "10.0.0.0/26", then: hosts, change: func(s *caracal.Snapshot) {
			own(s)
			s.Blocks = s.Blocks.Put(prefix("10.0.0.0/26"), caracal.Block{CIDR: prefix("10.0.0.0/26"), Node: "a"})
		}},
		{name: "small blocks by a large one", last: "10.0.4.0/26 10.0.5.0/26", waits: "10.0.4.0/26", adds: "10.0.4.0/26", then: "10.0.4.0/24 " + hosts, change: func(s *caracal.Snapshot) {
			own(s, "10.0.4.0/24")
		}},
		{name: "a large block by small ones, one of them another's", last: "10.0.4.0/24", waits: "10.0.4.0/24", adds: "10.0.4.0/24", then: "10.0.4.0/26 " + hosts, change: func(s *caracal.Snapshot) {
			own(s, "10.0.4.0/26")
			s.Blocks = s.Blocks.Put(prefix("10.0.4.64/26"), caracal.Block{CIDR: prefix("10.0.4.64/26"), Node: "a"})
		}},
		{name: "one of two of which one lies in the other", last: "10.0.4.0/24 10.0.4.0/26", waits: "10.0.4.0/26", then: "10.0.4.0/26 " + hosts, change: func(s *caracal.Snapshot) {
			own(s, "10.0.4.0/26")
		}},
		{name: "a pool that is not announced any more", last: "10.0.0.0/26 10.0.0.5/32", change: func(s *caracal.Snapshot) {
			for name, p := range s.Pools.All() {
				p.DisableBGPExport = true
				s.Pools = s.Pools.Put(name, p)
			}
		}},
		{name: "a family that this node has no more", last: "fd00::5/128", then: "10.0.0.0/26 10.1.0.5/32", change: func(s *caracal.Snapshot) {
			edit(s, "b", func(n *caracal.Node) { n.IPv6 = netip.Prefix{} })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := cluster()
			tc.change(s)
			now := time.Unix(1000, 0)
			f := bgp.Facts{Now: now}
			for _, p := range strings.Fields(tc.last) {
				f.Last.Originate = append(f.Last.Originate, prefix(p))
			}
			plan := func(after time.Duration, ready bool, want string, wake time.Duration) {
				t.Helper()
				f.Now = f.Now.Add(after)
				had := f.Last
				f.Last, _ = bgp.Plan(s, func(p netip.Prefix) bool { return ready || slices.Contains(had.Originate, p) }, f)
				var got []string
				for _, p := range f.Last.Originate {
					got = append(got, p.String())
				}
				if wanted := strings.Fields(want); !slices.Equal(sorted(got), sorted(wanted)) {
					t.Errorf("after %v: %v, want %v", f.Now.Sub(now), got, wanted)
				}
				if at := f.Last.Wake; wake == 0 && !at.IsZero() || wake != 0 && at.Sub(f.Now) != wake {
					t.Errorf("after %v: asked again after %v, want %v", f.Now.Sub(now), at.Sub(f.Now), wake)
				}
			}
			var once time.Duration
			if tc.adds != "" {
				once = 2 * time.Second
			}
			both := tc.then + " " + tc.adds
			plan(0, false, tc.waits, 0)
			plan(time.Minute, false, tc.waits, 0)
			plan(time.Minute, true, both, once)
			plan(once/2, true, both, once/2)
			plan(once/2, true, tc.then, 0)
			plan(0, true, tc.then, 0)
		})
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func edit(s *caracal.Snapshot, name string, change func(*caracal.Node)) {
	n, _ := s.Nodes.Get(name)
	change(&n)
	s.Nodes = s.Nodes.Put(name, n)
}

func peer(s *caracal.Snapshot, p caracal.Peer) { s.Peers = s.Peers.Put(p.Name, p) }

// TestPlanDials has the end dial that Calico's nodes expect to: between theirs and ours
// a session would else come up never, or twice at once.
func TestPlanDials(t *testing.T) {
	for _, tc := range []struct {
		self, other string
		passive     bool
	}{
		{"192.0.2.2/24", "192.0.2.1/24", false},
		{"192.0.2.2/24", "192.0.2.3/24", true},
		{"192.0.2.9/24", "192.0.2.10/24", false}, // as text "9" is the greater one
		{"192.0.2.10/24", "192.0.2.9/24", true},
		{"10.0.0.1/8", "9.0.0.1/8", true},
		{"2001:db8::9/64", "2001:db8::10/64", false},
		{"2001:db8::f/64", "2001:db8::e/64", false},
	} {
		s := caracal.NewSnapshot("self")
		s.BGP.MeshEnabled = true
		for name, p := range map[string]netip.Prefix{"self": prefix(tc.self), "other": prefix(tc.other)} {
			n := caracal.Node{Name: name, ASN: 64512, Port: 179, MeshEnabled: true}
			if p.Addr().Is4() {
				n.IPv4, n.RouterID = p, p.Addr()
			} else {
				n.IPv6, n.RouterID = p, addr(map[string]string{"self": "192.0.2.1", "other": "192.0.2.2"}[name])
			}
			s.Nodes = s.Nodes.Put(name, n)
		}
		c, concerns := bgp.Plan(s, nil, bgp.Facts{})
		if len(c.Neighbors) != 1 || c.Neighbors[0].Passive != tc.passive {
			t.Errorf("%s to %s: neighbors %+v, concerns %v, want one with passive %v", tc.self, tc.other, c.Neighbors, concerns, tc.passive)
		}
	}
}

// TestPlanPairs holds for random clusters that the two ends of each session
// agree: both have it, over the same addresses with the same families, and
// exactly one dials.
func TestPlanPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := cluster()
		for i := range r.IntN(8) {
			n := caracal.Node{Name: fmt.Sprint("n", i), ASN: 64512 + uint32(r.IntN(2)), Port: 179, MeshEnabled: r.IntN(8) > 0,
				RouterID: netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})}
			has := 1 + r.IntN(3)
			if has&1 != 0 {
				n.IPv4 = netip.PrefixFrom(n.RouterID, 24)
			}
			if has&2 != 0 {
				n.IPv6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(250 - i)}), 64)
			}
			s.Nodes = s.Nodes.Put(n.Name, n)
		}
		plans := map[string]map[string]bgp.Neighbor{}
		for name := range s.Nodes.All() {
			one := *s
			one.Self = name
			c, _ := bgp.Plan(&one, nil, bgp.Facts{})
			plans[name] = map[string]bgp.Neighbor{}
			for _, n := range c.Neighbors {
				plans[name][n.Node] = n
			}
			if !slices.IsSortedFunc(c.Neighbors, func(a, b bgp.Neighbor) int { return strings.Compare(a.Name, b.Name) }) ||
				!slices.IsSortedFunc(c.Originate, netip.Prefix.Compare) {
				t.Fatalf("plan of %s is not sorted", name)
			}
		}
		for a, neighbors := range plans {
			for b, ab := range neighbors {
				ba, ok := plans[b][a]
				if !ok {
					t.Fatalf("%s has a session with %s, which has none", a, b)
				}
				if ab.Addr != ba.Local || ab.Local != ba.Addr || ab.IPv4 != ba.IPv4 || ab.IPv6 != ba.IPv6 || ab.Passive == ba.Passive || ab.Multihop != ba.Multihop {
					t.Fatalf("%s and %s disagree:\n%+v\n%+v", a, b, ab, ba)
				}
			}
		}
	}
}
