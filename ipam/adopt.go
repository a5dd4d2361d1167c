package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// Adopt tells the allocator of all addresses that are known, from elsewhere, to
// be in use on this node: it is called at the start with those of the endpoints
// on record. What is recorded already stays as it is; what is not is recorded;
// and a block that is damaged is made anew from what is among them, while its
// other addresses rest for the cooldown.
//
// So it must be given all, or what is missing of a damaged block is given to
// somebody else. The error joins what is somebody else's by the records, or not
// this node's; the rest is done nevertheless.
func (a *Allocator) Adopt(ctx context.Context, known []Allocation) error {
	var problems []error
	err := a.do(ctx, func(j *job) error {
		problems = nil
		for _, d := range slices.Clone(a.bad) {
			a.renew(j, d)
		}
		with := map[string][]netip.Addr{}
		for _, k := range known {
			with[k.Handle] = append(with[k.Handle], k.Addr)
		}
		var refused []Allocation
		for _, k := range known {
			if err := a.adopt(j, k, with[k.Handle]); errors.Is(err, ErrConflict) {
				return err
			} else if err != nil {
				problems = append(problems, fmt.Errorf("%s of %s: %w", k.Addr, k.Handle, err))
				refused = append(refused, k)
			}
		}
		a.part(refused)
		return nil
	})
	if err = errors.Join(append(problems, err)...); err != nil {
		return fmt.Errorf("ipam: adopt addresses in use: %w", err)
	}
	return nil
}

// renew begins a damaged block of this node anew.
func (a *Allocator) renew(j *job, d damage) {
	f := a.mine[d.cidr]
	s, static := a.plan.static.at(d.cidr.Addr())
	static = static && caracal.Covers(s, d.cidr)
	if !d.cidr.IsValid() || d.newer || f == nil && !static && a.shared {
		return
	}
	if f == nil {
		f = &affinity{node: a.plan.Node, cidr: d.cidr}
		a.mine[d.cidr] = f
	}
	a.forget(d.cidr)
	b := &block{key: BlockKey(d.cidr), cidr: d.cidr, node: a.plan.Node, rest: a.at, revision: d.Revision}
	a.add(b)
	a.touch(b)
	state := a.settledState(b)
	j.after = append(j.after, func(ctx context.Context) error { return f.put(ctx, a.store, state) })
}

func (a *Allocator) adopt(j *job, k Allocation, set []netip.Addr) error {
	if d := a.damageAt(k.Addr); d != nil {
		return fmt.Errorf("%s: %w", d.Message, ErrUnavailable)
	}
	b := a.blockAt(k.Addr)
	if s, ok := a.plan.static.at(k.Addr); b == nil && !ok {
		var err error
		if b, err = a.reclaim(j, k.Addr); err != nil {
			return err
		}
	} else if b == nil {
		cidr, ok := splitAround(k.Addr, a.staticSize(s), a.taken)
		if !ok {
			return fmt.Errorf("it is in a block that another node has: %w", ErrUnavailable)
		}
		var err error
		if b, err = a.create(j, cidr); err != nil {
			return err
		}
	}
	e := b.at(k.Addr)
	switch {
	case e != nil && e.inUse() && e.handle != k.Handle:
		return fmt.Errorf("by the records it belongs to %s on node %s: %w", e.handle, e.node, ErrTaken)
	case e != nil && e.inUse() && e.node == a.plan.Node:
		return nil
	case b.node != a.plan.Node:
		return fmt.Errorf("it is in a block of node %s: %w", b.node, ErrUnavailable)
	case e != nil && e.inUse(): // of this node under another name
		b.remove(e)
	}
	n := &entry{addr: k.Addr, handle: k.Handle, node: a.plan.Node, owner: k.Owner, since: k.Since}
	for _, o := range set {
		if o != k.Addr {
			n.with = append(n.with, o)
		}
	}
	b.insert(n)
	a.handles[k.Handle] = append(a.handles[k.Handle], n)
	a.touch(b)
	return nil
}

// reclaim begins the block of an address anew that this node claimed once, and that
// was given back for it; unless another node has it by now.
func (a *Allocator) reclaim(j *job, addr netip.Addr) (*block, error) {
	pool := poolOf(a.plan.Pools, caracal.HostPrefix(addr))
	if pool == nil || a.plan.Mode != ModeBlocks || !a.shared {
		return nil, fmt.Errorf("it is in no block of node %s: %w", a.plan.Node, ErrUnavailable)
	}
	if err := a.relist(j); err != nil {
		return nil, err
	}
	cidr, _ := BlockOf(*pool, addr)
	other, taken := obstacle(cidr, []ranges{a.taken, a.plan.static})
	if taken {
		return nil, fmt.Errorf("it is in no block of node %s, and %s is somebody's: %w", a.plan.Node, other, ErrUnavailable)
	}
	return a.create(j, cidr)
}

// part notes that the other addresses of a handle are whole without one that it
// cannot have. Else they would be taken for the rest of an assignment that was not
// finished, and be freed under a container that uses them.
func (a *Allocator) part(refused []Allocation) {
	for _, k := range refused {
		if a.damageAt(k.Addr) != nil {
			continue // counts as there, see whole
		}
		for _, e := range a.handles[k.Handle] {
			if slices.Contains(e.with, k.Addr) {
				e.leave(k.Addr)
				a.touch(e.block)
			}
		}
	}
}
