package store

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// A pod range over the hosts' own network cuts the hosts off: each node has a
// route for the whole of its blocks, with which the kernel would answer for the
// other hosts, the gateway or the host itself.
const noHostInside = "a pool must be a range that no host or router uses"

// located is an address of a node.
type located struct {
	netip.Prefix // with the length of its network
	by           *entry
}

func addressesOf(nodes []*entry) []located {
	var all []located
	for _, e := range nodes {
		at := e.site()
		for _, p := range []netip.Prefix{at.v4, at.v6} {
			if p.IsValid() {
				all = append(all, located{p, e})
			}
		}
	}
	return all
}

// poolHostConflicts finds pools that overlap the network of a node. The pool is
// to blame unless only the node is new: beside a wrong pool all nodes are right. Where
// all are new, as at the first start of a daemon in a cluster, that shows: most nodes
// conflict with a wrong pool, and few are wrong themselves (10.0.0.5/8).
func poolHostConflicts(all map[string][]*entry) []conflict {
	var found []conflict
	addrs := addressesOf(all[v1.KindNodeConfig])
	for _, pool := range all[v1.KindIPPool] {
		cidr := pool.Value.(*v1.IPPool).Pool().CIDR
		right := !pool.changed || mostAgree(cidr, addrs, len(all[v1.KindNodeConfig]))
		for _, a := range addrs {
			switch {
			case !cidr.Overlaps(a.Masked()):
			case a.by.changed && right:
				found = append(found, conflict{a.by, pool, fmt.Sprintf("spec.addresses: %s is on a network that overlaps %s of %s; %s", a.Prefix, cidr, pool.from(), noHostInside)})
			case cidr.Contains(a.Addr()):
				found = append(found, conflict{pool, a.by, fmt.Sprintf("spec.cidr: %s contains %s, the address of %s; %s", cidr, a.Addr(), a.by.from(), noHostInside)})
			default:
				found = append(found, conflict{pool, a.by, fmt.Sprintf("spec.cidr: %s overlaps %s, the network of %s; %s", cidr, a.Masked(), a.by.from(), noHostInside)})
			}
		}
	}
	return found
}

// mostAgree reports whether of so many nodes fewer than half are on a network that
// overlaps a pool, and none of these is in force.
func mostAgree(pool netip.Prefix, addrs []located, nodes int) bool {
	against := map[*entry]bool{}
	for _, a := range addrs {
		if pool.Overlaps(a.Masked()) {
			if !a.by.changed {
				return false
			}
			against[a.by] = true
		}
	}
	return 2*len(against) < nodes
}

// rangeHostConflicts finds blocks and podCIDRs that contain the address of a
// node, be it their own.
func rangeHostConflicts(all map[string][]*entry) []conflict {
	byAddr := func(a, b located) int { return a.Addr().Compare(b.Addr()) }
	addrs := addressesOf(all[v1.KindNodeConfig])
	slices.SortFunc(addrs, byAddr)
	var found []conflict
	for _, e := range all[v1.KindNodeConfig] {
		for _, p := range e.site().ranges {
			i, _ := slices.BinarySearchFunc(addrs, located{Prefix: caracal.HostPrefix(p.Addr())}, byAddr)
			for ; i < len(addrs) && p.Contains(addrs[i].Addr()); i++ {
				found = append(found, rangeHostConflict(e, p, addrs[i]))
			}
		}
	}
	return found
}

func rangeHostConflict(e *entry, p netip.Prefix, a located) conflict {
	const why = "a range for pods must be one that no host or router uses"
	if a.by == e {
		return conflict{e, e, fmt.Sprintf("%s: %s contains %s, the node's own address; %s", rangeField(e, p), p, a.Addr(), why)}
	}
	blame, with := later(e, a.by)
	if blame == e {
		return conflict{e, with, fmt.Sprintf("%s: %s contains %s, the address of %s; %s", rangeField(e, p), p, a.Addr(), with.from(), why)}
	}
	return conflict{blame, e, fmt.Sprintf("spec.addresses: %s is in %s of %s; %s", a.Addr(), p, e.from(), why)}
}
