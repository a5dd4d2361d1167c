package rib

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

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// cluster is nodes a (self), b and c with a block each of both families.
func cluster() *caracal.Snapshot {
	s := caracal.NewSnapshot("a")
	s.Pools = s.Pools.Put("v4", caracal.Pool{Name: "v4", CIDR: pfx("10.1.0.0/16"), BlockSize: 26})
	s.Pools = s.Pools.Put("v6", caracal.Pool{Name: "v6", CIDR: pfx("fd00:1::/48"), BlockSize: 122})
	for i, n := range []string{"a", "b", "c"} {
		s.Nodes = s.Nodes.Put(n, caracal.Node{
			Name: n,
			IPv4: netip.PrefixFrom(ip(fmt.Sprintf("192.0.2.%d", i+1)), 24),
			IPv6: netip.PrefixFrom(ip(fmt.Sprintf("2001:db8::%d", i+1)), 64),
		})
		for _, b := range []string{fmt.Sprintf("10.1.%d.0/26", i+1), fmt.Sprintf("fd00:1::%d00/122", i+1)} {
			s.Blocks = s.Blocks.Put(pfx(b), caracal.Block{CIDR: pfx(b), Node: n})
		}
	}
	s.Workloads = s.Workloads.Put("default/borrower", caracal.Workload{
		Namespace: "default", Name: "borrower", Node: "c", Addrs: []netip.Addr{ip("10.1.2.9")},
	})
	return s
}

func owners(s *caracal.Snapshot) *Owners {
	o := NewOwners()
	o.Update(nil, s)
	return o
}

func TestJudge(t *testing.T) {
	o := owners(cluster())
	for _, c := range []struct {
		nlri, nextHop string
		want          Code
		explains      string
	}{
		{"10.1.2.0/26", "192.0.2.2", Accepted, ""},
		{"10.1.2.7/32", "192.0.2.2", Accepted, ""},
		{"fd00:1::200/122", "2001:db8::2", Accepted, ""},
		{"10.1.2.9/32", "192.0.2.3", Accepted, ""}, // borrowed: from its borrower
		{"10.1.2.9/32", "192.0.2.2", RefusedNotTheirs, "10.1.2.9/32 belongs to node c, but next hop 192.0.2.2 is node b"},
		{"10.1.3.0/26", "192.0.2.2", RefusedNotTheirs, "10.1.3.0/26 belongs to node c, but next hop 192.0.2.2 is node b"},
		{"10.1.3.5/32", "192.0.2.2", RefusedNotTheirs, ""},
		{"10.1.1.0/26", "192.0.2.2", RefusedLocal, "10.1.1.0/26 belongs to this node"},
		{"10.1.1.5/32", "192.0.2.2", RefusedLocal, ""},
		{"10.1.2.0/26", "192.0.2.1", RefusedSelf, "next hop 192.0.2.1 is this node, but 10.1.2.0/26 belongs to node b"},
		{"10.1.2.0/26", "192.0.2.99", RefusedNextHop, "next hop 192.0.2.99 is the address of no node; 10.1.2.0/26 belongs to node b"},
		{"0.0.0.0/0", "192.0.2.2", RefusedDefault, "the default route is never taken from a node"},
		{"::/0", "2001:db8::2", RefusedDefault, ""},
		{"192.0.2.3/32", "192.0.2.2", RefusedNoPool, "192.0.2.3/32 is in no IPPool"},
		{"10.96.0.0/12", "192.0.2.2", RefusedNoPool, ""},
		{"10.1.0.0/16", "192.0.2.2", RefusedTooWide, "10.1.0.0/16 is wider than what any one node owns in it"},
		{"10.0.0.0/8", "192.0.2.2", RefusedTooWide, ""},
		{"10.1.2.0/25", "192.0.2.2", RefusedTooWide, ""},
		{"10.1.200.0/26", "192.0.2.2", RefusedNoOwner, "10.1.200.0/26 is in IPPool v4, but no node owns a block with it"},
		{"224.0.0.0/4", "192.0.2.2", RefusedRange, "224.0.0.0/4 is not a range that pods can have"},
		{"fe80::/64", "2001:db8::2", RefusedRange, ""},
	} {
		v := o.Judge(pfx(c.nlri), ip(c.nextHop))
		if v.Code != c.want {
			t.Errorf("%s via %s: %v, want %v", c.nlri, c.nextHop, v.Code, c.want)
		}
		if got := v.Explain(pfx(c.nlri), ip(c.nextHop)); c.explains != "" && got != c.explains {
			t.Errorf("%s via %s explained as\n  %s, want\n  %s", c.nlri, c.nextHop, got, c.explains)
		}
	}
}

