package rib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// several is a world with external neighbors t1, t2… in the AS numbers given,
// and two internal ones, that all may announce anything.
func several(t *testing.T, asns ...uint32) *world {
	s := cluster()
	w := &world{t: t, o: owners(s), snap: s, routes: map[netip.Prefix]string{}}
	w.m = NewMirror(w.o)
	any := caracal.Peer{Name: "any", AcceptRanges: []netip.Prefix{pfx("0.0.0.0/0")}}
	s.Peers = s.Peers.Put("any", any)
	w.m.SetPolicy(PolicyOf(s, nil))
	var ns []bgp.Neighbor
	for i, as := range append([]uint32{64512, 64512}, asns...) {
		n := bgp.Neighbor{Name: fmt.Sprintf("t%d", i-1), ASN: as, IPv4: true, IPv6: true, Peer: "any", External: as != 64512,
			Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}
		if i < 2 {
			n.Name = fmt.Sprintf("i%d", i+1)
		}
		ns = append(ns, n)
	}
	w.m.SetNeighbors(64512, ns)
	for _, n := range ns {
		w.up(n.Name)
	}
	return w
}

func (w *world) path(neighbor string, hop int, change func(*caracal.Attrs)) {
	a := &caracal.Attrs{NextHop: netip.AddrFrom4([4]byte{203, 0, 112, byte(hop)}), LocalPref: 100, ASPath: []uint32{65001, 7}, ASPathLen: 2}
	if change != nil {
		change(a)
	}
	w.event(bgp.Event{Update: &bgp.Update{Neighbor: neighbor, Attrs: a, Announced: []bgp.NLRI{{Prefix: pfx("203.0.113.0/24")}}}})
}

// TestSelection goes through the steps of RFC 4271 section 9.1.2.2: each time
// the first path is better by one step and worse by the next.
func TestSelection(t *testing.T) {
	gone := caracal.GracefulShutdown.Value[0]
	stale := caracal.LLGRStale.Value[0]
	for _, c := range []struct {
		name        string
		good, worse func(*caracal.Attrs)
		why         string
	}{
		{"long-lived stale", func(a *caracal.Attrs) { a.LocalPref = 1 }, func(a *caracal.Attrs) { a.LocalPref = 200; a.Communities = []uint32{stale} }, "last resort"},
		{"graceful shutdown", func(a *caracal.Attrs) { a.LocalPref = 1 }, func(a *caracal.Attrs) { a.LocalPref = 200; a.Communities = []uint32{gone} }, "local preference 0, the best path has 1 (GRACEFUL_SHUTDOWN, RFC 8326)"},
		{"local preference", func(a *caracal.Attrs) { a.LocalPref = 101; a.ASPathLen = 9 }, nil, "local preference 100, the best path has 101"},
		{"AS path", func(a *caracal.Attrs) { a.ASPathLen = 1; a.Origin = caracal.OriginIncomplete }, nil, "AS path length 2, the best path has 1"},
		{"origin", func(a *caracal.Attrs) { a.MED, a.HasMED = 9, true }, func(a *caracal.Attrs) { a.Origin = caracal.OriginEGP }, "origin e, the best path has i"},
		{"MED", nil, func(a *caracal.Attrs) { a.MED, a.HasMED = 1, true }, "MED 1, the best path has 0"},
	} {
		w := several(t, 65001, 65001)
		w.path("t1", 1, c.good)
		w.path("t2", 2, c.worse)
		if got := w.routes[pfx("203.0.113.0/24")]; got != "[203.0.112.1]" {
			t.Errorf("%s: %s", c.name, got)
		}
		views := w.m.View(must(w.m.Ref(pfx("203.0.113.0/24"))))
		if !strings.Contains(views[1].Why, c.why) {
			t.Errorf("%s: %q, want %q", c.name, views[1].Why, c.why)
		}
	}
	w := several(t, 65001, 65002)
	w.path("i1", 1, nil)
	w.path("i2", 2, nil)
	w.want("203.0.113.0/24 [203.0.112.1 203.0.112.2]")
	w.path("t1", 3, nil) // eBGP over iBGP
	w.want("203.0.113.0/24 [203.0.112.3]")
	w.path("t2", 4, func(a *caracal.Attrs) { a.ASPath, a.MED, a.HasMED = []uint32{65002, 7}, 50, true }) // another AS: MED says nothing
	w.want("203.0.113.0/24 [203.0.112.3 203.0.112.4]")
}

