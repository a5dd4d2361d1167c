package bgp

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// pool returns the most specific pool that covers prefix.
func (p *planner) pool(prefix netip.Prefix) (caracal.Pool, bool) {
	var best caracal.Pool
	found := false
	for _, pool := range p.s.Pools.All() {
		if caracal.Covers(pool.CIDR, prefix) && (!found || pool.CIDR.Bits() > best.CIDR.Bits()) {
			best, found = pool, true
		}
	}
	return best, found
}

// originate lists the prefixes to announce, sorted. What this node serves
// together with others waits for no route of ours: whatever serves it here has
// seen to its own. It goes once traffic has had time to turn to the others.
func (p *planner) originate() []netip.Prefix {
	want := map[netip.Prefix]bool{}
	own := p.ownBlocks()
	for _, b := range own {
		pool, ok := p.pool(b)
		if ok && announced(pool) && pool.Advertise != caracal.AdvertiseHosts {
			want[b] = true
		}
	}
	for _, w := range p.s.Workloads.All() {
		if w.Node != p.self.Name {
			continue
		}
		for _, a := range w.Addrs {
			p.hosts[a] = true
			host := caracal.HostPrefix(a)
			pool, ok := p.pool(host)
			if !ok || !announced(pool) {
				continue
			}
			// An address borrowed from another node's block is announced by
			// itself: the longer prefix leads to where the workload is.
			borrowed := !slices.ContainsFunc(own, func(b netip.Prefix) bool { return b.Contains(a) })
			if borrowed || pool.Advertise == caracal.AdvertiseHosts {
				want[host] = true
			}
		}
	}
	shared := map[netip.Prefix]bool{}
	if p.facts.Drain != DrainOut {
		for _, prefix := range p.self.Anycast {
			want[prefix], shared[prefix] = true, true
		}
	}
	p.services(func(prefix netip.Prefix) { want[prefix], shared[prefix] = true, true })
	p.shared = shared
	list := make([]netip.Prefix, 0, len(want))
	var waiting []netip.Prefix
	for prefix := range want {
		if !p.self.Addr(prefix.Addr().Is6()).IsValid() {
			p.warn("Node", p.self.Name, "%s cannot be announced: node %s has no address of that family to be its next hop", prefix, p.self.Name)
			continue
		}
		if shared[prefix] || p.ready == nil || p.ready(prefix) {
			list = append(list, prefix)
		} else {
			waiting = append(waiting, prefix)
		}
	}
	list = append(list, p.outgoing(want, list, waiting)...)
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

// ownBlocks are this node's blocks and podCIDRs.
func (p *planner) ownBlocks() []netip.Prefix {
	own := slices.Clone(p.self.PodCIDRs)
	for prefix, b := range p.s.Blocks.All() {
		if b.Node == p.self.Name {
			own = append(own, prefix)
		}
	}
	return own
}

// announced does not ask whether the pool is disabled: that stops new addresses,
// and must not cut off the workloads that have some.
func announced(pool caracal.Pool) bool { return !pool.DisableBGPExport }

// communities are those of the announced prefixes: what the most specific range
// says, and that a service is about to leave (RFC 8326 section 3).
func (p *planner) communities(announced []netip.Prefix) map[netip.Prefix][]caracal.Community {
	if len(p.s.BGP.Advertisements) == 0 && p.facts.Drain == DrainNone {
		return nil
	}
	found := map[netip.Prefix][]caracal.Community{}
	for _, prefix := range announced {
		i := slices.IndexFunc(p.s.BGP.Advertisements, func(a caracal.Advertisement) bool { return caracal.Covers(a.CIDR, prefix) })
		if i >= 0 {
			found[prefix] = slices.Clone(p.s.BGP.Advertisements[i].Communities)
		}
		if p.facts.Drain == DrainLast && p.shared[prefix] {
			found[prefix] = append(found[prefix], caracal.GracefulShutdown)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}
