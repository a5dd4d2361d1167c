package kube

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

func TestHeldRemovals(t *testing.T) {
	pools := func(w *world, n int) {
		for i := range n {
			put(w, v1.KindIPPool, fmt.Sprint("p", i), map[string]any{"cidr": fmt.Sprintf("10.%d.0.0/16", i)})
		}
	}
	at := time.Unix(2000, 0)
	cases := map[string]struct {
		do                   func(w *world)
		nodes, pools, blocks int
		held                 bool
	}{
		"half of the nodes": {func(w *world) { w.set(kindNode, "c", nil) }, 2, 6, 3, false},
		"all other nodes":   {func(w *world) { w.set(kindNode, "c", nil); w.set(kindNode, "b", nil) }, 3, 6, 4, true},
		"the own node":      {func(w *world) { w.set(kindNode, "a", nil) }, 3, 6, 4, true},
		"all nodes":         {func(w *world) { w.replace(kindNode, nil) }, 3, 6, 4, true},
		"most pools": {func(w *world) {
			w.replace(v1.KindIPPool, []*item{{key: "p0", value: &own{Object: w.offered[keyOf(v1.KindIPPool, "p0")]}}})
		}, 3, 1, 4, false},
		"all pools": {func(w *world) { w.replace(v1.KindIPPool, nil) }, 3, 6, 4, true},
		"the last pool": {func(w *world) {
			for i := range 5 {
				w.set(v1.KindIPPool, fmt.Sprint("p", i), nil)
			}
			w.next(caracal.NewSnapshot("a"), at.Add(-time.Hour))
			w.set(v1.KindIPPool, "p5", nil)
		}, 3, 1, 4, true},
		"all affinities": {func(w *world) { w.replace(v1.KindBlockAffinity, nil) }, 3, 6, 4, true},
		"most affinities": {func(w *world) {
			w.set(v1.KindBlockAffinity, "1", nil)
			w.set(v1.KindBlockAffinity, "2", nil)
			w.set(v1.KindBlockAffinity, "3", nil)
		}, 3, 6, 1, false},
		"everything": {func(w *world) {
			for _, k := range kinds() {
				w.replace(k, nil)
			}
		}, 3, 6, 4, true},
		"a pool with others": {func(w *world) { w.replace(v1.KindBlockAffinity, nil); w.set(v1.KindIPPool, "p1", nil) }, 3, 6, 4, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := full(t)
			pools(w, 6)
			for i, n := range []string{"a", "b", "c", "a"} {
				put(w, v1.KindBlockAffinity, fmt.Sprint(i), claimed(n, fmt.Sprintf("10.1.%d.0/26", i)))
			}
			s := w.first()
			c.do(w)
			s = w.next(s, at)
			check := func(nodes, pools, blocks int) {
				t.Helper()
				if s.Nodes.Len() != nodes || s.Pools.Len() != pools || s.Blocks.Len() != blocks {
					t.Errorf("%d nodes, %d pools, %d blocks; want %d, %d, %d\n%s", s.Nodes.Len(), s.Pools.Len(), s.Blocks.Len(), nodes, pools, blocks, messages(s))
				}
			}
			check(c.nodes, c.pools, c.blocks)
			if held := strings.Contains(messages(s), "held "); held != c.held {
				t.Errorf("held: %v\n%s", held, messages(s))
			}
			// It stays so, also when much later something else changes.
			put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.1", "asNumber": int64(65000)})
			s = w.next(s, at.Add(time.Hour))
			check(c.nodes, c.pools, c.blocks)
			if name != "everything" {
				return
			}
			w.judge = true
			s, _ = w.build(s, at, true)
			if s.Nodes.Len() != 1 || s.Pools.Len() != 0 || blocks(s) != "10.1.0.0/26=a 10.1.3.0/26=a" { // those of the own Node, which stays
				t.Errorf("confirmed, and still %d nodes, %d pools, %s", s.Nodes.Len(), s.Pools.Len(), blocks(s))
			}
		})
	}
}

