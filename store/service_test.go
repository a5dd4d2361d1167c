package store

import (
	"strings"
	"testing"
)

func TestServiceConflicts(t *testing.T) {
	pool := func(cidr string) *Object { return object(t, "pool.yaml", "IPPool", "pods", "cidr: "+cidr) }
	host := func(name, spec string) *Object { return object(t, name+".yaml", "NodeConfig", name, spec) }
	config := func(spec string) *Object { return object(t, "bgp.yaml", "BGPConfiguration", "default", spec) }
	services := func(cidr string) *Object { return config("serviceLoadBalancerIPs: [{cidr: " + cidr + "}]") }
	a := host("a", "addresses: [192.0.2.1/24], blocks: [10.0.0.0/26], tunnelAddress: 10.0.0.3, anycastPrefixes: [198.51.100.7/32]")
	const why = "; a range of Services lies outside of all pools, and holds no address of a node"
	for _, c := range []struct {
		name           string
		inForce, fresh []*Object
		want           string // "object: reason"
	}{
		{"apart", []*Object{a, pool("10.0.0.0/16")}, []*Object{services("10.96.0.0/12")}, ""},
		{"in a node's network", []*Object{a}, []*Object{services("192.0.2.128/25")}, ""},
		{"in each other", []*Object{a}, []*Object{config("serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 10.96.1.0/24}]")}, ""},
		{"a pool", []*Object{pool("10.0.0.0/16")}, []*Object{services("10.0.128.0/17")},
			"BGPConfiguration default: spec.serviceLoadBalancerIPs: 10.0.128.0/17 overlaps 10.0.0.0/16 of IPPool pods (pool.yaml)" + why},
		{"a block", []*Object{a}, []*Object{services("10.0.0.0/8")},
			"BGPConfiguration default: spec.serviceLoadBalancerIPs: 10.0.0.0/8 overlaps 10.0.0.3/32 of NodeConfig a (a.yaml)" + why},
		{"an address", []*Object{a}, []*Object{services("192.0.2.0/30")},
			"BGPConfiguration default: spec.serviceLoadBalancerIPs: 192.0.2.0/30 overlaps 192.0.2.1/32 of NodeConfig a (a.yaml)" + why},
		{"an anycast prefix", []*Object{a}, []*Object{services("198.51.100.0/24")},
			"BGPConfiguration default: spec.serviceLoadBalancerIPs: 198.51.100.0/24 overlaps 198.51.100.7/32 of NodeConfig a (a.yaml)" + why},
		{"a new pool", []*Object{services("10.96.0.0/12")}, []*Object{pool("10.96.0.0/16")},
			"IPPool pods: spec.cidr: 10.96.0.0/16 overlaps 10.96.0.0/12, a range of Services of BGPConfiguration default (bgp.yaml)" + why},
		{"a new node", []*Object{services("192.0.2.0/24")}, []*Object{a},
			"NodeConfig a: spec.addresses: 192.0.2.1/32 overlaps 192.0.2.0/24, a range of Services of BGPConfiguration default (bgp.yaml)" + why},
		{"a new block", []*Object{services("10.0.0.32/27")}, []*Object{host("b", "addresses: [192.0.2.1/24], blocks: [10.0.0.0/26]")},
			"NodeConfig b: spec.blocks: 10.0.0.0/26 overlaps 10.0.0.32/27, a range of Services of BGPConfiguration default (bgp.yaml)" + why},
	} {
		v := Judge(Proposal{InForce: inForce(c.inForce...), Changed: c.fresh})
		got := ""
		for _, r := range v.Rejected {
			got += r.Object.Key.String() + ": " + r.Reason
		}
		if got != c.want || len(v.Strained) > 0 {
			t.Errorf("%s: %q, want %q; strained %v", c.name, got, c.want, v.Strained)
		}
	}
}

func TestServiceWarnings(t *testing.T) {
	problems := Warnings([]*Object{
		object(t, "a.yaml", "NodeConfig", "a", "addresses: [192.0.2.1/24]"),
		object(t, "bgp.yaml", "BGPConfiguration", "default", "serviceExternalIPs: [{cidr: 192.0.2.128/25}, {cidr: 198.51.100.0/24}]"),
	})
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "spec.serviceExternalIPs: 192.0.2.128/25 lies in 192.0.2.0/24, a network that nodes are on") {
		t.Errorf("%+v", problems)
	}
}
