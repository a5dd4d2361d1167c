package ipam

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// maxLenders bounds how many blocks of other nodes are read for one address.
const maxLenders = 64

// Claiming a block takes these steps, and whatever is left of them after a crash
// is undone or finished by mend:
//
//  1. The affinity is written, pending.
//  2. The affinities of all nodes are read. If one is of another block that
//     overlaps (the size of the pool's blocks may just have changed), this one is
//     given up: of two nodes that do so at once, at least one sees the other.
//  3. The block is written together with its first address, if it does not exist:
//     of several nodes that want the same block, one gets it.
//  4. The affinity is confirmed. Only now does anybody learn of the address.

// create begins a new block of this node.
func (a *Allocator) create(j *job, cidr netip.Prefix) (*block, error) {
	if err := a.dropStrays(j.ctx); err != nil {
		return nil, err
	}
	f := &affinity{node: a.plan.Node, cidr: cidr}
	if err := f.put(j.ctx, a.store, AffinityPending); err != nil {
		return nil, err
	}
	a.mine[cidr] = f
	a.unsettled = append(a.unsettled, f)
	if a.shared {
		j.listed = 0 // what was read before the claim does not tell of others like it
		if err := a.relist(j); err != nil {
			return nil, err
		}
		for _, o := range a.foreign {
			if o.cidr.Overlaps(cidr) && (o.cidr != cidr || o.state != AffinityPending) {
				return nil, errors.Join(fmt.Errorf("block %s is in the way: %w", o.cidr, ErrConflict), a.dropStrays(j.ctx))
			}
		}
	}
	b := &block{key: BlockKey(cidr), cidr: cidr, node: a.plan.Node}
	a.add(b)
	a.touch(b)
	state := a.settledState(b)
	j.after = append(j.after, func(ctx context.Context) error { return f.put(ctx, a.store, state) })
	return b, nil
}

// dropStrays deletes affinities of this node that came to nothing: those of
// blocks that another node got.
func (a *Allocator) dropStrays(ctx context.Context) error {
	var kept []*affinity
	for i, f := range a.unsettled {
		if f.state != AffinityPending || a.mine[f.cidr] != f {
			continue
		}
		if b := a.blocks[f.cidr]; a.isBad(f.cidr) || b != nil && b.node == a.plan.Node {
			kept = append(kept, f)
			continue
		}
		if err := a.disown(ctx, f); err != nil {
			a.unsettled = append(kept, a.unsettled[i:]...)
			return err
		}
	}
	a.unsettled = kept
	return nil
}

// cut begins the next block of the static ranges; nil if they are used up.
func (p *picker) cut(v6 bool) (*block, error) {
	for _, s := range p.plan.static {
		if pool := poolOf(p.plan.Pools, s); s.Addr().Is6() != v6 || !p.allowed(pool) {
			continue
		}
		if cidr, ok := p.nextStatic(s); ok {
			return p.create(p.j, cidr)
		}
	}
	return nil, nil
}

// nextStatic returns the next part of a static range that is no block yet.
func (a *Allocator) nextStatic(s netip.Prefix) (netip.Prefix, bool) {
	size := a.staticSize(s)
	at, ok := a.from[s]
	if !ok {
		at = s.Addr()
	}
	for at.IsValid() && s.Contains(at) {
		r, ok := a.taken.at(at)
		if !ok {
			cidr, _ := splitAround(at, size, a.taken)
			r, ok = a.plan.reserved.at(at)
			if !ok || !caracal.Covers(r, cidr) {
				pool := poolOf(a.plan.Pools, cidr)
				if pool == nil || !pool.Disabled {
					a.from[s] = at
					return cidr, true
				}
				r = pool.CIDR // within the range
			}
		}
		at = Last(r).Next()
	}
	a.from[s] = at
	return netip.Prefix{}, false
}

// staticSize is the prefix length of the blocks that a static range is cut into.
func (a *Allocator) staticSize(s netip.Prefix) int {
	size := DefaultBlockSize(s.Addr().Is6())
	if pool := poolOf(a.plan.Pools, s); pool != nil {
		size = BlockSize(*pool)
	}
	return max(size, s.Bits())
}