// world drives a Mirror and keeps what it would have put into the kernel.
type world struct {
	t      *testing.T
	m      *Mirror
	o      *Owners
	snap   *caracal.Snapshot
	routes map[netip.Prefix]string
	moves  int
}

func newWorld(t *testing.T, snap *caracal.Snapshot) *world {
	w := &world{t: t, o: owners(snap), snap: snap, routes: map[netip.Prefix]string{}}
	w.m = NewMirror(w.o)
	w.neighbors("mesh/b", "mesh/c")
	return w
}

func (w *world) neighbors(names ...string) {
	var ns []bgp.Neighbor
	for _, n := range names {
		ns = append(ns, bgp.Neighbor{Name: n, Node: strings.TrimPrefix(n, "mesh/"), ASN: 64512, IPv4: true, IPv6: true})
	}
	w.m.SetNeighbors(64512, ns)
	w.decide()
}

func (w *world) decide() {
	for w.m.Decide(3, func(c Choice) {
		w.moves++
		if len(c.NextHops) == 0 {
			delete(w.routes, c.NLRI)
			return
		}
		w.routes[c.NLRI] = fmt.Sprint(c.NextHops)
	}) {
	}
}

func (w *world) event(e bgp.Event) { w.m.Apply(e); w.decide() }

func (w *world) up(n string) {
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: n, State: bgp.Established, Was: bgp.OpenConfirm}})
}

func (w *world) down(n string, graceful bool) {
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: n, State: bgp.Idle, Was: bgp.Established, Graceful: graceful, Kept4: graceful, Kept6: graceful}})
}

func (w *world) eor(n string) {
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: n}})
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: n, IPv6: true}})
}

func (w *world) announce(n, nlri, nextHop string) {
	w.event(bgp.Event{Update: &bgp.Update{Neighbor: n, Attrs: &caracal.Attrs{NextHop: ip(nextHop), LocalPref: 100}, Announced: []bgp.NLRI{{Prefix: pfx(nlri)}}, Received: time.Unix(1, 0)}})
}

func (w *world) withdraw(n, nlri string) {
	w.event(bgp.Event{Update: &bgp.Update{Neighbor: n, Withdrawn: []bgp.NLRI{{Prefix: pfx(nlri)}}, Received: time.Unix(1, 0)}})
}

func (w *world) want(routes ...string) {
	w.t.Helper()
	var got []string
	for p, h := range w.routes {
		got = append(got, p.String()+" "+h)
	}
	slices.Sort(got)
	if !slices.Equal(got, routes) {
		w.t.Fatalf("routes\n  %q, want\n  %q", got, routes)
	}
}

func TestHijackNeverHidesTheRightPath(t *testing.T) {
	for _, first := range []string{"right", "hijack"} {
		w := newWorld(t, cluster())
		w.up("mesh/b")
		w.up("mesh/c")
		hijack := func() {
			w.event(bgp.Event{Update: &bgp.Update{Neighbor: "mesh/c", Attrs: &caracal.Attrs{NextHop: ip("192.0.2.3"), LocalPref: 1000}, Announced: []bgp.NLRI{{Prefix: pfx("10.1.2.0/26")}}}})
		}
		if first == "hijack" {
			hijack()
			w.want()
		}
		w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
		if first == "right" {
			hijack()
		}
		w.want("10.1.2.0/26 [192.0.2.2]")
		views := w.m.View(must(w.m.Ref(pfx("10.1.2.0/26"))))
		if len(views) != 2 || !views[0].Best || views[0].Neighbor != "mesh/b" || !strings.HasPrefix(views[1].Why, "10.1.2.0/26 belongs to node b") {
			t.Fatalf("views %+v", views)
		}
		if c := w.m.Counts("mesh/c"); c.Received != 1 || c.Refused[RefusedNotTheirs] != 1 || c.Accepted != 0 {
			t.Fatalf("counts %+v", c)
		}
	}
}

