package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unicode/utf8"

	"caracal.dev/caracal"
)

// Assign implements [API]. After an error other than [ErrExhausted], [ErrTaken]
// and [ErrUnavailable] the handle may have its addresses or not: Assign it
// again, or Release it.
func (a *Allocator) Assign(ctx context.Context, r Request) ([]Allocation, error) {
	if err := r.normalize(); err != nil {
		return nil, fmt.Errorf("ipam: assign addresses to %q: %w", r.Handle, err)
	}
	j := a.job()
	defer a.discard(j)
	j.ctx, j.run, j.request = ctx, (*Allocator).assign, r
	if a.serve(j); j.err != nil {
		return nil, fmt.Errorf("ipam: assign addresses to %s: %w", r.Handle, j.err)
	}
	return j.allocated, nil
}

// normalize counts the addresses that are asked for by name.
func (r *Request) normalize() error {
	if r.Handle == "" || !utf8.ValidString(r.Handle) {
		return errors.New("the handle is empty, or no text")
	}
	var count [2]int
	for i, addr := range r.Addrs {
		if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || slices.Contains(r.Addrs[:i], addr) {
			return fmt.Errorf("%q is no address that can be given, or is named twice: %w", addr, ErrUnavailable)
		}
		count[family(addr)]++
	}
	r.V4, r.V6 = max(r.V4, count[0]), max(r.V6, count[1])
	if r.V4+r.V6 == 0 {
		return errors.New("it asks for no address")
	}
	return nil
}

// pick is an address that is to be given.
type pick struct {
	b     *block
	addr  netip.Addr
	named bool // asked for by address
}

// picker chooses the addresses of one request. It changes no block, so that a
// request that fails half way leaves none half given; new blocks and the records
// of borrowed addresses do no harm without one.
type picker struct {
	*Allocator
	j     *job
	r     *Request
	pools []*caracal.Pool // those asked for; nil: any
	picks []pick
	but   []netip.Addr // chosen already, or to be left alone
	notes []string     // why there is none
}

func (a *Allocator) assign(j *job) error {
	r := &j.request
	have, err := a.refreshed(j.ctx, r.Handle)
	if err != nil {
		return err
	}
	if len(have) > 0 && a.whole(have) {
		j.allocated = a.settled(j, have)
		return nil
	}
	p := &a.picker // one at a time, so always the same
	*p = picker{Allocator: a, j: j, r: r, picks: p.picks[:0], but: p.but[:0], notes: p.notes[:0]}
	if err := p.choosePools(); err != nil {
		return err
	}
	want := [2]int{r.V4, r.V6}
	kept, err := p.keep(have, &want)
	if err != nil {
		return err
	}
	if err := p.choose(want); err != nil {
		// What an earlier attempt left of it goes as well.
		return errors.Join(err, p.takeBackAll(j.ctx, kept))
	}
	j.allocated = a.settled(j, p.give(kept))
	return nil
}

// choose chooses the addresses that are asked for, and so many of each family in
// all.
func (p *picker) choose(want [2]int) error {
	for _, addr := range p.r.Addrs {
		if err := p.exact(addr); err != nil {
			return err
		}
		want[family(addr)]--
	}
	for i, v6 := range []bool{false, true} {
		for range want[i] {
			if err := p.any(v6); err != nil {
				return err
			}
		}
	}
	return nil
}

// refreshed returns what a handle has. In a store that others use, it reads the
// blocks of it again first: its addresses may have been released elsewhere.
func (a *Allocator) refreshed(ctx context.Context, handle string) ([]*entry, error) {
	if a.shared {
		for _, e := range a.handles[handle] {
			if e.block.dirty {
				continue
			}
			if err := a.reload(ctx, e.block.cidr); err != nil {
				return nil, err
			}
		}
	}
	return a.handles[handle], nil
}

// whole reports whether none of the addresses of a handle is missing. One in a
// damaged block counts as there.
func (a *Allocator) whole(es []*entry) bool {
	for _, e := range es {
		for _, addr := range e.with {
			o := a.entryAt(addr)
			if o != nil && o.inUse() && o.handle == e.handle && o.node == e.node {
				continue
			}
			if a.damageAt(addr) == nil {
				return false
			}
		}
	}
	return true
}

