package rib

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

// host is a workload of a node with one address.
func host(name, node, addr string) caracal.Workload {
	return caracal.Workload{Namespace: "x", Name: name, Node: node, Addrs: []netip.Addr{ip(addr)}}
}

// TestAddressMoves has an address go from one workload to another, in one Snapshot and
// over one in which both have it, in every order of their names.
func TestAddressMoves(t *testing.T) {
	for _, c := range []struct {
		from, to, toNode string
		both             bool
	}{
		{"p", "q", "c", false}, {"q", "p", "c", false}, {"p", "q", "c", true}, {"q", "p", "c", true},
		{"p", "q", "a", true}, {"q", "p", "a", true}, {"p", "q", "b", true}, {"q", "p", "b", true},
	} {
		t.Run(fmt.Sprintf("%s to %s on %s, both %v", c.from, c.to, c.toNode, c.both), func(t *testing.T) {
			o, snap := NewOwners(), cluster()
			o.Update(nil, snap)
			step := func(change func(s *caracal.Snapshot)) {
				next := *snap
				change(&next)
				o.Update(snap, &next)
				snap = &next
			}
			leave := func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("x/" + c.from) }
			step(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Put("x/"+c.from, host(c.from, "b", "10.1.1.9")) })
			step(func(s *caracal.Snapshot) {
				s.Workloads = s.Workloads.Put("x/"+c.to, host(c.to, c.toNode, "10.1.1.9"))
				if !c.both {
					leave(s)
				}
			})
			if c.both {
				if got, want := o.OwnerOf(pfx("10.1.1.9/32")), min("b", c.toNode); got != want {
					t.Errorf("while both have it: %q, want %q", got, want)
				}
				step(leave)
			}
			if got := o.OwnerOf(pfx("10.1.1.9/32")); got != c.toNode {
				t.Errorf("owner %q, want %q", got, c.toNode)
			}
			if v := o.Judge(pfx("10.1.1.9/32"), ip("192.0.2.2")); (v.Code == Accepted) != (c.toNode == "b") {
				t.Errorf("from b: %v", v)
			}
			step(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("x/" + c.to) })
			if got := o.OwnerOf(pfx("10.1.1.9/32")); got != "a" { // whose block it is in
				t.Errorf("after all have gone: %q", got)
			}
		})
	}
}

// TestOwnersAgainstScratch changes workloads at random, addresses in common among
// them, and holds what is known against an Owners made anew.
func TestOwnersAgainstScratch(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	o, snap := NewOwners(), cluster()
	o.Update(nil, snap)
	for i := range 5000 {
		next := *snap
		for range 1 + rng.IntN(4) {
			key := fmt.Sprintf("x/%d", rng.IntN(6))
			if rng.IntN(3) == 0 {
				next.Workloads = next.Workloads.Delete(key)
				continue
			}
			w := host(key[2:], string(rune('a'+rng.IntN(3))), fmt.Sprintf("10.1.%d.%d", rng.IntN(2)+1, rng.IntN(2)+8))
			if rng.IntN(2) == 0 {
				w.Addrs = append(w.Addrs, ip("10.1.3.7"))
			}
			next.Workloads = next.Workloads.Put(key, w)
		}
		o.Update(snap, &next)
		snap = &next
		fresh := owners(snap)
		if !maps.Equal(o.hosts, fresh.hosts) || !maps.EqualFunc(o.owned, fresh.owned, maps.Equal) || len(o.rivals) != len(fresh.rivals) {
			t.Fatalf("step %d: %v %v, from scratch %v %v", i, o.hosts, o.rivals, fresh.hosts, fresh.rivals)
		}
		for p, list := range o.rivals {
			if other := fresh.rivals[p]; len(list) < 2 || !slices.Equal(slices.Sorted(slices.Values(list)), slices.Sorted(slices.Values(other))) {
				t.Fatalf("step %d: %s: %v, from scratch %v", i, p, list, other)
			}
		}
	}
}
