package endpoint

import (
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// outsideAdvice is what to do about an address of [outside].
const outsideAdvice = "give the range back to this node, or make the container anew"

// outside says which endpoints have addresses that the configuration does not give
// this node any more. They keep them, but the node whose range that is now knows
// nothing of them and gives the same addresses to others. It is pure.
func outside(plan ipam.Plan, snap *caracal.Snapshot, list []*Endpoint) (found []caracal.Problem) {
	eachOutside(plan, snap, list, func(e *Endpoint, _ netip.Addr, text string) {
		found = append(found, trouble(e.Key(), text+": "+outsideAdvice))
	})
	return found
}

// eachOutside calls found for each such address, with a sentence about it.
func eachOutside(plan ipam.Plan, snap *caracal.Snapshot, list []*Endpoint, found func(e *Endpoint, a netip.Addr, text string)) {
	if plan.Mode != ipam.ModePodCIDR {
		return // the blocks that the node claimed are on record, and nobody else's
	}
	for _, e := range list {
		for _, a := range e.Addrs {
			if slices.ContainsFunc(plan.Static, func(p netip.Prefix) bool { return p.Contains(a) }) {
				continue
			}
			text := fmt.Sprintf("container %s has address %s, which is of none of this node's blocks and podCIDRs any more", e.ID, a)
			if owner := ownerOf(snap, a); owner != "" {
				text += fmt.Sprintf("; it is node %s's now, which may give it to another container", owner)
			}
			found(e, a, text)
		}
	}
}

// ownerOf returns the node to which the configuration gives an address; empty if
// none.
func ownerOf(snap *caracal.Snapshot, a netip.Addr) string {
	b, _ := blockAt(snap, a)
	return b.Node
}