// TestMEDDoesNotDependOnOrder is the case that a comparison of two paths at a
// time gets wrong: A is better than B by MED, B than C as external, C than A... in
// some order of arrival.
func TestMEDDoesNotDependOnOrder(t *testing.T) {
	paths := []func(w *world){
		func(w *world) {
			w.path("i1", 1, func(a *caracal.Attrs) { a.ASPath = []uint32{65001, 7}; a.MED, a.HasMED = 10, true })
		},
		func(w *world) { w.path("t2", 2, func(a *caracal.Attrs) { a.ASPath = []uint32{65002, 7} }) },
		func(w *world) {
			w.path("t1", 3, func(a *caracal.Attrs) { a.ASPath = []uint32{65001, 7}; a.MED, a.HasMED = 20, true })
		},
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w := several(t, 65001, 65002)
		for _, i := range order {
			paths[i](w)
		}
		if got := w.routes[pfx("203.0.113.0/24")]; got != "[203.0.112.2]" {
			t.Errorf("order %v: %s", order, got)
		}
	}
}

func TestSixteenWays(t *testing.T) {
	w := several(t, slices.Repeat([]uint32{65001}, 20)...)
	for i := 20; i > 0; i-- {
		w.path(fmt.Sprint("t", i), i, nil)
	}
	if got := strings.Count(w.routes[pfx("203.0.113.0/24")], "203.0.112."); got != maxPaths {
		t.Fatalf("%d next hops", got)
	}
	views := w.m.View(must(w.m.Ref(pfx("203.0.113.0/24"))))
	if views[0].Neighbor != "t1" {
		t.Fatalf("the best is %s", views[0].Neighbor)
	}
	left := 0
	for _, v := range views {
		if !v.Best {
			left++
			if !strings.Contains(v.Why, "16 next hops are enough") {
				t.Errorf("%s: %q", v.Neighbor, v.Why)
			}
		}
	}
	if left != 4 {
		t.Errorf("%d paths are left out", left)
	}
}

func TestLongLivedStale(t *testing.T) {
	w := several(t, 65001, 65001)
	w.path("t1", 1, nil)
	w.path("t2", 2, func(a *caracal.Attrs) { a.ASPathLen = 5 })
	w.event(bgp.Event{Update: &bgp.Update{Neighbor: "t1", Attrs: &caracal.Attrs{NextHop: ip("203.0.112.1"), LocalPref: 100, ASPath: []uint32{65001}, ASPathLen: 1,
		Communities: []uint32{caracal.NoLLGR.Value[0]}}, Announced: []bgp.NLRI{{Prefix: pfx("203.0.114.0/24")}}}})
	w.want("203.0.113.0/24 [203.0.112.1]", "203.0.114.0/24 [203.0.112.1]")
	w.down("t1", true)
	w.want("203.0.113.0/24 [203.0.112.1]", "203.0.114.0/24 [203.0.112.1]")
	expired := &bgp.Session{Neighbor: "t1", State: bgp.Active, Was: bgp.Active, Expired: true, LongLived4: true}
	w.event(bgp.Event{Session: expired})
	w.want("203.0.113.0/24 [203.0.112.2]") // the last resort is not needed, NO_LLGR is dropped
	w.withdraw("t2", "203.0.113.0/24")
	w.want("203.0.113.0/24 [203.0.112.1]")
	w.up("t1")
	w.path("t2", 2, func(a *caracal.Attrs) { a.ASPathLen = 5 })
	w.want("203.0.113.0/24 [203.0.112.2]")
	w.path("t1", 1, nil) // announced again: as good as ever
	w.want("203.0.113.0/24 [203.0.112.1]")
	w.eor("t1")
	w.want("203.0.113.0/24 [203.0.112.1]")
	w.down("t1", true)
	w.event(bgp.Event{Session: expired})
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: "t1", State: bgp.Active, Was: bgp.Active, Expired: true}})
	w.withdraw("t2", "203.0.113.0/24")
	w.want()
}

