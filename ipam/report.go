package ipam

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
)

// State is what is the matter with an address.
type State string

// The states of an [Address].
const (
	StateAllocated State = "allocated"
	StateFree      State = "free"
	StateReserved  State = "reserved" // given only to who asks for it by address
	StateCooling   State = "cooling"  // given back not long ago
	StateDamaged   State = "damaged"  // its block's record cannot be read
	StateOutside   State = "outside"  // of no block of this node
)

// Address is what is known of an address.
type Address struct {
	Addr  netip.Addr
	State State
	Pool  string       // empty outside of every pool
	Block netip.Prefix // invalid if there is none
	// Allocation is who has it, or had it last if it is cooling.
	Allocation Allocation
	// Until is when it is no longer cooling.
	Until time.Time
	// Note is what else there is to know, as a sentence; often empty.
	Note string
}

// Allocations implements [API].
func (a *Allocator) Allocations(ctx context.Context) ([]Allocation, error) {
	var out []Allocation
	err := a.do(ctx, func(*job) error {
		out = make([]Allocation, 0, len(a.handles))
		for _, es := range a.handles {
			if !a.whole(es) {
				continue // was never given, and is about to be taken back
			}
			for _, e := range es {
				out = append(out, e.allocation())
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ipam: list allocations: %w", err)
	}
	slices.SortFunc(out, func(x, y Allocation) int { return x.Addr.Compare(y.Addr) })
	return out, nil
}

// Blocks implements [API]. A static range is one, however it is cut.
func (a *Allocator) Blocks(ctx context.Context) ([]BlockUse, []Damaged, error) {
	var out []BlockUse
	var bad []Damaged
	err := a.do(ctx, func(*job) error {
		uses := map[netip.Prefix]*BlockUse{}
		for _, s := range a.plan.static {
			u := &BlockUse{CIDR: s, Node: a.plan.Node, Affinity: AffinityStatic, Size: Size(s)}
			if pool := poolOf(a.plan.Pools, s); pool != nil {
				u.Pool = pool.Name
			}
			uses[s] = u
		}
		for _, b := range a.blocks {
			if b.node == a.plan.Node || a.usesAny(b) {
				a.count(uses, b)
			}
		}
		out = make([]BlockUse, 0, len(uses))
		for cidr, u := range uses {
			u.Reserved = clamp(a.plan.reserved.size(cidr) - float64(u.Reserved))
			out = append(out, *u)
		}
		bad = make([]Damaged, 0, len(a.bad))
		for _, d := range a.bad {
			bad = append(bad, d.Damaged)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("ipam: list blocks: %w", err)
	}
	slices.SortFunc(out, func(x, y BlockUse) int { return x.CIDR.Compare(y.CIDR) })
	return out, bad, nil
}

// count adds a block to the use of what it is shown as. Reserved is the number of
// reserved addresses that somebody has nevertheless, for now.
func (a *Allocator) count(uses map[netip.Prefix]*BlockUse, b *block) {
	cidr := b.shown()
	u := uses[cidr]
	if u == nil {
		u = &BlockUse{CIDR: cidr, Node: b.node, Affinity: a.affinityOf(b), Size: Size(cidr)}
		if b.pool != nil {
			u.Pool = b.pool.Name
		}
		uses[cidr] = u
	}
	now := a.at
	b.thaw(now, a.plan.Cooldown)
	for _, e := range b.entries {
		if !e.inUse() {
			u.Cooling++
			continue
		}
		u.Allocated++
		if e.node != b.node {
			u.Borrowed++
		}
		if _, ok := a.plan.reserved.at(e.addr); ok {
			u.Reserved++
		}
	}
	if !b.rest.IsZero() {
		u.Cooling += clamp(Size(b.cidr) - float64(len(b.entries)))
	}
}

// affinityOf is how far a block belongs to this node.
func (a *Allocator) affinityOf(b *block) Affinity {
	f := a.mine[b.cidr]
	switch {
	case b.node != a.plan.Node:
		return AffinityNone
	case b.static.IsValid():
		return AffinityStatic
	case f == nil:
		return AffinityPending
	case f.state == AffinityStatic: // no longer by the configuration
		return AffinityReleasing
	}
	return f.state
}

func clamp(f float64) int { return int(max(0, min(f, math.MaxInt32))) }

// Lookup says what is known of an address. Of other nodes' blocks it reads the
// record, where nodes share the store.
func (a *Allocator) Lookup(ctx context.Context, addr netip.Addr) (Address, error) {
	addr = addr.Unmap().WithZone("")
	out := Address{Addr: addr}
	if !addr.IsValid() {
		return out, fmt.Errorf("ipam: look up address: there is none")
	}
	err := a.do(ctx, func(j *job) error {
		out = Address{Addr: addr, State: StateOutside}
		host := caracal.HostPrefix(addr)
		if pool := poolOf(a.plan.Pools, host); pool != nil {
			out.Pool = pool.Name
		}
		b, err := a.blockToShow(j.ctx, addr)
		if err != nil {
			return err
		}
		_, reserved := a.plan.reserved.at(addr)
		switch d := a.damageAt(addr); {
		case d != nil:
			out.State, out.Block, out.Note = StateDamaged, d.cidr, d.Message
		case b != nil:
			a.describe(&out, b, reserved)
		default:
			if s, ok := a.plan.static.at(addr); ok {
				out.Block, out.State = s, StateFree
			} else if out.Pool != "" {
				out.Note = "No node has the block that it would be in, as far as this one knows"
			}
			if reserved {
				out.State = StateReserved
			}
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("ipam: look up %s: %w", addr, err)
	}
	return out, nil
}

// describe fills in what a block says of an address.
func (a *Allocator) describe(out *Address, b *block, reserved bool) {
	b.thaw(a.at, a.plan.Cooldown)
	out.Block, out.State = b.shown(), StateFree
	e := b.at(out.Addr)
	switch {
	case e != nil && e.inUse():
		out.State, out.Allocation = StateAllocated, e.allocation()
		if reserved {
			out.Note = "It is reserved, and was asked for by address"
		}
	case e != nil:
		out.State, out.Allocation, out.Until = StateCooling, e.allocation(), e.freed.Add(a.plan.Cooldown)
	case reserved:
		out.State = StateReserved
	case !b.rest.IsZero():
		out.State, out.Until = StateCooling, b.rest.Add(a.plan.Cooldown)
		out.Note = "The record of its block was damaged, and made anew from the endpoints that were known"
	}
	if b.node != a.plan.Node {
		out.Note = strings.TrimPrefix(out.Note+"; the block is of node "+b.node, "; ")
	} else if e == nil && !b.usable {
		out.Note = "Its block gives no new addresses"
	}
}

// blockToShow returns the block of an address, of whichever node.
func (a *Allocator) blockToShow(ctx context.Context, addr netip.Addr) (*block, error) {
	if b := a.blockAt(addr); !a.shared || b != nil && b.dirty {
		return b, nil
	} else if b != nil {
		if err := a.reload(ctx, b.cidr); err != nil {
			return nil, err
		}
		if b = a.blocks[b.cidr]; b != nil {
			return b, nil
		}
	}
	if _, err := a.listAffinities(ctx); err != nil {
		return nil, err
	}
	for _, f := range a.foreign {
		if f.cidr.Contains(addr) {
			if err := a.reload(ctx, f.cidr); err != nil {
				return nil, err
			}
			return a.blocks[f.cidr], nil
		}
	}
	return nil, nil
}

// exhausted is the error for a request that nothing could be found for.
func (p *picker) exhausted(v6 bool) error {
	name := "IPv4"
	if v6 {
		name = "IPv6"
	}
	var parts []string
	for i := range p.plan.Pools {
		pool := &p.plan.Pools[i]
		if pool.CIDR.Addr().Is6() != v6 || p.pools != nil && !slices.Contains(p.pools, pool) {
			continue
		}
		if pool.Disabled {
			parts = append(parts, fmt.Sprintf("pool %s (%s) is disabled", pool.Name, pool.CIDR))
			continue
		}
		parts = append(parts, fmt.Sprintf("pool %s (%s): %s", pool.Name, pool.CIDR, p.use(netip.Prefix{}, func(b *block) bool { return b.pool == pool })))
	}
	if p.pools == nil {
		for _, s := range p.plan.static {
			if poolOf(p.plan.Pools, s) == nil && s.Addr().Is6() == v6 {
				parts = append(parts, fmt.Sprintf("%s of the node's own: %s", s, p.use(s, func(b *block) bool { return b.static == s })))
			}
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("node %s has no pool and no podCIDR of %s for this: %w", p.plan.Node, name, ErrExhausted)
	}
	parts = append(parts, p.notes...)
	for i := range p.bad {
		parts = append(parts, p.bad[i].Message)
	}
	if holders := p.holders(v6); holders != "" {
		parts = append(parts, "the most have "+holders)
	}
	return fmt.Errorf("%s on node %s: %s: %w", name, p.plan.Node, strings.Join(parts, "; "), ErrExhausted)
}

// use says how this node's blocks of a kind are used; they are all of a static
// range, if there is one.
func (p *picker) use(static netip.Prefix, of func(*block) bool) string {
	var size, reserved float64
	var blocks, used, cooling int
	var first time.Time
	for _, b := range p.blocks {
		if b.node != p.plan.Node || !of(b) {
			continue
		}
		blocks++
		size += Size(b.cidr)
		reserved += p.plan.reserved.size(b.cidr)
		used += len(b.entries) - b.freed
		cooling += b.freed
		if !b.rest.IsZero() {
			cooling += clamp(Size(b.cidr) - float64(len(b.entries)))
		}
		for _, e := range b.entries {
			if !e.inUse() && (first.IsZero() || e.freed.Before(first)) {
				first = e.freed
			}
		}
	}
	if static.IsValid() {
		size, reserved = Size(static), p.plan.reserved.size(static)
	} else if blocks == 0 {
		return "this node has no block of it"
	}
	text := fmt.Sprintf("%d of %.0f addresses on this node are in use", used, size)
	if cooling > 0 {
		text += fmt.Sprintf(", %d rest after their release", cooling)
		if !first.IsZero() {
			text += fmt.Sprintf(" (the next is free in %s)", max(0, first.Add(p.plan.Cooldown).Sub(p.at)).Round(time.Second))
		}
	}
	if reserved > 0 {
		text += fmt.Sprintf(", %.0f reserved", reserved)
	}
	return text
}

// holders names those that have the most addresses of this node.
func (p *picker) holders(v6 bool) string {
	count := map[string]int{}
	for _, es := range p.handles {
		for _, e := range es {
			if e.addr.Is6() != v6 {
				continue
			}
			holder := "handle " + e.handle
			if e.owner.Namespace != "" {
				holder = "namespace " + e.owner.Namespace
			}
			count[holder]++
		}
	}
	names := sortedKeys(count, strings.Compare)
	slices.SortStableFunc(names, func(x, y string) int { return cmp.Compare(count[y], count[x]) })
	var parts []string
	for _, n := range names[:min(len(names), 3)] {
		parts = append(parts, fmt.Sprintf("%s (%d)", n, count[n]))
	}
	return strings.Join(parts, ", ")
}
