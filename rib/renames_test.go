package rib

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

func BenchmarkMirror100k(b *testing.B) {
	s := cluster()
	s.Blocks = s.Blocks.Put(pfx("10.1.0.0/16"), caracal.Block{CIDR: pfx("10.1.0.0/16"), Node: "b"})
	s.Pools = s.Pools.Put("v4", caracal.Pool{Name: "v4", CIDR: pfx("10.0.0.0/8")})
	s.Blocks = s.Blocks.Put(pfx("10.128.0.0/9"), caracal.Block{CIDR: pfx("10.128.0.0/9"), Node: "b"})
	var ups []*bgp.Update
	base := ip("10.128.0.0").As4()
	attrs := &caracal.Attrs{NextHop: ip("192.0.2.2"), LocalPref: 100}
	for i := range 125 {
		u := &bgp.Update{Neighbor: "mesh/b", Attrs: attrs, Received: time.Now()}
		for j := range 800 {
			n := i*800 + j
			a := netip.AddrFrom4([4]byte{base[0], base[1] + byte(n>>16), byte(n >> 8), byte(n)})
			u.Announced = append(u.Announced, bgp.NLRI{Prefix: caracal.HostPrefix(a)})
		}
		ups = append(ups, u)
	}
	b.ReportAllocs()
	for b.Loop() {
		m := NewMirror(owners(s))
		m.SetNeighbors(64512, []bgp.Neighbor{{Name: "mesh/b", Node: "b", ASN: 64512, IPv4: true}})
		n := 0
		for _, u := range ups {
			m.Apply(bgp.Event{Update: u})
			for m.Decide(1000, func(Choice) { n++ }) {
			}
		}
		if n != 100_000 {
			b.Fatal(n)
		}
	}
}

func TestLoopIsRefused(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.event(bgp.Event{Update: &bgp.Update{Neighbor: "mesh/b", Announced: []bgp.NLRI{{Prefix: pfx("10.1.2.0/26")}},
		Attrs: &caracal.Attrs{NextHop: ip("192.0.2.2"), LocalPref: 100, ASPath: []uint32{65001, 64512}, ASPathLen: 2}}})
	w.want()
	if v := w.m.View(must(w.m.Ref(pfx("10.1.2.0/26"))))[0]; v.Verdict.Code != RefusedLoop || !strings.Contains(v.Why, "our own AS number") {
		t.Fatalf("%+v", v)
	}
}

func TestRenamesKeepOwnership(t *testing.T) {
	for _, name := range []string{"a", "z"} { // before and after the old name
		w := newWorld(t, cluster())
		w.up("mesh/b")
		w.up("mesh/c")
		w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
		w.announce("mesh/c", "10.1.2.9/32", "192.0.2.3") // borrowed
		both := []string{"10.1.2.0/26 [192.0.2.2]", "10.1.2.9/32 [192.0.2.3]"}
		w.want(both...)
		w.snapshot(func(s *caracal.Snapshot) {
			p, _ := s.Pools.Get("v4")
			p.Name = name
			s.Pools = s.Pools.Delete("v4").Put(name, p)
		})
		w.want(both...)
		w.snapshot(func(s *caracal.Snapshot) {
			b, _ := s.Workloads.Get("default/borrower")
			b.Name = name
			s.Workloads = s.Workloads.Delete("default/borrower").Put(b.Key(), b)
		})
		w.want(both...)
		w.snapshot(func(s *caracal.Snapshot) { // b and c exchange their addresses
			b, _ := s.Nodes.Get("b")
			c, _ := s.Nodes.Get("c")
			b.IPv4, c.IPv4 = c.IPv4, b.IPv4
			s.Nodes = s.Nodes.Put("b", b).Put("c", c)
		})
		w.want()
		w.announce("mesh/b", "10.1.2.0/26", "192.0.2.3")
		w.want("10.1.2.0/26 [192.0.2.3]")
	}
}

// A node that changes its address keeps its neighbor's name: the session is
// removed and added again, after the plan that has it was taken.
func TestRemovedAndConfiguredAnew(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.neighbors("mesh/b", "mesh/c")
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", Removed: true}})
	w.want()
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.want("10.1.2.0/26 [192.0.2.2]")
}

func TestCrashLoopKeepsStalePaths(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.eor("mesh/b")
	for range 3 {
		w.down("mesh/b", true)
		w.up("mesh/b") // and dies before End-of-RIB
	}
	w.want("10.1.2.0/26 [192.0.2.2]")
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Established, Was: bgp.Established, Expired: true}})
	w.want()
}

func TestKeptIsTheLastAccepted(t *testing.T) {
	w := newWorld(t, cluster())
	w.o.addrs[ip("192.0.2.22")] = "b"
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	for _, hop := range []string{"192.0.2.22", "192.0.2.3"} { // both before a decision
		w.m.Apply(bgp.Event{Update: &bgp.Update{Neighbor: "mesh/b", Attrs: &caracal.Attrs{NextHop: ip(hop), LocalPref: 100}, Announced: []bgp.NLRI{{Prefix: pfx("10.1.2.0/26")}}}})
	}
	w.decide()
	w.want("10.1.2.0/26 [192.0.2.22]")
}

func TestReissue(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	moves := w.moves
	w.m.Reissue(pfx("10.1.2.0/26"))
	w.m.Reissue(pfx("10.1.3.0/26"))
	w.decide()
	if w.moves != moves+1 {
		t.Fatalf("%d choices handed out again, want 1", w.moves-moves)
	}
}
