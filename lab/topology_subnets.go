package lab

import (
	"fmt"
	"net/netip"
)

// SubnetOptions are the sizes of [Subnets]. The zero value is four nodes with
// two pods each, and a pool with ipipMode CrossSubnet.
type SubnetOptions struct {
	Nodes, PodsPerNode int
	// IPIP is the pool's ipipMode.
	IPIP string
	// Informed gives the router routes to the pods, so that they reach each other
	// without a tunnel too.
	Informed bool
}

const subnetCount = 3

// Subnets returns nodes a, b, c… in three subnets, 192.168.101.0/24 to
// 192.168.103.0/24, one after the other, so that a and d share one. The router
// between them knows nothing of pod networks: pods of different subnets reach
// each other through tunnels, or not at all. There is no IPv6, which IPIP does
// not carry.
func Subnets(o SubnetOptions) Topology {
	if o.Nodes == 0 {
		o.Nodes = 4
	}
	if o.IPIP == "" {
		o.IPIP = "CrossSubnet"
	}
	mesh := Mesh(MeshOptions{Nodes: o.Nodes, PodsPerNode: o.PodsPerNode, NoIPv6: true})
	mesh.Pools[0].IPIP = o.IPIP
	t := Topology{Name: "subnets", Pools: mesh.Pools}
	router := NodeSpec{Name: "router", Router: true}
	for i := range subnetCount {
		name := fmt.Sprintf("net%d", i+1)
		t.Switches = append(t.Switches, name)
		router.Links = append(router.Links, Link{Name: name, Switch: name, Addrs: []netip.Prefix{inSubnet(i, 1)}})
	}
	t.Nodes = append(t.Nodes, router)
	for i, n := range mesh.Nodes {
		subnet := i % subnetCount
		n.Links = []Link{{Name: "eth0", Switch: t.Switches[subnet], Addrs: []netip.Prefix{inSubnet(subnet, 2+i)}}}
		n.Routes = []StaticRoute{{netip.PrefixFrom(netip.IPv4Unspecified(), 0), inSubnet(subnet, 1).Addr()}}
		n.Tunnel = n.Blocks[0].Addr().Next() // pods begin with the one after
		t.Nodes = append(t.Nodes, n)
		if o.Informed {
			t.Nodes[0].Routes = append(t.Nodes[0].Routes, StaticRoute{n.Blocks[0], n.Addr(IPv4)})
		}
	}
	return t
}

// inSubnet returns an address in a subnet, counted from 0, with its length.
func inSubnet(subnet, host int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(101 + subnet), byte(host)}), 24)
}
