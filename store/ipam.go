package store

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// ipamOf says how addresses are given to workloads. Reserved is what the
// IPReservations list and no more: that the addresses of configured Workloads, of
// nodes and of tunnels are no container's is a matter of course.
func ipamOf(objects []*Object) caracal.IPAM {
	c := v1.DefaultIPAM()
	var reserved []netip.Prefix
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *v1.IPAMConfiguration:
			c = v.IPAM()
		case *v1.IPReservation:
			reserved = append(reserved, v.Reserved()...)
		}
	}
	if c.Mode == "" {
		c.Mode = v1.IPAMPodCIDR
	}
	slices.SortFunc(reserved, netip.Prefix.Compare)
	c.Reserved = slices.Compact(reserved)
	return c
}

// reservation warns of reserved addresses that nobody could get anyway, and of
// those that leave nothing of a pool.
func (w *warner) reservation(o *Object, v *v1.IPReservation) {
	for _, p := range v.Reserved() {
		if !slices.ContainsFunc(w.pools, func(pool caracal.Pool) bool { return pool.CIDR.Overlaps(p) }) &&
			!slices.ContainsFunc(w.ranges, p.Overlaps) {
			w.add("reservation", o, "spec.reservedCIDRs: %s is in no IPPool and in no podCIDR or block of a node, so nobody gives addresses of it", p)
		}
		for _, pool := range w.pools {
			if p.Addr().Is4() == pool.CIDR.Addr().Is4() && caracal.Covers(p, pool.CIDR) {
				w.add("reservation of a pool", o, "spec.reservedCIDRs: %s leaves nothing of IPPool %s, %s; if that is meant, disabled: true there says it plainly", p, pool.Name, pool.CIDR)
			}
		}
	}
}

// ipamConfiguration warns of settings that have no effect.
func (w *warner) ipamConfiguration(o *Object, v *v1.IPAMConfiguration) {
	if v.Spec.Mode == v1.IPAMBlocks {
		return
	}
	const why = "has an effect only in mode blocks: in mode podCIDR a node gives what its NodeConfig lists, and nothing else"
	if v.Spec.StrictAffinity {
		w.add("strictAffinity", o, "spec.strictAffinity: %s", why)
	}
	if v.Spec.MaxBlocksPerHost > 0 {
		w.add("maxBlocksPerHost", o, "spec.maxBlocksPerHost: %s", why)
	}
}

// emptyPool warns of a pool that no node has a part of, so that no container gets
// an address of it. A pool with a Workload in it has a use without.
func (w *warner) emptyPool(o *Object, v *v1.IPPool) {
	cidr := v.Pool().CIDR
	used := func(p netip.Prefix) bool { return p.Overlaps(cidr) }
	if w.claims || v.Spec.Disabled || len(w.nodes) == 0 || slices.ContainsFunc(w.ranges, used) || slices.ContainsFunc(w.placed, cidr.Contains) {
		return
	}
	w.add("empty pool", o, "no NodeConfig has a block or podCIDR in %s, so no container gets an address of it; list a block of it under spec.blocks of each node that is to use it", cidr)
}
