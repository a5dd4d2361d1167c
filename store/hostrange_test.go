package store

import (
	"testing"
)

func TestRangesOverHosts(t *testing.T) {
	pool := func(cidr string) *Object { return object(t, "pool.yaml", "IPPool", "pods", "cidr: "+cidr) }
	host := func(name, spec string) *Object { return object(t, name+".yaml", "NodeConfig", name, spec) }
	for _, c := range []struct {
		name           string
		inForce, fresh []*Object
		want           []string // "object: reason"
	}{
		{"a new pool around a node in force", []*Object{host("a", "addresses: [10.0.0.1/24]")}, []*Object{pool("10.0.0.0/16")},
			[]string{"IPPool pods: spec.cidr: 10.0.0.0/16 contains 10.0.0.1, the address of NodeConfig a (a.yaml); a pool must be a range that no host or router uses"}},
		{"a new pool within the network of a node", []*Object{host("a", "addresses: [10.0.0.1/24]")}, []*Object{pool("10.0.0.128/25")},
			[]string{"IPPool pods: spec.cidr: 10.0.0.128/25 overlaps 10.0.0.0/24, the network of NodeConfig a (a.yaml); a pool must be a range that no host or router uses"}},
		{"a new node in a pool in force", []*Object{pool("10.0.0.0/16")}, []*Object{host("a", "addresses: [10.0.0.1/24]"), host("b", "addresses: [192.0.2.2/24]")},
			[]string{"NodeConfig a: spec.addresses: 10.0.0.1/24 is on a network that overlaps 10.0.0.0/16 of IPPool pods (pool.yaml); a pool must be a range that no host or router uses"}},
		{"all new", nil, []*Object{host("a", "addresses: [10.0.0.1/24]"), host("b", "addresses: [10.0.0.2/24]"), pool("10.0.0.0/16")},
			[]string{"IPPool pods: spec.cidr: 10.0.0.0/16 contains 10.0.0.1, the address of NodeConfig a (a.yaml); a pool must be a range that no host or router uses"}},
		{"all new, and one of three nodes has a wrong length", nil, []*Object{host("a", "addresses: [10.0.0.1/8]"), host("b", "addresses: [10.0.0.2/24]"), host("c", "addresses: [10.0.0.3/24]"), pool("10.1.0.0/16")},
			[]string{"NodeConfig a: spec.addresses: 10.0.0.1/8 is on a network that overlaps 10.1.0.0/16 of IPPool pods (pool.yaml); a pool must be a range that no host or router uses"}},
		{"a new pool, and the one node that it overlaps is in force", []*Object{host("a", "addresses: [10.0.0.1/8]")}, []*Object{host("b", "addresses: [10.0.0.2/24]"), host("c", "addresses: [10.0.0.3/24]"), pool("10.1.0.0/16")},
			[]string{"IPPool pods: spec.cidr: 10.1.0.0/16 overlaps 10.0.0.0/8, the network of NodeConfig a (a.yaml); a pool must be a range that no host or router uses"}},
		{"IPv6", nil, []*Object{host("a", "addresses: [2001:db8::1/64, 192.0.2.1/24]"), pool("2001:db8::/32")},
			[]string{"IPPool pods: spec.cidr: 2001:db8::/32 contains 2001:db8::1, the address of NodeConfig a (a.yaml); a pool must be a range that no host or router uses"}},
		{"a block around the node itself", nil, []*Object{host("a", "addresses: [192.0.2.1/24], blocks: [192.0.2.0/26]")},
			[]string{"NodeConfig a: spec.blocks: 192.0.2.0/26 contains 192.0.2.1, the node's own address; a range for pods must be one that no host or router uses"}},
		{"a podCIDR around another node", []*Object{host("b", "addresses: [192.0.2.9/24]")}, []*Object{host("a", "addresses: [198.51.100.1/24], podCIDRs: [192.0.2.8/30]")},
			[]string{"NodeConfig a: spec.podCIDRs: 192.0.2.8/30 contains 192.0.2.9, the address of NodeConfig b (b.yaml); a range for pods must be one that no host or router uses"}},
		{"a node in a block in force", []*Object{host("a", "addresses: [198.51.100.1/24], blocks: [192.0.2.8/30]")}, []*Object{host("b", "addresses: [192.0.2.9/24]")},
			[]string{"NodeConfig b: spec.addresses: 192.0.2.9 is in 192.0.2.8/30 of NodeConfig a (a.yaml); a range for pods must be one that no host or router uses"}},
		{"apart", nil, []*Object{pool("10.0.0.0/16"), host("a", "addresses: [10.1.0.1/24, fd00::1/64], blocks: [10.0.0.0/26]")}, nil},
	} {
		v := Judge(Proposal{InForce: inForce(c.inForce...), Changed: c.fresh})
		var got []string
		for _, r := range v.Rejected {
			got = append(got, r.Object.Key.String()+": "+r.Reason)
		}
		if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] || len(v.Strained) > 0 {
			t.Errorf("%s: %q, want %q; strained %v", c.name, got, c.want, v.Strained)
		}
	}
	// What an earlier version accepted stays, with a warning.
	v := Judge(Proposal{InForce: inForce(pool("10.0.0.0/16"), host("a", "addresses: [10.0.0.1/24], blocks: [10.0.0.0/26]"))})
	if len(v.Objects) != 2 || len(v.Rejected) > 0 || len(v.Strained) != 2 {
		t.Errorf("%+v", v)
	}
}
