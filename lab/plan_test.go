package lab

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

func TestPlanGolden(t *testing.T) {
	top := Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1})
	top.Nodes[1].Routes = []StaticRoute{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.77.254")}}
	var b strings.Builder
	for _, s := range plan(names{"x"}, top) {
		b.WriteString(s.String() + "\n")
	}
	golden(t, "plan.txt", b.String())
}

func TestConfigGolden(t *testing.T) {
	top := Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1})
	top.Nodes = append(top.Nodes, NodeSpec{Name: "r1", Router: true})
	top.BGP = BGPSettings{ASNumber: 65001, HoldTime: 9e9, RestartTime: 20e9}
	docs := documents(top)
	if len(docs) != 3 {
		t.Fatalf("%d files, want the cluster's and two nodes'", len(docs))
	}
	golden(t, "config.txt", docs[clusterFile]+"=====\n"+docs[nodeFile("a")])
}

// TestPlanHasNoPodRoutes holds the planner to the lab's promise: the only
// routes in a node's namespace are those that its topology lists.
func TestPlanHasNoPodRoutes(t *testing.T) {
	top := Mesh(MeshOptions{Nodes: 5})
	for _, s := range plan(names{"x"}, top) {
		if r, ok := s.(addRoute); ok && !strings.HasPrefix(r.NS, "cl-x-pod-") {
			t.Errorf("the plan gives a node a route: %s", r)
		}
	}
}

func TestPodInterface(t *testing.T) {
	seen := map[string]string{}
	for _, n := range Mesh(MeshOptions{Nodes: 200, PodsPerNode: 10}).Nodes {
		for _, p := range n.Pods {
			dev := PodInterface(p.Name)
			if len(dev) != 15 || !strings.HasPrefix(dev, "cara") {
				t.Fatalf("interface of %s is %q: want cara and 11 digits", p.Name, dev)
			}
			if other := seen[dev]; other != "" {
				t.Fatalf("pods %s and %s share the name %s", other, p.Name, dev)
			}
			seen[dev] = p.Name
		}
	}
}

func TestValidate(t *testing.T) {
	cases := []struct {
		name string
		edit func(*Topology)
		want string
	}{
		{"a whole mesh", func(*Topology) {}, ""},
		{"250 nodes", func(t *Topology) { *t = Mesh(MeshOptions{Nodes: 250}) }, ""},
		{"too many nodes", func(t *Topology) { *t = Mesh(MeshOptions{Nodes: 251}) },
			"topology mesh: 251 nodes are more than the 250 that its subnet has room for"},
		{"bad name", func(t *Topology) { t.Nodes[0].Name = "A/b" },
			`node "A/b": a name is a letter and up to 8 letters or digits, lower case`},
		{"pod called as a node", func(t *Topology) { t.Nodes[1].Pods[0].Name = "a" },
			`pod "a": there is already a node of that name`},
		{"unknown switch", func(t *Topology) { t.Switches = nil }, `node a: link eth0: there is no switch "sw"`},
		{"address twice", func(t *Topology) { t.Nodes[1].Links[0].Addrs = t.Nodes[0].Links[0].Addrs },
			"node b: address 192.168.77.1 is also that of node a"},
		{"pod address twice", func(t *Topology) { t.Nodes[1].Pods[0].Addrs = t.Nodes[0].Pods[0].Addrs },
			"pod b1: address 10.244.1.2 is also that of pod a1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			top := Mesh(MeshOptions{})
			c.edit(&top)
			got := ""
			if err := top.Validate(); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("Validate: %q, want %q", got, c.want)
			}
		})
	}
}