// A reflector that switches its best path to a hijacked one replaces the right
// path on our session: the accepted route stays until it is withdrawn.
func TestAcceptedRouteStaysWhenReplacedByRefused(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.3")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.99")
	w.want("10.1.2.0/26 [192.0.2.2]")
	if v := w.m.View(must(w.m.Ref(pfx("10.1.2.0/26"))))[0]; !strings.Contains(v.Why, "the accepted path via 192.0.2.2 stays") {
		t.Fatalf("why %q", v.Why)
	}
	w.withdraw("mesh/b", "10.1.2.0/26")
	w.want()
}

func TestGracefulRestart(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce("mesh/b", "10.1.2.5/32", "192.0.2.2")
	w.announce("mesh/b", "fd00:1::200/122", "2001:db8::2")
	w.eor("mesh/b")
	moves := w.moves
	w.down("mesh/b", true)
	if c := w.m.Counts("mesh/b"); c.Received != 3 {
		t.Fatalf("stale paths dropped: %+v", c)
	}
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	if w.moves != moves {
		t.Fatalf("a graceful restart moved %d routes", w.moves-moves)
	}
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "mesh/b"}})
	w.want("10.1.2.0/26 [192.0.2.2]", "fd00:1::200/122 [2001:db8::2]")
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "mesh/b", IPv6: true}})
	w.want("10.1.2.0/26 [192.0.2.2]")
	w.down("mesh/b", true)
	w.want("10.1.2.0/26 [192.0.2.2]")
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Active, Was: bgp.Active, Expired: true}})
	w.want()
}

func TestHardDownDropsAtOnce(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.down("mesh/b", false)
	w.want()
	if w.m.Len() != 0 {
		t.Fatalf("%d prefixes left", w.m.Len())
	}
}

func TestOwnershipFollowsTheSnapshot(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.up("mesh/c")
	w.announce("mesh/b", "10.1.9.0/26", "192.0.2.2") // before its affinity is known
	w.announce("mesh/c", "10.1.2.0/26", "192.0.2.3")
	w.want()
	w.snapshot(func(s *caracal.Snapshot) {
		s.Blocks = s.Blocks.Put(pfx("10.1.9.0/26"), caracal.Block{CIDR: pfx("10.1.9.0/26"), Node: "b"})
	})
	w.want("10.1.9.0/26 [192.0.2.2]")
	w.snapshot(func(s *caracal.Snapshot) { // b's block moves to c
		s.Blocks = s.Blocks.Put(pfx("10.1.2.0/26"), caracal.Block{CIDR: pfx("10.1.2.0/26"), Node: "c"})
	})
	w.want("10.1.2.0/26 [192.0.2.3]", "10.1.9.0/26 [192.0.2.2]")
	w.snapshot(func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Delete("b") })
	w.want("10.1.2.0/26 [192.0.2.3]")
	w.snapshot(func(s *caracal.Snapshot) { s.Pools = s.Pools.Delete("v4") })
	w.want()
}

func (w *world) snapshot(change func(*caracal.Snapshot)) {
	next := *w.snap
	change(&next)
	w.m.Rejudge(w.o.Update(w.snap, &next))
	w.snap = &next
	w.decide()
}