// keep returns what a handle has of an assignment that was not finished, as far
// as it is wanted; the rest is taken back.
func (p *picker) keep(have []*entry, want *[2]int) (kept []*entry, err error) {
	var rest []*entry
	for _, e := range have {
		if i := family(e.addr); len(p.r.Addrs) == 0 && want[i] > 0 {
			want[i]--
			kept = append(kept, e)
			p.touch(e.block) // and so it is not read again under our hands
			p.but = append(p.but, e.addr)
		} else {
			rest = append(rest, e)
		}
	}
	return kept, p.takeBackAll(p.j.ctx, rest)
}

// give makes entries of what was chosen.
func (p *picker) give(kept []*entry) []*entry {
	now := p.at
	es := slices.Clone(kept)
	for _, c := range p.picks {
		e := &entry{addr: c.addr, handle: p.r.Handle, node: p.plan.Node, owner: p.r.Owner, since: now}
		if len(kept)+len(p.picks) == 1 {
			es = e.alone[:0]
		}
		es = append(es, e)
		if !c.named {
			c.b.last = c.addr
		}
	}
	for _, e := range es {
		e.with = nil
		for _, o := range es {
			if o != e {
				e.with = append(e.with, o.addr)
			}
		}
	}
	for _, e := range kept {
		e.block.changed(e)
	}
	for i, c := range p.picks {
		c.b.insert(es[len(kept)+i])
	}
	for _, e := range es {
		p.touch(e.block)
	}
	p.handles[p.r.Handle] = es
	return es
}

// settled returns the allocations of a handle, IPv4 first, and sees to it that
// the records that others watch say so before the job is done.
func (a *Allocator) settled(j *job, es []*entry) []Allocation {
	out := make([]Allocation, len(es))
	for i, e := range es {
		b := e.block
		if f := a.mine[b.cidr]; f != nil && f.state == AffinityPending && b.node == a.plan.Node {
			state := a.settledState(b)
			j.after = append(j.after, func(ctx context.Context) error { return f.put(ctx, a.store, state) })
		}
		if l := a.loans[e.addr]; l != nil && l.state != AffinityConfirmed && b.node != a.plan.Node {
			j.after = append(j.after, func(ctx context.Context) error { return l.put(ctx, a.store, AffinityConfirmed) })
		}
		e.tell(&out[i])
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(x, y Allocation) int { return x.Addr.Compare(y.Addr) })
	}
	return out
}

// settledState is the affinity of a block of this node that is in use.
func (a *Allocator) settledState(b *block) Affinity {
	if b.static.IsValid() {
		return AffinityStatic
	}
	return AffinityConfirmed
}

func (e *entry) allocation() (out Allocation) {
	e.tell(&out)
	return out
}

// tell fills in what others know of the address.
func (e *entry) tell(out *Allocation) {
	out.Addr, out.Handle, out.Owner, out.Node = e.addr, e.handle, e.owner, e.node
	out.Block, out.Since = e.block.shown(), e.since
	if e.block.pool != nil {
		out.Pool = e.block.pool.Name
	}
}

// shown is the block as people know it: a static range is one, however it is cut.
func (b *block) shown() netip.Prefix {
	if b.static.IsValid() {
		return b.static
	}
	return b.cidr
}

// choosePools looks up the pools that are asked for, by name or by prefix.
func (p *picker) choosePools() error {
	for _, name := range p.r.Pools {
		i := slices.IndexFunc(p.plan.Pools, func(o caracal.Pool) bool { return o.Name == name || o.CIDR.String() == name })
		if i < 0 {
			return fmt.Errorf("pool %s does not exist, or its nodeSelector does not match node %s: %w", name, p.plan.Node, ErrUnavailable)
		}
		if p.plan.Pools[i].Disabled {
			return fmt.Errorf("pool %s is disabled: %w", name, ErrUnavailable)
		}
		p.pools = append(p.pools, &p.plan.Pools[i])
	}
	return nil
}

// allowed reports whether the request may have addresses of a pool; nil is the
// pool of what is outside of every pool.
func (p *picker) allowed(pool *caracal.Pool) bool {
	if pool != nil && pool.Disabled {
		return false
	}
	return p.pools == nil || pool != nil && slices.Contains(p.pools, pool)
}

// any chooses an address of a family: from the blocks that there are, then from
// a new one, then from another node's.
func (p *picker) any(v6 bool) error {
	p.notes = p.notes[:0]
	if p.fromOpen(v6) {
		return nil
	}
	for _, source := range []func(bool) (*block, error){p.cut, p.claim} {
		b, err := source(v6)
		if err != nil {
			return err
		}
		if b != nil && b.usable && p.allowed(b.pool) && p.from(b) {
			return nil
		}
	}
	if ok, err := p.returned(v6); err != nil || ok {
		return err
	}
	if ok, err := p.borrow(v6); err != nil || ok {
		return err
	}
	return p.exhausted(v6)
}

