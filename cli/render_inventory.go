package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	pb "caracal.dev/caracal/proto"
)

func renderNodes(w io.Writer, list *pb.NodeList) {
	if len(list.Nodes) == 0 {
		fmt.Fprintln(w, "no nodes")
		return
	}
	g := newGrid("NAME", "IPV4", "IPV6", ">AS", "ROUTER ID", "SESSION", "BLOCKS")
	for _, n := range list.Nodes {
		session := n.State
		if n.Self {
			session = "this node"
		}
		g.add(n.Name, orDash(n.Ipv4), orDash(n.Ipv6), n.Asn, orDash(n.RouterId), orDash(session), some(n.Blocks))
	}
	g.print(w)
}

// some shows the first of many; JSON has them all.
func some(list []string) string { return orDash(first(list, 4, ",")) }

// first joins at most that many, and says how many more there are.
func first(list []string, most int, sep string) string {
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], sep), len(list)-most)
	}
	return strings.Join(list, sep)
}

func renderWorkloads(w io.Writer, list *pb.WorkloadList) {
	if len(list.Workloads) == 0 {
		fmt.Fprintln(w, "no workloads")
		return
	}
	g := newGrid("NAME", "NODE", "INTERFACE", "ADDRESSES", "SOURCE", "LABELS", "STATE")
	for _, l := range list.Workloads {
		g.add(l.Namespace+"/"+l.Name, orDash(l.Node), orDash(l.Interface), some(l.Addresses), orDash(l.Source), labelsText(l.Labels), workloadState(l))
	}
	g.print(w)
}

func labelsText(labels map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		all = append(all, k+"="+labels[k])
	}
	return some(all)
}

func workloadState(l *pb.Workload) string {
	switch {
	case !l.Local:
		return "elsewhere"
	case l.Installed:
		return "installed"
	case l.Why != "":
		return "not installed: " + l.Why
	}
	return "not installed"
}

func renderInterfaces(w io.Writer, list *pb.InterfaceList) {
	if len(list.Interfaces) == 0 {
		fmt.Fprintln(w, "no interfaces")
		return
	}
	g := newGrid("NAME", "TYPE", "STATE", ">MTU", "ADDRESSES", "USE", "PROBLEM")
	for _, i := range list.Interfaces {
		g.addWrapped([]any{i.Name, orDash(i.Type), linkState(i), i.Mtu},
			addressLines(i.Addresses), wrap(orDash(i.Use), 32), wrap(i.Problem, 60))
	}
	g.print(w)
}

// addressLines has an address a line, of many only the first.
func addressLines(addrs []string) []string {
	const most = 4
	switch n := len(addrs); {
	case n == 0:
		return []string{"-"}
	case n > most:
		return append(addrs[:most:most], fmt.Sprintf("and %d more", n-most))
	}
	return addrs
}

func linkState(i *pb.Interface) string {
	switch {
	case !i.Up:
		return "down"
	case !i.Carrier:
		return "no carrier"
	}
	return "up"
}
