package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// load reads what the store has about this node, and mends what a crash left
// half done.
func (a *Allocator) load(ctx context.Context) error {
	a.loaded = false
	a.loads++
	a.blocks, a.handles = map[netip.Prefix]*block{}, map[string][]*entry{}
	a.sizes, a.open = [2][]int{}, [2][]*block{}
	a.mine, a.loans = map[netip.Prefix]*affinity{}, map[netip.Addr]*loan{}
	a.dirty, a.bad, a.unsettled = nil, nil, nil
	a.from, a.claimed = map[netip.Prefix]netip.Addr{}, map[string]uint64{}
	if err := a.loadAffinities(ctx); err != nil {
		return err
	}
	if !a.shared {
		if err := a.loadAll(ctx); err != nil {
			return err
		}
	}
	if err := a.loadLoans(ctx); err != nil {
		return err
	}
	return a.mend(ctx)
}

// loadAffinities reads whose the blocks are, and those that are this node's or
// that the configuration gives it.
func (a *Allocator) loadAffinities(ctx context.Context) error {
	damaged, err := a.listOwn(ctx)
	if err != nil {
		return err
	}
	for _, d := range damaged {
		// All that it says but the state is in the key.
		node, cidr, ok := affinityOfKey(d.Key)
		if !ok || node != a.plan.Node {
			if ok {
				a.noteTaken(cidr)
			}
			continue
		}
		// Confirmed: a block that is missing then counts as lost, not as never made.
		f := &affinity{node: node, cidr: cidr, revision: d.Revision}
		if err := f.put(ctx, a.store, AffinityConfirmed); err != nil {
			return err
		}
		a.mine[cidr] = f
		a.noteTaken(cidr)
	}
	for cidr := range a.mine {
		if err := a.reload(ctx, cidr); err != nil {
			return err
		}
	}
	for _, f := range a.foreign {
		if s, ok := a.plan.static.at(f.cidr.Addr()); ok && caracal.Covers(s, f.cidr) && a.blocks[f.cidr] == nil {
			if err := a.reload(ctx, f.cidr); err != nil {
				return err
			}
		}
	}
	return nil
}

// listOwn reads the affinities of this node and, where nodes share the store and it
// cannot list those alone, of all others. What it finds of borrowed addresses on the
// way is kept for loadLoans.
func (a *Allocator) listOwn(ctx context.Context) ([]Damaged, error) {
	a.own = nil
	s, ok := a.store.(NodeStore)
	if !ok || !a.shared || len(a.plan.static) > 0 { // others may have a part of a static range
		return a.listAffinities(ctx)
	}
	records, damaged, err := s.ListNode(ctx, a.plan.Node)
	if err != nil {
		return nil, err
	}
	a.own, a.foreign = &listing{}, nil
	var claims []Record
	for _, r := range records {
		if strings.HasPrefix(r.Key, borrowedKeys) {
			a.own.records = append(a.own.records, r)
		} else {
			claims = append(claims, r)
		}
	}
	var bad []Damaged
	for _, d := range damaged {
		if strings.HasPrefix(d.Key, borrowedKeys) {
			a.own.damaged = append(a.own.damaged, d)
		} else {
			bad = append(bad, d)
		}
	}
	return a.takeAffinities(claims, bad), nil
}

// listing is what a list said.
type listing struct {
	records []Record
	damaged []Damaged
}

// listAffinities reads the affinities of all nodes into mine, foreign and taken.
// Those of this node are changed by nobody else, so that the ones known are kept.
func (a *Allocator) listAffinities(ctx context.Context) ([]Damaged, error) {
	records, damaged, err := a.store.List(ctx, affinityKeys)
	if err != nil {
		return nil, err
	}
	a.foreign = nil
	return a.takeAffinities(records, damaged), nil
}

// takeAffinities takes records in, and returns those that are damaged.
func (a *Allocator) takeAffinities(records []Record, damaged []Damaged) []Damaged {
	var all []netip.Prefix
	for _, r := range records {
		f, err := decodeAffinity(r)
		if err != nil {
			damaged = append(damaged, Damaged{Key: r.Key, Message: badRecord(r.Key, err), Revision: r.Revision})
			continue
		}
		all = append(all, f.cidr)
		if f.node != a.plan.Node {
			a.foreign = append(a.foreign, f)
		} else if a.mine[f.cidr] == nil {
			a.mine[f.cidr] = f
		}
	}
	for _, d := range a.bad {
		all = append(all, d.cidr)
	}
	for cidr := range a.mine {
		all = append(all, cidr)
	}
	a.taken = newRanges(all)
	return damaged
}

