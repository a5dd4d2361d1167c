package test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestReflect: node a reflects between node b and a real BIRD or FRR in the
// place of node c. What it passes on has the marks of RFC 4456 and the next hop
// of its owner, and a reflector that restarts, planned or not, moves no route of
// its clients and loses no packet: it ends with End-of-RIB only after everything
// has been passed on.
func TestReflect(t *testing.T) {
	for _, daemon := range []string{"BIRD", "FRR"} {
		t.Run(daemon, func(t *testing.T) {
			t.Parallel()
			top := lab.Mesh(lab.MeshOptions{Nodes: 3, PodsPerNode: 1})
			top.BGP = lab.BGPSettings{HoldTime: 90 * time.Second, RestartTime: 60 * time.Second}
			top.Nodes[0].Cluster, top.Nodes[0].Sessions = netip.MustParseAddr("10.255.0.9"), 2
			top.Nodes[1].Sessions = 1
			top.Nodes[0].Labels = map[string]string{"role": "reflector"}
			top.Objects = []string{"apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: rr}\nspec: {nodeSelector: all(), peerSelector: role == 'reflector'}\n"}
			l := start(t, top)
			client := top
			client.Nodes = []lab.NodeSpec{top.Nodes[0], top.Nodes[2]}
			c := l.Node("c")
			if daemon == "BIRD" {
				must(c.StartBIRD(lab.MeshBIRD(client, "c")))(t)
			} else if err := c.StartFRR(lab.MeshFRR(client, "c")); err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"a", "b"} {
				must(l.Node(n).StartCaracald())(t)
			}
			settle(t, l)
			reflected(t, c, daemon, "10.244.2.0/26", "192.168.77.2")
			for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				restartReflector(t, l, sig)
			}
		})
	}
}

// reflected looks at a path of node b as the client c has it.
func reflected(t *testing.T, c *lab.Node, daemon, prefix, owner string) {
	t.Helper()
	want := []string{"BGP.next_hop: " + owner, "BGP.originator_id: " + owner, "BGP.cluster_list: 10.255.0.9", "BGP.as_path: BGP"}
	look := func() string { return must(c.BIRDC(t.Context(), "show", "route", "all", prefix))(t) }
	if daemon == "FRR" {
		want = []string{owner, "Originator: " + owner, "Cluster list: 10.255.0.9", " Local " + owner}
		look = func() string { return must(c.VTYSH(t.Context(), "show bgp ipv4 unicast "+prefix))(t) }
	}
	text := spaces.ReplaceAllString(look(), " ")
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in %s", w, text)
		}
	}
	if strings.Contains(text, "4294967295") {
		t.Errorf("a mark got out: %s", text)
	}
}

func restartReflector(t *testing.T, l *lab.Lab, sig os.Signal) {
	t.Helper()
	changes, stop := watchRoutes(t, l), flows(t, l, "b1", "c1")
	before := session(t, l.Node("b"), "a")
	must(l.Node("a").Restart(sig))(t)
	eventually(t, 40*time.Second, func() string {
		list, err := l.Node("b").Neighbors(t.Context())
		i := slices.IndexFunc(list, func(nb lab.Neighbor) bool { return nb.Node == "a" })
		if err != nil || i < 0 || list[i].Since.Equal(before.Since) || len(list[i].EndOfRIB) != 2 {
			return fmt.Sprintf("the reflector is not back: %v %+v", err, list)
		}
		return ""
	})
	settle(t, l)
	time.Sleep(time.Second) // whatever follows End-of-RIB
	if r := stop(); r.Lost() != 0 {
		t.Errorf("%v: packets lost: %s", sig, r)
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("%v: routes changed:\n%s", sig, lines(got))
	}
}
