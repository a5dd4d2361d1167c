package fib

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// Notify takes in what happened in the kernel. It asks the kernel nothing and
// writes nothing: what needs it is queued for the next Apply.
func (f *FIB) Notify(ev Events) {
	if ev.Lost {
		f.stats.Lost++
		f.linksRead = false
		f.doubt()
		f.askAll()
	}
	for _, l := range ev.Links {
		f.linkChanged(l)
	}
	for _, a := range ev.Addrs {
		f.addrChanged(a)
	}
	for i := range ev.Routes {
		f.routeChanged(&ev.Routes[i])
	}
	f.foreignChanged(ev.Foreign, ev.ForeignMany)
	if len(ev.Links)+len(ev.Addrs)+len(ev.Foreign) > 0 || ev.ForeignMany || ev.Lost {
		f.kick = true
	}
}

// foreignChanged asks again for the next hops that the changed routes cover.
func (f *FIB) foreignChanged(ps []netip.Prefix, many bool) {
	if len(ps) == 0 && !many {
		return
	}
	for a, n := range f.nexthops {
		if many || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) }) {
			f.ask(n)
		}
	}
}

// routeChanged takes in what somebody else did to a route of ours, or in its
// place. It may have happened before our last write to that prefix, which undid
// it; so what is done about it is a write that is harmless then.
func (f *FIB) routeChanged(ev *RouteEvent) {
	if !ev.Route.Dst.IsValid() {
		return
	}
	i := f.table.find(ev.Route.Dst)
	if i == 0 {
		if ev.Own && !ev.Gone {
			f.stray(ev.Route)
		}
		return
	}
	e := f.table.at(i)
	switch {
	case !ev.Own && ev.Gone:
		e.flags &^= flagForeign
		delete(f.blockers, i)
		f.queue(i, e)
	case !ev.Own:
		f.blocked(i, e, ev)
	case ev.Gone:
		f.ownGone(i, e, ev)
	default:
		f.ownChanged(i, e, ev)
	}
}

// stray takes up a route with our mark that we did not make, and reports whether
// it is to be deleted: before the sweep it may be one that [FIB.Adopt] did not
// see, or that the process before us wrote last, and is adopted.
func (f *FIB) stray(r Route) bool {
	i, _ := f.table.get(r.Dst)
	e := f.table.at(i)
	f.join(i, e, f.wants.vals[unwanted])
	f.setHave(e, f.groupOf(r))
	if !f.swept {
		e.flags |= flagAdopted
		return false
	}
	f.stats.Drift[CauseStray]++
	f.queue(i, e)
	return true
}

// second takes up a second route with our mark for one prefix, and reports
// whether it is to be deleted: one beside a route that is only adopted waits
// with it for the sweep.
func (f *FIB) second(e *entry, r Route) bool {
	if e.is(flagAdopted) {
		f.beside = true
		return false
	}
	f.strays = append(f.strays, r)
	f.stats.Drift[CauseStray]++
	return true
}

// blocked takes in a foreign route of our prefix and metric.
func (f *FIB) blocked(i id, e *entry, ev *RouteEvent) {
	e.flags |= flagForeign
	f.blockers[i] = ev.Protocol
	if !ev.Beside && e.have != 0 {
		f.stats.Drift[CauseChanged]++
		f.setHave(e, 0)
	}
	f.queue(i, e)
}

func (f *FIB) ownGone(i id, e *entry, ev *RouteEvent) {
	if e.have == 0 {
		return
	}
	g := f.groups.vals[e.have]
	if !e.is(flagIPv4) && g.Kind == Unicast && ev.Route.Kind == Unicast {
		// Of an IPv6 multipath route a single hop can go.
		hops := slices.DeleteFunc(slices.Clone(g.Hops), func(h Hop) bool {
			return slices.ContainsFunc(ev.Route.Hops, func(x Hop) bool { return compareHops(h, x) == 0 })
		})
		if len(hops) > 0 {
			f.stats.Drift[CauseChanged]++
			f.setHave(e, f.groupOf(Route{Kind: Unicast, Hops: hops}))
			f.queue(i, e)
			return
		}
	}
	if e.want == unwanted {
		f.setHave(e, 0) // we do not write it, so it cannot be back
		f.queue(i, e)
		return
	}
	f.maybeGone(i, e, f.linkDown(g))
}

// maybeGone takes in that a route has left the kernel, unless a later write of
// ours put it back. One that is only adopted is looked after once it is wanted.
func (f *FIB) maybeGone(i id, e *entry, withLink bool) {
	if e.flags |= flagVerify; withLink {
		e.flags |= flagLink
	}
	if e.want != unwanted {
		f.queue(i, e)
	}
}

