package lab

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestAdopt: a namespace that somebody else wired up is a pod like others, and
// goes with the lab.
func TestAdopt(t *testing.T) {
	l, err := Up(t.Context(), Spec{Topology: Mesh(MeshOptions{Nodes: 1, PodsPerNode: 1})})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Down(context.Background())
	path, err := l.NewNamespace("box")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.NewNamespace("box"); err == nil {
		t.Error("two namespaces of one name")
	}
	spec := PodSpec{Name: "box", Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	for _, c := range []struct{ node, name, netns, want string }{
		{"b", "box", path, "no node b"},
		{"a", "a1", path, "the lab has one of that name"},
		{"a", "box", path + "x", "no such file"},
	} {
		if _, err := l.Adopt(c.node, PodSpec{Name: c.name}, c.netns); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Adopt(%s, %s, %s): %v, want %q", c.node, c.name, c.netns, err, c.want)
		}
	}
	for range 2 { // the second replaces the first
		pod, err := l.Adopt("a", spec, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := pod.lab.run(t.Context(), []step{setUp{path, "lo"}}); err != nil {
			t.Fatal(err)
		}
		if cell, err := pod.Ping(t.Context(), spec.Addrs[0]); err != nil || !cell.OK {
			t.Errorf("ping: %+v, %v", cell, err)
		}
	}
	named := func() (out []string) {
		for _, p := range l.Pods() {
			out = append(out, p.Name)
		}
		return out
	}
	if got := named(); !slices.Equal(got, []string{"a1", "box"}) {
		t.Errorf("pods: %v", got)
	}
	l.Forget("box")
	l.Forget("a1") // the lab's own stays
	if got := named(); !slices.Equal(got, []string{"a1"}) || l.Pod("box") != nil {
		t.Errorf("pods after Forget: %v", got)
	}
	for range 2 {
		if err := l.DeleteNamespace("box"); err != nil {
			t.Error(err)
		}
	}
	if path, err = l.NewNamespace("left"); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Errorf("%s outlived the lab", path)
	}
}
