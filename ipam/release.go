package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Release implements [API]. After an error some of the addresses may be free
// already; Release them again.
func (a *Allocator) Release(ctx context.Context, handle string) ([]netip.Addr, error) {
	j := a.job()
	defer a.discard(j)
	j.ctx, j.run, j.request.Handle = ctx, (*Allocator).release, handle
	if a.serve(j); j.err != nil {
		return nil, fmt.Errorf("ipam: release addresses of %s: %w", handle, j.err)
	}
	slices.SortFunc(j.released, netip.Addr.Compare)
	return j.released, nil
}

func (a *Allocator) release(j *job) error {
	// As remembered: if others changed the block, the write fails, and what they made
	// of it is read.
	es := a.handles[j.request.Handle]
	for _, e := range es {
		if !slices.Contains(j.released, e.addr) { // it may be there from an attempt before
			j.released = append(j.released, e.addr)
		}
	}
	if len(a.loans) > 0 {
		j.after = append(j.after, a.sweepLoans)
	}
	return a.takeBackAll(j.ctx, es)
}

// takeBackAll frees addresses of this node. Those that are borrowed are off the
// list of borrowed ones before that, for whoever gets them next.
func (a *Allocator) takeBackAll(ctx context.Context, es []*entry) error {
	for _, e := range es {
		if l := a.loans[e.addr]; l != nil {
			if err := l.put(ctx, a.store, AffinityReleasing); err != nil {
				return err
			}
		}
	}
	for _, e := range es {
		a.takeBack(e)
	}
	return nil
}

// takeBack frees an address in memory.
func (a *Allocator) takeBack(e *entry) {
	b := e.block
	if e.node == a.plan.Node {
		a.unindex(e)
	}
	b.free(e, a.at, a.plan.Cooldown)
	a.touch(b)
	if b.usable && !b.listed {
		b.listed = true
		i := family(b.cidr.Addr())
		a.open[i] = append(a.open[i], b)
	}
}

// sweepLoans deletes the records of addresses that are not borrowed after all,
// or no longer, and confirms those of which a release came to nothing.
func (a *Allocator) sweepLoans(ctx context.Context) error {
	for addr, l := range a.loans {
		if l.state == AffinityConfirmed || a.isBad(l.block) {
			continue
		}
		if e := a.entryAt(addr); e != nil && e.inUse() && e.node == a.plan.Node {
			if err := l.put(ctx, a.store, AffinityConfirmed); err != nil {
				return err
			}
			continue
		}
		if err := l.delete(ctx, a.store); err != nil {
			return err
		}
		delete(a.loans, addr)
	}
	return nil
}

// ReleaseAddr frees one address by hand, whoever has it, and returns who had it;
// the other addresses of its handle stay. Of one that rests it ends the rest.
// It does not look whether the owner still exists: that is for the caller, who
// finds it with [Allocator.Lookup]. [ErrNotFound] if nobody has the address,
// [ErrUnavailable] if it is neither used on this node nor of its blocks.
func (a *Allocator) ReleaseAddr(ctx context.Context, addr netip.Addr) (Allocation, error) {
	// Two writes: a crash between the others' records and its own must not make
	// the others look like what is left of a failed assignment.
	var was Allocation
	var used bool
	err := a.do(ctx, func(*job) error {
		e, err := a.releasable(addr)
		if err != nil {
			return err
		}
		was, used = e.allocation(), e.inUse()
		// All that name it, and not only those that it names: an earlier release by
		// hand may have got no further than this.
		for _, b := range a.blocks {
			if b == e.block {
				continue
			}
			for _, o := range b.entries {
				if o.inUse() && o.handle == e.handle && o.leave(addr) {
					a.touch(b)
				}
			}
		}
		return nil
	})
	if err == nil {
		err = a.do(ctx, func(j *job) error { return a.releaseAddr(j, addr, was.Handle, used) })
	}
	if err != nil {
		return Allocation{}, fmt.Errorf("ipam: release %s: %w", addr, err)
	}
	return was, nil
}

