package fib

import (
	"net/netip"
	"time"
)

// unwanted is the number of the want that stands for not being wanted: what was
// adopted, and what is about to be deleted.
const unwanted uint32 = 1

var zeroTime time.Time

// Options are what a [FIB] may be told; the zero value is good.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Observe is called for each learned route that got into the kernel, with
	// the time since [Want.Received].
	Observe func(time.Duration)
	// MaxPerApply bounds the routes that one Apply writes, so that its caller
	// comes up for air; 0 means 8192.
	MaxPerApply int
}

// FIB is the kernel's routing table, as far as it is ours: what is wanted, what
// is there, and what is left to do. It belongs to one goroutine.
type FIB struct {
	kernel      Kernel
	now         func() time.Time
	observe     func(time.Duration)
	maxPerApply int

	table  table
	groups interned[group]
	wants  interned[want]
	fresh  []*want

	nexthops   map[netip.Addr]*nexthop
	byDevice   map[string]map[*want]struct{}
	pins       map[netip.Addr]*want // by the address that is pinned to a gateway
	asking     []*nexthop
	askNow     bool // a route waits for an answer
	lastLookup time.Time
	lookupCost time.Duration

	links     map[int]Link
	linkIndex map[string]int
	linksRead bool // links are current
	errors    int  // Applies in a row that could not ask the kernel
	notBefore time.Time

	dirty  []id // to be looked at by Apply
	doomed []id // to be deleted when nothing is left to add
	ops    []Op
	opIDs  []id
	opHow  []decision
	wrote  time.Time // when the ops of the last flush were answered
	// installed and uninstalled are the memory of the last Report's lists.
	installed, uninstalled []netip.Prefix

	failures map[id]*failure
	retryAt  time.Time // of the first failure; zero without one
	blockers map[id]uint8
	unread   []id // EEXIST without a known reason
	unreadAt time.Time
	strays   []Route // second routes of ours for one prefix, to be deleted
	kicked   time.Time
	kick     bool // the network changed: what failed may work now

	epoch  uint32 // of the last audit
	audits audits
	// forgotten are prefixes that were dropped while an audit is open.
	forgotten map[netip.Prefix]struct{}

	swept  bool // a Sweep left nothing: what nobody wants is no longer adopted
	beside bool // adopted prefixes have second routes, left for an audit

	stats Stats
}

