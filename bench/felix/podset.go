package main

import (
	"fmt"
	"net/netip"

	"caracal.dev/caracal"
)

// podset returns a Snapshot of one node with n pods. Isolated ones have two policies
// of their own for each direction, the second of which allows what the benchmark
// sends: every pod has chains that no other has. Two of them exist.
func podset(n int, isolated bool) (s *caracal.Snapshot, first, second caracal.Workload) {
	s = caracal.NewSnapshot("node")
	s.Generation, s.Synced = 1, true
	s.Nodes = s.Nodes.Put("node", caracal.Node{
		Name: "node", ASN: 64512, Port: 179, IPv4: netip.MustParsePrefix("172.16.0.1/16"),
		RouterID: netip.MustParseAddr("172.16.0.1"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/16")},
	})
	s.Pools = s.Pools.Put("pods", caracal.Pool{Name: "pods", CIDR: netip.MustParsePrefix("10.64.0.0/10"), BlockSize: 24, NATOutgoing: true})
	s.Namespaces = s.Namespaces.Put("default", caracal.Namespace{
		Name: "default", Labels: map[string]string{caracal.NamespaceNameLabel: "default"}})
	var pods []caracal.Workload
	addr := netip.MustParseAddr("10.64.0.2")
	for i := range n {
		name := fmt.Sprintf("pod-%d", i)
		w := caracal.Workload{
			Namespace: "default", Name: name, Node: "node", Interface: caracal.HostInterface(name, "eth0"),
			Addrs: []netip.Addr{addr}, Labels: map[string]string{"pod": name}, Source: "cni",
		}
		addr = addr.Next()
		s.Workloads = s.Workloads.Put(w.Key(), w)
		pods = append(pods, w)
		if isolated {
			for _, p := range policies(w) {
				s.Policies = s.Policies.Put(p.Key(), p)
			}
		}
	}
	// Not both at the beginning of the list.
	return s, pods[(n-1)/2], pods[n-1]
}

// policies returns those of one pod.
func policies(w caracal.Workload) []caracal.Policy {
	all := caracal.LabelSelector{}
	one := caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: "pod", Op: caracal.LabelIn, Values: []string{w.Name}}}}
	rule := func(first uint16) []caracal.PolicyRule {
		r := caracal.PolicyRule{Peers: []caracal.PolicyPeer{{Pods: &all}}}
		for _, protocol := range []string{"TCP", "UDP"} {
			r.Ports = append(r.Ports, caracal.PolicyPort{Protocol: protocol, Port: first, EndPort: first})
		}
		return []caracal.PolicyRule{r}
	}
	var list []caracal.Policy
	for i, number := range []uint16{80, port} {
		in := caracal.Policy{Namespace: w.Namespace, Name: fmt.Sprintf("%s-in-%d", w.Name, i), Pods: one, Ingress: true, IngressRules: rule(number), Source: "bench"}
		out := caracal.Policy{Namespace: w.Namespace, Name: fmt.Sprintf("%s-out-%d", w.Name, i), Pods: one, Egress: true, EgressRules: rule(number), Source: "bench"}
		list = append(list, in, out)
	}
	return list
}
