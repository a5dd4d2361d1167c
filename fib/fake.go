package fib

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Fake is a [Kernel] in memory that behaves like the real one where that
// matters: routes of one prefix are told apart by metric, replacing does not
// ask whose a route is, a device that goes down takes its routes along (those of
// IPv4 without a word), and a gateway must be on a connected network. Tests of
// other rooms use it too, so unlike the rest of the package it has a lock.
type Fake struct {
	mu     sync.Mutex
	mark   Mark
	links  map[int]*fakeLink
	last   int // index given out last
	routes map[fakeKey]*fakeRoute
	events Events
	bell   chan struct{}
	lose   bool
	refuse func(Op) syscall.Errno
	broken error
	writes int
}

type fakeLink struct {
	Link
	addrs []netip.Prefix
}

type fakeKey struct {
	dst    netip.Prefix
	metric uint32
}

type fakeRoute struct {
	Route
	protocol uint8
}

// NewFake returns an empty machine without devices.
func NewFake(m Mark) *Fake {
	return &Fake{
		mark: m, links: map[int]*fakeLink{}, routes: map[fakeKey]*fakeRoute{},
		bell: make(chan struct{}, 1),
	}
}

// Mark implements [Kernel].
func (k *Fake) Mark() Mark { return k.mark }

// Write implements [Kernel].
func (k *Fake) Write(ctx context.Context, ops []Op) ([]Failure, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := cmp.Or(ctx.Err(), k.broken); err != nil {
		return nil, err
	}
	var failed []Failure
	for i, op := range ops {
		k.writes++
		errno := syscall.Errno(0)
		if k.refuse != nil {
			errno = k.refuse(op)
		}
		if errno == 0 {
			errno = k.write(op)
		}
		if errno != 0 {
			failed = append(failed, Failure{Index: i, Errno: errno})
		}
	}
	return failed, nil
}

func (k *Fake) write(op Op) syscall.Errno {
	key := fakeKey{op.Route.Dst, k.mark.Metric}
	was := k.routes[key]
	if op.Verb == Delete {
		if was == nil || was.protocol != k.mark.Protocol {
			return syscall.ESRCH
		}
		delete(k.routes, key)
		return 0
	}
	if op.Verb == Create && was != nil {
		return syscall.EEXIST
	}
	if errno := k.check(op.Route); errno != 0 {
		return errno
	}
	r := op.Route
	r.Hops = slices.Clone(r.Hops)
	k.routes[key] = &fakeRoute{r, k.mark.Protocol}
	return 0
}

// check is the kernel's own look at the hops of a new route.
func (k *Fake) check(r Route) syscall.Errno {
	if r.Kind != Unicast {
		return 0
	}
	for _, h := range r.Hops {
		l := k.links[h.Link]
		switch {
		case l == nil:
			return syscall.ENODEV
		case !l.Up:
			return syscall.ENETDOWN
		case h.Gateway.IsValid() && !h.OnLink && !h.Gateway.IsLinkLocalUnicast() && !l.connects(h.Gateway):
			return syscall.ENETUNREACH
		}
	}
	return 0
}