// loadAll reads the blocks that no affinity told of, in a store of this node's
// own.
func (a *Allocator) loadAll(ctx context.Context) error {
	records, damaged, err := a.store.List(ctx, blockKeys)
	if err != nil {
		return err
	}
	for _, r := range records {
		if p, ok := blockOfKey(r.Key); !ok || a.blocks[p] == nil && !a.isBad(p) {
			a.decode(r, p)
		}
	}
	for _, d := range damaged {
		if p, ok := blockOfKey(d.Key); !ok || !a.isBad(p) {
			a.spoil(p, d)
		}
	}
	for cidr, b := range a.blocks {
		if b.node == a.plan.Node && a.mine[cidr] == nil {
			f := &affinity{node: b.node, cidr: cidr}
			if err := f.put(ctx, a.store, AffinityPending); err != nil {
				return err
			}
			a.mine[cidr] = f
			a.judge(b)
		}
	}
	return nil
}

func (a *Allocator) isBad(p netip.Prefix) bool {
	return slices.ContainsFunc(a.bad, func(d damage) bool { return d.cidr == p })
}

// loadLoans reads the borrowed addresses and the blocks of those of this node.
func (a *Allocator) loadLoans(ctx context.Context) error {
	var records []Record
	var damaged []Damaged
	if a.own != nil {
		records, damaged = a.own.records, a.own.damaged
	} else {
		var err error
		if records, damaged, err = a.store.List(ctx, borrowedKeys); err != nil {
			return err
		}
	}
	for _, r := range records {
		l, err := decodeLoan(r)
		if err != nil {
			damaged = append(damaged, Damaged{Key: r.Key, Message: badRecord(r.Key, err), Revision: r.Revision})
			continue
		}
		if l.node != a.plan.Node {
			continue
		}
		a.loans[l.addr] = l
		if a.blocks[l.block] == nil {
			if err := a.reload(ctx, l.block); err != nil {
				return err
			}
		}
	}
	if len(damaged) > 0 && a.own != nil {
		if _, err := a.listAffinities(ctx); err != nil {
			return err
		}
	}
	for _, d := range damaged {
		if err := a.mendLoan(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// mendLoan writes the record of a borrowed address again if this node has it.
func (a *Allocator) mendLoan(ctx context.Context, d Damaged) error {
	addr, err := netip.ParseAddr(d.Key[min(len(borrowedKeys), len(d.Key)):])
	if err != nil {
		return nil
	}
	for _, f := range a.foreign {
		if !f.cidr.Contains(addr) {
			continue
		}
		if err := a.reload(ctx, f.cidr); err != nil {
			return err
		}
		if e := a.entryAt(addr); e != nil && e.inUse() && e.node == a.plan.Node {
			l := &loan{addr: addr, node: e.node, block: f.cidr, revision: d.Revision}
			a.loans[addr] = l
			return l.put(ctx, a.store, AffinityConfirmed)
		}
	}
	return nil
}

// reload reads a block again. One that is damaged is noted as such; the error is
// for a store that does not answer.
func (a *Allocator) reload(ctx context.Context, cidr netip.Prefix) error {
	r, err := a.store.Get(ctx, BlockKey(cidr))
	was := a.blocks[cidr]
	a.forget(cidr)
	switch {
	case errors.Is(err, ErrNotFound):
		// An affinity is settled after its block was written, and says that it is
		// releasing before that is deleted.
		f := a.mine[cidr]
		if f != nil && a.shared {
			if taken, err := a.takenAway(ctx, f); err != nil || taken {
				return err
			}
		}
		if f != nil && (f.state == AffinityConfirmed || f.state == AffinityStatic) {
			a.spoil(cidr, Damaged{Key: BlockKey(cidr), Message: fmt.Sprintf("record %s is missing", BlockKey(cidr))})
		}
		return nil
	case errors.Is(err, ErrDamaged):
		a.spoil(cidr, Damaged{
			Key: BlockKey(cidr), Revision: r.Revision,
			Message: strings.TrimPrefix(err.Error(), ErrDamaged.Error()+": "),
		})
		return nil
	case err != nil:
		return fmt.Errorf("read block %s: %w", cidr, err)
	}
	a.decode(r, cidr)
	return a.keepClaim(ctx, was, a.blocks[cidr])
}

// keepClaim looks whether somebody began to give a block back for this node, which was
// taken for gone, and came no further than to its affinity: then it is settled again,
// or nobody would route to the block. That can be so only if the block is empty, or was
// written by others as well.
func (a *Allocator) keepClaim(ctx context.Context, was, is *block) error {
	if !a.shared || was == nil || is == nil || is.node != a.plan.Node || was.revision == is.revision && len(is.entries) > 0 {
		return nil
	}
	f := a.mine[is.cidr]
	if f == nil || f.revision == "" {
		return nil
	}
	r, err := a.store.Get(ctx, affinityKey(f.node, f.cidr))
	if errors.Is(err, ErrDamaged) || err == nil && r.Revision == f.revision {
		return nil // a start mends what is damaged
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read affinity of block %s: %w", f.cidr, err)
	}
	f.state, f.revision = AffinityReleasing, r.Revision
	return f.put(ctx, a.store, a.settledState(is))
}

// takenAway reports whether a block that is gone was given back for this node, which
// was taken for gone: then its affinity is gone as well, and it is no longer known of
// here. [Allocator.Adopt] takes it again if it is in use after all. Who gave it back may
// have died before it deleted the affinity, which says that it is releasing then; that
// is finished here, for nobody else does it once this node is there again.
func (a *Allocator) takenAway(ctx context.Context, f *affinity) (bool, error) {
	if f.revision == "" {
		return false, nil // not written yet
	}
	r, err := a.store.Get(ctx, affinityKey(f.node, f.cidr))
	if err != nil && !errors.Is(err, ErrNotFound) {
		if errors.Is(err, ErrDamaged) {
			return false, nil
		}
		return false, fmt.Errorf("read affinity of block %s: %w", f.cidr, err)
	}
	if err == nil {
		is, err := decodeAffinity(r)
		if err != nil || is.state != AffinityReleasing || is.revision == f.revision {
			return false, nil
		}
		f.revision = is.revision
		return true, a.disown(ctx, f)
	}
	delete(a.mine, f.cidr)
	a.taken.remove(f.cidr)
	return true, nil
}

// decode takes a record up as a block, or as damaged.
func (a *Allocator) decode(r Record, cidr netip.Prefix) {
	b, err := decodeBlock(r)
	if err != nil {
		a.spoil(cidr, Damaged{Key: r.Key, Message: badRecord(r.Key, err), Revision: r.Revision})
		a.bad[len(a.bad)-1].newer = errors.Is(err, errNewer)
		return
	}
	a.add(b)
}

// spoil notes that nothing is known of a block.
func (a *Allocator) spoil(cidr netip.Prefix, d Damaged) {
	if cidr.IsValid() {
		d.Message += fmt.Sprintf(". No address of %s is given until it is mended: caracald does that when it starts, "+
			"from the endpoints that it knows of", cidr)
		a.noteTaken(cidr)
	}
	a.bad = append(a.bad, damage{cidr: cidr, Damaged: d})
}

// add takes a block into memory.
func (a *Allocator) add(b *block) {
	a.blocks[b.cidr] = b
	i := family(b.cidr.Addr())
	if !slices.Contains(a.sizes[i], b.cidr.Bits()) {
		a.sizes[i] = append(a.sizes[i], b.cidr.Bits())
	}
	a.noteTaken(b.cidr)
	for _, e := range b.entries {
		if e.inUse() && e.node == a.plan.Node {
			a.handles[e.handle] = append(a.handles[e.handle], e)
		}
	}
	a.judge(b)
}

// noteTaken notes that a block is somebody's.
func (a *Allocator) noteTaken(cidr netip.Prefix) {
	if _, ok := a.taken.overlapping(cidr); !ok {
		a.taken.add(cidr)
	}
}

// forget takes a block out of memory.
func (a *Allocator) forget(cidr netip.Prefix) {
	a.bad = slices.DeleteFunc(a.bad, func(d damage) bool { return d.cidr == cidr })
	b := a.blocks[cidr]
	if b == nil {
		return
	}
	delete(a.blocks, cidr)
	b.usable = false
	for _, e := range b.entries {
		if e.inUse() && e.node == a.plan.Node {
			a.unindex(e)
		}
	}
}

// unindex takes an entry out of those of its handle.
func (a *Allocator) unindex(e *entry) {
	es := a.handles[e.handle]
	if len(es) == 0 || len(es) == 1 && es[0] == e {
		delete(a.handles, e.handle)
		return
	}
	// A new slice, since the caller may be walking through the old one.
	rest := make([]*entry, 0, len(es))
	for _, o := range es {
		if o != e {
			rest = append(rest, o)
		}
	}
	a.handles[e.handle] = rest
}

// judge finds out what the plan says of a block: whether it gives new addresses.
func (a *Allocator) judge(b *block) {
	b.pool, b.static = poolOf(a.plan.Pools, b.cidr), netip.Prefix{}
	if s, ok := a.plan.static.at(b.cidr.Addr()); ok && caracal.Covers(s, b.cidr) {
		b.static = s
	}
	f := a.mine[b.cidr]
	claimed := a.plan.Mode == ModeBlocks && b.pool != nil && f != nil && f.state != AffinityReleasing
	b.usable = b.node == a.plan.Node && (b.static.IsValid() || claimed) && (b.pool == nil || !b.pool.Disabled)
	if b.usable && !b.listed {
		b.listed = true
		i := family(b.cidr.Addr())
		a.open[i] = append(a.open[i], b)
	}
}

func (a *Allocator) judgeAll() {
	for i := range a.open {
		for _, b := range a.open[i] {
			b.listed = false
		}
		a.open[i] = nil
	}
	for _, cidr := range a.sortedBlocks() {
		a.judge(a.blocks[cidr])
	}
}

func (a *Allocator) sortedBlocks() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(a.blocks))
	for cidr := range a.blocks {
		out = append(out, cidr)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}
