package torconfig

import (
	"cmp"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// announces lists what a node announces by default: its blocks, or the single
// addresses of them where the pool says so, the addresses of other blocks that
// its workloads have borrowed, the prefixes that it serves with others, and what
// is announced of Services.
func announces(v *caracal.Snapshot, self caracal.Node) []Permit {
	var list []Permit
	own := blocks(v, self)
	for _, b := range own {
		pool, ok := poolOf(v, b)
		switch {
		case !ok || pool.DisableBGPExport:
		case pool.Advertise == caracal.AdvertiseHosts:
			list = append(list, hosts(b))
		default:
			list = append(list, exactly(b))
		}
	}
	for _, w := range v.Workloads.All() {
		if w.Node != self.Name {
			continue
		}
		for _, a := range w.Addrs {
			borrowed := !slices.ContainsFunc(own, func(b netip.Prefix) bool { return b.Contains(a) })
			if pool, ok := poolOf(v, caracal.HostPrefix(a)); ok && borrowed && !pool.DisableBGPExport {
				list = append(list, exactly(caracal.HostPrefix(a)))
			}
		}
	}
	for _, p := range self.Anycast {
		list = append(list, exactly(p))
	}
	return sorted(append(list, services(v)...))
}

// services are the ranges of Services, and the single addresses in them.
func services(v *caracal.Snapshot) (list []Permit) {
	r := v.BGP.Services
	for _, p := range slices.Concat(r.ClusterIPs, r.ExternalIPs, r.LoadBalancerIPs) {
		list = append(list, within(p))
	}
	return list
}

// blocks are the ranges that a node owns.
func blocks(v *caracal.Snapshot, self caracal.Node) []netip.Prefix {
	own := slices.Clone(self.PodCIDRs)
	for p, b := range v.Blocks.All() {
		if b.Node == self.Name && !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	return own
}

// poolOf returns the most specific pool that covers a prefix.
func poolOf(v *caracal.Snapshot, p netip.Prefix) (caracal.Pool, bool) {
	var best caracal.Pool
	found := false
	for _, pool := range v.Pools.All() {
		if caracal.Covers(pool.CIDR, p) && (!found || pool.CIDR.Bits() > best.CIDR.Bits()) {
			best, found = pool, true
		}
	}
	return best, found
}

// out lists what the node takes from the switch: more than that is not to be
// sent. An internal one is a route reflector, and carries what nodes announce.
func (s session) out(internal bool) []Permit {
	var list []Permit
	if internal {
		for _, n := range s.view.Nodes.All() {
			for _, p := range n.Anycast {
				list = append(list, exactly(p))
			}
		}
	}
	if internal || s.peer.AcceptPools {
		for _, pool := range s.view.Pools.All() {
			list = append(list, within(pool.CIDR))
		}
	}
	for _, p := range s.peer.AcceptRanges {
		list = append(list, within(p))
	}
	if s.peer.AcceptDefault {
		list = append(list, exactly(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), exactly(netip.PrefixFrom(netip.IPv6Unspecified(), 0)))
	}
	for _, name := range s.peer.Filters {
		f, _ := s.view.Filters.Get(name)
		for _, r := range slices.Concat(f.Import4, f.Import6) {
			if e, ok := accepted(r); ok {
				list = append(list, e)
			}
		}
	}
	return sorted(list)
}

// accepted is what an accepting rule of an import filter lets in, as far as a
// prefix list can say it.
func accepted(r caracal.Rule) (Permit, bool) {
	if !r.Accept || !r.CIDR.IsValid() {
		return Permit{}, false
	}
	var e Permit
	switch r.Match {
	case caracal.MatchIn:
		e = within(r.CIDR)
	case caracal.MatchEqual, "":
		e = exactly(r.CIDR)
	default:
		return Permit{}, false
	}
	if r.HasLen {
		e.Min, e.Max = max(e.Min, r.MinLen), min(e.Max, r.MaxLen)
	}
	return e, e.Min <= e.Max
}

// sorted puts a list into the order of its prefixes, without repetition.
func sorted(list []Permit) []Permit {
	slices.SortFunc(list, func(a, b Permit) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.Min, b.Min), cmp.Compare(a.Max, b.Max))
	})
	return slices.Compact(list)
}