func (l *fakeLink) connects(a netip.Addr) bool {
	return slices.ContainsFunc(l.addrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Dump implements [Kernel].
func (k *Fake) Dump(ctx context.Context, filter Filter, fn func(Read)) (bool, error) {
	k.mu.Lock()
	if err := cmp.Or(ctx.Err(), k.broken); err != nil {
		k.mu.Unlock()
		return false, err
	}
	var reads []Read
	for key, r := range k.routes {
		if k.own(key, r) == filter.Own && (filter.Own || filter.Table == k.mark.Table) {
			reads = append(reads, Read{Route: r.Route, Protocol: r.protocol, Metric: key.metric, Type: typeOf(r.Kind)})
		}
	}
	if !filter.Own && filter.Table == k.mark.Table {
		reads = append(reads, k.connected()...)
	}
	k.mu.Unlock()
	for _, r := range reads {
		r.Hops = slices.Clone(r.Hops)
		fn(r)
	}
	return true, nil
}

func typeOf(k Kind) uint8 {
	switch k {
	case Blackhole:
		return typeBlackhole
	case Unreachable:
		return typeUnreachable
	}
	return typeUnicast
}

func (k *Fake) own(key fakeKey, r *fakeRoute) bool {
	return r.protocol == k.mark.Protocol && key.metric == k.mark.Metric
}

// connected are the routes that come with the addresses.
func (k *Fake) connected() []Read {
	var reads []Read
	for _, l := range k.links {
		for _, p := range l.addrs {
			if l.Up {
				reads = append(reads, Read{
					Route:    Route{Dst: p.Masked(), Kind: Unicast, Hops: []Hop{{Link: l.Index}}},
					Protocol: 2, Type: typeUnicast,
				})
			}
		}
	}
	return reads
}

// Lookup implements [Kernel].
func (k *Fake) Lookup(ctx context.Context, addrs []netip.Addr) ([]Answer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := cmp.Or(ctx.Err(), k.broken); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(addrs))
	for i, a := range addrs {
		answers[i] = k.lookup(a)
	}
	return answers, nil
}

func (k *Fake) lookup(a netip.Addr) Answer {
	best, metric := Answer{Err: syscall.ENETUNREACH}, uint32(0)
	better := func(dst netip.Prefix, m uint32) bool {
		return dst.Contains(a) && (best.Err != nil || dst.Bits() > best.Dst.Bits() ||
			dst.Bits() == best.Dst.Bits() && m < metric)
	}
	for _, r := range k.connected() {
		if better(r.Dst, 0) {
			best, metric = Answer{Type: typeUnicast, Dst: r.Dst, Hops: r.Hops}, 0
		}
	}
	for key, r := range k.routes {
		if better(key.dst, key.metric) {
			best = Answer{Type: typeOf(r.Kind), Own: k.own(key, r), Dst: key.dst, Hops: slices.Clone(r.Hops)}
			metric = key.metric
		}
	}
	for _, l := range k.links {
		for _, p := range l.addrs {
			if p.Addr() == a {
				return Answer{Type: typeLocal, Dst: netip.PrefixFrom(a, a.BitLen()), Hops: []Hop{{Link: l.Index}}}
			}
		}
	}
	return best
}

// Links implements [Kernel].
func (k *Fake) Links(ctx context.Context) ([]Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := cmp.Or(ctx.Err(), k.broken); err != nil {
		return nil, err
	}
	var links []Link
	for _, i := range slices.Sorted(maps.Keys(k.links)) {
		links = append(links, k.links[i].Link)
	}
	return links, nil
}

// Watch tells what happens, as [Netlink.Watch] does.
func (k *Fake) Watch(ctx context.Context) (<-chan Events, error) {
	out := make(chan Events)
	go func() {
		defer close(out)
		for {
			select {
			case <-k.bell:
			case <-ctx.Done():
				return
			}
			if ev := k.Events(); !ev.Empty() {
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// Events returns what happened since the last call, for tests without Watch.
func (k *Fake) Events() Events {
	k.mu.Lock()
	defer k.mu.Unlock()
	ev := k.events
	k.events = Events{}
	return ev
}

// note tells of an event, or loses it.
func (k *Fake) note(ev Events) {
	if k.lose {
		ev = Events{Lost: true}
	}
	k.events.add(ev)
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

// String lists our routes as `ip route` would, sorted, one a line.
func (k *Fake) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for key, r := range k.routes {
		if k.own(key, r) {
			named := r.Route
			named.Hops = slices.Clone(r.Hops)
			for i, h := range named.Hops {
				if l := k.links[h.Link]; l != nil {
					named.Hops[i].Device = l.Name
				}
			}
			lines = append(lines, named.String())
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
