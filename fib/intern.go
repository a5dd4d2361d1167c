package fib

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// group is a way that routes share: equal ways are the same group, so routes
// are compared by number.
type group struct {
	Route     // without Dst
	num   int // routes and wants that hold it
	key   string
}

// via reports whether one of its hops is on a link, and whether all are.
func (g *group) via(link int) (some, all bool) {
	all = len(g.Hops) > 0
	for _, h := range g.Hops {
		some = some || h.Link == link
		all = all && h.Link == link
	}
	return some, all
}

// want is what routes that are wanted alike share: the spec, what it resolves
// to, and a list of the routes.
type want struct {
	Want  // without Dst and Received
	index uint32
	ipv4  bool
	key   string
	nhs   []*nexthop
	links []string // devices it depends on by name

	group  uint32 // resolved; 0 is unresolved
	reason string // why it is unresolved
	since  int64  // of the reason

	first id // of the routes
	num   int
	fresh bool // never resolved yet
}

// interned keeps one value per key, named by small numbers that are used again
// when nobody holds the value any more.
type interned[T any] struct {
	byKey map[string]uint32
	vals  []*T
	free  []uint32
	buf   []byte
}

func newInterned[T any]() interned[T] {
	return interned[T]{byKey: map[string]uint32{}, vals: []*T{nil}}
}

// put gives v the number that the key in buf will have.
func (t *interned[T]) put(key string, v *T) uint32 {
	var n uint32
	if last := len(t.free) - 1; last >= 0 {
		n, t.free = t.free[last], t.free[:last]
		t.vals[n] = v
	} else {
		n = uint32(len(t.vals))
		t.vals = append(t.vals, v)
	}
	t.byKey[key] = n
	return n
}

func (t *interned[T]) drop(key string, n uint32) {
	delete(t.byKey, key)
	t.vals[n] = nil
	t.free = append(t.free, n)
}

// groupOf returns the number of the group of r, which its caller must hold or
// let go of with hold. Hops are sorted first; r keeps its own slice.
func (f *FIB) groupOf(r Route) uint32 {
	t := &f.groups
	t.buf = appendGroup(t.buf[:0], &r)
	if n, ok := t.byKey[string(t.buf)]; ok {
		return n
	}
	g := &group{key: string(t.buf)}
	g.Route = Route{Kind: r.Kind, Hops: slices.Clone(r.Hops), Odd: r.Odd}
	return t.put(g.key, g)
}

// appendGroup appends what makes two routes alike, and sorts the hops of r: the
// kernel lists those of an IPv6 route in an order of its own.
func appendGroup(b []byte, r *Route) []byte {
	odd := byte(0)
	if r.Odd {
		odd = 1
	}
	b = append(b, byte(r.Kind), odd)
	if r.Kind != Unicast {
		r.Hops = nil // IPv6 names the loopback device, which means nothing
		return b
	}
	if len(r.Hops) > 1 && !slices.IsSortedFunc(r.Hops, compareHops) {
		slices.SortFunc(r.Hops, compareHops)
	}
	for _, h := range r.Hops {
		gw := as16(h.Gateway)
		flags := max(h.Weight, 1)
		b = append(b, gw[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(h.Link))
		b = append(b, flags, boolByte(h.OnLink), boolByte(h.Gateway.Is4()))
	}
	return b
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func compareHops(a, b Hop) int {
	return cmp.Or(a.Gateway.Compare(b.Gateway), cmp.Compare(a.Link, b.Link),
		cmp.Compare(max(a.Weight, 1), max(b.Weight, 1)))
}

// hold counts one holder more of a group, or one less, and forgets it with the
// last.
func (f *FIB) hold(n uint32, by int) {
	if n == 0 {
		return
	}
	g := f.groups.vals[n]
	if g.num += by; g.num == 0 {
		f.groups.drop(g.key, n)
	}
}

// swap makes *slot hold group n in the place of what it held.
func (f *FIB) swap(slot *uint32, n uint32) {
	f.hold(n, 1)
	f.hold(*slot, -1)
	*slot = n
}

// wantOf returns the shared part of w.
func (f *FIB) wantOf(w Want) *want {
	t := &f.wants
	ipv4 := w.Dst.Addr().Is4()
	hops := w.NextHops
	if len(hops) > 1 && !slices.IsSortedFunc(hops, netip.Addr.Compare) {
		hops = slices.SortedFunc(slices.Values(hops), netip.Addr.Compare)
	}
	t.buf = append(t.buf[:0], byte(w.Kind), boolByte(ipv4))
	for _, s := range []string{w.Link, w.Source, w.Tunnel} {
		t.buf = append(binary.AppendUvarint(t.buf, uint64(len(s))), s...)
	}
	for _, a := range hops {
		before := len(t.buf)
		t.buf = append(t.buf, 0)
		t.buf, _ = a.AppendBinary(t.buf) // never fails
		t.buf[before] = byte(len(t.buf) - before)
	}
	if n, ok := t.byKey[string(t.buf)]; ok {
		return t.vals[n]
	}
	v := &want{Want: w, key: string(t.buf), ipv4: ipv4, fresh: true}
	v.Dst, v.Received = familyPrefix(ipv4), zeroTime
	v.NextHops = slices.Compact(slices.Clone(hops))
	v.index = t.put(v.key, v)
	f.depend(v)
	f.fresh = append(f.fresh, v)
	return v
}

// familyPrefix stands for the destinations of a family where only that counts.
func familyPrefix(ipv4 bool) netip.Prefix {
	if ipv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// join puts an entry on the list of a want, taking it off that of another; a
// want whose list is empty is forgotten, but for the one that stands for not
// being wanted.
func (f *FIB) join(i id, e *entry, w *want) {
	if e.want == w.index {
		return
	}
	f.leave(i, e)
	e.want, e.prev, e.next = w.index, 0, w.first
	if w.first != 0 {
		f.table.at(w.first).prev = i
	}
	w.first = i
	w.num++
}

func (f *FIB) leave(i id, e *entry) {
	if e.want == 0 {
		return
	}
	w := f.wants.vals[e.want]
	if e.next != 0 {
		f.table.at(e.next).prev = e.prev
	}
	if e.prev != 0 {
		f.table.at(e.prev).next = e.next
	} else {
		w.first = e.next
	}
	e.want, e.next, e.prev = 0, 0, 0
	if w.num--; w.num == 0 && w.index != unwanted {
		f.undepend(w)
		f.swap(&w.group, 0)
		f.wants.drop(w.key, w.index)
		w.index = 0
	}
}

// routes calls fn for each entry of a want. fn must not move it to another.
func (f *FIB) routes(w *want, fn func(id, *entry)) {
	for i := w.first; i != 0; {
		e := f.table.at(i)
		next := e.next
		fn(i, e)
		i = next
	}
}

func as16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}
