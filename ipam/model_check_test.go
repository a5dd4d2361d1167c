package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// blocks reads the blocks in the store, decoding those that changed.
func (w *world) blocks() []*block {
	records, damaged, _ := w.memory.List(context.Background(), blockKeys)
	if len(damaged) > 0 {
		w.t.Fatalf("damaged: %v", damaged)
	}
	var out []*block
	for _, r := range records {
		b := w.decoded[r.Key]
		if b == nil || b.revision != r.Revision {
			var err error
			if b, err = decodeBlock(r); err != nil {
				w.t.Fatalf("block %s: %v\n%s", r.Key, err, r.Value)
			}
			w.decoded[r.Key] = b
		}
		out = append(out, b)
	}
	return out
}

// holders reads who has what from the store.
func (w *world) holders() map[netip.Addr]*entry {
	held := map[netip.Addr]*entry{}
	for _, b := range w.blocks() {
		for _, e := range b.entries {
			if e.inUse() {
				held[e.addr] = e
			}
		}
	}
	return held
}

// check holds the store against the model.
func (w *world) check() {
	held := w.holders()
	for a, e := range held {
		m := w.nodes[e.node[0]-'a']
		if !slices.Contains(m.sure[e.handle], a) && !m.open[e.handle] && !m.view.stumble {
			w.t.Fatalf("the store says that %s has %s, which it was not told; it has %s", e.handle, a, m.sure[e.handle])
		}
	}
	w.checkBlocks()
	loans, _, _ := ListBorrowed(context.Background(), w.memory)
	for _, m := range w.nodes {
		for handle, addrs := range m.sure {
			for _, a := range addrs {
				e := held[a]
				if e == nil || e.handle != handle || e.node != m.name {
					w.t.Fatalf("%s has %s, and the store says %+v", handle, a, e)
				}
				lent := slices.ContainsFunc(loans, func(l Borrowed) bool { return l.Addr == a && l.Node == m.name && l.Certain })
				if e.block.node != m.name && !lent {
					w.t.Fatalf("%s has %s of node %s, and it is not on the list of borrowed ones: %v", handle, a, e.block.node, loans)
				}
			}
		}
		if m.view.stumble || len(m.open) > 0 || m.view.left > 0 {
			continue
		}
		has := w.allocations(m)
		if len(has) != len(m.sure) {
			w.t.Fatalf("node %s says %v; it was told %v", m.name, has, m.sure)
		}
		for handle, addrs := range m.sure {
			if !slices.Equal(has[handle], addrs) {
				w.t.Fatalf("node %s says that %s has %s; it was told %s", m.name, handle, has[handle], addrs)
			}
		}
	}
}

// checkBlocks: no two overlap, and each is known as its node's.
func (w *world) checkBlocks() {
	affinities, _, _ := Affinities(context.Background(), w.memory)
	var blocks []*block
	for _, b := range w.blocks() {
		for _, o := range blocks {
			if o.cidr.Overlaps(b.cidr) {
				w.t.Fatalf("blocks %s of %s and %s of %s overlap", o.cidr, o.node, b.cidr, b.node)
			}
		}
		blocks = append(blocks, b)
		i := slices.IndexFunc(affinities, func(f BlockAffinity) bool { return f.Node == b.node && f.CIDR == b.cidr })
		if i < 0 {
			w.t.Fatalf("block %s of %s has no affinity: %v", b.cidr, b.node, affinities)
		}
		m := w.nodes[b.node[0]-'a']
		used := slices.ContainsFunc(b.entries, func(e *entry) bool {
			return e.inUse() && e.node == b.node && slices.Contains(m.sure[e.handle], e.addr)
		})
		if s := affinities[i].State; used && s != AffinityConfirmed && s != AffinityStatic {
			w.t.Fatalf("block %s of %s is in use, and its affinity %s", b.cidr, b.node, s)
		}
	}
}

// end releases everything, and wants everything to be there again.
func (w *world) end() {
	for round := range 2 {
		for _, m := range w.nodes {
			m.plan.StrictAffinity, m.plan.MaxBlocks, m.plan.Reserved, m.plan.Mode = false, 0, nil, ModeBlocks
			m.plan.Static, m.plan.Others, m.plan.Pools = nil, nil, slices.Clone(m.plan.Pools)
			for i, size := range []int{29, 30, 126} {
				m.plan.Pools[i].Disabled, m.plan.Pools[i].BlockSize = false, size
			}
			w.start(m)
			w.resolve(m)
			for handle := range w.allocations(m) {
				w.release(m, handle)
			}
			w.check()
		}
		if round == 0 {
			w.clock.advance(w.cooldown)
		}
	}
	for _, m := range w.nodes {
		if err := m.alloc.Tidy(context.Background()); err != nil {
			w.t.Fatal(err)
		}
	}
	if loans, _, _ := ListBorrowed(context.Background(), w.memory); len(loans) > 0 {
		w.t.Fatalf("still borrowed: %v", loans)
	}
	affinities, _, _ := Affinities(context.Background(), w.memory)
	if len(affinities) > 6 {
		w.t.Fatalf("more than one block of each family is kept: %v", affinities)
	}
	m := w.nodes[0]
	n := 0
	for ; ; n++ {
		if _, err := m.alloc.Assign(context.Background(), Request{Handle: fmt.Sprintf("a/all%d", n), V4: 1}); err != nil {
			break
		}
	}
	// What is left of odd sizes of blocks may be too small for a new one.
	if n < 48-3*8 {
		w.t.Fatalf("only %d of 48 addresses can be given at the end: %v", n, affinities)
	}
}