// returned chooses an address of this node's that another had borrowed, and gave
// back in the meantime.
func (p *picker) returned(v6 bool) (bool, error) {
	if !p.shared {
		return false, nil
	}
	again := false
	for _, cidr := range p.sortedBlocks() {
		b := p.blocks[cidr]
		lent := slices.ContainsFunc(b.entries, func(e *entry) bool { return e.node != p.plan.Node && e.inUse() })
		if b.node != p.plan.Node || cidr.Addr().Is6() != v6 || !lent {
			continue
		}
		if _, err := p.newest(b); err != nil {
			return false, err
		}
		again = true
	}
	return again && p.fromOpen(v6), nil
}

// newest reads a block again that other nodes may have changed, unless this node
// is about to change it itself. The block may be gone.
func (p *picker) newest(b *block) (*block, error) {
	if !p.shared || b.dirty || slices.ContainsFunc(p.picks, func(c pick) bool { return c.b == b }) {
		return b, nil
	}
	if err := p.reload(p.j.ctx, b.cidr); err != nil {
		return nil, err
	}
	return p.blocks[b.cidr], nil
}

// fromOpen chooses an address of the blocks that have room, as far as is known.
// Those that have none leave the list until something is freed.
func (p *picker) fromOpen(v6 bool) bool {
	i := 0
	if v6 {
		i = 1
	}
	list := p.open[i]
	for n := 0; n < len(list); {
		b := list[n]
		if b.usable && p.allowed(b.pool) && p.from(b) {
			return true
		}
		full := float64(len(b.entries)) >= Size(b.cidr) && b.freed == 0
		if b.usable && !full {
			n++
			continue
		}
		b.listed = false
		list = slices.Delete(list, n, n+1)
		p.open[i] = list
	}
	return false
}

// from chooses an address of a block.
func (p *picker) from(b *block) bool {
	b.thaw(p.at, p.plan.Cooldown)
	addr := p.free(b)
	if !addr.IsValid() {
		return false
	}
	p.take(b, addr, false)
	return true
}

// free returns an address of a block that nobody has, by the records or otherwise.
func (p *picker) free(b *block) netip.Addr {
	for {
		addr := b.next(p.plan.reserved, p.but)
		if !addr.IsValid() || !p.inUse(addr) {
			return addr
		}
		p.but = append(p.but, addr)
	}
}

func (p *picker) inUse(addr netip.Addr) bool { return p.r.InUse != nil && p.r.InUse(addr) }

func (p *picker) take(b *block, addr netip.Addr, named bool) {
	p.picks = append(p.picks, pick{b, addr, named})
	p.but = append(p.but, addr)
}

// exact chooses an address that is asked for. It may be reserved, and may rest
// still: whoever asks for it by name knows why.
func (p *picker) exact(addr netip.Addr) error {
	if d := p.damageAt(addr); d != nil {
		return fmt.Errorf("%s: %s: %w", addr, d.Message, ErrUnavailable)
	}
	if slices.Contains(p.but, addr) {
		return fmt.Errorf("%s: %w", addr, ErrTaken)
	}
	b, err := p.blockFor(addr)
	if err != nil {
		return err
	}
	if e := b.at(addr); b.node != p.plan.Node || e != nil && e.node != p.plan.Node {
		if b, err = p.newest(b); err != nil {
			return err
		}
		if b == nil { // gone in the meantime, with its node
			return fmt.Errorf("block of %s: %w", addr, ErrConflict)
		}
	}
	if e := b.at(addr); e != nil && e.inUse() {
		return fmt.Errorf("%s belongs to %s on node %s since %s: %w", addr, e.handle, e.node, e.since.UTC().Format("2006-01-02 15:04:05 MST"), ErrTaken)
	}
	if p.inUse(addr) {
		return fmt.Errorf("%s belongs to another container of this node, though its record does not say so: %w", addr, ErrTaken)
	}
	if !p.allowed(b.pool) {
		return fmt.Errorf("%s is not in the pools that give addresses, or not in one that was asked for: %w", addr, ErrUnavailable)
	}
	if b.node != p.plan.Node {
		return p.lend(b, addr, true)
	}
	if !b.usable {
		return fmt.Errorf("%s is in block %s, which gives no new addresses: %w", addr, b.cidr, ErrUnavailable)
	}
	p.take(b, addr, true)
	return nil
}
