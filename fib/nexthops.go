package fib

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// nexthop is an address that routes lead to, with the kernel's answer for it.
type nexthop struct {
	addr   netip.Addr
	wants  map[*want]struct{}
	answer Answer
	known  bool // answer is set
	asked  bool // in FIB.asking
	// outer says that tunnels lead to it: a route of ours may be the way there.
	outer bool
}

// depend registers a want with the next hops and the devices it resolves
// through.
func (f *FIB) depend(w *want) {
	for _, a := range w.NextHops {
		if a.Is6() && a.IsLinkLocalUnicast() {
			w.links = append(w.links, a.Zone())
			continue
		}
		n := f.nexthops[a]
		if n == nil {
			n = &nexthop{addr: a, wants: map[*want]struct{}{}}
			f.nexthops[a] = n
			f.ask(n)
			f.askNow = true
		}
		n.wants[w] = struct{}{}
		n.outer = n.outer || w.Tunnel != ""
		w.nhs = append(w.nhs, n)
	}
	for _, name := range []string{w.Link, w.Tunnel} {
		if name != "" {
			w.links = append(w.links, name)
		}
	}
	for _, name := range w.links {
		if f.byDevice[name] == nil {
			f.byDevice[name] = map[*want]struct{}{}
		}
		f.byDevice[name][w] = struct{}{}
	}
}

func (f *FIB) undepend(w *want) {
	for _, n := range w.nhs {
		if delete(n.wants, w); len(n.wants) == 0 {
			delete(f.nexthops, n.addr)
		}
	}
	for _, name := range w.links {
		if delete(f.byDevice[name], w); len(f.byDevice[name]) == 0 {
			delete(f.byDevice, name)
		}
	}
}

// ask queues a next hop to be looked up at the next Apply that may.
func (f *FIB) ask(n *nexthop) {
	if !n.asked {
		n.asked = true
		f.asking = append(f.asking, n)
	}
}

// wroteTo asks again for the far end of tunnels, to which a route of ours was
// written or deleted. Of our own writes the kernel tells nothing. Those to whole
// networks wait for the next audit: to look for each among the next hops would
// cost more than it is worth.
func (f *FIB) wroteTo(dst netip.Prefix) {
	if !dst.IsSingleIP() {
		return
	}
	if n := f.nexthops[dst.Addr()]; n != nil && n.outer {
		f.ask(n)
	}
}

func (f *FIB) askAll() {
	for _, n := range f.nexthops {
		f.ask(n)
	}
}

// NextHop implements [View].
func (f *FIB) NextHop(a netip.Addr) (Answer, bool) {
	if w := f.pins[a]; w != nil {
		return f.pinned(a, w)
	}
	return f.asked(a)
}

// asked is what the kernel said of an address.
func (f *FIB) asked(a netip.Addr) (Answer, bool) {
	if n := f.nexthops[a]; n != nil && n.known {
		return n.answer, true
	}
	return Answer{}, false
}

// LinkByName implements [View].
func (f *FIB) LinkByName(name string) (Link, bool) {
	l, ok := f.links[f.linkIndex[name]]
	return l, ok
}

// LinkByIndex implements [View].
func (f *FIB) LinkByIndex(i int) (Link, bool) {
	l, ok := f.links[i]
	return l, ok
}

// lookupDue says when the queued next hops may be looked up: at once if it is
// the first time in a while or a route waits for an answer, else a little after
// the last time, so that a storm of foreign routes costs a look each 50 ms. A
// round that had to read whole tables waits ten times as long as it took.
func (f *FIB) lookupDue() time.Time {
	if f.askNow {
		return f.lastLookup
	}
	return f.lastLookup.Add(max(lookupInterval, 10*f.lookupCost))
}

const lookupInterval = 50 * time.Millisecond

