package fib

import (
	"encoding/binary"
	"net/netip"
)

// id names an entry of the table; 0 is none.
type id uint32

// Flags of an entry.
const (
	flagIPv4    uint8 = 1 << iota
	flagDirty         // in a queue of Apply
	flagAdopted       // found in the kernel at start, not wanted since
	flagVerify        // may have gone: see decide
	flagLink          // if it has gone, then with its link
	flagForeign       // a foreign route of our metric stands in the way
)

// entry is what is known of one prefix. There are 100,000 of them, so it holds
// no pointers (nothing for the garbage collector to visit) and interns the rest.
type entry struct {
	received int64 // Unix nanoseconds; 0 once the path is in the kernel
	since    int64 // when have changed last
	addr     [16]byte
	want     uint32 // of FIB.wants
	have     uint32 // of FIB.groups: what the kernel has; 0 nothing
	next     id     // the others of the same want; or the next free entry
	prev     id
	epoch    uint32 // of the last change, against audits that began before
	bits     uint8
	flags    uint8
}

func (e *entry) is(flag uint8) bool { return e.flags&flag != 0 }

func (e *entry) dst() netip.Prefix {
	if e.is(flagIPv4) {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(e.addr[:4])), int(e.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(e.addr), int(e.bits))
}

const chunk = 1024

// table holds the entries in chunks that never move, with an index for each
// family: the key of an IPv4 prefix fits a word.
type table struct {
	chunks []*[chunk]entry
	used   id // entries handed out so far; ids begin at 1
	free   id
	v4     map[uint64]id
	v6     map[key6]id
}

type key6 struct {
	addr [16]byte
	bits uint8
}

func newTable() table {
	return table{v4: map[uint64]id{}, v6: map[key6]id{}}
}

func key4(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))<<8 | uint64(p.Bits())
}

func (t *table) len() int { return len(t.v4) + len(t.v6) }

func (t *table) at(i id) *entry { return &t.chunks[i/chunk][i%chunk] }

func (t *table) find(p netip.Prefix) id {
	if p.Addr().Is4() {
		return t.v4[key4(p)]
	}
	return t.v6[key6{p.Addr().As16(), uint8(p.Bits())}]
}

// get returns the entry of p, made if there is none.
func (t *table) get(p netip.Prefix) (i id, made bool) {
	if i := t.find(p); i != 0 {
		return i, false
	}
	i = t.alloc()
	e := t.at(i)
	*e = entry{bits: uint8(p.Bits())}
	if p.Addr().Is4() {
		a := p.Addr().As4()
		copy(e.addr[:], a[:])
		e.flags = flagIPv4
		t.v4[key4(p)] = i
	} else {
		e.addr = p.Addr().As16()
		t.v6[key6{e.addr, e.bits}] = i
	}
	return i, true
}

func (t *table) alloc() id {
	if i := t.free; i != 0 {
		t.free = t.at(i).next
		return i
	}
	t.used++
	if int(t.used/chunk) == len(t.chunks) {
		t.chunks = append(t.chunks, new([chunk]entry))
	}
	return t.used
}

func (t *table) remove(i id) {
	e := t.at(i)
	if p := e.dst(); e.is(flagIPv4) {
		delete(t.v4, key4(p))
	} else {
		delete(t.v6, key6{e.addr, e.bits})
	}
	*e = entry{next: t.free}
	t.free = i
}

// all calls fn for each entry, in no order.
func (t *table) all(fn func(id, *entry) bool) {
	for i := id(1); i <= t.used; i++ {
		// A free entry has no want: those in use have one from the start.
		if e := t.at(i); e.want != 0 && !fn(i, e) {
			return
		}
	}
}
