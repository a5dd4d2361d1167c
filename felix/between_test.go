package felix_test

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// TestRelabelledPodOpensNothing: one pod's labels change; what is forbidden before and
// after is forbidden between.
func TestRelabelledPodOpensNothing(t *testing.T) {
	sel := func(k, v string) *caracal.LabelSelector {
		return &caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: k, Op: caracal.LabelIn, Values: []string{v}}}}
	}
	s := caracal.NewSnapshot("a")
	pod := func(name, addr, label string) caracal.Workload {
		return caracal.Workload{Namespace: "x", Name: name, Node: "a", Interface: "car" + name, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Labels: map[string]string{"l": label}}
	}
	for _, w := range []caracal.Workload{pod("p", "10.0.0.1", "old"), pod("x", "10.0.0.2", "server")} {
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	s.Namespaces = s.Namespaces.Put("x", caracal.Namespace{Name: "x"})
	for _, p := range []caracal.Policy{
		{Namespace: "x", Name: "in", Pods: *sel("l", "server"), Ingress: true, IngressRules: []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: sel("l", "new")}}}}},
		{Namespace: "x", Name: "out", Pods: *sel("l", "new"), Egress: true},
	} {
		s.Policies = s.Policies.Put(p.Key(), p)
	}
	c := felix.NewCompiler()
	c.Update(felix.Input{Snapshot: s})
	m := modelOf(t, c)
	for k, r := range c.Hooks() {
		m.hooks[k] = r
	}
	p := packet{in: "carp", out: "carx", src: netip.MustParseAddr("10.0.0.1"), dst: netip.MustParseAddr("10.0.0.2"), proto: 6, port: 80, state: "NEW"}
	look := func(stage string) {
		if v := m.forward(t, p); v != drop {
			t.Errorf("%s: %s", stage, v)
		}
	}
	look("before")
	next := *s
	w := pod("p", "10.0.0.1", "new")
	next.Workloads = next.Workloads.Put(w.Key(), w)
	d, _ := c.Update(felix.Input{Snapshot: &next})
	m.apply(t, d, look)
	look("after")
}

// TestReplacedPodOpensNothing: an interface goes from one workload to another.
func TestReplacedPodOpensNothing(t *testing.T) {
	s := caracal.NewSnapshot("a")
	pod := func(name, addr, label string) caracal.Workload {
		return caracal.Workload{Namespace: "x", Name: name, Node: "a", Interface: "tap0", Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Labels: map[string]string{"l": label}}
	}
	w := pod("p", "10.0.0.1", "old")
	s.Workloads = s.Workloads.Put(w.Key(), w)
	sel := func(v string) caracal.LabelSelector {
		return caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: "l", Op: caracal.LabelIn, Values: []string{v}}}}
	}
	for _, p := range []caracal.Policy{
		{Namespace: "x", Name: "all", Pods: sel("old"), Egress: true, EgressRules: []caracal.PolicyRule{{}}},
		{Namespace: "x", Name: "none", Pods: sel("new"), Egress: true},
	} {
		s.Policies = s.Policies.Put(p.Key(), p)
	}
	c := felix.NewCompiler()
	c.Update(felix.Input{Snapshot: s})
	m := modelOf(t, c)
	for k, r := range c.Hooks() {
		m.hooks[k] = r
	}
	p := packet{in: "tap0", out: "eth0", src: netip.MustParseAddr("10.0.0.9"), dst: netip.MustParseAddr("203.0.113.2"), proto: 6, port: 80, state: "NEW"}
	look := func(stage string) {
		if v := m.forward(t, p); v != drop {
			t.Errorf("%s: %s", stage, v)
		}
	}
	look("before")
	next := *s
	next.Workloads = next.Workloads.Delete(w.Key())
	w = pod("q", "10.0.0.9", "new")
	next.Workloads = next.Workloads.Put(w.Key(), w)
	d, _ := c.Update(felix.Input{Snapshot: &next})
	m.apply(t, d, look)
	look("after")
}
