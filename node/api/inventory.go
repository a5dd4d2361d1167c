package api

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	pb "caracal.dev/caracal/proto"
)

func nodesMessage(all []Node) *pb.NodeList {
	all = slices.SortedFunc(slices.Values(all), func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	list := &pb.NodeList{}
	for _, n := range all {
		list.Nodes = append(list.Nodes, &pb.Node{
			Name: n.Name, Self: n.Self, Ipv4: text(n.IPv4), Ipv6: text(n.IPv6), Asn: n.ASN, RouterId: text(n.RouterID),
			Neighbor: n.Neighbor, State: n.State, Blocks: texts(blocksOf(&n)), Labels: n.Labels,
		})
	}
	return list
}

// blocksOf returns all that the node's workloads have addresses from, whatever
// gave it.
func blocksOf(n *Node) []netip.Prefix {
	all := slices.Concat(n.PodCIDRs, n.Blocks)
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

func workloadsMessage(all []Workload) *pb.WorkloadList {
	all = slices.SortedFunc(slices.Values(all), func(a, b Workload) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	list := &pb.WorkloadList{}
	for _, w := range all {
		m := &pb.Workload{
			Namespace: w.Namespace, Name: w.Name, Node: w.Node, Interface: w.Interface, Addresses: texts(w.Addrs),
			Labels: w.Labels, Source: w.Source, Local: w.Local, Installed: w.Installed, Why: w.Why,
		}
		for _, p := range w.Ports {
			m.Ports = append(m.Ports, strings.TrimSpace(fmt.Sprintf("%s %s %d", p.Name, p.Protocol, p.Port)))
		}
		list.Workloads = append(list.Workloads, m)
	}
	return list
}

func interfacesMessage(all []Interface) *pb.InterfaceList {
	all = slices.SortedFunc(slices.Values(all), func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	list := &pb.InterfaceList{}
	for _, i := range all {
		list.Interfaces = append(list.Interfaces, &pb.Interface{
			Name: i.Name, Index: count(i.Index), Type: i.Type, Up: i.Up, Carrier: i.Carrier, Mtu: count(i.MTU),
			Addresses: texts(i.Addrs), Use: i.Use, Problem: i.Problem,
		})
	}
	return list
}
