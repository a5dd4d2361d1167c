package ipam

import (
	"fmt"
	"net/netip"
	"time"
)

// Holdings is what a block's record says, for those who look at the blocks of all
// nodes.
type Holdings struct {
	CIDR netip.Prefix
	Node string // whose block it is
	// Allocations are by address; the pools are not known here.
	Allocations []Allocation
	// Resting counts the addresses that were given back, and may still rest.
	Resting int
}

// ReadBlock reads a block's record.
func ReadBlock(r Record) (Holdings, error) {
	b, err := decodeBlock(r)
	if err != nil {
		return Holdings{}, fmt.Errorf("ipam: read block: %s: %w", badRecord(r.Key, err), ErrDamaged)
	}
	h := Holdings{CIDR: b.cidr, Node: b.node, Resting: b.freed}
	for _, e := range b.entries {
		if e.inUse() {
			h.Allocations = append(h.Allocations, e.allocation())
		}
	}
	return h, nil
}

// FreeOf returns the record of a block without the addresses that are used on a
// node, which rest from now on, and these. The record is as it was if there are
// none. Other addresses of the same handles are not looked for: they are used on the
// same node.
func FreeOf(r Record, node string, now time.Time) (Record, []Allocation, error) {
	b, err := decodeBlock(r)
	if err != nil {
		return r, nil, fmt.Errorf("ipam: free addresses: %s: %w", badRecord(r.Key, err), ErrDamaged)
	}
	var freed []Allocation
	for _, e := range b.entries {
		if e.inUse() && e.node == node {
			freed = append(freed, e.allocation())
			b.free(e, now, time.Second) // any cooldown: who takes the block up knows how long
		}
	}
	if len(freed) > 0 {
		r.Value = append([]byte(nil), b.record()...)
	}
	return r, freed, nil
}
