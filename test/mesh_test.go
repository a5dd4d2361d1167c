package test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestMesh is the main job: three nodes, two pods each, both families.
func TestMesh(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{}, lab.BGPSettings{})
	for _, n := range l.Nodes() {
		eventually(t, 5*time.Second, func() string { return same(own(t, n), wantRoutes(l, n)) })
		for _, nb := range must(n.Neighbors(t.Context()))(t) {
			if !slices.Equal(nb.Families, []string{"ipv4", "ipv6"}) {
				t.Errorf("%s: session %s carries %v, want both families", n.Name, nb.Name, nb.Families)
			}
		}
		for _, r := range must(n.Routes())(t) {
			if r.Protocol != lab.Proto && inPools(l, r) {
				t.Errorf("%s has a route to pods that is not ours: %s", n.Name, r)
			}
		}
	}
}

func inPools(l *lab.Lab, r lab.Route) bool {
	return r.Dst.Bits() > 0 && slices.ContainsFunc(l.Topology().Pools, func(p lab.PoolSpec) bool { return p.CIDR.Overlaps(r.Dst) })
}

// wantRoutes are the routes that a node of a mesh has to have: a device route
// for each of its pods, an unreachable route for each of its blocks, and the
// blocks of the others.
func wantRoutes(l *lab.Lab, n *lab.Node) []string {
	mark := fmt.Sprintf("proto %d metric 427", lab.Proto)
	var out []string
	for _, other := range l.Nodes() {
		for _, b := range other.Blocks {
			f := lab.IPv4
			if b.Addr().Is6() {
				f = lab.IPv6
			}
			switch {
			case other == n:
				out = append(out, fmt.Sprintf("unreachable %s %s", b, mark))
			case n.Addr(f).IsValid():
				out = append(out, fmt.Sprintf("%s via %s dev eth0 %s", b, other.Addr(f), mark))
			}
		}
	}
	for _, p := range n.Pods {
		for _, a := range p.Addrs {
			out = append(out, fmt.Sprintf("%s/%d dev %s %s", a, a.BitLen(), lab.PodInterface(p.Name), mark))
		}
	}
	return out
}

// TestFamilies has a node without IPv6 in a mesh with both: a session carries
// only the families that both ends have.
func TestFamilies(t *testing.T) {
	t.Parallel()
	top := lab.Mesh(lab.MeshOptions{PodsPerNode: 1})
	top.Nodes[2] = lab.MeshNode(2, lab.MeshOptions{PodsPerNode: 1, NoIPv6: true})
	l := start(t, top)
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	if got := session(t, l.Node("a"), "c").Families; !slices.Equal(got, []string{"ipv4"}) {
		t.Errorf("a's session with c carries %v, want ipv4 alone", got)
	}
	if got := session(t, l.Node("a"), "b").Families; !slices.Equal(got, []string{"ipv4", "ipv6"}) {
		t.Errorf("a's session with b carries %v, want both", got)
	}
}

// TestIPv6Only has no IPv4 anywhere, so sessions run over IPv6 and router IDs
// come from elsewhere.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1, NoIPv4: true}, lab.BGPSettings{})
	for _, n := range l.Nodes() {
		eventually(t, 5*time.Second, func() string { return same(own(t, n), wantRoutes(l, n)) })
	}
}

// TestNodeComesAndGoes adds a node and removes another; the sessions of those
// that stay are not touched.
func TestNodeComesAndGoes(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	before := session(t, a, "b")
	stop := flows(t, l, "a1", "b1")

	d := must(l.AddNode(t.Context(), lab.MeshNode(3, lab.MeshOptions{PodsPerNode: 1})))(t)
	must(d.StartCaracald())(t)
	settle(t, l)
	if now := session(t, a, "b"); !now.Since.Equal(before.Since) || now.Flaps != before.Flaps {
		t.Errorf("the session a-b was reset by a new node: %+v, was %+v", now, before)
	}

	if err := l.RemoveNode(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	t.Logf("routes of the removed node gone after %v", took)
	if now := session(t, a, "b"); !now.Since.Equal(before.Since) || now.Flaps != before.Flaps {
		t.Errorf("the session a-b was reset by a removed node: %+v, was %+v", now, before)
	}
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost between nodes that stayed: %s", r)
	}
}

// TestWorkloadComesAndGoes edits a node's file: a pod more, a pod less.
func TestWorkloadComesAndGoes(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2}, lab.BGPSettings{})
	a := l.Node("a")
	route := fmt.Sprintf("10.244.1.40/32 dev %s proto 67 metric 427", lab.PodInterface("a2"))
	if err := l.WriteConfig("extra.yaml", workload("extra", "a", lab.PodInterface("a2"), "10.244.1.40")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if !slices.Contains(own(t, a), route) {
			return "the new workload has no route " + route
		}
		return ""
	})
	if err := l.RemoveConfig("extra.yaml"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
}

func workload(name, node, dev string, addrs ...string) string {
	return fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: Workload\nmetadata:\n  name: %s\nspec:\n  node: %s\n"+
		"  interfaceName: %s\n  ipNetworks: [%q]\n", name, node, dev, strings.Join(addrs, `", "`))
}

// TestPeerGoneForGood kills a daemon that does not come back: its routes stay
// for the restart time, and go then.
func TestPeerGoneForGood(t *testing.T) {
	t.Parallel()
	const restart = 4 * time.Second
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{RestartTime: restart})
	a := l.Node("a")
	whole := own(t, a)
	killed := time.Now()
	if err := l.Node("b").Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for time.Since(killed) < 3*time.Second {
		// A look may take long: only what it saw before that time is too early.
		if diff := same(own(t, a), whole); diff != "" && time.Since(killed) < restart {
			t.Fatalf("%v after the kill: %s", time.Since(killed), diff)
		}
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, 8*time.Second, func() string {
		for _, r := range own(t, a) {
			if strings.HasPrefix(r, "10.244.2.0/26") || strings.HasPrefix(r, "fd00:244:0:2::/122") {
				return "still there: " + r
			}
		}
		return ""
	})
	t.Logf("routes gone %v after the kill", time.Since(killed))
}
