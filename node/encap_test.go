package node

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/rib"
)

// tunnelCluster is node a (self) and b in one network, c in another, d without
// IPv4, with a block each, and pools of every mode.
func tunnelCluster() *caracal.Snapshot {
	s := caracal.NewSnapshot("a")
	s.Synced = true
	for name, mode := range map[string]caracal.IPIPMode{"1": caracal.IPIPAlways, "2": caracal.IPIPCrossSubnet, "3": caracal.IPIPNever} {
		cidr := netip.MustParsePrefix("10." + name + ".0.0/16")
		s.Pools = s.Pools.Put("v4-"+name, caracal.Pool{Name: "v4-" + name, CIDR: cidr, BlockSize: 26, IPIP: mode})
		for i, node := range []string{"a", "b", "c", "d"} {
			block := netip.MustParsePrefix(fmt.Sprintf("10.%s.%d.0/26", name, i+1))
			s.Blocks = s.Blocks.Put(block, caracal.Block{CIDR: block, Node: node})
		}
	}
	for name, addr := range map[string]string{"a": "192.0.2.1/24", "b": "192.0.2.2/24", "c": "198.51.100.3/24", "d": ""} {
		n := caracal.Node{Name: name, IPv6: netip.MustParsePrefix("2001:db8::1/64"), Anycast: []netip.Prefix{netip.MustParsePrefix("10.1.9.9/32")}}
		if addr != "" {
			n.IPv4 = netip.MustParsePrefix(addr)
		}
		s.Nodes = s.Nodes.Put(name, n)
	}
	w := caracal.Workload{Name: "borrower", Node: "c", Addrs: []netip.Addr{ip("10.1.2.9")}}
	s.Workloads = s.Workloads.Put(w.Key(), w)
	return s
}