func (a *Allocator) releaseAddr(j *job, addr netip.Addr, handle string, used bool) error {
	e, err := a.releasable(addr)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && e.handle == handle && used && !e.inUse():
		return nil // free by now: a write that seemed to fail did not
	case err != nil:
		return err
	case e.handle != handle || !used && e.inUse():
		return fmt.Errorf("it was given to %s just now: %w", e.handle, ErrTaken)
	case !used:
		e.block.remove(e)
		a.touch(e.block)
		return nil
	}
	for _, o := range e.block.entries {
		if o.inUse() && o.handle == e.handle {
			o.leave(addr)
		}
	}
	j.after = append(j.after, a.sweepLoans)
	if e.node != a.plan.Node {
		a.takeBack(e)
		return nil
	}
	return a.takeBackAll(j.ctx, []*entry{e})
}

// leave takes an address out of those that belong together, and reports whether
// it was one of them.
func (e *entry) leave(addr netip.Addr) bool {
	i := slices.Index(e.with, addr)
	if i < 0 {
		return false
	}
	e.with = append(slices.Clone(e.with[:i]), e.with[i+1:]...)
	e.block.changed(e)
	return true
}

func (a *Allocator) releasable(addr netip.Addr) (*entry, error) {
	if d := a.damageAt(addr); d != nil {
		return nil, fmt.Errorf("%s: %w", d.Message, ErrDamaged)
	}
	e := a.entryAt(addr)
	if e == nil {
		return nil, fmt.Errorf("nobody has the address on this node: %w", ErrNotFound)
	}
	if e.node != a.plan.Node && e.block.node != a.plan.Node {
		return nil, fmt.Errorf("it is used on node %s: %w", e.node, ErrUnavailable)
	}
	return e, nil
}

// Tidy does what need not be done at once: it releases blocks that are empty,
// but for one to have at hand, and takes back what a failed write left. To be
// called every few minutes, and after many a Release.
func (a *Allocator) Tidy(ctx context.Context) error {
	err := a.do(ctx, func(j *job) error {
		if err := a.refreshAll(j.ctx); err != nil {
			return err
		}
		if err := a.dropStrays(j.ctx); err != nil {
			return err
		}
		for _, es := range a.handles {
			if !a.whole(es) {
				if err := a.takeBackAll(j.ctx, es); err != nil {
					return err
				}
			}
		}
		j.after = append(j.after, a.sweepLoans, a.settleAll, a.releaseEmpty)
		return nil
	})
	if err != nil {
		return fmt.Errorf("ipam: tidy up: %w", err)
	}
	return nil
}

// refreshAll reads this node's blocks again where others may have changed them.
func (a *Allocator) refreshAll(ctx context.Context) error {
	if !a.shared {
		return nil
	}
	for _, cidr := range a.sortedBlocks() {
		if b := a.blocks[cidr]; !b.dirty {
			if err := a.reload(ctx, cidr); err != nil {
				return err
			}
		}
	}
	return nil
}

// releaseEmpty gives claimed blocks back that nobody uses.
func (a *Allocator) releaseEmpty(ctx context.Context) error {
	now := a.at
	for i := range 2 {
		var empty []*block
		room := false
		for _, cidr := range a.sortedBlocks() {
			b := a.blocks[cidr]
			if b.node != a.plan.Node || family(cidr.Addr()) != i || a.mine[cidr] == nil {
				continue
			}
			b.thaw(now, a.plan.Cooldown)
			switch {
			case len(b.entries) == 0 && b.rest.IsZero() && !b.dirty && !(b.usable && b.static.IsValid()):
				empty = append(empty, b)
			case b.usable:
				room = room || b.next(a.plan.reserved, nil).IsValid()
			}
		}
		for _, b := range empty {
			if b.usable && !room {
				room = true
				continue
			}
			if err := a.giveUp(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveUp releases an empty block, unless somebody borrows from it just now.
func (a *Allocator) giveUp(ctx context.Context, b *block) error {
	f := a.mine[b.cidr]
	if err := f.put(ctx, a.store, AffinityReleasing); err != nil {
		return err
	}
	err := a.dissolve(ctx, b, f)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	if err := f.put(ctx, a.store, a.settledState(b)); err != nil {
		return err
	}
	return a.reload(ctx, b.cidr)
}