// New returns a FIB over a kernel. Call [FIB.Adopt] before the first Apply.
func New(k Kernel, o Options) *FIB {
	f := &FIB{
		kernel: k, now: o.Now, observe: o.Observe, maxPerApply: o.MaxPerApply,
		table:  newTable(),
		groups: newInterned[group](), wants: newInterned[want](),
		nexthops: map[netip.Addr]*nexthop{}, byDevice: map[string]map[*want]struct{}{}, pins: map[netip.Addr]*want{},
		links: map[int]Link{}, linkIndex: map[string]int{},
		failures: map[id]*failure{}, blockers: map[id]uint8{},
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.observe == nil {
		f.observe = func(time.Duration) {}
	}
	if f.maxPerApply <= 0 {
		f.maxPerApply = 8192
	}
	none := &want{key: "unwanted"}
	none.index = f.wants.put(none.key, none)
	return f
}

// Set says what is wanted for w.Dst from now on; the next Apply sees to it.
// Setting what is set already costs nothing and writes nothing.
func (f *FIB) Set(w Want) {
	if !w.Dst.IsValid() {
		return
	}
	w.Dst = w.Dst.Masked()
	i, made := f.table.get(w.Dst)
	e := f.table.at(i)
	if made {
		e.since = f.now().UnixNano()
	}
	to := f.wantOf(w)
	if e.want == to.index {
		return
	}
	e.flags &^= flagAdopted
	e.received = 0
	if !w.Received.IsZero() {
		e.received = w.Received.UnixNano()
	}
	f.join(i, e, to)
	f.pin(w.Dst, to)
	if to.fresh || to.group != e.have || e.is(flagVerify) || f.failures[i] != nil {
		f.queue(i, e)
	} else if e.have != 0 {
		e.received = 0 // the new path leads the same way: there already
	}
}

// Unset says that dst is no longer wanted; the next Apply deletes its route,
// also one that was adopted.
func (f *FIB) Unset(dst netip.Prefix) {
	if !dst.IsValid() {
		return
	}
	i := f.table.find(dst.Masked())
	if i == 0 {
		return
	}
	e := f.table.at(i)
	e.flags &^= flagAdopted
	f.join(i, e, f.wants.vals[unwanted])
	f.pin(e.dst(), f.wants.vals[unwanted])
	f.queue(i, e)
}

// Sweep gives up the adopted routes that were never wanted since the start,
// except those that keep asks to be left (nil keeps none), and returns their
// number; the next Apply deletes them. Until a Sweep that leaves none, a route
// with our mark that turns up is adopted as well; from then on it is deleted at
// once. So call it also when nothing is adopted.
func (f *FIB) Sweep(keep func(Route) bool) int {
	var n, kept int
	f.routes(f.wants.vals[unwanted], func(i id, e *entry) {
		switch {
		case !e.is(flagAdopted):
		case keep != nil && keep(f.route(e.dst(), e.have)):
			kept++
		default:
			e.flags &^= flagAdopted
			f.queue(i, e)
			n++
		}
	})
	f.swept = f.swept || kept == 0
	if f.swept && f.beside {
		f.beside = false
		f.doubt()
	}
	return n
}

// Adopted calls fn for each adopted route that nobody has wanted yet.
func (f *FIB) Adopted(fn func(Route) bool) {
	more := true
	f.routes(f.wants.vals[unwanted], func(_ id, e *entry) {
		if more && e.is(flagAdopted) {
			more = fn(f.route(e.dst(), e.have))
		}
	})
}

// queue puts an entry before the next Apply.
func (f *FIB) queue(i id, e *entry) {
	if !e.is(flagDirty) {
		e.flags |= flagDirty
		f.dirty = append(f.dirty, i)
	}
}

// Due says when Apply has something to do: a time that has passed if it has
// now, the zero Time if nothing is left.
func (f *FIB) Due() time.Time {
	due := f.due()
	if !due.IsZero() && due.Before(f.notBefore) {
		return f.notBefore
	}
	return due
}

func (f *FIB) due() time.Time {
	var due time.Time
	sooner := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	if len(f.dirty)+len(f.doomed)+len(f.strays) > 0 || !f.linksRead {
		sooner(f.now())
	}
	if len(f.asking) > 0 {
		sooner(f.lookupDue())
	}
	if len(f.failures) > 0 {
		sooner(f.retryAt)
		if f.kick {
			sooner(f.kicked.Add(kickInterval))
		}
	}
	if len(f.unread) > 0 {
		sooner(f.unreadAt)
	}
	return due
}

// Len returns the number of prefixes that are wanted, or in the kernel.
func (f *FIB) Len() int { return f.table.len() }

// setHave records what the kernel has for an entry.
func (f *FIB) setHave(e *entry, g uint32) {
	if g == e.have {
		e.epoch = f.epoch
		return
	}
	f.setHaveAt(e, g, f.now())
}

// setHaveAt is setHave of a moment; asking the clock for each of many routes takes
// longer than the rest.
func (f *FIB) setHaveAt(e *entry, g uint32, at time.Time) {
	if g != e.have {
		f.count(e, -1)
		f.swap(&e.have, g)
		f.count(e, +1)
		if g == 0 {
			e.flags &^= flagVerify | flagLink
		}
		e.since = at.UnixNano()
	}
	e.epoch = f.epoch
}

func (f *FIB) count(e *entry, by int) {
	if e.have == 0 {
		return
	}
	f.stats.Installed += by
	if f.groups.vals[e.have].Kind != Unicast {
		f.stats.Discarding += by
	}
}

// forget drops an entry that is neither wanted nor in the kernel.
func (f *FIB) forget(i id, e *entry) {
	f.succeeded(i)
	delete(f.blockers, i)
	f.leave(i, e)
	if f.forgotten != nil {
		f.forgotten[e.dst()] = struct{}{}
	}
	f.table.remove(i)
}

func (f *FIB) route(dst netip.Prefix, g uint32) Route {
	if g == 0 {
		return Route{Dst: dst}
	}
	r := f.groups.vals[g].Route
	r.Dst = dst
	return r
}