func TestEncapWrap(t *testing.T) {
	snap := tunnelCluster()
	o := rib.NewOwners()
	e := newEncap()
	e.update(snap, o.Update(nil, snap), false)
	for _, c := range []struct {
		what, dst string
		hops      string
		want      string // next hops, with "tunl0 " before them in the tunnel
	}{
		{"Always, in the network", "10.1.2.0/26", "192.0.2.2", "tunl0 192.0.2.2"},
		{"Always, in another", "10.1.3.0/26", "198.51.100.3", "tunl0 198.51.100.3"},
		{"CrossSubnet, in the network", "10.2.2.0/26", "192.0.2.2", "192.0.2.2"},
		{"CrossSubnet, in another", "10.2.3.0/26", "198.51.100.3", "tunl0 198.51.100.3"},
		{"Never", "10.3.3.0/26", "198.51.100.3", "198.51.100.3"},
		{"from a switch: to the owner", "10.1.3.0/26", "192.0.2.254", "tunl0 198.51.100.3"},
		{"from two switches", "10.1.3.0/26", "192.0.2.253 192.0.2.254", "tunl0 198.51.100.3"},
		{"from a switch, CrossSubnet in the network: as the switch says", "10.2.2.0/26", "192.0.2.254", "192.0.2.254"},
		{"an unnumbered switch", "10.1.3.0/26", "fe80::1%eth0", "tunl0 198.51.100.3"},
		{"a part of a block", "10.1.3.7/32", "198.51.100.3", "tunl0 198.51.100.3"},
		{"a borrowed address", "10.1.2.9/32", "198.51.100.3", "tunl0 198.51.100.3"},
		{"no owner, but the next hop is a node", "10.1.200.0/26", "192.0.2.2", "tunl0 192.0.2.2"},
		{"no owner, from a switch", "10.1.200.0/26", "192.0.2.254", "192.0.2.254"},
		{"served by several", "10.1.9.9/32", "192.0.2.2 198.51.100.3", "tunl0 192.0.2.2 198.51.100.3"},
		{"the owner has no IPv4 address", "10.1.4.0/26", "192.0.2.254", "192.0.2.254"},
		{"in no pool", "203.0.113.0/24", "192.0.2.254", "192.0.2.254"},
		{"wider than the pool", "10.0.0.0/8", "192.0.2.254", "192.0.2.254"},
		{"IPv6", "fd00::/64", "2001:db8::2", "2001:db8::2"},
	} {
		w := fib.Want{Dst: netip.MustParsePrefix(c.dst)}
		for _, h := range strings.Fields(c.hops) {
			w.NextHops = append(w.NextHops, ip(h))
		}
		e.wrap(&w, o.OwnerOf, o.NodeOf)
		got := strings.TrimSpace(w.Tunnel + " " + strings.Trim(fmt.Sprint(w.NextHops), "[]"))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// TestEncapUpdate: what a change of the configuration makes to be chosen anew.
func TestEncapUpdate(t *testing.T) {
	pool := func(s *caracal.Snapshot, name string, mode caracal.IPIPMode) {
		p, _ := s.Pools.Get(name)
		p.IPIP = mode
		s.Pools = s.Pools.Put(name, p)
	}
	address := func(s *caracal.Snapshot, name, addr string) {
		n, _ := s.Nodes.Get(name)
		n.IPv4 = netip.MustParsePrefix(addr)
		s.Nodes = s.Nodes.Put(name, n)
	}
	for _, c := range []struct {
		what   string
		change func(*caracal.Snapshot)
		want   string
	}{
		{"nothing", func(*caracal.Snapshot) {}, ""},
		{"Always to CrossSubnet", func(s *caracal.Snapshot) { pool(s, "v4-1", caracal.IPIPCrossSubnet) }, "10.1.0.0/16"},
		{"CrossSubnet to Never", func(s *caracal.Snapshot) { pool(s, "v4-2", caracal.IPIPNever) }, "10.2.0.0/16"},
		{"Never to Always", func(s *caracal.Snapshot) { pool(s, "v4-3", caracal.IPIPAlways) }, "10.3.0.0/16"},
		{"a pool goes", func(s *caracal.Snapshot) { s.Pools = s.Pools.Delete("v4-1") }, "10.1.0.0/16"},
		{"a pool is only out of sight", func(s *caracal.Snapshot) {
			s.Pools, s.Incomplete = s.Pools.Delete("v4-1"), map[string]string{"IPPool": "gone"}
		}, "10.1.0.0/16"}, // chosen anew, with the mode as it was
		{"a pool has another name", func(s *caracal.Snapshot) {
			p, _ := s.Pools.Get("v4-1")
			p.Name = "other"
			s.Pools = s.Pools.Delete("v4-1").Put("other", p)
		}, "10.1.0.0/16"},
		{"another node's address", func(s *caracal.Snapshot) { address(s, "c", "192.0.2.3/24") }, "10.1.2.9/32 10.1.3.0/26 10.1.9.9/32 10.2.3.0/26"},
		{"another node's prefix length", func(s *caracal.Snapshot) { address(s, "c", "198.51.100.3/25") }, ""},
		{"the own prefix length", func(s *caracal.Snapshot) { address(s, "a", "192.0.2.1/16") }, "10.1.0.0/16 10.2.0.0/16"},
		{"another owner", func(s *caracal.Snapshot) {
			b := netip.MustParsePrefix("10.2.3.0/26")
			s.Blocks = s.Blocks.Put(b, caracal.Block{CIDR: b, Node: "b"})
		}, "10.2.3.0/26"},
	} {
		old := tunnelCluster()
		o := rib.NewOwners()
		e := newEncap()
		e.update(old, o.Update(nil, old), true)
		cur := *old
		c.change(&cur)
		var got []string
		below := e.update(&cur, o.Update(old, &cur), true)
		slices.SortFunc(below, netip.Prefix.Compare)
		for _, p := range slices.Compact(below) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: below %q, want %q", c.what, got, c.want)
		}
		w := fib.Want{Dst: netip.MustParsePrefix("10.1.3.0/26"), NextHops: []netip.Addr{ip("198.51.100.3")}}
		e.wrap(&w, o.OwnerOf, o.NodeOf)
		if gone := c.what == "a pool goes"; (w.Tunnel == "") != gone && c.what != "another node's address" {
			t.Errorf("%s: then %+v", c.what, w)
		}
	}
}

// TestEncapWaits: routes that are outside of the tunnel stay there until the
// device was tried; those of a new pool have nowhere to stay.
func TestEncapWaits(t *testing.T) {
	old := tunnelCluster()
	o := rib.NewOwners()
	e := newEncap()
	e.update(old, o.Update(nil, old), false)
	if e.waiting {
		t.Error("at the start there is nothing to wait for")
	}
	cur := *old
	p, _ := cur.Pools.Get("v4-3")
	p.IPIP = caracal.IPIPAlways
	cur.Pools = cur.Pools.Put("v4-3", p)
	if below := e.update(&cur, nil, false); len(below) != 0 || !e.waiting {
		t.Errorf("before the device is there: below %v, waiting %v", below, e.waiting)
	}
	w := fib.Want{Dst: netip.MustParsePrefix("10.3.3.0/26"), NextHops: []netip.Addr{ip("198.51.100.3")}}
	if e.wrap(&w, o.OwnerOf, o.NodeOf); w.Tunnel != "" {
		t.Errorf("before the device is there: %+v", w)
	}
	if below := e.update(&cur, nil, true); len(below) != 1 || e.waiting {
		t.Errorf("then: below %v, waiting %v", below, e.waiting)
	}
	if e.wrap(&w, o.OwnerOf, o.NodeOf); w.Tunnel == "" {
		t.Errorf("then: %+v", w)
	}
}
