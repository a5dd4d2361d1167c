package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// repairTime is long for a repair, which takes milliseconds, and far below the minute
// after which the audit would find what the watch did not.
const repairTime = 10 * time.Second

// TestDrift changes the kernel behind the daemon's back. Everything is back
// soon.
func TestDrift(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	eventually(t, 5*time.Second, func() string { return same(own(t, a), want) })
	b4, b6 := l.Node("b").Block(lab.IPv4).String(), l.Node("b").Block(lab.IPv6).String()
	dev := lab.PodInterface("a1")
	cases := []struct {
		name string
		do   [][]string
	}{
		{"an IPv4 route deleted", [][]string{{"ip", "route", "del", b4, "metric", "427"}}},
		{"an IPv6 route deleted", [][]string{{"ip", "-6", "route", "del", b6, "metric", "427"}}},
		{"all of ours flushed", [][]string{
			{"ip", "route", "flush", "proto", "67"}, {"ip", "-6", "route", "flush", "proto", "67"}}},
		{"a route changed by hand", [][]string{
			{"ip", "route", "replace", b4, "via", "192.168.77.99", "metric", "427", "proto", "67"}}},
		{"a route replaced by a stranger's", [][]string{
			{"ip", "route", "replace", "unreachable", b4, "metric", "427", "proto", "static"},
			{"ip", "route", "del", "unreachable", b4, "metric", "427", "proto", "static"}}},
		{"a pod's link down and up", [][]string{
			{"ip", "link", "set", dev, "down"}, {"sleep", "0.2"}, {"ip", "link", "set", dev, "up"}}},
		{"the node's link down and up", [][]string{
			{"ip", "link", "set", "eth0", "down"}, {"sleep", "0.5"}, {"ip", "link", "set", "eth0", "up"},
			{"ip", "addr", "replace", "fd00:77::1/64", "dev", "eth0", "nodad"}}},
		{"the node's address removed and added", [][]string{
			{"ip", "addr", "del", "192.168.77.1/24", "dev", "eth0"}, {"sleep", "0.3"},
			{"ip", "addr", "add", "192.168.77.1/24", "dev", "eth0"}}},
	}
	for _, c := range cases {
		for _, argv := range c.do {
			run(t, a, argv...)
		}
		took := within(t, repairTime, func() string {
			if diff := same(own(t, a), want); diff != "" {
				return c.name + ":\n" + diff
			}
			return ""
		})
		t.Logf("%s: repaired after %v", c.name, took)
	}
	settle(t, l)
}

// TestForeignRoutes puts routes of somebody else beside ours: they stay, and
// ours do too.
func TestForeignRoutes(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	block := l.Node("b").Block(lab.IPv4).String()
	run(t, a, "ip", "route", "add", block, "via", "192.168.77.2", "metric", "100", "proto", "static")
	run(t, a, "ip", "route", "add", block, "via", "192.168.77.3", "table", "100", "proto", "static")
	run(t, a, "ip", "route", "add", "198.51.100.0/24", "via", "192.168.77.3", "proto", "boot")
	foreign := func() []string {
		var out []string
		for _, r := range must(a.Routes())(t) {
			if r.Protocol != lab.Proto {
				out = append(out, r.String())
			}
		}
		return out
	}
	before := foreign()
	must(a.CLI(t.Context(), "reload", "in", "mesh/b"))(t)
	if err := l.RemoveNode(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	if diff := same(foreign(), before); diff != "" {
		t.Errorf("foreign routes changed:\n%s", diff)
	}
}

// TestCleanup removes what a daemon that has ended left, and nothing else.
func TestCleanup(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	run(t, a, "ip", "route", "add", "198.51.100.0/24", "via", "192.168.77.2")
	ours := own(t, a)
	if err := a.Kill(terminate); err != nil {
		t.Fatal(err)
	}
	if diff := same(own(t, a), ours); diff != "" {
		t.Errorf("after SIGTERM:\n%s", diff)
	}
	out := must(a.CLI(t.Context(), "cleanup", "--yes"))(t)
	if left := own(t, a); len(left) != 0 {
		t.Errorf("after cleanup: %v", left)
	}
	if !strings.Contains(out, l.Node("b").Block(lab.IPv4).String()) {
		t.Errorf("cleanup does not say what it deletes: %s", out)
	}
	if !slices.ContainsFunc(must(a.Routes())(t), func(r lab.Route) bool { return r.Dst.String() == "198.51.100.0/24" }) {
		t.Error("cleanup deleted a foreign route")
	}
}
