package bgp_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/rib"
)

// threeNodes is a snapshot of this node, of b in the same AS and of c in another.
func threeNodes() *caracal.Snapshot {
	s := caracal.NewSnapshot("a")
	s.Pools = s.Pools.Put("v4", caracal.Pool{Name: "v4", CIDR: prefix("10.1.0.0/16"), BlockSize: 26})
	s.Pools = s.Pools.Put("v6", caracal.Pool{Name: "v6", CIDR: prefix("fd00:1::/48"), BlockSize: 122})
	for i, name := range []string{"a", "b", "c"} {
		s.Nodes = s.Nodes.Put(name, caracal.Node{
			Name: name,
			IPv4: netip.PrefixFrom(addr(fmt.Sprintf("192.0.2.%d", i+1)), 24),
			IPv6: netip.PrefixFrom(addr(fmt.Sprintf("2001:db8::%d", i+1)), 64),
		})
		for _, b := range []string{fmt.Sprintf("10.1.%d.0/26", i+1), fmt.Sprintf("fd00:1::%d00/122", i+1)} {
			s.Blocks = s.Blocks.Put(prefix(b), caracal.Block{CIDR: prefix(b), Node: name})
		}
	}
	return s
}

// receiver is a mirror with two neighbors, and what it would have installed.
type receiver struct {
	*testing.T
	owners *rib.Owners
	mirror *rib.Mirror
	routes map[netip.Prefix][]netip.Addr
}

func newReceiver(t *testing.T, neighbors []bgp.Neighbor) *receiver {
	r := &receiver{T: t, owners: rib.NewOwners(), routes: map[netip.Prefix][]netip.Addr{}}
	r.owners.Update(nil, threeNodes())
	r.mirror = rib.NewMirror(r.owners)
	r.mirror.SetNeighbors(asn, neighbors)
	for _, n := range neighbors {
		r.take(bgp.Event{Session: &bgp.Session{Neighbor: n.Name, State: bgp.Established, Was: bgp.OpenConfirm}})
	}
	return r
}

// take hands events on and looks whether what must hold does.
func (r *receiver) take(events ...bgp.Event) {
	r.Helper()
	for _, e := range events {
		r.mirror.Apply(e)
	}
	for r.mirror.Decide(3, func(c rib.Choice) {
		delete(r.routes, c.NLRI)
		if len(c.NextHops) > 0 {
			r.routes[c.NLRI] = c.NextHops
		}
	}) {
	}
	r.rightRoutes()
	r.rightPaths()
}

// rightRoutes: only what the owner of the next hop owns is installed.
func (r *receiver) rightRoutes() {
	r.Helper()
	for p, hops := range r.routes {
		for _, h := range hops {
			if v := r.owners.Judge(p, h); v.Code != rib.Accepted {
				r.Fatalf("%s via %s is installed: %v", p, h, v.Code)
			}
		}
	}
}

func (r *receiver) rightPaths() {
	r.Helper()
	paths := map[string]int{}
	best := map[netip.Prefix]bool{}
	for _, ref := range r.mirror.Refs() {
		views := r.mirror.View(ref)
		if len(views) == 0 {
			r.Fatalf("%s without a path", ref.Prefix())
		}
		for _, v := range views {
			paths[v.Neighbor]++
			best[ref.Prefix()] = best[ref.Prefix()] || v.Best
			a := v.Attrs
			if a == nil || !a.NextHop.IsValid() || a.Origin > caracal.OriginIncomplete || ref.Prefix() != ref.Prefix().Masked() {
				r.Fatalf("%s: attributes %+v", ref.Prefix(), a)
			}
			if v.Neighbor == "mesh/c" && (len(a.ASPath) == 0 || a.ASPath[0] != 65001 || a.LocalPref != 100) {
				r.Fatalf("%s from another AS: attributes %+v", ref.Prefix(), a)
			}
		}
	}
	for p := range r.routes {
		if !best[p] {
			r.Fatalf("%s is installed, and no path is the best", p)
		}
	}
	for name, n := range paths {
		c, refused := r.mirror.Counts(name), 0
		for _, of := range c.Refused {
			refused += of
		}
		if c.Received != n || c.Accepted+refused != n {
			r.Fatalf("%s: %d paths, counted %+v", name, n, c)
		}
	}
}

// FuzzReceive takes the bodies of two UPDATEs through everything that a message
// goes through before the kernel.
func FuzzReceive(f *testing.F) {
	for _, family := range []struct {
		route, hop string
	}{{"10.1.2.0/26", "192.0.2.2"}, {"10.1.3.9/32", "192.0.2.3"}, {"fd00:1::200/122", "2001:db8::2"}, {"0.0.0.0/0", "192.0.2.2"}, {"::/0", "2001:db8::3"}} {
		route := []netip.Prefix{prefix(family.route)}
		for _, path := range [][]uint32{nil, {65001}, {65001, asn}, {0}} {
			announce := bgp.Bodies(sender.Encode(route, sender.Path{NextHop: addr(family.hop), ASPath: path, LocalPref: 200}))
			for flags := range byte(8) {
				f.Add(announce[0], bgp.Bodies(sender.EncodeWithdraw(route))[0], flags)
			}
		}
	}
	f.Add(bgp.Bodies([][]byte{sender.EncodeEndOfRIB(false)})[0], bgp.Bodies([][]byte{sender.EncodeEndOfRIB(true)})[0], byte(0))
	f.Fuzz(func(t *testing.T, first, second []byte, flags byte) {
		neighbors := []bgp.Neighbor{
			{Name: "mesh/b", Node: "b", ASN: asn, IPv4: true, IPv6: true},
			{Name: "mesh/c", Node: "c", ASN: 65001, IPv4: true, IPv6: flags&4 == 0},
		}
		r := newReceiver(t, neighbors)
		right := bgp.Bodies(sender.Encode([]netip.Prefix{prefix("10.1.2.0/26")}, sender.Path{NextHop: addr("192.0.2.2"), LocalPref: 100}))
		events, ok := bgp.Receive(neighbors[0], asn, false, right[0])
		if r.take(events...); !ok || len(r.routes) != 1 {
			t.Fatal("the right path is not installed")
		}
		from := neighbors[flags&1]
		for _, body := range [][]byte{first, second} {
			events, ok := bgp.Receive(from, asn, flags&2 != 0, body)
			if !ok {
				break
			}
			r.take(events...)
		}
		if flags&1 == 1 && !slices.Contains(slices.Collect(maps.Keys(r.routes)), prefix("10.1.2.0/26")) {
			t.Fatal("what another neighbor sent took the right path away")
		}
		for _, n := range neighbors {
			r.take(bgp.Event{Session: &bgp.Session{Neighbor: n.Name, State: bgp.Idle, Was: bgp.Established}})
		}
		if len(r.routes) != 0 || r.mirror.Len() != 0 {
			t.Fatalf("left behind: %v", r.routes)
		}
	})
}
