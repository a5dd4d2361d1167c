package ipam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// FuzzAllocator plays what the input says on three nodes that share a store:
// assignments, releases, crashes before or after any write, failed writes,
// restarts, and changes of the configuration. After each step everything in the
// store is held against a simple model: who was told that he has what.
func FuzzAllocator(f *testing.F) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		input := make([]byte, 600)
		for i := range input {
			input[i] = byte(r.Uint32())
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		w := newWorld(t, &script{input: input[:min(len(input), 2000)]})
		for w.in.more() {
			w.step()
			w.check()
		}
		w.end()
	})
}

// script hands out an input byte by byte.
type script struct{ input []byte }

func (s *script) more() bool { return len(s.input) > 0 }

// n returns a number below limit.
func (s *script) n(limit int) int {
	if len(s.input) == 0 {
		return 0
	}
	b := s.input[0]
	s.input = s.input[1:]
	return int(b) % limit
}

// anything is for a handle that may have some of its addresses.
var anything = [2]int{-1, -1}

// world is the model: three nodes, and what each was told.
type world struct {
	t        *testing.T
	in       *script
	memory   *Memory
	clock    *clock
	cooldown time.Duration
	nodes    []*member
	freed    map[netip.Addr]time.Time
	decoded  map[string]*block // by key, as last seen
}

type member struct {
	name  string
	plan  Plan
	view  *flaky
	alloc *Allocator
	// sure is what its handles have, as far as it was told; open are those of which
	// an answer is missing, and want how many addresses they may have instead of none.
	sure map[string][]netip.Addr
	open map[string]bool
	want map[string][][2]int
}

func newWorld(t *testing.T, in *script) *world {
	w := &world{t: t, in: in, memory: NewMemory(), clock: newClock(), freed: map[netip.Addr]time.Time{}, decoded: map[string]*block{}}
	w.cooldown = []time.Duration{0, time.Minute}[in.n(2)]
	for i, name := range []string{"a", "b", "c"} {
		m := &member{name: name, sure: map[string][]netip.Addr{}, open: map[string]bool{}, want: map[string][][2]int{}}
		m.plan = Plan{
			Node: name, Mode: ModeBlocks, Cooldown: w.cooldown,
			Pools: []caracal.Pool{
				{Name: "four", CIDR: netip.MustParsePrefix("10.0.0.0/27"), BlockSize: 29},
				{Name: "more", CIDR: netip.MustParsePrefix("10.0.1.0/28"), BlockSize: 30},
				{Name: "six", CIDR: netip.MustParsePrefix("fd00::/123"), BlockSize: 126},
			},
		}
		for j := range 3 {
			own := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/30", 4*j))
			if i == j && in.n(3) == 0 {
				m.plan.Static = append(m.plan.Static, own)
			} else if i != j {
				m.plan.Others = append(m.plan.Others, own)
			}
		}
		w.nodes = append(w.nodes, m)
		w.start(m)
	}
	return w
}

// start is the start of a node's process.
func (w *world) start(m *member) {
	w.t.Logf("start %s", m.name)
	m.view = &flaky{Memory: w.memory}
	m.alloc = New(m.view, WithClock(w.clock.now), WithShared())
	m.alloc.Configure(m.plan)
}

func (w *world) step() {
	m := w.nodes[w.in.n(len(w.nodes))]
	handle := fmt.Sprintf("%s/%d", m.name, w.in.n(14))
	switch op := w.in.n(20); {
	case op < 8:
		w.assign(m, handle)
	case op < 12:
		w.release(m, handle)
	case op < 13:
		w.releaseAddr(m, handle)
	case op < 14:
		w.settle(m, m.alloc.Tidy(context.Background()))
	case op < 15:
		w.start(m)
		if w.in.n(2) == 0 { // a start that fails, too
			w.arm(m)
		}
		_, err := m.alloc.Allocations(context.Background())
		w.settle(m, err)
		w.resolve(m)
	case op < 17:
		w.arm(m)
	case op < 18:
		w.clock.advance(time.Duration(w.in.n(90)) * time.Second)
	default:
		w.configure(m)
	}
}

// arm makes one of the next writes of a node fail.
func (w *world) arm(m *member) {
	m.view.mu.Lock()
	defer m.view.mu.Unlock()
	m.view.left, m.view.after, m.view.crash = 1+w.in.n(7), w.in.n(2) == 0, w.in.n(2) == 0
}