// claim takes a block of the pools that no node has; nil if there is none.
func (p *picker) claim(v6 bool) (*block, error) {
	if p.plan.Mode != ModeBlocks {
		return nil, nil
	}
	if !p.mayClaim(v6) {
		return nil, nil
	}
	// At first by what is known of other nodes, by the plan and from earlier: if that
	// is too old, the claim is given up and made elsewhere.
	if notes := len(p.notes); !p.j.again {
		if b, err := p.claimAny(v6); b != nil || err != nil || !p.shared {
			return b, err
		}
		p.notes = p.notes[:notes]
	}
	if err := p.relist(p.j); err != nil {
		return nil, err
	}
	return p.claimAny(v6)
}

// claimAny takes a block that no node is known to have; nil if there is none.
func (p *picker) claimAny(v6 bool) (*block, error) {
	for i := range p.plan.Pools {
		pool := &p.plan.Pools[i]
		if pool.CIDR.Addr().Is6() != v6 || !p.allowed(pool) {
			continue
		}
		if cidr, n, ok := p.unclaimed(pool); ok {
			p.claimed[pool.Name] = n
			return p.create(p.j, cidr)
		}
		p.notes = append(p.notes, "every block of pool "+pool.Name+" has a node")
	}
	return nil, nil
}

// mayClaim reports whether the node may have one more block of the family.
func (p *picker) mayClaim(v6 bool) bool {
	if p.plan.MaxBlocks <= 0 {
		return true
	}
	n := 0
	for cidr := range p.mine {
		if b := p.blocks[cidr]; cidr.Addr().Is6() == v6 && (b == nil || !b.static.IsValid()) {
			n++
		}
	}
	if n >= p.plan.MaxBlocks {
		p.notes = append(p.notes, fmt.Sprintf("this node has %d claimed blocks, and maxBlocksPerHost is %d", n, p.plan.MaxBlocks))
	}
	return n < p.plan.MaxBlocks
}

// relist reads the affinities of other nodes again, where there may be any, unless
// that has been done for this job.
func (a *Allocator) relist(j *job) error {
	if !a.shared || j.listed == a.loads {
		return nil
	}
	_, err := a.listAffinities(j.ctx)
	if err == nil {
		j.listed = a.loads
	}
	return err
}

// unclaimed returns a block of a pool that no node has, and its index. Each node
// begins its search elsewhere, so that they seldom want the same one.
func (a *Allocator) unclaimed(pool *caracal.Pool) (netip.Prefix, uint64, bool) {
	size := BlockSize(*pool)
	count := numBlocks(pool.CIDR, size)
	start, ok := a.claimed[pool.Name]
	if !ok {
		h := fnv.New64a()
		h.Write([]byte(a.plan.Node))
		start = h.Sum64() % count
	}
	sets := []ranges{a.taken, a.plan.others, a.plan.reserved, a.plan.static}
	for wrapped, at := false, start%count; !wrapped || at < start; {
		cidr := nthBlock(pool.CIDR, size, at)
		in, ok := obstacle(cidr, sets)
		if !ok {
			return cidr, at, true
		}
		if in.Bits() < size { // over it at once
			at, ok = blockIndex(pool.CIDR, size, minAddr(Last(in), Last(pool.CIDR)))
		}
		if at++; at >= count || in.Bits() < size && !ok {
			if wrapped {
				break
			}
			wrapped, at = true, 0
		}
	}
	return netip.Prefix{}, 0, false
}

// obstacle returns what is in the way of a block: another that shares addresses
// with it, or a reserved range that leaves none of it.
func obstacle(cidr netip.Prefix, sets []ranges) (netip.Prefix, bool) {
	for i, set := range sets {
		if in, ok := set.overlapping(cidr); ok && (i != 2 || caracal.Covers(in, cidr)) {
			return in, true
		}
	}
	return netip.Prefix{}, false
}

func minAddr(a, b netip.Addr) netip.Addr {
	if b.Less(a) {
		return b
	}
	return a
}

