package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// mend brings to an end what a crash left half done. What it cannot tell is left
// as it is: an address that is kept too long does less harm than one with two
// owners.
func (a *Allocator) mend(ctx context.Context) error {
	for _, cidr := range sortedKeys(a.mine, netip.Prefix.Compare) {
		if err := a.mendAffinity(ctx, a.mine[cidr]); err != nil {
			return err
		}
	}
	for _, cidr := range a.sortedBlocks() {
		if err := a.takeOver(ctx, a.blocks[cidr]); err != nil {
			return err
		}
	}
	for _, addr := range sortedKeys(a.loans, netip.Addr.Compare) {
		if err := a.mendBorrowed(ctx, a.loans[addr]); err != nil {
			return err
		}
	}
	if err := a.mendHandles(ctx); err != nil {
		return err
	}
	if err := a.commit(ctx); err != nil {
		return err
	}
	a.judgeAll()
	if err := a.settleAll(ctx); err != nil {
		return err
	}
	return a.sweepLoans(ctx)
}

// settleAll confirms the affinities of blocks that this node has.
func (a *Allocator) settleAll(ctx context.Context) error {
	for cidr, f := range a.mine {
		if b := a.blocks[cidr]; b != nil && b.node == a.plan.Node && f.state == AffinityPending {
			if err := f.put(ctx, a.store, a.settledState(b)); err != nil {
				return err
			}
		} else if f.state == AffinityPending && !slices.Contains(a.unsettled, f) {
			a.unsettled = append(a.unsettled, f)
		}
	}
	return nil
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(K, K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}

// mendAffinity finishes or undoes a claim or a release.
func (a *Allocator) mendAffinity(ctx context.Context, f *affinity) error {
	b := a.blocks[f.cidr]
	switch {
	case b == nil && a.isBad(f.cidr):
		return nil
	case b == nil:
		return a.disown(ctx, f)
	case b.node != a.plan.Node:
		if b.static.IsValid() || a.usesAny(b) {
			return nil
		}
		return a.disown(ctx, f)
	case f.state == AffinityReleasing && len(b.entries) == 0:
		return a.dissolve(ctx, b, f)
	case f.state == AffinityReleasing:
		return f.put(ctx, a.store, a.settledState(b))
	}
	return nil
}

// usesAny reports whether this node uses an address of a block.
func (a *Allocator) usesAny(b *block) bool {
	return slices.ContainsFunc(b.entries, func(e *entry) bool { return e.inUse() && e.node == a.plan.Node })
}

// disown deletes an affinity.
func (a *Allocator) disown(ctx context.Context, f *affinity) error {
	if err := f.delete(ctx, a.store); err != nil {
		return err
	}
	delete(a.mine, f.cidr)
	if a.blocks[f.cidr] == nil && !a.isBad(f.cidr) && !slices.ContainsFunc(a.foreign, func(o *affinity) bool { return o.cidr == f.cidr }) {
		a.taken.remove(f.cidr)
		for s := range a.from {
			if s.Overlaps(f.cidr) {
				delete(a.from, s) // to be cut again
			}
		}
	}
	return nil
}

// dissolve deletes a block that nobody uses, and then its affinity.
func (a *Allocator) dissolve(ctx context.Context, b *block, f *affinity) error {
	if err := a.store.Delete(ctx, b.key, b.revision); err != nil {
		return fmt.Errorf("delete block %s: %w", b.cidr, err)
	}
	a.forget(b.cidr)
	return a.disown(ctx, f)
}

// takeOver makes a block this node's that the configuration says is, though it
// was another's (or this node's under another name). Addresses of it that are in
// use stay whose they are.
func (a *Allocator) takeOver(ctx context.Context, b *block) error {
	if b.node == a.plan.Node || !b.static.IsValid() {
		return nil
	}
	if a.shared && slices.ContainsFunc(b.entries, func(e *entry) bool { return e.inUse() && e.node != a.plan.Node }) {
		return nil // its node has to leave first
	}
	f := a.mine[b.cidr]
	if f == nil {
		f = &affinity{node: a.plan.Node, cidr: b.cidr}
		if err := f.put(ctx, a.store, AffinityPending); err != nil {
			return err
		}
		a.mine[b.cidr] = f
	}
	b.node, b.head, b.lines.stale = a.plan.Node, nil, true
	a.touch(b)
	return nil
}

// mendBorrowed makes a borrowed address' record fit the block.
func (a *Allocator) mendBorrowed(ctx context.Context, l *loan) error {
	b := a.blocks[l.block]
	if b == nil && a.isBad(l.block) {
		return nil
	}
	if b != nil && b.node != a.plan.Node {
		if e := b.at(l.addr); e != nil && e.inUse() && e.node == a.plan.Node {
			return l.put(ctx, a.store, AffinityConfirmed)
		}
	}
	if err := l.delete(ctx, a.store); err != nil {
		return err
	}
	delete(a.loans, l.addr)
	return nil
}

// mendHandles takes back what was not given whole, and puts on the list of
// borrowed addresses what is missing there.
func (a *Allocator) mendHandles(ctx context.Context) error {
	for _, handle := range sortedKeys(a.handles, strings.Compare) {
		es := a.handles[handle]
		if !a.whole(es) {
			if err := a.takeBackAll(ctx, es); err != nil {
				return err
			}
			continue
		}
		for _, e := range es {
			if e.block.node == a.plan.Node || a.loans[e.addr] != nil {
				continue
			}
			l := &loan{addr: e.addr, node: e.node, block: e.block.cidr}
			if err := l.put(ctx, a.store, AffinityConfirmed); err != nil {
				return err
			}
			a.loans[e.addr] = l
		}
	}
	return nil
}
