package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// reflectors is a BGPPeer that joins all nodes to those with the label.
const reflectors = "{peerSelector: has(route-reflector)}"

// makeReflector gives a node a cluster ID and the label of the reflectors, or
// takes both away where the ID is empty.
func makeReflector(t *testing.T, l *lab.Lab, node, clusterID string) {
	t.Helper()
	file := "node-" + node + ".yaml"
	text := string(must(os.ReadFile(filepath.Join(l.ConfigDir(), "cluster", file)))(t))
	label := "  labels: {route-reflector: \"true\"}\n"
	lines := slices.DeleteFunc(strings.SplitAfter(text, "\n"), func(line string) bool {
		return line == label || strings.Contains(line, "routeReflectorClusterID")
	})
	text = strings.Join(lines, "")
	if clusterID != "" {
		text = strings.Replace(text, "spec:\n", label+"spec:\n  routeReflectorClusterID: "+clusterID+"\n", 1)
	}
	if err := l.WriteConfig(file, text); err != nil {
		t.Fatal(err)
	}
}

// inOneGo has the daemons not run meanwhile, so that none takes a part of what is
// written for the whole: of two reflectors without a BGPPeer neither has a session with
// the other.
func inOneGo(t *testing.T, l *lab.Lab, do func()) {
	t.Helper()
	all := func(sig syscall.Signal) {
		for _, n := range l.Nodes() {
			if err := n.Process("caracald").Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	all(syscall.SIGSTOP)
	do()
	all(syscall.SIGCONT)
}

// neighborsAre says how a node's neighbors that are up differ from those named.
func neighborsAre(t *testing.T, n *lab.Node, names ...string) string {
	t.Helper()
	var got []string
	for _, nb := range must(n.Neighbors(t.Context()))(t) {
		name := nb.Name
		if nb.State != "Established" {
			name += " " + nb.State
		}
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, names) {
		return fmt.Sprintf("%s has %v, not %v", n.Name, got, names)
	}
	return ""
}

// resets counts how often a session of the lab went down that still exists.
func resets(t *testing.T, l *lab.Lab) (list []string) {
	t.Helper()
	for _, n := range l.Nodes() {
		for _, nb := range must(n.Neighbors(t.Context()))(t) {
			if nb.Flaps > 0 {
				list = append(list, fmt.Sprintf("%s: %s went down %d times: %s", n.Name, nb.Name, nb.Flaps, nb.LastError))
			}
		}
	}
	return list
}

// TestMoveToReflectors moves a running cluster of four nodes from the mesh to
// two reflectors and back, while packets flow between two clients and between a
// client and a reflector. No packet is lost, no kernel route is touched, and no
// session that stays is reset.
func TestMoveToReflectors(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 4, PodsPerNode: 1}, lab.BGPSettings{})
	a, b, c, d := l.Node("a"), l.Node("b"), l.Node("c"), l.Node("d")
	eventually(t, 5*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	changes := watchRoutes(t, l)
	clients, reflector := flows(t, l, "a1", "b1"), flows(t, l, "a1", "c1")

	began := time.Now()
	inOneGo(t, l, func() {
		write(t, l, "rr.yaml", "BGPPeer", "rr", reflectors)
		makeReflector(t, l, "c", "10.255.0.1")
		makeReflector(t, l, "d", "10.255.0.1")
	})
	eventually(t, 40*time.Second, func() string {
		return neighborsAre(t, a, "mesh/c", "mesh/d") + neighborsAre(t, b, "mesh/c", "mesh/d") +
			neighborsAre(t, c, "mesh/a", "mesh/b", "mesh/d") + neighborsAre(t, d, "mesh/a", "mesh/b", "mesh/c")
	})
	there := time.Since(began)
	if there < 8*time.Second {
		t.Errorf("the session between the clients was closed after %v", there)
	}
	eventually(t, 5*time.Second, func() string {
		paths := must(a.Paths(t.Context(), b.Block(lab.IPv4).String(), "all"))(t)
		if len(paths) != 2 || paths[0].Neighbor == "mesh/b" || !paths[0].Installed {
			return fmt.Sprintf("a's paths to b's block: %+v", paths)
		}
		if st := must(a.Status(t.Context()))(t); mentions(st.Problems, "", "stay although") {
			return "something lingers on:\n" + lines(st.Problems)
		}
		return ""
	})
	for _, r := range resets(t, l) {
		t.Error(r)
	}

	inOneGo(t, l, func() {
		if err := l.RemoveConfig("rr.yaml"); err != nil {
			t.Fatal(err)
		}
		makeReflector(t, l, "c", "")
		makeReflector(t, l, "d", "")
	})
	back := eventually(t, 20*time.Second, func() string {
		return neighborsAre(t, a, "mesh/b", "mesh/c", "mesh/d") + neighborsAre(t, b, "mesh/a", "mesh/c", "mesh/d")
	})
	t.Logf("to the reflectors in %v, back in %v", there, back)
	time.Sleep(2 * time.Second)
	for _, stop := range []func() lab.LossReport{clients, reflector} {
		if r := stop(); r.Lost() != 0 {
			t.Errorf("packets lost: %s", r)
		}
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("routes changed:\n%s", lines(got))
	}
	for _, r := range resets(t, l) {
		t.Error(r)
	}
}