// TestAnotherCluster reads the API of a cluster of which this node is not: nothing of
// its own goes. Once its Node is back, what is gone then is gone.
func TestAnotherCluster(t *testing.T) {
	w := full(t)
	put(w, v1.KindIPPool, "pods", map[string]any{"cidr": "10.1.0.0/16"})
	for i, n := range []string{"a", "b", "c"} {
		put(w, v1.KindBlockAffinity, fmt.Sprint(i), claimed(n, fmt.Sprintf("10.1.%d.0/26", i)))
	}
	s := w.first()
	own := []*item{{key: "x", value: coreNode("x", "198.51.100.1")}, {key: "y", value: coreNode("y", "198.51.100.2")}}
	w.replace(kindNode, own)
	w.replace(v1.KindIPPool, nil)
	put(w, v1.KindIPPool, "theirs", map[string]any{"cidr": "10.2.0.0/16"})
	w.replace(v1.KindBlockAffinity, nil)
	put(w, v1.KindBlockAffinity, "9", claimed("x", "10.2.0.0/26"))
	for i := range 2 {
		s = w.next(s, time.Unix(2000+int64(3600*i), 0))
		if s.Nodes.Len() != 5 || s.Pools.Len() != 2 || blocks(s) != "10.1.0.0/26=a 10.1.1.0/26=b 10.1.2.0/26=c 10.2.0.0/26=x" {
			t.Fatalf("%d nodes, %d pools, %s", s.Nodes.Len(), s.Pools.Len(), blocks(s))
		}
		if m := messages(s); !strings.Contains(m, "another cluster's") {
			t.Fatal(m)
		}
		put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.9", "asNumber": int64(65000)})
	}
	w.set(kindNode, "a", coreNode("a", "192.0.2.1"))
	s = w.next(s, time.Unix(9000, 0))
	if s.Nodes.Len() != 3 || s.Pools.Len() != 1 || blocks(s) != "10.2.0.0/26=x" || strings.Contains(messages(s), "held ") {
		t.Fatalf("%d nodes, %d pools, %s\n%s", s.Nodes.Len(), s.Pools.Len(), blocks(s), messages(s))
	}
}

// TestAffinitiesComeBack has all claims go at once, and come back one after the other, one
// of them in another node's hands: those that are missing stay as they are meanwhile.
func TestAffinitiesComeBack(t *testing.T) {
	w := full(t)
	put(w, v1.KindIPPool, "pods", map[string]any{"cidr": "10.1.0.0/16"})
	back := func(i int, node string) {
		put(w, v1.KindBlockAffinity, fmt.Sprintf("%s.%d", node, i), claimed(node, fmt.Sprintf("10.1.%d.0/26", i)))
	}
	owners := []string{"a", "b", "c", "a", "b", "c"}
	for i, n := range owners {
		back(i, n)
	}
	s := w.first()
	at := time.Unix(2000, 0)
	look := func(want string, held bool) {
		t.Helper()
		at = at.Add(time.Hour)
		w.judge = true
		s = w.next(s, at)
		if got := blocks(s); got != want || strings.Contains(messages(s), "held ") != held {
			t.Errorf("%s\nwant %s, held %v\n%s", got, want, held, messages(s))
		}
	}
	const all = "10.1.0.0/26=a 10.1.1.0/26=b 10.1.2.0/26=c 10.1.3.0/26=a 10.1.4.0/26=b 10.1.5.0/26=c"
	w.replace(v1.KindBlockAffinity, nil)
	look(all, true)
	back(1, "b")
	look(all, true)
	back(3, "c")
	taken := strings.Replace(all, "10.1.3.0/26=a", "10.1.3.0/26=c", 1)
	look(taken, true)
	w.set(v1.KindBlockAffinity, "b.1", nil) // one that was back goes, and nothing holds it
	freed := strings.Replace(taken, "10.1.1.0/26=b ", "", 1)
	look(freed, true)
	w.set(kindNode, "c", nil)
	look("10.1.0.0/26=a 10.1.4.0/26=b", true) // its claims are nobody's
	for i, n := range owners {
		back(i, n)
	}
	look("10.1.0.0/26=a 10.1.1.0/26=b 10.1.3.0/26=a 10.1.4.0/26=b", false)
}
