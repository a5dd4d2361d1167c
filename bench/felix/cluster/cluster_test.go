package cluster

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

func TestSizes(t *testing.T) {
	small := []Size{Sizes()[0], Sizes()[1], {Pods: 2000, Local: 100, Policies: 500, Hard: true}} // (c) takes seconds
	for _, s := range small {
		c := New(s)
		snap := c.Snapshot
		if snap.Workloads.Len() != s.Pods || snap.Policies.Len() != s.Policies || len(c.Local) != s.Local {
			t.Errorf("%s: %d pods, %d policies, %d local", s, snap.Workloads.Len(), snap.Policies.Len(), len(c.Local))
		}
		seen := map[string]bool{}
		for _, w := range snap.Workloads.All() {
			if a := w.Addrs[0].String(); seen[a] {
				t.Fatalf("%s: two pods have %s", s, a)
			} else {
				seen[a] = true
			}
			n, _ := snap.Nodes.Get(w.Node)
			if !n.PodCIDRs[0].Contains(w.Addrs[0]) {
				t.Fatalf("%s: %s has %s", s, w.Key(), w.Addrs[0])
			}
			if _, ok := snap.Namespaces.Get(w.Namespace); !ok {
				t.Fatalf("%s: no namespace of %s", s, w.Key())
			}
		}
		local := 0
		for _, p := range snap.Policies.All() {
			if selectsLocal(c, p) {
				local++
			}
		}
		t.Logf("%s: %d of %d policies select a local pod", s, local, s.Policies)
		if s.Hard && local != s.Policies || local == 0 {
			t.Errorf("%s: %d of %d policies select a local pod", s, local, s.Policies)
		}
	}
}

func selectsLocal(c *Cluster, p caracal.Policy) bool {
	for _, key := range c.Local {
		if w, _ := c.Snapshot.Workloads.Get(key); w.Namespace == p.Namespace && p.Pods.Matches(w.Labels) {
			return true
		}
	}
	return false
}

// The same size makes the same cluster, and what a change does it takes back.
func TestChanges(t *testing.T) {
	s := Size{Pods: 500, Local: 50, Policies: 60, IPv6: true}
	a, b := New(s), New(s)
	if d := differences(a.Snapshot, b.Snapshot); d != 0 {
		t.Errorf("two of the same size differ in %d objects", d)
	}
	for i := range 20 {
		for _, change := range a.Changes(i) {
			did := Apply(a.Snapshot, change.Do)
			if d := differences(a.Snapshot, did); d != 1 {
				t.Errorf("round %d, %s: changes %d objects", i, change.Name, d)
			}
			if d := differences(a.Snapshot, Apply(did, change.Undo)); d != 0 {
				t.Errorf("round %d, %s: %d objects are not taken back", i, change.Name, d)
			}
		}
	}
}

func differences(a, b *caracal.Snapshot) (n int) {
	b.Workloads.Diff(a.Workloads, func(a, b caracal.Workload) bool { return reflect.DeepEqual(a, b) },
		func(string, *caracal.Workload, *caracal.Workload) { n++ })
	b.Policies.Diff(a.Policies, func(a, b caracal.Policy) bool { return reflect.DeepEqual(a, b) },
		func(string, *caracal.Policy, *caracal.Policy) { n++ })
	return n
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	c := New(Size{Pods: 60, Local: 30, Policies: 60})
	if err := c.Write(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "monitoring-policies.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: "p-10"
  namespace: "monitoring"
spec:
  ingress: [{"from":[{"namespaceSelector":{"matchLabels":{"team":"team-3"}},"podSelector":{"matchLabels":{"tier":"db"}}}],"ports":[{"port":"http","protocol":"TCP"}]}]
`
	if !strings.HasPrefix(string(b), "---\napiVersion: networking.k8s.io/v1\n") || !strings.Contains(string(b), want) {
		t.Errorf("got\n%s", b)
	}
}
