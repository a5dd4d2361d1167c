package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTopologyGolden holds the steps and the whole configuration of the labs
// with gateways.
func TestTopologyGolden(t *testing.T) {
	for _, top := range []Topology{
		Reflector(MeshOptions{PodsPerNode: 1}),
		Racks(RackOptions{NodesPerRack: 1, PodsPerNode: 1}),
		Subnets(SubnetOptions{Nodes: 3, PodsPerNode: 1, Informed: true}),
	} {
		if err := top.Validate(); err != nil {
			t.Errorf("%s: %v", top.Name, err)
		}
		var b strings.Builder
		for _, s := range plan(names{"x"}, top) {
			_, veth := s.(addVeth)
			if r, ok := s.(addRoute); veth || ok && !strings.HasPrefix(r.NS, "cl-x-pod-") {
				b.WriteString(s.String() + "\n")
			}
		}
		docs := documents(top)
		b.WriteString("=====\n" + docs[clusterFile] + "=====\n" + docs[nodeFile("a")])
		if top.Name == "racks" {
			conf := RackFRR(top, "tor11")
			b.WriteString("===== tor11\n" + conf.Zebra + conf.BFD + conf.BGP)
		}
		golden(t, top.Name+".txt", b.String())
	}
	if with, without := Racks(RackOptions{}), Racks(RackOptions{NoBFD: true}); strings.Contains(without.Objects[0], "bfd") || !strings.Contains(with.Objects[0], "bfd") {
		t.Errorf("NoBFD leaves\n%s", without.Objects[0])
	}
}

func TestValidateLinks(t *testing.T) {
	top := Racks(RackOptions{})
	top.Nodes[1].Links[0].Peer = "a"
	if err := top.Validate(); err == nil || err.Error() != `node tor11: link uplink: there is no node "a" before it` {
		t.Errorf("got %v", err)
	}
	top = Racks(RackOptions{})
	top.Nodes[2].Loopback = top.Nodes[1].Loopback
	if err := top.Validate(); err == nil || !strings.Contains(err.Error(), "is also that of node tor11") {
		t.Errorf("got %v", err)
	}
}

// TestTopologyFlags: each kind of lab has its own sizes.
func TestTopologyFlags(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"up --topology ring", `there is no topology "ring"; there are mesh, reflector, racks, subnets`},
		{"up --topology racks --nodes 3", "racks have the same number of nodes each, up to 40"},
		{"up --topology racks --nodes 82", "up to 40"},
		{"up --nodes 0", "from 1 to 250 nodes"},
	} {
		if code, out, errs := call(t, strings.Fields(tc.args)...); code != 2 || !strings.Contains(out+errs, tc.want) {
			t.Errorf("%s: code %d\n%s%s", tc.args, code, out, errs)
		}
	}
	for topology, want := range map[string]int{"mesh": 3, "reflector": 4, "racks": 9, "subnets": 5} {
		c := &command{topology: topology, pods: 1}
		if got := len(c.build().Nodes); got != want {
			t.Errorf("%s: %d nodes, want %d", topology, got, want)
		}
	}
}

// TestRacksUp builds the racks with their switches: each has a session with the
// spine, and BFD finds it alive.
func TestRacksUp(t *testing.T) {
	id := fmt.Sprintf("k%d", os.Getpid())
	t.Cleanup(func() { nothingLeft(t, id) })
	l, err := Up(t.Context(), Spec{ID: id, Topology: Racks(RackOptions{NodesPerRack: 1, PodsPerNode: 1})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := l.StartRouters(); err != nil {
		t.Fatal(err)
	}
	spine := l.Node("spine")
	var bgp, bfd string
	ok := until(60e9, func() bool {
		bgp, _ = spine.VTYSH(t.Context(), "show bgp neighbors json")
		bfd, _ = spine.VTYSH(t.Context(), "show bfd peers json")
		return strings.Count(bgp, `"bgpState":"Established"`) == 4 && strings.Count(bfd, `"status":"up"`) == 4
	})
	if !ok {
		t.Errorf("the spine has not four sessions that BFD watches:\n%s\n%s", bgp, bfd)
	}
}