// blockFor returns the block of an address that is asked for: a known one, a new
// one of a static range or of a pool, or another node's.
func (p *picker) blockFor(addr netip.Addr) (*block, error) {
	if b := p.blockAt(addr); b != nil {
		return b, nil
	}
	host := caracal.HostPrefix(addr)
	pool := poolOf(p.plan.Pools, host)
	outside := fmt.Errorf("%s is in no block of node %s, nor in a pool that it takes blocks of: %w", addr, p.plan.Node, ErrUnavailable)
	if !p.allowed(pool) {
		return nil, fmt.Errorf("%s is not in the pools that give addresses, or not in one that was asked for: %w", addr, ErrUnavailable)
	}
	if s, ok := p.plan.static.at(addr); ok {
		cidr, ok := splitAround(addr, p.staticSize(s), p.taken)
		if !ok {
			return nil, outside
		}
		return p.create(p.j, cidr)
	}
	if p.plan.Mode != ModeBlocks || pool == nil {
		return nil, outside
	}
	if err := p.relist(p.j); err != nil {
		return nil, err
	}
	for _, f := range p.foreign {
		if f.cidr.Contains(addr) {
			if err := p.reload(p.j.ctx, f.cidr); err != nil {
				return nil, err
			}
			if b := p.blocks[f.cidr]; b != nil {
				return b, nil
			}
		}
	}
	cidr, _ := BlockOf(*pool, addr)
	_, other := p.plan.others.overlapping(cidr)
	_, taken := p.taken.overlapping(cidr)
	if other || taken {
		return nil, fmt.Errorf("%s is in block %s, which another node has: %w", addr, cidr, ErrUnavailable)
	}
	if !p.mayClaim(addr.Is6()) {
		return nil, fmt.Errorf("%s: %s: %w", addr, p.notes[len(p.notes)-1], ErrUnavailable)
	}
	return p.create(p.j, cidr)
}

// borrow chooses an address of another node's block.
func (p *picker) borrow(v6 bool) (bool, error) {
	if p.plan.Mode != ModeBlocks || !p.shared {
		return false, nil
	}
	if p.plan.StrictAffinity {
		p.notes = append(p.notes, "strictAffinity forbids to borrow from other nodes")
		return false, nil
	}
	if err := p.relist(p.j); err != nil {
		return false, err
	}
	lenders := slices.DeleteFunc(slices.Clone(p.foreign), func(f *affinity) bool {
		pool := poolOf(p.plan.Pools, f.cidr)
		return f.cidr.Addr().Is6() != v6 || f.state == AffinityReleasing || pool == nil || !p.allowed(pool)
	})
	for _, f := range lenders[:min(len(lenders), maxLenders)] {
		b := p.blocks[f.cidr]
		if b == nil {
			b = &block{cidr: f.cidr}
		}
		b, err := p.newest(b)
		if err != nil {
			return false, err
		}
		if b == nil || b.node == p.plan.Node {
			continue
		}
		b.thaw(p.at, p.plan.Cooldown)
		for range 8 {
			addr := p.free(b)
			if !addr.IsValid() {
				break
			}
			err := p.lend(b, addr, false)
			if err == nil {
				return true, nil
			}
			if !errors.Is(err, ErrConflict) {
				return false, err
			}
			p.but = append(p.but, addr) // another borrows it just now
		}
	}
	p.notes = append(p.notes, "no other node has one to lend")
	return false, nil
}

// lend notes that an address of another node's block is about to be used here,
// before it is taken there: so no address is in use here that is not on the list
// of borrowed ones.
func (p *picker) lend(b *block, addr netip.Addr, named bool) error {
	switch {
	case p.plan.StrictAffinity:
		return fmt.Errorf("%s is of node %s, and strictAffinity forbids to borrow it: %w", addr, b.node, ErrUnavailable)
	case p.plan.Mode != ModeBlocks:
		return fmt.Errorf("%s is of node %s, and in mode %s nodes do not borrow: %w", addr, b.node, p.plan.Mode, ErrUnavailable)
	}
	l := p.loans[addr]
	if l == nil {
		l = &loan{addr: addr, node: p.plan.Node, block: b.cidr}
	}
	if err := l.put(p.j.ctx, p.store, AffinityPending); err != nil {
		return err
	}
	p.loans[addr] = l
	p.take(b, addr, named)
	return nil
}
