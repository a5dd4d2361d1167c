package fib

import "net/netip"

// pinError is why an address that is pinned to a gateway cannot be reached.
type pinError string

// Error implements error.
func (e pinError) Error() string { return string(e) }

// unpinned is a FIB that knows of no pins: the gateway of one must not be
// reached by another, or two could lead to each other.
type unpinned struct{ *FIB }

// NextHop implements [View].
func (u unpinned) NextHop(a netip.Addr) (Answer, bool) { return u.asked(a) }

// pinned is the answer for an address that w is the pin of. It does not wait for
// the route to be in the kernel: Apply writes both in one go, and a route that
// went by the way behind the pin until then would move twice.
func (f *FIB) pinned(a netip.Addr, w *want) (Answer, bool) {
	switch {
	case w.fresh:
		return Answer{}, false
	case w.group == 0:
		return Answer{Err: pinError("it is pinned to a gateway, and that is out of reach: " + w.reason)}, true
	}
	return Answer{Type: typeUnicast, Dst: netip.PrefixFrom(a, a.BitLen()), Hops: f.groups.vals[w.group].Hops}, true
}

// pin takes in that to is wanted for dst now.
func (f *FIB) pin(dst netip.Prefix, to *want) {
	if !dst.IsSingleIP() {
		return
	}
	a := dst.Addr()
	switch was := f.pins[a]; {
	case to.Kind == Pinned:
		f.pins[a] = to
	case was == nil:
		return
	default:
		delete(f.pins, a)
	}
	f.resolveThrough(a)
}

// resolveThrough resolves again what has an address as its next hop.
func (f *FIB) resolveThrough(a netip.Addr) {
	if n := f.nexthops[a]; n != nil {
		for w := range n.wants {
			if w.Kind != Pinned { // which no pin is about
				f.resolve(w)
			}
		}
	}
}