// configure changes the plan of a node.
func (w *world) configure(m *member) {
	p := &m.plan
	p.Pools = slices.Clone(p.Pools)
	pool := &p.Pools[w.in.n(3)]
	switch w.in.n(7) {
	case 0:
		pool.Disabled = !pool.Disabled
	case 1:
		pool.BlockSize += []int{-1, 1}[w.in.n(2)]
		pool.BlockSize = max(pool.CIDR.Bits(), min(pool.BlockSize, pool.CIDR.Addr().BitLen()))
	case 2:
		p.StrictAffinity = !p.StrictAffinity
	case 3:
		p.MaxBlocks = w.in.n(3)
	case 4:
		p.Reserved = [][]netip.Prefix{nil, pfx("10.0.0.16/30"), pfx("10.0.0.17/32", "fd00::/126")}[w.in.n(3)]
	case 5:
		p.Mode = []Mode{ModeBlocks, ModeBlocks, ModePodCIDR}[w.in.n(3)]
	case 6: // its own static range comes or goes
		own := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/30", 4*slices.Index(w.nodes, m)))
		if len(p.Static) == 0 {
			p.Static = []netip.Prefix{own}
		} else {
			p.Static = nil
		}
	}
	w.t.Logf("configure %+v", *p)
	m.alloc.Configure(*p)
}

func (w *world) assign(m *member, handle string) {
	r := Request{Handle: handle, Owner: Owner{Kind: "cni", Name: handle}}
	counts := [][2]int{{1, 0}, {0, 1}, {1, 1}, {1, 1}, {2, 1}}[w.in.n(5)]
	r.V4, r.V6 = counts[0], counts[1]
	switch w.in.n(8) {
	case 0:
		r.Addrs = []netip.Addr{nthBlock(netip.MustParsePrefix("10.0.0.0/27"), 32, uint64(w.in.n(32))).Addr()}
		r.V4 = max(r.V4, 1)
	case 1:
		r.Pools = []string{"more", "six"}
	}
	had, known := m.sure[handle], !m.open[handle]
	got, err := m.alloc.Assign(context.Background(), r)
	w.t.Logf("assign %+v: %s %v", r, text(got), err)
	if err != nil {
		if len(had) > 0 && known && !m.view.stumble {
			w.t.Fatalf("%s has %s, and is refused: %v", handle, had, err)
		}
		w.refused(m, handle, r, err)
		return
	}
	var addrs []netip.Addr
	for _, g := range got {
		addrs = append(addrs, g.Addr)
		if g.Handle != handle || g.Node != m.name || g.Owner != r.Owner && g.Owner.Name != handle {
			w.t.Fatalf("assign to %s: %+v", handle, g)
		}
	}
	if known && len(had) > 0 {
		if !slices.Equal(addrs, had) {
			w.t.Fatalf("%s had %s, and got %s", handle, had, addrs)
		}
		return
	}
	if known {
		w.fresh(m, r, addrs)
	}
	delete(m.open, handle)
	delete(m.want, handle)
	m.sure[handle] = addrs
}

// fresh checks addresses that were given just now.
func (w *world) fresh(m *member, r Request, addrs []netip.Addr) {
	var count [2]int
	for _, a := range addrs {
		count[family(a)]++
		if slices.Contains(r.Addrs, a) {
			continue
		}
		if at, ok := w.freed[a]; ok && rests(at, w.clock.now(), w.cooldown) {
			w.t.Fatalf("%s was given to %s %s after its release", a, r.Handle, w.clock.now().Sub(at))
		}
		if _, ok := newRanges(m.plan.Reserved).at(a); ok {
			w.t.Fatalf("%s was given to %s, and is reserved", a, r.Handle)
		}
		pool := poolOf(m.plan.Pools, caracal.HostPrefix(a))
		if pool.Disabled || len(r.Pools) > 0 && !slices.Contains(r.Pools, pool.Name) {
			w.t.Fatalf("%s of pool %s was given to %s", a, pool.Name, r.Handle)
		}
	}
	if count != [2]int{r.V4, r.V6} {
		w.t.Fatalf("%s wanted %d and %d, and got %s", r.Handle, r.V4, r.V6, addrs)
	}
	for _, a := range r.Addrs {
		if !slices.Contains(addrs, a) {
			w.t.Fatalf("%s asked for %s, and got %s", r.Handle, a, addrs)
		}
	}
}

// refused judges an error of Assign.
func (w *world) refused(m *member, handle string, r Request, err error) {
	switch {
	case m.view.stumble:
		if len(m.sure[handle]) == 0 {
			m.open[handle] = true
			m.want[handle] = append(m.want[handle], [2]int{r.V4, r.V6})
		}
		w.settle(m, err)
	case errors.Is(err, ErrTaken):
		if _, ok := w.holders()[r.Addrs[0]]; !ok {
			w.t.Fatalf("nobody has %s: %v", r.Addrs[0], err)
		}
	case errors.Is(err, ErrExhausted):
		w.exhausted(m, r, err)
	case !errors.Is(err, ErrUnavailable):
		w.t.Fatalf("assign to %s: %v", handle, err)
	}
}

// exhausted checks that there is no address left of one of the families, if the
// node may have any that there is.
func (w *world) exhausted(m *member, r Request, err error) {
	p := m.plan
	if p.Mode != ModeBlocks || p.StrictAffinity || p.MaxBlocks > 0 || len(r.Pools)+len(r.Addrs) > 0 {
		return
	}
	for _, n := range w.nodes {
		// Others' static ranges without a block cannot be borrowed from, nor claimed
		// if the sizes of the blocks do not fit; nor is a node that did not finish.
		if len(n.plan.Static) > 0 || n.view.stumble || len(n.open) > 0 {
			return
		}
	}
	var free [2]int
	for _, pool := range p.Pools {
		for a := pool.CIDR.Addr(); pool.CIDR.Contains(a) && !pool.Disabled; a = a.Next() {
			if w.isFree(p, pool, a) {
				free[family(a)]++
			}
		}
	}
	if free[0] >= r.V4 && free[1] >= r.V6 {
		w.t.Fatalf("%d and %d addresses are free: %v", free[0], free[1], err)
	}
}

