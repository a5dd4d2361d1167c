package endpoint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/selector"
)

// Plan returns what a Snapshot says of this node's addresses, and what is wrong
// with that; false while the Snapshot does not know the node. taken are the
// addresses of configured Workloads here, which nobody else may have. shared says
// that the nodes have one ipam.Store together: without it only a node that is alone
// may claim blocks.
func Plan(snap *caracal.Snapshot, taken []netip.Addr, shared bool) (ipam.Plan, []caracal.Problem, bool) {
	self, ok := snap.SelfNode()
	if !ok {
		return ipam.Plan{}, nil, false
	}
	p := ipam.Plan{
		Node: snap.Self, Mode: ipam.Mode(snap.IPAM.Mode), Static: statics(snap, self),
		StrictAffinity: snap.IPAM.StrictAffinity, MaxBlocks: snap.IPAM.MaxBlocks, Cooldown: snap.IPAM.Cooldown,
	}
	var problems []caracal.Problem
	switch {
	case p.Mode == "" && shared:
		p.Mode = ipam.ModeBlocks
	case p.Mode == "":
		p.Mode = ipam.ModePodCIDR
	case p.Mode == ipam.ModeBlocks && !shared && !alone(snap):
		p.Mode = ipam.ModePodCIDR
		problems = append(problems, caracal.Problem{Severity: caracal.Warning, Kind: "IPAMConfiguration", Name: "default",
			Message: "mode blocks needs a store that the nodes share, and files are not one: two nodes would claim the same block. Mode podCIDR is in force; give each NodeConfig podCIDRs or blocks"})
	}
	for name, pool := range snap.Pools.All() {
		s, err := selector.Parse(pool.NodeSelector)
		switch {
		case pool.NodeSelector == "" || err == nil && s.Matches(self.Labels):
			p.Pools = append(p.Pools, pool)
		case err != nil: // no store lets one in
			problems = append(problems, caracal.Problem{Severity: caracal.Warning, Kind: "IPPool", Name: name,
				Message: fmt.Sprintf("the nodeSelector cannot be read, so no address is taken from the pool: %v", err)})
		}
	}
	if p.Mode == ipam.ModeBlocks {
		for cidr, b := range snap.Blocks.All() {
			if b.Node != snap.Self {
				p.Others = append(p.Others, cidr)
			}
		}
	}
	p.Reserved = reserved(snap, self, p.Static, taken)
	return p, problems, true
}

// alone reports whether the configuration says of no node but this one. An object that
// was rejected may be another node's, and so may a file that cannot be read: that node
// knows better, and takes blocks as well.
func alone(snap *caracal.Snapshot) bool {
	return snap.Nodes.Len() <= 1 && !slices.ContainsFunc(snap.Problems, func(p caracal.Problem) bool {
		return p.Kind == "NodeConfig" && p.Name != snap.Self || p.Kind == ""
	})
}

// statics are what the configuration gives a node, sorted, without what lies in
// another of them.
func statics(snap *caracal.Snapshot, self caracal.Node) []netip.Prefix {
	all := slices.Clone(self.PodCIDRs)
	for p, b := range snap.Blocks.All() {
		if b.Node == snap.Self {
			all = append(all, p)
		}
	}
	all = slices.DeleteFunc(all, func(p netip.Prefix) bool { // a claim is the allocator's own
		b, ok := snap.Blocks.Get(p)
		return ok && b.Claimed && b.Node == snap.Self
	})
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	var out []netip.Prefix
	for _, p := range all {
		if !slices.ContainsFunc(all, func(o netip.Prefix) bool { return o != p && caracal.Covers(o, p) }) {
			out = append(out, p)
		}
	}
	return out
}

// reserved are the addresses that something else than a workload of ours has, or
// is to have: those that are reserved, those of configured Workloads, and those of
// nodes and their tunnels where they lie in what this node gives out.
func reserved(snap *caracal.Snapshot, self caracal.Node, static []netip.Prefix, taken []netip.Addr) []netip.Prefix {
	out := slices.Clone(snap.IPAM.Reserved)
	add := func(a netip.Addr) {
		if a.IsValid() {
			out = append(out, caracal.HostPrefix(a))
		}
	}
	add(self.IPv4.Addr())
	add(self.IPv6.Addr())
	add(self.Tunnel)
	for _, n := range snap.Nodes.All() {
		for _, a := range []netip.Addr{n.IPv4.Addr(), n.IPv6.Addr(), n.Tunnel} {
			if a.IsValid() && slices.ContainsFunc(static, func(p netip.Prefix) bool { return p.Contains(a) }) {
				add(a)
			}
		}
	}
	for _, a := range taken {
		add(a)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// nodeWith returns the node that has an address, itself or for its tunnel; empty if
// none has. It is nobody's to ask for.
func nodeWith(snap *caracal.Snapshot, a netip.Addr) string {
	for name, n := range snap.Nodes.All() {
		if a == n.IPv4.Addr() || a == n.IPv6.Addr() || a == n.Tunnel {
			return name
		}
	}
	return ""
}

// noAddresses says what to do where a node has none of what was asked for.
func noAddresses(p ipam.Plan, want string) string {
	if p.Mode == ipam.ModeBlocks {
		return fmt.Sprintf("node %s has no %s pool: add an IPPool whose nodeSelector matches it, and that is not disabled", p.Node, want)
	}
	have := "none"
	if len(p.Static) > 0 {
		var words []string
		for _, s := range p.Static {
			words = append(words, s.String())
		}
		have = strings.Join(words, ", ")
	}
	return fmt.Sprintf("node %s has no %s range to give addresses from (it has %s): add podCIDRs or blocks to its NodeConfig", p.Node, want, have)
}

// samePlanInputs reports whether two Snapshots give the same plan.
func samePlanInputs(a, b *caracal.Snapshot) bool {
	same := a.Self == b.Self && a.IPAM.Mode == b.IPAM.Mode && a.IPAM.StrictAffinity == b.IPAM.StrictAffinity &&
		a.IPAM.MaxBlocks == b.IPAM.MaxBlocks && a.IPAM.Cooldown == b.IPAM.Cooldown && slices.Equal(a.IPAM.Reserved, b.IPAM.Reserved)
	if !same || alone(a) != alone(b) {
		return false
	}
	b.Nodes.Diff(a.Nodes, sameNodeForPlan(b.Self), func(string, *caracal.Node, *caracal.Node) { same = false })
	b.Pools.Diff(a.Pools, func(x, y caracal.Pool) bool { return x == y }, func(string, *caracal.Pool, *caracal.Pool) { same = false })
	b.Blocks.Diff(a.Blocks, func(x, y caracal.Block) bool { return x == y }, func(netip.Prefix, *caracal.Block, *caracal.Block) { same = false })
	return same
}

func sameNodeForPlan(self string) func(a, b caracal.Node) bool {
	return func(a, b caracal.Node) bool {
		if a.IPv4 != b.IPv4 || a.IPv6 != b.IPv6 || a.Tunnel != b.Tunnel || a.Name != b.Name {
			return false
		}
		if a.Name != self {
			return true
		}
		if !slices.Equal(a.PodCIDRs, b.PodCIDRs) || len(a.Labels) != len(b.Labels) {
			return false
		}
		for k, v := range a.Labels {
			if b.Labels[k] != v {
				return false
			}
		}
		return true
	}
}
