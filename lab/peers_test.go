package lab

import (
	"context"
	"slices"
	"testing"
	"time"
)

// TestBIRDAndFRR lets the two daemons that take a node's place in other tests
// form a mesh by themselves, so that a failure there is known to be no fault of
// their configuration.
func TestBIRDAndFRR(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 3, PodsPerNode: 1}))
	for _, node := range []string{"a", "b"} {
		if _, err := l.Node(node).StartBIRD(MeshBIRD(l.Topology(), node)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Node("c").StartFRR(MeshFRR(l.Topology(), "c")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for _, f := range Families() {
		if _, err := l.WaitPing(ctx, f); err != nil {
			birdc, _ := l.Node("a").BIRDC(t.Context(), "show", "route", "all")
			bgp, _ := l.Node("c").VTYSH(t.Context(), "show bgp ipv6 unicast")
			routes, _ := l.Node("a").Routes()
			t.Fatalf("%v\n%s\n%s\n%v\n%s", err, birdc, bgp, routes, l.Node("a").Process("bird").Log())
		}
	}
	routes, err := l.Node("a").Routes()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(routes, func(r Route) bool {
		return r.String() == "10.244.3.0/26 via 192.168.77.3 dev eth0 proto 12 metric 32"
	}) {
		t.Errorf("node a has no route of BIRD's to node c: %v", routes)
	}
}
