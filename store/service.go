package store

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// A range of Services is announced by every node, and nothing in it is taken from
// anybody. What has one owner must not lie in it.
const noServiceInside = "a range of Services lies outside of all pools, and holds no address of a node"

// serviceConflicts finds ranges of Services that overlap a pool, or a range, an
// anycast prefix or an address of a node. The ranges themselves may lie in each
// other.
func serviceConflicts(all map[string][]*entry) []conflict {
	var found []conflict
	for _, e := range all[v1.KindBGPConfiguration] {
		for _, r := range e.Value.(*v1.BGPConfiguration).ServiceFields() {
			for _, pool := range all[v1.KindIPPool] {
				if cidr := pool.Value.(*v1.IPPool).Pool().CIDR; cidr.Overlaps(r.CIDR) {
					found = append(found, serviceConflict(e, r, pool, cidr, "spec.cidr"))
				}
			}
			for _, node := range all[v1.KindNodeConfig] {
				if p, field := serviceInNode(r.CIDR, node); field != "" {
					found = append(found, serviceConflict(e, r, node, p, field))
				}
			}
		}
	}
	return found
}

// serviceInNode returns the first thing of a node that overlaps a range of
// Services, and the field that it is in; empty without one.
func serviceInNode(r netip.Prefix, e *entry) (netip.Prefix, string) {
	n := e.Value.(*v1.NodeConfig)
	at := e.site()
	for _, p := range []netip.Prefix{at.v4, at.v6} {
		if p.IsValid() && r.Contains(p.Addr()) {
			return caracal.HostPrefix(p.Addr()), "spec.addresses"
		}
	}
	if a, err := netip.ParseAddr(n.Spec.TunnelAddress); err == nil && r.Contains(a) {
		return caracal.HostPrefix(a), "spec.tunnelAddress"
	}
	for _, p := range at.ranges {
		if p.Overlaps(r) {
			return p, rangeField(e, p)
		}
	}
	for _, p := range at.anycast {
		if p.Overlaps(r) {
			return p, "spec.anycastPrefixes"
		}
	}
	return netip.Prefix{}, ""
}

func serviceConflict(e *entry, r v1.ServiceField, other *entry, p netip.Prefix, field string) conflict {
	blame, with := later(e, other)
	if blame == e {
		return conflict{blame, with, fmt.Sprintf("%s: %s overlaps %s of %s; %s", r.Field, r.CIDR, p, with.from(), noServiceInside)}
	}
	return conflict{blame, with, fmt.Sprintf("%s: %s overlaps %s, a range of Services of %s; %s", field, p, r.CIDR, with.from(), noServiceInside)}
}

// services warns of ranges that do not do what they seem to.
func (w *warner) services(o *Object, v *v1.BGPConfiguration) {
	for _, r := range v.ServiceFields() {
		for _, n := range w.networks {
			if n.Addr().Is4() == r.CIDR.Addr().Is4() && caracal.Covers(n, r.CIDR) {
				w.add("services in network", o, "%s: %s lies in %s, a network that nodes are on: hosts of that network look for its addresses on their link and do not find them; only those beyond a router do", r.Field, r.CIDR, n)
				break
			}
		}
	}
}

// network notes the networks that a node is on.
func (w *warner) network(addrs ...netip.Prefix) {
	for _, a := range addrs {
		if n := a.Masked(); a.IsValid() && !a.IsSingleIP() && !slices.Contains(w.networks, n) {
			w.networks = append(w.networks, n)
		}
	}
}
