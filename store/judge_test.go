package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// object decodes one; source is also the order among new ones.
func object(t testing.TB, source, kind, name, spec string) *Object {
	t.Helper()
	value, _, err := v1.Decode([]byte("apiVersion: caracal.dev/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewObject(value, source, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func node(t testing.TB, name string, addr int, blocks ...string) *Object {
	t.Helper()
	return object(t, name+".yaml", "NodeConfig", name, fmt.Sprintf("addresses: [192.0.2.%d/24], blocks: [%s]", addr, strings.Join(blocks, ", ")))
}

func inForce(objects ...*Object) []*Object {
	for _, o := range objects {
		o.AcceptedAt = time.Unix(1000, 0)
	}
	return objects
}

func byKey(objects []*Object) map[Key]*Object {
	m := map[Key]*Object{}
	for _, o := range objects {
		m[o.Key] = o
	}
	return m
}

// Two nodes that swap their addresses in one step are no conflict.
func TestJudgeSwap(t *testing.T) {
	old := byKey(inForce(node(t, "a", 1), node(t, "b", 2)))
	v := Judge(Proposal{Changed: []*Object{node(t, "a", 2), node(t, "b", 1)}, Accepted: old})
	if len(v.Rejected) > 0 || len(v.Objects) != 2 || v.Objects[0] == old[v.Objects[0].Key] {
		t.Errorf("%+v", v)
	}
}

// What falls back to its accepted version may be in the way of another.
func TestJudgeFallsBack(t *testing.T) {
	old := inForce(node(t, "a", 1), node(t, "b", 2), node(t, "c", 3))
	// a wants b's address, and c wants a's: a falls back, and so c must.
	v := Judge(Proposal{InForce: old[1:2], Changed: []*Object{node(t, "a", 2), node(t, "c", 1)}, Accepted: byKey(old)})
	if !slices.Equal(v.Objects, old) || len(v.Rejected) != 2 {
		t.Errorf("%+v", v)
	}
	if got, want := v.Rejected[1].Reason, "spec.addresses: 192.0.2.1 is the address of NodeConfig a (a.yaml) already"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Objects in force are never rejected, whatever is found about them.
func TestJudgeKeepsWhatIsInForce(t *testing.T) {
	v := Judge(Proposal{InForce: inForce(node(t, "a", 1), node(t, "b", 1))})
	if len(v.Objects) != 2 || len(v.Rejected) > 0 || len(v.Strained) == 0 {
		t.Errorf("%+v", v)
	}
}

// However the proposal looks: what is judged good fits together, what was in
// force and unchanged stays, and every key that was in force still is.
func TestJudgeProperties(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		random := func(n int) []*Object {
			m := map[Key]*Object{}
			for range n {
				var o *Object
				switch r.IntN(5) {
				case 0:
					o = object(t, "p", "IPPool", fmt.Sprintf("p%d", r.IntN(4)), "cidr: "+[]string{"10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"}[r.IntN(3)])
				case 1:
					o = object(t, "w", "Workload", fmt.Sprintf("w%d", r.IntN(6)), fmt.Sprintf("node: a, interfaceName: x, ipNetworks: [10.0.0.%d]", 1+r.IntN(8)))
				case 2:
					o = object(t, "b", "BGPConfiguration", fmt.Sprintf("b%d", r.IntN(3)), fmt.Sprintf("nodeSelector: \"kubernetes.io/hostname == 'n%d' || all()\", holdTime: %ds", r.IntN(5), 9+r.IntN(2)))
				default:
					o = node(t, fmt.Sprintf("n%d", r.IntN(6)), 1+r.IntN(8), fmt.Sprintf("10.0.%d.0/%d", r.IntN(2)*128, 18+r.IntN(2)*6))
				}
				m[o.Key] = o
			}
			var list []*Object
			for _, o := range m {
				list = append(list, o)
			}
			return list
		}
		first := Judge(Proposal{Changed: random(12)})
		again := Judge(Proposal{InForce: inForce(first.Objects...)})
		if len(again.Strained) > 0 {
			t.Fatalf("seed %d: what was judged good does not fit: %s: %s", seed, again.Strained[0].Object.Key, again.Strained[0].Reason)
		}
		old := byKey(first.Objects)
		p := Proposal{Accepted: old}
		changed := byKey(random(8))
		for _, o := range changed {
			p.Changed = append(p.Changed, o)
		}
		for k, o := range old {
			if changed[k] == nil {
				p.InForce = append(p.InForce, o)
			}
		}
		second := Judge(p)
		now := byKey(second.Objects)
		for k, o := range old {
			if now[k] == nil || changed[k] == nil && now[k] != o {
				t.Fatalf("seed %d: %s was in force and is not", seed, k)
			}
		}
		if len(second.Objects) != len(now) {
			t.Fatalf("seed %d: an object twice", seed)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var ranges []owned
		var owners []*entry
		for i := range 4 {
			owners = append(owners, &entry{order: i})
		}
		for range 8 {
			bits := 1 + r.IntN(5)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(32)) << 3}), bits).Masked()
			ranges = append(ranges, owned{p, owners[r.IntN(4)]})
		}
		// Every range that overlaps a foreign one is in some pair that is found.
		want := map[owned]bool{}
		for _, a := range ranges {
			for _, b := range ranges {
				if a.by != b.by && a.Overlaps(b.Prefix) {
					want[a] = true
				}
			}
		}
		got := map[owned]bool{}
		overlaps(slices.Clone(ranges), func(a, b owned) {
			if a.by == b.by || !a.Overlaps(b.Prefix) {
				t.Fatalf("seed %d: %v and %v", seed, a, b)
			}
			got[a], got[b] = true, true
		})
		if (len(want) > 0) != (len(got) > 0) {
			t.Fatalf("seed %d: found %v, want %v", seed, got, want)
		}
	}
}

