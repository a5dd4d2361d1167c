package kube

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	v1 "caracal.dev/caracal/api/v1"
)

// TestAddressOfAnotherNode has a Pod say that it has an address of another node's
// block, as the kubelet of a host that somebody has broken into may write: whoever is
// where the block is has the address, however old, and whatever comes first.
func TestAddressOfAnotherNode(t *testing.T) {
	const ip = "10.1.0.1"
	honest := workload("honest", "b", 100, false, ip)
	thief := workload("thief", "c", 200, false, ip, "10.1.9.9")
	block := func(w *world) { put(w, v1.KindBlockAffinity, "b.1", claimed("b", "10.1.0.0/26")) }
	pods := map[string]*pod{"x/honest": honest, "x/thief": thief}
	for name, order := range map[string][]string{
		"block first": {"", "x/honest", "x/thief"}, "thief first": {"", "x/thief", "x/honest"},
		"block last": {"x/thief", "x/honest", ""}, "block between": {"x/honest", "", "x/thief"},
	} {
		w := newWorld("a")
		for _, step := range order {
			if step == "" {
				block(w)
			} else {
				w.set(kindPods, step, pods[step])
			}
		}
		if got := whoHas(w, ip); got != "honest" {
			t.Errorf("%s: %q has it", name, got)
		}
		if got := whoHas(w, "10.1.9.9"); got != "thief" {
			t.Errorf("%s: %q has the address that nobody else claims", name, got)
		}
		// The address was lent to the other node.
		f := claimed("c", ip+"/32")
		f["borrowedFrom"] = "10.1.0.0/26"
		put(w, v1.KindBlockAffinity, "borrowed."+ip, f)
		if got := whoHas(w, ip); got != "thief" {
			t.Errorf("%s: lent to node c, and %q has it", name, got)
		}
		w.set(kindPods, "x/thief", nil)
		if got := whoHas(w, ip); got != "honest" {
			t.Errorf("%s: %q has it after the other is gone", name, got)
		}
		w.set(kindPods, "x/honest", nil)
		if len(w.claims)+len(w.losers) != 0 {
			t.Errorf("%s: left: %v %v", name, w.claims, w.losers)
		}
	}
}

// whoHas names the Pods that have an address.
func whoHas(w *world, ip string) string {
	var has []string
	for _, p := range w.workloads.All() {
		if slices.Contains(p.Addrs, netip.MustParseAddr(ip)) {
			has = append(has, p.Name)
		}
	}
	return strings.Join(has, " ")
}
