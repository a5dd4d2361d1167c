package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// calicoBIRD is a node's BIRD as Calico runs it: its routes stay in the kernel when
// it ends, each family has sessions of its own, over its own addresses, and of two
// nodes one waits for the other.
func calicoBIRD(l *lab.Lab, node string) string {
	conf, _, _ := strings.Cut(lab.MeshBIRD(l.Topology(), node), "protocol bgp")
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(conf, "graceful restart on; }\n", "persist; graceful restart on; }\n"))
	self := l.Node(node)
	for _, other := range l.Nodes() {
		for _, f := range lab.Families() {
			if other != self && self.Addr(f).IsValid() && other.Addr(f).IsValid() {
				fmt.Fprintf(&b, "protocol bgp mesh_%s_%d {\n\tlocal %s as 64512;\n\tneighbor %s as 64512;\n\tconnect retry time 2; connect delay time 1; passive %s;\n\tgraceful restart on;\n\t%s { import all; export where proto = \"blocks%d\"; next hop self; };\n}\n",
					other.Name, f, self.Addr(f), other.Addr(f), lab.BIRDPassive(self.Addr(f), other.Addr(f)), strings.ToLower(f.String()), f)
			}
		}
	}
	return b.String()
}

// birdRoutes are a node's routes of BIRD to the blocks of the other nodes.
func birdRoutes(t *testing.T, n *lab.Node) string {
	t.Helper()
	return run(t, n, "ip", "route", "show", "proto", "bird") + run(t, n, "ip", "-6", "route", "show", "proto", "bird")
}

// hasRoutes says to which blocks of other nodes BIRD has no route.
func hasRoutes(t *testing.T, l *lab.Lab, n *lab.Node) string {
	t.Helper()
	routes, missing := birdRoutes(t, n), ""
	for _, other := range l.Nodes() {
		for _, b := range other.Blocks {
			if other != n && !strings.Contains(routes, b.String()+" via") {
				missing += fmt.Sprintf("%s has no route of BIRD to %s\n", n.Name, b)
			}
		}
	}
	return missing
}

// TestMigrate moves a cluster from BIRD, as Calico runs it, to caracald, node by node
// and under traffic, and one node back again, as docs/MIGRATION.md says. Nodes of
// both sorts are in one mesh, and what does not run on the node that moves loses not
// a packet. What does, and should have been drained, may lose some: caracald comes
// up as a stranger to the neighbors of a BIRD that is gone (RFC 4724, no forwarding
// state), so they drop its routes before they learn them anew.
func TestMigrate(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{Nodes: 3, PodsPerNode: 1}))
	for _, n := range l.Nodes() {
		must(n.StartBIRD(calicoBIRD(l, n.Name)))(t)
		// As caracal convert --mixed writes it.
		err := l.WriteConfig("calico-ipv6-"+n.Name+".yaml", fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: calico-ipv6-%[1]s}\nspec: {nodeSelector: \"kubernetes.io/hostname != '%[1]s'\", peerIP: %[2]q, asNumber: 64512}\n", n.Name, n.Addr(lab.IPv6)))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range l.Nodes() {
		eventually(t, 30*time.Second, func() string { return hasRoutes(t, l, n) })
	}
	for _, f := range lab.Families() {
		must(l.WaitPing(t.Context(), f))(t)
	}
	for _, move := range []struct {
		node, other, third string
		to                 func(*testing.T, *lab.Lab, *lab.Node)
	}{{"a", "b", "c", moveToCaracal}, {"b", "c", "a", moveToCaracal}, {"c", "a", "b", moveToCaracal}, {"a", "b", "c", moveBack}} {
		own, others := flows(t, l, move.node+"1", move.other+"1"), flows(t, l, move.other+"1", move.third+"1")
		move.to(t, l, l.Node(move.node))
		if r := others(); r.Lost() != 0 {
			t.Errorf("while %s moved, packets were lost between %s and %s: %s", move.node, move.other, move.third, r)
		}
		if r := own(); r.Lost() > 3000 { // three seconds of them: a daemon may pause for two
			t.Errorf("%s, which moved, was cut off for long: %s", move.node, r)
		}
	}
}

// moveToCaracal has caracald take BIRD's place on a node.
func moveToCaracal(t *testing.T, l *lab.Lab, n *lab.Node) {
	t.Helper()
	if err := n.Process("bird").Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if wrong := hasRoutes(t, l, n); wrong != "" {
		t.Fatalf("without BIRD its routes are gone:\n%s", wrong)
	}
	must(n.StartCaracald())(t)
	eventually(t, 30*time.Second, func() string { return same(own(t, n), wantRoutes(l, n)) })
	for _, family := range []string{"-4", "-6"} {
		run(t, n, "ip", family, "route", "flush", "proto", "bird")
	}
	if left := birdRoutes(t, n); left != "" {
		t.Errorf("%s has routes of BIRD still:\n%s", n.Name, left)
	}
	for _, f := range lab.Families() {
		must(l.WaitPing(t.Context(), f))(t)
	}
}

// moveBack has BIRD take caracald's place.
func moveBack(t *testing.T, l *lab.Lab, n *lab.Node) {
	t.Helper()
	if err := n.Kill(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	must(n.StartBIRD(calicoBIRD(l, n.Name)))(t)
	eventually(t, 30*time.Second, func() string { return hasRoutes(t, l, n) })
	if out, err := n.CLI(t.Context(), "cleanup", "--yes"); err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	if left := own(t, n); len(left) > 0 {
		t.Errorf("%s has routes of ours still:\n%s", n.Name, lines(left))
	}
	for _, f := range lab.Families() {
		must(l.WaitPing(t.Context(), f))(t)
	}
}
