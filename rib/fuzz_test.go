package rib

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// What FuzzOwners plays with: few values, so that they often meet.
var (
	fuzzPools  = prefixList("10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/8", "fd00:1::/48", "10.1.2.9/32")
	fuzzBlocks = prefixList("10.1.2.0/26", "10.1.2.64/26", "10.1.2.0/25", "10.1.2.9/32", "fd00:1::200/122", "10.9.0.0/26")
	fuzzHosts  = prefixList("10.1.2.9/32", "10.1.2.70/32", "10.1.3.1/32", "fd00:1::205/128", "172.16.0.1/32")
	fuzzProbes = slices.Concat(fuzzPools, fuzzBlocks, fuzzHosts, prefixList("0.0.0.0/0", "::/0", "10.1.2.0/27", "10.1.0.0/17", "224.0.0.0/4"))
	fuzzHops   = []netip.Addr{ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"), ip("2001:db8::1"), ip("2001:db8::2")}
	fuzzNodes  = []string{"a", "b", "c"}
)

func prefixList(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, pfx(s))
	}
	return out
}

// change makes one change to a Snapshot, as no valid configuration would
// forbid: addresses and CIDRs belong to one object each.
func change(s caracal.Snapshot, what, which, whose byte) *caracal.Snapshot {
	node := fuzzNodes[int(whose)%len(fuzzNodes)]
	name := fmt.Sprint("object", whose%4)
	switch what % 8 {
	case 0:
		cidr := fuzzPools[int(which)%len(fuzzPools)]
		if free(s.Pools, func(n string, p caracal.Pool) bool { return n == name || p.CIDR != cidr }) {
			s.Pools = s.Pools.Put(name, caracal.Pool{Name: name, CIDR: cidr})
		}
	case 1:
		s.Pools = s.Pools.Delete(name)
	case 2:
		b := fuzzBlocks[int(which)%len(fuzzBlocks)]
		s.Blocks = s.Blocks.Put(b, caracal.Block{CIDR: b, Node: node})
	case 3:
		s.Blocks = s.Blocks.Delete(fuzzBlocks[int(which)%len(fuzzBlocks)])
	case 4:
		a := fuzzHops[int(which)%len(fuzzHops)]
		if free(s.Nodes, func(n string, o caracal.Node) bool { return n == node || o.IPv4.Addr() != a && o.IPv6.Addr() != a }) {
			n, _ := s.Nodes.Get(node)
			n.Name = node
			if a.Is4() {
				n.IPv4 = netip.PrefixFrom(a, 24)
			} else {
				n.IPv6 = netip.PrefixFrom(a, 64)
			}
			s.Nodes = s.Nodes.Put(node, n)
		}
	case 5:
		s.Nodes = s.Nodes.Delete(node)
	case 6:
		a := fuzzHosts[int(which)%len(fuzzHosts)].Addr()
		key := "default/" + name
		if free(s.Workloads, func(k string, w caracal.Workload) bool { return k == key || !slices.Contains(w.Addrs, a) }) {
			s.Workloads = s.Workloads.Put(key, caracal.Workload{Namespace: "default", Name: name, Node: node, Addrs: []netip.Addr{a}})
		}
	case 7:
		s.Workloads = s.Workloads.Delete("default/" + name)
	}
	return &s
}

func free[K comparable, V any](t caracal.Table[K, V], ok func(K, V) bool) bool {
	for k, v := range t.All() {
		if !ok(k, v) {
			return false
		}
	}
	return true
}

// plainJudge is Owners.Judge by looking at everything.
func plainJudge(s *caracal.Snapshot, nlri netip.Prefix, hop netip.Addr) Code {
	if nlri.Bits() == 0 {
		return RefusedDefault
	}
	if unroutable(nlri) {
		return RefusedRange
	}
	within, wider := false, false
	for _, p := range s.Pools.All() {
		within = within || caracal.Covers(p.CIDR, nlri)
		wider = wider || caracal.Covers(nlri, p.CIDR)
	}
	if !within && wider {
		return RefusedTooWide
	} else if !within {
		return RefusedNoPool
	}
	owner, best, inside := "", -1, false
	for _, b := range s.Blocks.All() {
		if caracal.Covers(b.CIDR, nlri) && b.CIDR.Bits() > best {
			owner, best = b.Node, b.CIDR.Bits()
		}
		inside = inside || caracal.Covers(nlri, b.CIDR)
	}
	for _, w := range s.Workloads.All() {
		for _, a := range w.Addrs {
			if caracal.HostPrefix(a) == nlri {
				owner, best = w.Node, 1000
			}
		}
	}
	next := ""
	for _, n := range s.Nodes.All() {
		if n.IPv4.Addr() == hop || n.IPv6.Addr() == hop {
			next = n.Name
		}
	}
	switch {
	case best < 0 && inside:
		return RefusedTooWide
	case best < 0:
		return RefusedNoOwner
	case owner == s.Self:
		return RefusedLocal
	case next == "":
		return RefusedNextHop
	case next == s.Self:
		return RefusedSelf
	case next != owner:
		return RefusedNotTheirs
	}
	return Accepted
}

// announceAll has one neighbor for each next hop announce every probe with it.
func announceAll(m *Mirror) {
	var neighbors []bgp.Neighbor
	for _, hop := range fuzzHops {
		neighbors = append(neighbors, bgp.Neighbor{Name: "mesh/" + hop.String(), Node: hop.String(), ASN: 64512, IPv4: true, IPv6: true})
	}
	m.SetNeighbors(64512, neighbors)
	for i, n := range neighbors {
		u := &bgp.Update{Neighbor: n.Name, Attrs: &caracal.Attrs{NextHop: fuzzHops[i], LocalPref: 100}}
		for _, p := range fuzzProbes {
			u.Announced = append(u.Announced, bgp.NLRI{Prefix: p})
		}
		m.Apply(bgp.Event{Session: &bgp.Session{Neighbor: n.Name, State: bgp.Established, Was: bgp.OpenConfirm}})
		m.Apply(bgp.Event{Update: u})
	}
}

// FuzzOwners changes a Snapshot step by step and holds each verdict, and each
// choice that follows from the change alone, against the whole of it.
func FuzzOwners(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0, 1, 4, 1, 1, 6, 0, 2, 4, 2, 2, 7, 0, 2, 3, 0, 0})
	// A workload has the only address of a block, and goes; then the node moves.
	f.Add([]byte{0, 2, 0, 2, 3, 2, 6, 0, 2, 4, 1, 2, 7, 0, 2, 4, 2, 2, 5, 0, 2})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 300 {
			return
		}
		o := NewOwners()
		m := NewMirror(o)
		routes := map[netip.Prefix][]netip.Addr{}
		decide := func() {
			for m.Decide(7, func(c Choice) { routes[c.NLRI] = c.NextHops }) {
			}
		}
		snap := caracal.NewSnapshot("a")
		o.Update(nil, snap)
		announceAll(m)
		decide()
		for ; len(program) >= 3; program = program[3:] {
			next := change(*snap, program[0], program[1], program[2])
			m.Rejudge(o.Update(snap, next))
			snap = next
			decide()
			for _, p := range fuzzProbes {
				var want []netip.Addr
				for _, hop := range fuzzHops {
					code := plainJudge(snap, p, hop)
					if got := o.Judge(p, hop).Code; got != code {
						t.Fatalf("%s via %s: %v, want %v", p, hop, got, code)
					}
					if code == Accepted {
						want = append(want, hop)
					}
				}
				if !slices.Equal(routes[p], want) {
					t.Fatalf("%s goes by %v, want %v", p, routes[p], want)
				}
			}
		}
	})
}
