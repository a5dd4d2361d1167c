package fib

import (
	"net/netip"
	"slices"
	"syscall"
)

// What follows is what happens to a machine: an operator, another program, or
// hardware at work on a Fake.

// AddLink makes a device, up and with carrier, with addresses ("10.0.0.1/24"),
// and returns its index. A name that was there before gets a new index.
func (k *Fake) AddLink(name string, addrs ...string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	l := &fakeLink{Link: Link{Index: k.last, Name: name, Up: true, Carrier: true}}
	k.links[l.Index] = l
	k.note(Events{Links: []LinkEvent{{Link: l.Link}}})
	for _, a := range addrs {
		k.addAddr(l, netip.MustParsePrefix(a))
	}
	return l.Index
}

// DeleteLink takes a device away, with its addresses and routes.
func (k *Fake) DeleteLink(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.byName(name); l != nil {
		l.Up = false
		k.dropDown()
		delete(k.links, l.Index)
		k.note(Events{Links: []LinkEvent{{Link: l.Link, Gone: true}}})
	}
}

// SetLink sets a device up or down, and its carrier.
func (k *Fake) SetLink(name string, up, carrier bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.byName(name)
	if l == nil {
		return
	}
	was := l.Up
	l.Up, l.Carrier = up, up && carrier
	if was && !up {
		k.dropDown()
	}
	ev := Events{Links: []LinkEvent{{Link: l.Link}}}
	if up && !was {
		for _, p := range l.addrs {
			ev.addForeign(p.Masked())
		}
	}
	k.note(ev)
}

// AddAddr gives a device an address.
func (k *Fake) AddAddr(name, addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.byName(name); l != nil {
		k.addAddr(l, netip.MustParsePrefix(addr))
	}
}

func (k *Fake) addAddr(l *fakeLink, p netip.Prefix) {
	l.addrs = append(l.addrs, p)
	ev := Events{Addrs: []AddrEvent{{Link: l.Index, IPv4: p.Addr().Is4()}}}
	ev.addForeign(p.Masked())
	k.note(ev)
}

// DeleteAddr takes an address from a device. With its last IPv4 address go its
// IPv4 routes, without a word.
func (k *Fake) DeleteAddr(name, addr string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, p := k.byName(name), netip.MustParsePrefix(addr)
	if l == nil {
		return
	}
	l.addrs = slices.DeleteFunc(l.addrs, func(q netip.Prefix) bool { return p == q })
	is4 := func(q netip.Prefix) bool { return q.Addr().Is4() }
	if is4(p) && !slices.ContainsFunc(l.addrs, is4) {
		for key, r := range k.routes {
			if is4(key.dst) && r.onlyVia(func(i int) bool { return i == l.Index }) {
				delete(k.routes, key)
			}
		}
	}
	ev := Events{Addrs: []AddrEvent{{Link: l.Index, IPv4: is4(p), Gone: true}}}
	ev.addForeign(p.Masked())
	k.note(ev)
}

// dropDown drops the routes whose links are all down now.
func (k *Fake) dropDown() {
	down := func(i int) bool { d := k.links[i]; return d == nil || !d.Up }
	for key, r := range k.routes {
		if !r.onlyVia(down) {
			continue
		}
		delete(k.routes, key)
		if key.dst.Addr().Is6() {
			k.tell(key, r, true)
		}
	}
}

func (r *fakeRoute) onlyVia(link func(int) bool) bool {
	return len(r.Hops) > 0 && !slices.ContainsFunc(r.Hops, func(h Hop) bool { return !link(h.Link) })
}

// tell notes what somebody else did to a route.
func (k *Fake) tell(key fakeKey, r *fakeRoute, gone bool) {
	var ev Events
	own := k.own(key, r)
	if key.metric == k.mark.Metric {
		route := r.Route
		route.Hops = slices.Clone(r.Hops)
		ev.Routes = []RouteEvent{{Route: route, Own: own, Gone: gone, Protocol: r.protocol}}
	}
	if !own {
		ev.addForeign(key.dst)
	}
	k.note(ev)
}

// Foreign puts in a route as `ip route replace` by another program does: it
// takes the place of any of the same prefix and metric, also of ours. With our
// own protocol and metric it changes one of ours by hand.
func (k *Fake) Foreign(r Route, protocol uint8, metric uint32) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	if errno := k.check(r); errno != 0 {
		return errno
	}
	key := fakeKey{r.Dst, metric}
	k.routes[key] = &fakeRoute{r, protocol}
	k.tell(key, k.routes[key], false)
	return 0
}

// DeleteForeign deletes a route as another program does; with our own metric
// and protocol one of ours.
func (k *Fake) DeleteForeign(dst netip.Prefix, protocol uint8, metric uint32) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := fakeKey{dst, metric}
	r := k.routes[key]
	if r == nil || r.protocol != protocol {
		return syscall.ESRCH
	}
	delete(k.routes, key)
	k.tell(key, r, true)
	return 0
}

// Lose says whether notifications are lost from now on (ENOBUFS).
func (k *Fake) Lose(lose bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lose = lose
}

// Refuse has fn asked about each op before it is carried out; an errno other
// than 0 is the answer. nil ends that.
func (k *Fake) Refuse(fn func(Op) syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = fn
}

// Break makes every call fail with err, until it is called with nil.
func (k *Fake) Break(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = err
}

// Writes returns the number of ops that were asked for so far.
func (k *Fake) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}

func (k *Fake) byName(name string) *fakeLink {
	for _, l := range k.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}
