package kube

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// large is a cluster of 5,000 nodes with four blocks and 20 pods each.
func large(b *testing.B) (*world, *caracal.Snapshot) {
	const nodes, each = 5000, 20
	w := newWorld("n0")
	var cores, affinities, pods []*item
	for i := range nodes {
		name := fmt.Sprint("n", i)
		cores = append(cores, &item{key: name, value: coreNode(name, fmt.Sprintf("192.168.%d.%d", i/250, i%250+1))})
		for j := range 4 {
			n := i*4 + j
			conv := affinityOf(w.words)
			affinities = append(affinities, &item{key: fmt.Sprint(n), value: conv(resource(v1.KindBlockAffinity, fmt.Sprint(n), claimed(name, fmt.Sprintf("10.%d.%d.%d/26", n/1024, n/4%256, n%4*64))))})
		}
		for j := range each {
			p := workload(fmt.Sprintf("p-%d-%d", i, j), name, 100, false, fmt.Sprintf("10.%d.%d.%d", i/256, i%256, j))
			p.Labels = map[string]string{"app": fmt.Sprint(j)}
			w.words.Workload(&p.Workload, "x/"+p.Name)
			pods = append(pods, &item{key: "x/" + p.Name, value: p})
		}
	}
	for _, kind := range kinds() {
		switch kind {
		case kindNode:
			w.replace(kind, cores)
		case v1.KindBlockAffinity:
			w.replace(kind, affinities)
		case kindPods:
			w.replace(kind, pods)
		case v1.KindIPPool:
			w.replace(kind, nil)
			put(w, kind, "pods", map[string]any{"cidr": "10.0.0.0/8"})
		case v1.KindBGPPeer:
			w.replace(kind, nil)
			put(w, kind, "tor", map[string]any{"peerIP": "198.51.100.1", "asNumber": int64(65000), "nodeSelector": "name == 'n0'"})
		default:
			w.replace(kind, nil)
		}
	}
	began := time.Now()
	s := w.first()
	b.Logf("first build: %v, %d nodes, %d blocks, %d workloads, %d problems", time.Since(began), s.Nodes.Len(), s.Blocks.Len(), s.Workloads.Len(), len(s.Problems))
	if s.Nodes.Len() != nodes || s.Blocks.Len() != 4*nodes {
		b.Fatal(messages(s)[:500])
	}
	return w, s
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkChange is what one change costs in a cluster of 5,000 nodes and 100,000
// pods, from the decoded object to the Snapshot.
func BenchmarkChange(b *testing.B) {
	before := heap()
	w, s := large(b)
	b.Logf("on the heap: %.1f MiB", float64(heap()-before)/(1<<20))
	run := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				change(i)
				w.judgeTook = 0
				next, changed := w.build(s, time.Unix(int64(2000+i), 0), false)
				if !changed {
					b.Fatal("nothing has changed")
				}
				s = next
			}
		})
	}
	run("pod", func(i int) {
		w.set(kindPods, "x/p-7-7", workload("p-7-7", "n7", 100, false, fmt.Sprintf("10.99.0.%d", i%2)))
	})
	run("policy", func(i int) {
		w.set(v1.KindNetworkPolicy, "x/p", &policy{Policy: caracal.Policy{Namespace: "x", Name: "p", Ingress: i%2 == 0}})
	})
	run("node", func(i int) { w.set(kindNode, "n7", coreNode("n7", fmt.Sprintf("192.0.2.%d", i%2+1))) })
	run("block", func(i int) {
		if i%2 == 0 {
			put(w, v1.KindBlockAffinity, "new", claimed("n7", "10.200.0.0/26"))
		} else {
			w.set(v1.KindBlockAffinity, "new", nil)
		}
	})
	run("peer", func(i int) {
		put(w, v1.KindBGPPeer, "other", map[string]any{"peerIP": fmt.Sprintf("198.51.100.%d", i%2+2), "asNumber": int64(65000)})
	})
}
