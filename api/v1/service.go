package v1

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// ServiceRange is a range that addresses of Services are in.
type ServiceRange struct {
	// cidr is the range.
	CIDR PodRange `json:"cidr"`
}

// serviceLists are the ranges of Services that a BGPConfiguration names, with
// the field that each list is in.
func (s *BGPConfigurationSpec) serviceLists() []serviceList {
	return []serviceList{
		{"spec.serviceClusterIPs", s.ServiceClusterIPs},
		{"spec.serviceExternalIPs", s.ServiceExternalIPs},
		{"spec.serviceLoadBalancerIPs", s.ServiceLoadBalancerIPs},
	}
}

type serviceList struct {
	field string
	of    []ServiceRange
}

// canonicalRanges brings ranges into their canonical form, and into order.
func canonicalRanges(list []ServiceRange) []ServiceRange {
	if len(list) == 0 {
		return nil
	}
	out := make([]ServiceRange, len(list))
	for i, r := range list {
		out[i] = ServiceRange{canonicalPrefix(r.CIDR)}
	}
	slices.SortFunc(out, func(a, b ServiceRange) int { return mustPrefix(a.CIDR).Compare(mustPrefix(b.CIDR)) })
	return out
}

// services checks the ranges of Services.
func (c *checker) services(s BGPConfigurationSpec) {
	for _, l := range s.serviceLists() {
		seen := map[netip.Prefix]bool{}
		for i, r := range l.of {
			path := fmt.Sprintf("%s[%d].cidr", l.field, i)
			p, ok := c.prefix(path, r.CIDR)
			if ok && p.Bits() == 0 {
				c.failf(path, "%s is the default route, which every node would announce; list the ranges that Services have their addresses from", p)
				continue
			}
			if !ok || !c.unicast(path, p.Addr()) {
				continue
			}
			if seen[p] {
				c.failf(path, "%s is listed twice", p)
			}
			seen[p] = true
		}
	}
}

// ServiceField is a range of Services with the field that it is in.
type ServiceField struct {
	// Field is the path of the list, such as "spec.serviceClusterIPs".
	Field string
	CIDR  netip.Prefix
}

// ServiceFields returns the ranges of Services that a valid BGPConfiguration
// names.
func (o *BGPConfiguration) ServiceFields() []ServiceField {
	var all []ServiceField
	for _, l := range o.Spec.serviceLists() {
		for _, r := range l.of {
			all = append(all, ServiceField{l.field, mustPrefix(r.CIDR)})
		}
	}
	return all
}

// serviceRanges returns the noun of valid ranges.
func (s *BGPConfigurationSpec) serviceRanges() caracal.ServiceRanges {
	prefixes := func(list []ServiceRange) []netip.Prefix {
		var all []netip.Prefix
		for _, r := range list {
			all = append(all, mustPrefix(r.CIDR))
		}
		slices.SortFunc(all, netip.Prefix.Compare)
		return all
	}
	return caracal.ServiceRanges{
		ClusterIPs:      prefixes(s.ServiceClusterIPs),
		ExternalIPs:     prefixes(s.ServiceExternalIPs),
		LoadBalancerIPs: prefixes(s.ServiceLoadBalancerIPs),
	}
}
