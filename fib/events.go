package fib

import (
	"net/netip"
	"slices"
)

// Limits of what an [Events] keeps before it says "everything".
const (
	maxRouteEvents   = 20_000
	maxForeignEvents = 64
)

// Events is what others did in the kernel since the last Events, as far as it
// matters here. Our own writes are not among them. When a thing happened that is
// told here, in relation to writes of ours that are done by now, is not known:
// the FIB makes sure with a write that destroys nothing.
type Events struct {
	// Lost says that notifications were dropped: everything must be read again.
	Lost bool
	// Routes are changes of routes that carry our mark, or that have our table
	// and metric and so stand in our way.
	Routes []RouteEvent
	Links  []LinkEvent
	Addrs  []AddrEvent
	// Foreign are the prefixes of foreign routes that changed; ForeignMany says
	// that there were more than are listed.
	Foreign     []netip.Prefix
	ForeignMany bool
}

// RouteEvent is a route that somebody else added, changed or deleted.
type RouteEvent struct {
	Route Route
	Gone  bool
	Own   bool // carries our mark
	// Beside says of an IPv4 route that it was put beside one of the same
	// prefix and metric (ip route append), which is still there. Any other new
	// route took the place of the old one, or there was none.
	Beside   bool
	Protocol uint8
}

// LinkEvent is a device's new state.
type LinkEvent struct {
	Link Link
	Gone bool
}

// AddrEvent is an address that a device got or lost.
type AddrEvent struct {
	Link int
	IPv4 bool
	Gone bool
}

// Empty reports whether nothing happened.
func (e *Events) Empty() bool {
	return !e.Lost && !e.ForeignMany &&
		len(e.Routes)+len(e.Links)+len(e.Addrs)+len(e.Foreign) == 0
}

// add appends what happened later.
func (e *Events) add(later Events) {
	e.Lost = e.Lost || later.Lost
	e.Routes = append(e.Routes, later.Routes...)
	e.Links = append(e.Links, later.Links...)
	e.Addrs = append(e.Addrs, later.Addrs...)
	for _, p := range later.Foreign {
		e.addForeign(p)
	}
	e.ForeignMany = e.ForeignMany || later.ForeignMany
	e.bound()
}

func (e *Events) addForeign(p netip.Prefix) {
	if e.ForeignMany {
		return
	}
	for _, q := range e.Foreign {
		if p == q {
			return
		}
	}
	if len(e.Foreign) == maxForeignEvents {
		e.Foreign, e.ForeignMany = nil, true
		return
	}
	e.Foreign = append(e.Foreign, p)
}

// bound keeps a flood from costing more memory than reading everything again.
func (e *Events) bound() {
	if len(e.Routes)+len(e.Links)+len(e.Addrs) <= maxRouteEvents {
		return
	}
	e.Lost = true
	e.Routes, e.Links, e.Addrs = nil, nil, nil
}

// Split lets two read what happens. Neither waits for the other: what one has
// not fetched yet is merged with what comes. The second is not told of Routes.
// Both channels are closed when in is.
func Split(in <-chan Events) (first, second <-chan Events) {
	a, b := make(chan Events, 1), make(chan Events, 1)
	go func() {
		defer close(a)
		defer close(b)
		for ev := range in {
			other := Events{
				Lost: ev.Lost, Links: slices.Clone(ev.Links), Addrs: slices.Clone(ev.Addrs),
				Foreign: slices.Clone(ev.Foreign), ForeignMany: ev.ForeignMany,
			}
			if !other.Empty() {
				merge(b, other)
			}
			merge(a, ev)
		}
	}()
	return a, b
}

// merge sends ev after what is unread in out. The caller is the only one that
// sends there, so the place it makes stays free.
func merge(out chan Events, ev Events) {
	select {
	case before := <-out:
		before.add(ev)
		ev = before
	default:
	}
	out <- ev
}
