package kube

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// TestDisk saves a world and loads it again: the same comes out of it, and what the
// API says anew of the same objects changes nothing.
func TestDisk(t *testing.T) {
	o := Options{Node: "a", Namespace: "default", StateDir: t.TempDir()}
	s := New(o)
	w := full(t)
	put(w, v1.KindIPPool, "p", map[string]any{"cidr": "10.0.0.0/16"})
	put(w, v1.KindNodeConfig, "b", map[string]any{"asNumber": int64(65001)})
	put(w, v1.KindBlockAffinity, "1", claimed("a", "10.0.0.0/26"))
	put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.1", "asNumber": int64(65000), "password": map[string]any{"secretKeyRef": map[string]any{"name": "bgp", "key": "tor"}}})
	w.set(kindPods, "x/p", workload("p", "b", 100, false, "10.0.1.1"))
	w.set(kindPods, "x/q", workload("q", "b", 200, false, "10.0.1.1"))
	w.set(v1.KindNetworkPolicy, "x/p", &policy{Policy: caracal.Policy{Namespace: "x", Name: "p", Ingress: true}})
	w.set(kindService, "x/s", &caracal.Service{Namespace: "x", Name: "s", ClusterIPs: addrs([]string{"10.96.0.1"})})
	w.set(kindEndpointSlice, "x/s-1", &slice{"x/s", false})
	v := newVault(s.opts, func() {})
	v.remember("bgp", map[string]string{"tor": "sesame"})
	v.unkept = true
	w.secrets, w.begin = v.password, v.begin
	was := w.first()
	d := openDisk(o)
	for _, kind := range kinds() {
		d.touch(kind)
	}
	d.save(w, v, true)
	if len(d.problems()) != 0 {
		t.Fatal(d.problems())
	}

	w2, v2 := newWorld("a"), newVault(s.opts, func() {})
	w2.secrets, w2.begin = v2.password, v2.begin
	d2 := openDisk(o)
	if !d2.load(w2, v2) || !w2.synced() {
		t.Fatalf("not all is there: %v %v", w2.seen, d2.problems())
	}
	is := w2.first()
	peer, _ := is.Peers.Get("tor")
	if peer.Password.Secret.Reveal() != "sesame" || is.Digest != was.Digest || blocks(is) != blocks(was) || is.Nodes.Len() != 3 {
		t.Errorf("%+v %s %s", peer, blocks(is), messages(is))
	}
	for i, same := range []bool{
		sameTable(was.Workloads, is.Workloads), sameTable(was.Policies, is.Policies), sameTable(was.Services, is.Services),
		sameTable(was.Namespaces, is.Namespaces), sameTable(was.Nodes, is.Nodes), sameTable(was.Peers, is.Peers),
	} {
		if !same {
			t.Errorf("table %d came back as another", i)
		}
	}
	// A password that no resource names is forgotten, and another node's files are
	// not this one's.
	w2.set(v1.KindBGPPeer, "tor", nil)
	w2.next(is, time.Unix(3000, 0))
	w2.rebuild = true
	w2.next(is, time.Unix(3000, 0))
	if len(v2.all()) != 0 {
		t.Error("the password is still there")
	}
	o.Node = "b"
	if d3 := openDisk(o); d3.load(newWorld("b"), v2) || len(d3.problems()) != 0 {
		t.Errorf("another node's: %v", d3.problems())
	}
}

func sameTable[V any](a, b caracal.Table[string, V]) bool {
	same := true
	b.Diff(a, equalValues[V], func(string, *V, *V) { same = false })
	return same
}

// TestDiskFull says what is wrong, and tries again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "kube")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil { // where the directory belongs
		t.Fatal(err)
	}
	d := openDisk(Options{Node: "a", StateDir: dir})
	w, v := full(t), newVault(Options{}, func() {})
	w.first()
	d.touch(v1.KindNamespace)
	d.save(w, v, true)
	if list := d.problems(); len(list) != 1 || !strings.Contains(list[0].Message, "cannot be kept on disk") || !d.news {
		t.Fatalf("%v", list)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	d.save(w, v, true)
	if list := d.problems(); len(list) != 0 {
		t.Errorf("%v", list)
	}
	if _, err := os.Stat(filepath.Join(blocked, v1.KindNamespace)); err != nil {
		t.Error(err)
	}
}

func equalValues[V any](a, b V) bool { return reflect.DeepEqual(a, b) }