// lookUp asks the kernel for the queued next hops and resolves anew what
// depends on an answer that changed.
func (f *FIB) lookUp(ctx context.Context) error {
	if len(f.asking) == 0 || f.lookupDue().After(f.now()) {
		return nil
	}
	asking := f.asking
	addrs := make([]netip.Addr, len(asking))
	for i, n := range asking {
		addrs[i] = n.addr
	}
	start := f.now()
	answers, err := f.kernel.Lookup(ctx, addrs)
	if err == nil {
		err = f.lookPast(ctx, addrs, answers)
	}
	f.lastLookup, f.askNow, f.lookupCost = f.now(), false, f.now().Sub(start)
	if err != nil {
		return fmt.Errorf("look up %d next hops: %w", len(addrs), err)
	}
	f.asking = nil
	f.stats.Lookups += uint64(len(addrs))
	changed := map[*want]struct{}{}
	for i, n := range asking {
		n.asked = false
		if n.known && equalAnswers(n.answer, answers[i]) {
			continue
		}
		n.answer, n.known = answers[i], true
		for w := range n.wants {
			changed[w] = struct{}{}
		}
	}
	f.resolveAgain(changed)
	return nil
}

// lookPast replaces answers that are routes of our own by the best foreign
// route behind them. The kernel cannot be asked that, so the tables are read,
// once for all such next hops and without keeping what does not match.
func (f *FIB) lookPast(ctx context.Context, addrs []netip.Addr, answers []Answer) error {
	var own []int
	for i := range answers {
		// Of an unreachable IPv4 route the kernel tells the errno, and not
		// whose it is.
		if a := &answers[i]; a.Own || a.Err == syscall.EHOSTUNREACH {
			a.Own = true
			own = append(own, i)
		}
	}
	if len(own) == 0 {
		return nil
	}
	metric := make([]uint32, len(answers))
	tables := []int{mainTable}
	if t := f.kernel.Mark().Table; t != mainTable {
		tables = append(tables, t)
	}
	for _, table := range tables {
		_, err := f.kernel.Dump(ctx, Filter{Table: table}, func(r Read) {
			for _, i := range own {
				best := &answers[i]
				if !r.Dst.Contains(addrs[i]) || len(r.Hops) == 0 && r.Kind == Unicast {
					continue
				}
				longer := best.Own || r.Dst.Bits() > best.Dst.Bits()
				if longer || r.Dst.Bits() == best.Dst.Bits() && r.Metric < metric[i] {
					*best = Answer{Type: r.Type, Dst: r.Dst, Hops: slices.Clone(r.Hops)}
					metric[i] = r.Metric
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const mainTable = 254 // RT_TABLE_MAIN

func equalAnswers(a, b Answer) bool {
	return a.Err == b.Err && a.Type == b.Type && a.Own == b.Own && a.Dst == b.Dst &&
		slices.EqualFunc(a.Hops, b.Hops, func(x, y Hop) bool {
			return compareHops(x, y) == 0 && x.OnLink == y.OnLink
		})
}

// resolveFresh resolves the wants that are new since the last Apply.
func (f *FIB) resolveFresh() {
	for _, w := range f.fresh {
		if w.fresh && w.index != 0 {
			f.resolve(w)
		}
	}
	f.fresh = f.fresh[:0]
}

func (f *FIB) resolveAgain(ws map[*want]struct{}) {
	for w := range ws {
		if w.index != 0 {
			f.resolve(w)
		}
	}
}

// resolve brings a want up to date and queues its routes if that changed it.
func (f *FIB) resolve(w *want) {
	w.fresh = false
	view := View(f)
	if w.Kind == Pinned {
		view = unpinned{f}
	}
	r, reason := Resolve(w.Want, view)
	worded := reason != w.reason
	if worded {
		w.reason, w.since = reason, f.now().UnixNano()
	}
	var g uint32
	if reason == "" {
		g = f.groupOf(r)
	}
	if g != w.group {
		f.swap(&w.group, g)
		f.routes(w, f.queue)
	} else if !worded {
		return
	}
	if w.Kind == Pinned {
		f.routes(w, func(_ id, e *entry) { f.resolveThrough(e.dst().Addr()) })
	}
}