func (f *FIB) linkDown(g *group) bool {
	return slices.ContainsFunc(g.Hops, func(h Hop) bool {
		l, ok := f.links[h.Link]
		return !ok || !l.Up
	})
}

func (f *FIB) ownChanged(i id, e *entry, ev *RouteEvent) {
	g := f.groupOf(ev.Route)
	f.hold(g, 1)
	defer f.hold(g, -1)
	switch {
	case g == e.have:
		return
	case ev.Beside && e.have != 0:
		f.second(e, ev.Route)
		return
	}
	f.stats.Drift[CauseChanged]++
	f.setHave(e, g)
	f.queue(i, e)
}

// pushStrays deletes second routes for one prefix, naming their hops so that
// the first is not hit.
func (f *FIB) pushStrays() {
	n := min(len(f.strays), batch)
	for _, r := range f.strays[:n] {
		f.push(0, remove, Op{Verb: Delete, Route: r})
	}
	f.strays = slices.Delete(f.strays, 0, n)
}

// readLinks reads the devices again, if they may have changed unseen.
func (f *FIB) readLinks(ctx context.Context) error {
	if f.linksRead {
		return nil
	}
	links, err := f.kernel.Links(ctx)
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	seen := map[int]bool{}
	for _, l := range links {
		seen[l.Index] = true
		if f.links[l.Index] != l {
			f.linkChanged(LinkEvent{Link: l})
		}
	}
	for i, l := range f.links {
		if !seen[i] {
			f.linkChanged(LinkEvent{Link: l, Gone: true})
		}
	}
	f.linksRead = true
	return nil
}

// linkChanged takes in a device's new state. When one goes down the kernel
// drops its routes, those of IPv4 without a word.
func (f *FIB) linkChanged(ev LinkEvent) {
	l := ev.Link
	old, known := f.links[l.Index]
	if known && !ev.Gone && old == l {
		return
	}
	if known && f.linkIndex[old.Name] == l.Index {
		delete(f.linkIndex, old.Name)
	}
	if ev.Gone {
		delete(f.links, l.Index)
	} else {
		f.links[l.Index] = l
		f.linkIndex[l.Name] = l.Index
	}
	if known && old.Up && (ev.Gone || !l.Up) {
		f.routesVia(l.Index, f.dropped)
	}
	f.resolveVia(l.Index, old.Name, l.Name)
}

// dropped takes in that the kernel dropped a route with its link, or one hop of
// it, of which is not known what the kernel made.
func (f *FIB) dropped(i id, e *entry, all bool) {
	if !all {
		f.maybeGone(i, e, true)
		return
	}
	f.stats.Drift[CauseLink]++
	f.setHave(e, 0)
	f.queue(i, e)
}

// addrChanged takes in an address. With a device's last IPv4 address the kernel
// drops its IPv4 routes without a word.
func (f *FIB) addrChanged(ev AddrEvent) {
	if ev.Gone && ev.IPv4 {
		f.routesVia(ev.Link, func(i id, e *entry, _ bool) {
			if e.is(flagIPv4) {
				f.maybeGone(i, e, true)
			}
		})
	}
	f.resolveVia(ev.Link)
}

// routesVia calls fn for the entries that the kernel has a route of over a
// link, and says whether all its hops are on that link. An entry is found by
// what its want resolves to, or in the queue if that is not written yet.
func (f *FIB) routesVia(link int, fn func(i id, e *entry, all bool)) {
	visit := func(i id, e *entry) {
		if e.have == 0 {
			return
		}
		if some, all := f.groups.vals[e.have].via(link); some {
			fn(i, e, all)
		}
	}
	for n, w := range f.wants.vals {
		switch {
		case w == nil:
		case uint32(n) == unwanted:
			f.routes(w, visit)
		case w.group != 0:
			if some, _ := f.groups.vals[w.group].via(link); some {
				f.routes(w, visit)
			}
		}
	}
	for _, queue := range [][]id{f.dirty, f.doomed} {
		for _, i := range queue {
			visit(i, f.table.at(i))
		}
	}
}

// resolveVia resolves again what depends on a link, and asks again for the next
// hops that are reached over it or not at all.
func (f *FIB) resolveVia(link int, names ...string) {
	ws := map[*want]struct{}{}
	for _, name := range names {
		for w := range f.byDevice[name] {
			ws[w] = struct{}{}
		}
	}
	for _, n := range f.nexthops {
		via := slices.ContainsFunc(n.answer.Hops, func(h Hop) bool { return h.Link == link })
		if via || n.known && refusal(n.answer) != "" {
			f.ask(n)
		}
		if via {
			for w := range n.wants {
				ws[w] = struct{}{}
			}
		}
	}
	f.resolveAgain(ws)
}