func TestBuild(t *testing.T) {
	objects := inForce(
		object(t, "", "BGPConfiguration", "rack", "nodeSelector: has(rack), holdTime: 9s, asNumber: 65001, nodeToNodeMeshEnabled: false"),
		object(t, "", "BGPConfiguration", "default", "listenPort: 1179, routerID: hash"),
		object(t, "", "BGPPeer", "all", "peerIP: 192.0.2.2, asNumber: 1"),
		object(t, "", "BGPPeer", "one", "peerIP: \"198.51.100.1:1790\", asNumber: 1, node: a, holdTime: 30s, sourceAddress: 192.0.2.1, ebgpMultihop: true, passive: true"),
		object(t, "", "BGPPeer", "racked", "peerIP: 198.51.100.2, asNumber: 1, nodeSelector: has(rack)"),
		object(t, "", "DataplaneConfiguration", "default", "table: 100, setSysctls: false"),
		node(t, "a", 1, "10.0.0.0/26"), node(t, "b", 2, "10.0.1.0/26"),
		object(t, "", "NodeConfig", "c, labels: {rack: r1}", "addresses: [192.0.2.3/24]"),
	)
	a, _, changed := Build(caracal.NewSnapshot("a"), objects, nil)
	if !changed {
		t.Error("nothing changed")
	}
	one, _ := a.Peers.Get("one")
	if want := (caracal.Peer{Name: "one", Addr: netip.MustParseAddr("198.51.100.1"), Port: 1790, ASN: 1, SourceAddr: netip.MustParseAddr("192.0.2.1"),
		HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, Multihop: true, Passive: true,
		GracefulRestart: true, RestartTime: 2 * time.Minute, NextHop: caracal.NextHopAuto,
		MaxPrefixes: 10000, WarnPrefixes: 7500, MaxPrefixesRetry: 5 * time.Minute}); !reflect.DeepEqual(one, want) {
		t.Errorf("peer %+v", one)
	}
	c, _ := a.Nodes.Get("c")
	if c.ASN != 65001 || c.MeshEnabled || c.Port != 1179 || c.RouterID != v1.HashRouterID("c") {
		t.Errorf("node %+v", c)
	}
	if a.BGP.HoldTime != 90*time.Second || !a.BGP.MeshEnabled || a.Dataplane.Table != 100 || a.Dataplane.SetSysctls || a.Peers.Len() != 2 {
		t.Errorf("%+v %+v %d peers", a.BGP, a.Dataplane, a.Peers.Len())
	}
	if _, _, changed := Build(a, objects, nil); changed {
		t.Error("the same again is a change")
	}
	// b does not peer with itself.
	if b, _, _ := Build(caracal.NewSnapshot("b"), objects, nil); b.Peers.Len() != 0 {
		t.Errorf("b has %d peers", b.Peers.Len())
	}
	if c, _, _ := Build(caracal.NewSnapshot("c"), objects, nil); c.Peers.Len() != 2 || c.BGP.HoldTime != 9*time.Second || c.BGP.MeshEnabled {
		t.Errorf("c has %d peers, %+v", c.Peers.Len(), c.BGP)
	}
}

func TestDigest(t *testing.T) {
	a, b := node(t, "a", 1), node(t, "b", 2)
	moved := *a
	moved.Source = "elsewhere.yaml"
	if Digest([]*Object{a, b}) != Digest([]*Object{b, &moved}) {
		t.Error("the order or the file counts")
	}
	if d := Digest([]*Object{a}); d == Digest([]*Object{b}) || len(d) != 12 {
		t.Error(d)
	}
}

func TestWarningsAlike(t *testing.T) {
	var objects []*Object
	for i := range 30 {
		objects = append(objects, node(t, fmt.Sprintf("n%02d", i), i+1, fmt.Sprintf("10.0.%d.0/26", i)))
	}
	w := Warnings(objects)
	if len(w) != maxAlike+1 || w[maxAlike].Message != "20 more objects have the same warning, NodeConfig n10 first." {
		t.Errorf("%d warnings, the last %q", len(w), w[len(w)-1].Message)
	}
}