func TestECMP(t *testing.T) {
	s := cluster()
	s.Nodes = s.Nodes.Put("b", caracal.Node{Name: "b", IPv4: pfx("192.0.2.2/24"), IPv6: pfx("2001:db8::2/64")})
	w := newWorld(t, s)
	w.neighbors("mesh/b", "mesh/c", "mesh/d")
	w.o.addrs[ip("192.0.2.22")] = "b" // a second address of the owner
	w.announce("mesh/c", "10.1.2.0/26", "192.0.2.22")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce("mesh/d", "10.1.2.0/26", "192.0.2.2")
	w.want("10.1.2.0/26 [192.0.2.2 192.0.2.22]")
	w.withdraw("mesh/b", "10.1.2.0/26")
	w.want("10.1.2.0/26 [192.0.2.2 192.0.2.22]")
	w.withdraw("mesh/d", "10.1.2.0/26")
	w.want("10.1.2.0/26 [192.0.2.22]")
}

func TestPendingUntilEndOfRIB(t *testing.T) {
	w := newWorld(t, cluster())
	if p := w.m.Pending(); len(p) != 2 {
		t.Fatalf("pending %v", p)
	}
	w.up("mesh/b")
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "mesh/b"}})
	if w.m.Seen("mesh/b") {
		t.Fatal("seen although IPv6 is missing")
	}
	w.event(bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: "mesh/b", IPv6: true}})
	if p := w.m.Pending(); !slices.Equal(p, []string{"mesh/c"}) {
		t.Fatalf("pending %v", p)
	}
	w.neighbors("mesh/b")
	if p := w.m.Pending(); len(p) != 0 {
		t.Fatalf("pending %v after c left", p)
	}
}

// TestAgainstScratch drives the mirror through random events and holds what it
// would have installed, and its counts, against a decision from scratch.
func TestAgainstScratch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	w := newWorld(t, cluster())
	names := []string{"mesh/b", "mesh/c"}
	hops := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.99"}
	for range 20_000 {
		n := names[rng.IntN(2)]
		nlri := fmt.Sprintf("10.1.%d.%d/32", rng.IntN(4), rng.IntN(3))
		switch rng.IntN(12) {
		case 0:
			w.down(n, rng.IntN(2) == 0)
		case 1:
			w.up(n)
		case 2:
			w.eor(n)
		case 3, 4:
			w.withdraw(n, nlri)
		case 5:
			b := pfx(fmt.Sprintf("10.1.%d.0/26", rng.IntN(4)))
			w.snapshot(func(s *caracal.Snapshot) {
				s.Blocks = s.Blocks.Put(b, caracal.Block{CIDR: b, Node: string(rune('a' + rng.IntN(3)))})
			})
		default:
			w.announce(n, nlri, hops[rng.IntN(4)])
		}
		w.checkScratch()
	}
}

func (w *world) checkScratch() {
	w.t.Helper()
	counts := map[string]Counts{}
	want := map[netip.Prefix]string{}
	fresh := owners(w.snap)
	for _, r := range w.m.Refs() {
		hops := map[netip.Addr]bool{}
		for p := r.e.paths; p != nil; p = p.next {
			c := counts[p.from.name]
			c.Received++
			if fresh.Judge(r.e.nlri, p.update.attrs.NextHop).Code == Accepted {
				c.Accepted++
				hops[p.update.attrs.NextHop] = true
			} else if p.kept && fresh.Judge(r.e.nlri, w.m.kept[p].attrs.NextHop).Code == Accepted {
				hops[w.m.kept[p].attrs.NextHop] = true
			}
			counts[p.from.name] = c
		}
		if len(hops) > 0 {
			sorted := make([]netip.Addr, 0, 2)
			for h := range hops {
				sorted = append(sorted, h)
			}
			slices.SortFunc(sorted, netip.Addr.Compare)
			want[r.e.nlri] = fmt.Sprint(sorted)
		}
	}
	if len(want) != len(w.routes) {
		w.t.Fatalf("routes %v, want %v", w.routes, want)
	}
	for p, h := range want {
		if w.routes[p] != h {
			w.t.Fatalf("%s: %s, want %s", p, w.routes[p], h)
		}
	}
	for n, c := range counts {
		if got := w.m.Counts(n); got.Received != c.Received || got.Accepted != c.Accepted {
			w.t.Fatalf("%s counts %+v, want %+v", n, got, c)
		}
	}
}

func must(r Ref, ok bool) Ref {
	if !ok {
		panic("no such prefix")
	}
	return r
}
