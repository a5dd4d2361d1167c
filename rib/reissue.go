package rib

import "net/netip"

// again stands for a choice that is to be handed out once more: it is not equal
// to any other.
var again = &[]netip.Addr{}

// ReissueBelow has the choices of all prefixes at or below the given ones handed
// out again by the next Decide, also those that are the same; without a time of
// arrival, since nothing arrived. What is not chosen is left alone.
func (m *Mirror) ReissueBelow(prefixes []netip.Prefix) {
	for _, p := range prefixes {
		for _, e := range m.table.Subnets(p) {
			if e.chosen != nil {
				e.chosen = again
				m.mark(e)
			}
		}
	}
}