// TestRelays holds what is passed on against a table: whose path, and to what
// end.
func TestRelays(t *testing.T) {
	w := several(t, 65001)
	told := map[netip.Prefix][]bgp.Relay{}
	calls := 0
	w.m.OnRelay(func(p netip.Prefix, r []bgp.Relay) { calls++; told[p] = r })
	p := pfx("203.0.113.0/24")
	says := func(want string) {
		t.Helper()
		var got []string
		for _, r := range told[p] {
			got = append(got, fmt.Sprintf("%s internal %t client %t external %t pref %d", r.From, r.Internal, r.Client, r.External, r.Attrs.LocalPref))
		}
		if strings.Join(got, "; ") != want {
			t.Fatalf("passed on %q, want %q", got, want)
		}
	}
	w.path("i1", 1, nil)
	says("") // no reflector
	pol := w.m.policy
	pol.ClusterID = ip("10.9.9.9")
	w.m.SetPolicy(pol)
	w.decide()
	says("i1 internal true client false external false pref 100")
	before := calls
	w.path("i1", 1, nil) // the same again is no news
	if calls != before {
		t.Fatal("told again")
	}
	w.path("t1", 3, nil) // best, but from outside
	says("")
	w.withdraw("t1", p.String())
	says("i1 internal true client false external false pref 100")
	w.path("i1", 1, func(a *caracal.Attrs) { a.Communities = []uint32{caracal.NoAdvertise.Value[0]} })
	says("")
	w.path("i1", 1, func(a *caracal.Attrs) { a.Communities = []uint32{caracal.GracefulShutdown.Value[0]} })
	says("i1 internal true client false external false pref 0")
	w.path("i2", 2, nil)
	says("i2 internal true client false external false pref 100")
	// An export filter that names what others announce.
	pol.Filters = pol.Filters.Put("out", caracal.Filter{Name: "out", Export4: []caracal.Rule{{Accept: true, Source: caracal.SourceRemotePeers}}})
	w.m.SetPolicy(pol)
	w.m.SetNeighbors(64512, []bgp.Neighbor{
		{Name: "i1", ASN: 64512, Peer: "any", Addr: ip("198.51.100.0"), Client: true}, {Name: "i2", ASN: 64512, Peer: "any", Addr: ip("198.51.100.1")},
		{Name: "t1", ASN: 65001, Peer: "any", External: true, Addr: ip("198.51.100.2"), Filters: "out", AddPathSend: 4},
	})
	w.path("t1", 3, nil)
	says("t1 internal false client false external true pref 100")
	w.withdraw("t1", p.String())
	w.path("i1", 1, nil)
	says("i1 internal true client true external false pref 100; i2 internal true client false external false pref 100")
	w.down("i1", false)
	w.down("i2", false)
	says("")
	if len(w.m.relayed) != 0 {
		t.Fatalf("remembered: %v", w.m.relayed)
	}
}

// TestRelaysAgainstScratch: what was told bit by bit is what one would tell now.
func TestRelaysAgainstScratch(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	w := several(t, 65001, 65002)
	told := map[netip.Prefix][]bgp.Relay{}
	w.m.OnRelay(func(p netip.Prefix, r []bgp.Relay) {
		if told[p] = r; len(r) == 0 {
			delete(told, p)
		}
	})
	names := []string{"i1", "i2", "t1", "t2"}
	for range 5000 {
		n := names[rng.IntN(4)]
		switch rng.IntN(10) {
		case 0:
			w.down(n, rng.IntN(2) == 0)
			w.up(n)
		case 1:
			w.eor(n)
		case 2:
			pol := w.m.policy
			pol.ClusterID = [...]netip.Addr{{}, ip("10.9.9.9")}[rng.IntN(2)]
			w.m.SetPolicy(pol)
			w.decide()
		case 3:
			w.withdraw(n, "203.0.113.0/24")
		default:
			w.path(n, rng.IntN(3), func(a *caracal.Attrs) { a.LocalPref = uint32(100 + rng.IntN(2)) })
		}
		want := ""
		if w.m.policy.ClusterID.IsValid() {
			if ref, ok := w.m.Ref(pfx("203.0.113.0/24")); ok {
				for _, v := range w.m.View(ref) {
					if v.Best && want == "" {
						want = v.Neighbor
					}
				}
			}
			if strings.HasPrefix(want, "t") {
				want = ""
			}
		}
		got := ""
		if r := told[pfx("203.0.113.0/24")]; len(r) == 1 {
			got = r[0].From
		}
		if got != want {
			t.Fatalf("passed on is %q, want %q", got, want)
		}
	}
}
