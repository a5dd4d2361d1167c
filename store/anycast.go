package store

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// anycastConflicts finds anycast prefixes that overlap a pool, or a range or an
// address of a node: those belong to one owner, and an anycast prefix to many.
// Among themselves anycast prefixes may be equal or lie in each other.
func anycastConflicts(all map[string][]*entry) []conflict {
	var found []conflict
	var places []owned
	for _, e := range all[v1.KindNodeConfig] {
		for _, p := range e.site().anycast {
			for _, pool := range all[v1.KindIPPool] {
				if cidr := pool.Value.(*v1.IPPool).Pool().CIDR; cidr.Overlaps(p) {
					found = append(found, anycastConflict(owned{p, e}, owned{cidr, pool}, "spec.cidr"))
				}
			}
			if places == nil {
				places = placesOf(all[v1.KindNodeConfig])
			}
			found = append(found, anycastPlaces(owned{p, e}, places)...)
		}
	}
	return found
}

// placesOf lists the ranges and addresses of all nodes, sorted.
func placesOf(nodes []*entry) []owned {
	var all []owned
	for _, e := range nodes {
		at := e.site()
		for _, p := range at.ranges {
			all = append(all, owned{p, e})
		}
		for _, p := range []netip.Prefix{at.v4, at.v6} {
			if p.IsValid() {
				all = append(all, owned{caracal.HostPrefix(p.Addr()), e})
			}
		}
	}
	slices.SortFunc(all, func(a, b owned) int { return a.Compare(b.Prefix) })
	return all
}

// anycastPlaces finds what overlaps p among places. They do not overlap each
// other, so it is the run of those that begin in p, or the one before it.
func anycastPlaces(p owned, places []owned) []conflict {
	i, _ := slices.BinarySearchFunc(places, p, func(a, b owned) int { return a.Compare(b.Prefix) })
	var found []conflict
	for i = max(i-1, 0); i < len(places); i++ {
		o := places[i]
		if !o.Overlaps(p.Prefix) {
			if o.Addr().Compare(p.Addr()) > 0 {
				break
			}
			continue
		}
		if o.by == p.by {
			continue // validated with the object
		}
		field := "spec.addresses"
		if !o.IsSingleIP() || slices.Contains(o.by.site().ranges, o.Prefix) {
			field = rangeField(o.by, o.Prefix)
		}
		found = append(found, anycastConflict(p, o, field))
	}
	return found
}

func anycastConflict(p, other owned, field string) conflict {
	blame, with := later(p.by, other.by)
	if blame == p.by {
		return conflict{blame, with, fmt.Sprintf("spec.anycastPrefixes: %s overlaps %s of %s; an anycast prefix lies outside of all pools, and holds no address of a node", p.Prefix, other.Prefix, with.from())}
	}
	return conflict{blame, with, fmt.Sprintf("%s: %s overlaps %s, an anycast prefix of %s", field, other.Prefix, p.Prefix, with.from())}
}