// isFree reports whether an address can be given by a block that there is, or by
// one that can be claimed: neither another node's by the configuration, nor one
// that overlaps another, since the size of blocks changes.
func (w *world) isFree(p Plan, pool caracal.Pool, a netip.Addr) bool {
	if _, ok := newRanges(p.Reserved).at(a); ok {
		return false
	}
	blocks := w.blocks()
	if i := slices.IndexFunc(blocks, func(b *block) bool { return b.cidr.Contains(a) }); i >= 0 {
		e := blocks[i].at(a)
		return e == nil || !e.inUse() && !rests(e.freed, w.clock.now(), w.cooldown)
	}
	cidr, _ := BlockOf(pool, a)
	_, others := newRanges(p.Others).overlapping(cidr)
	return !others && !slices.ContainsFunc(blocks, func(b *block) bool { return b.cidr.Overlaps(cidr) })
}

func (w *world) release(m *member, handle string) {
	had, known := m.sure[handle], !m.open[handle]
	got, err := m.alloc.Release(context.Background(), handle)
	w.t.Logf("release %s: %s %v", handle, got, err)
	for _, a := range had {
		w.freed[a] = w.clock.now()
	}
	if err != nil {
		if !m.view.stumble {
			w.t.Fatalf("release %s: %v", handle, err)
		}
		if len(had) > 0 || !known {
			m.open[handle] = true
			m.want[handle] = append(m.want[handle], anything)
			delete(m.sure, handle)
		}
		w.settle(m, err)
		return
	}
	for _, a := range got {
		w.freed[a] = w.clock.now()
	}
	if known && !slices.Equal(got, had) {
		w.t.Fatalf("%s had %s, and released %s", handle, had, got)
	}
	delete(m.sure, handle)
	delete(m.open, handle)
	delete(m.want, handle)
}

func (w *world) releaseAddr(m *member, handle string) {
	had := m.sure[handle]
	if len(had) == 0 {
		return
	}
	a := had[w.in.n(len(had))]
	was, err := m.alloc.ReleaseAddr(context.Background(), a)
	w.t.Logf("release address %s: %v", a, err)
	w.freed[a] = w.clock.now()
	if err != nil {
		if !m.view.stumble {
			w.t.Fatalf("release %s of %s: %v", a, handle, err)
		}
		m.open[handle] = true
		m.want[handle] = append(m.want[handle], anything)
		delete(m.sure, handle)
		w.settle(m, err)
		return
	}
	if was.Handle != handle || was.Addr != a {
		w.t.Fatalf("released %s of %s: %+v", a, handle, was)
	}
	rest := slices.DeleteFunc(slices.Clone(had), func(o netip.Addr) bool { return o == a })
	if m.sure[handle] = rest; len(rest) == 0 {
		delete(m.sure, handle)
	}
}

// settle is after a step that may have failed: if it crashed, the node starts
// anew.
func (w *world) settle(m *member, err error) {
	if err == nil {
		return
	}
	if !m.view.stumble {
		w.t.Fatalf("node %s: %v", m.name, err)
	}
	if m.view.isDead() && w.in.n(4) > 0 {
		w.start(m)
	}
	w.resolve(m)
}

// resolve asks a node what became of what it was not told.
func (w *world) resolve(m *member) {
	if m.view.isDead() {
		return
	}
	m.view.mu.Lock()
	m.view.stumble, m.view.left = false, 0
	m.view.mu.Unlock()
	w.t.Logf("resolve %s: %v", m.name, m.open)
	if err := m.alloc.Tidy(context.Background()); err != nil {
		w.t.Fatalf("node %s: %v", m.name, err)
	}
	has := w.allocations(m)
	for handle := range m.open {
		addrs, want := has[handle], m.want[handle]
		var count [2]int
		for _, a := range addrs {
			count[family(a)]++
		}
		if len(addrs) > 0 && !slices.Contains(want, count) && !slices.Contains(want, anything) {
			w.t.Fatalf("%s was to have %v, and has %s", handle, want, addrs)
		}
		delete(m.want, handle)
		if delete(m.open, handle); len(addrs) > 0 {
			m.sure[handle] = addrs
		}
	}
}

func (w *world) allocations(m *member) map[string][]netip.Addr {
	all, err := m.alloc.Allocations(context.Background())
	if err != nil {
		w.t.Fatalf("node %s: %v", m.name, err)
	}
	has := map[string][]netip.Addr{}
	for _, a := range all {
		has[a.Handle] = append(has[a.Handle], a.Addr)
	}
	return has
}
