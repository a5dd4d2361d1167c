package bgp

import (
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// This file keeps announcing what others of our prefixes take the place of: a block
// that of its hosts, or the other way round, as when a block is claimed for addresses
// that were borrowed, or when a pool is announced otherwise. Without it, nodes would have
// no route for a moment: until that of the new prefix is in our kernel, and since GoBGP
// sends of what it has queued the withdrawals first, whatever came earlier.

// outgoingTime is how long both are announced: time for the new one to get through
// reflectors to the farthest node.
const outgoingTime = 2 * time.Second

// outgoing returns what is not wanted any more and stays for now. Of what is wanted,
// waiting is what is not announced yet, since its route is not in the kernel.
func (p *planner) outgoing(want map[netip.Prefix]bool, announced, waiting []netip.Prefix) (stay []netip.Prefix) {
	last := p.facts.Last
	var had map[netip.Prefix]bool
	for _, prefix := range last.Originate {
		if want[prefix] || !p.leadsHere(prefix) {
			continue
		}
		until, going := last.Outgoing[prefix]
		if !going && had == nil {
			had = set(last.Originate)
		}
		follows := func(q netip.Prefix) bool { return q.Overlaps(prefix) && (going || !had[q]) }
		switch {
		case slices.ContainsFunc(waiting, follows):
			until = time.Time{} // nobody knows
		case !slices.ContainsFunc(announced, follows):
			continue
		case until.IsZero():
			until = p.facts.Now.Add(outgoingTime)
		case !until.After(p.facts.Now):
			continue
		}
		if !until.IsZero() {
			p.wakeAt(until)
		}
		if p.outgoes == nil {
			p.outgoes = map[netip.Prefix]time.Time{}
		}
		p.outgoes[prefix] = until
		stay = append(stay, prefix)
	}
	return stay
}

func set(list []netip.Prefix) map[netip.Prefix]bool {
	m := make(map[netip.Prefix]bool, len(list))
	for _, p := range list {
		m[p] = true
	}
	return m
}

// leadsHere reports whether a prefix that is not wanted does no harm: a host is one of
// our workloads, and a range is nobody else's.
func (p *planner) leadsHere(prefix netip.Prefix) bool {
	if !p.self.Addr(prefix.Addr().Is6()).IsValid() {
		return false
	}
	if prefix.IsSingleIP() {
		return p.hosts[prefix.Addr()]
	}
	for block, b := range p.s.Blocks.All() {
		if b.Node != p.self.Name && caracal.Covers(block, prefix) {
			return false
		}
	}
	return true
}
