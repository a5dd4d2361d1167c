package ipam

import (
	"net/netip"
	"slices"
	"sort"
	"time"

	"caracal.dev/caracal"
)

// block is a block as its record says. Only addresses that somebody has, or
// that rest, are in it, so that the size of the block costs nothing.
type block struct {
	key      string
	cidr     netip.Prefix
	node     string // whose it is
	last     netip.Addr
	rest     time.Time
	entries  []*entry // by address
	freed    int      // entries that rest
	revision string   // empty: not written yet
	head     []byte   // how its record begins; nil if it has to be made
	lines    lines    // its record, as of the last change of an entry

	dirty bool // in Allocator.dirty
	// What the plan makes of it; see Allocator.judge.
	pool   *caracal.Pool
	usable bool         // gives new addresses
	static netip.Prefix // of the configuration; invalid if the block is claimed
	listed bool         // in Allocator.open
}

// entry is an address of a block that somebody has, or that rests.
type entry struct {
	block  *block
	addr   netip.Addr
	handle string
	node   string // where it is used
	owner  Owner
	since  time.Time
	// with are the other addresses of the handle. They are all or none: if one of
	// them is not the handle's, then this was never given, or given back already.
	with  []netip.Addr
	freed time.Time // resting since; zero while somebody has it
	alone [1]*entry // room for those of its handle, where it is the only one
}

// inUse reports whether somebody has the address.
func (e *entry) inUse() bool { return e.freed.IsZero() }

// rests reports whether what was freed then is to be left alone still. A time
// that is yet to come is of a clock that was set back; it counts as now, by the
// caller.
func rests(freed, now time.Time, cooldown time.Duration) bool {
	return cooldown > 0 && now.Sub(freed) < cooldown
}

// find returns the index of an address, or where it would be. Often that is after
// all others, or before them.
func (b *block) find(a netip.Addr) (int, bool) {
	n := len(b.entries)
	if n == 0 || b.entries[n-1].addr.Less(a) {
		return n, false
	}
	if b.entries[0].addr == a {
		return 0, true
	}
	i := sort.Search(len(b.entries), func(i int) bool { return !b.entries[i].addr.Less(a) })
	return i, b.entries[i].addr == a
}

// at returns the entry of an address, or nil.
func (b *block) at(a netip.Addr) *entry {
	if i, ok := b.find(a); ok {
		return b.entries[i]
	}
	return nil
}

// insert gives an address that nobody has.
func (b *block) insert(e *entry) {
	e.block = b
	i, ok := b.find(e.addr)
	if ok {
		b.freed--
		b.entries[i] = e
		b.lines.replace(i, i+1, e, b.node)
		return
	}
	b.entries = slices.Insert(b.entries, i, e)
	b.lines.replace(i, i, e, b.node)
}

// changed notes that an entry of the block says something else now.
func (b *block) changed(e *entry) {
	if i, ok := b.find(e.addr); ok {
		b.lines.replace(i, i+1, e, b.node)
	}
}

// free takes an address back; it rests from now on, if it is to.
func (b *block) free(e *entry, now time.Time, cooldown time.Duration) {
	if cooldown <= 0 {
		b.remove(e)
		return
	}
	e.freed, e.with = now, nil
	b.freed++
	b.changed(e)
}

// remove forgets an address, so that it can be given again at once.
func (b *block) remove(e *entry) {
	if i, ok := b.find(e.addr); ok {
		if !b.entries[i].inUse() {
			b.freed--
		}
		b.entries = slices.Delete(b.entries, i, i+1)
		b.lines.replace(i, i+1, nil, b.node)
	}
}

// thaw forgets what has rested long enough, and reports whether there was any.
// It makes no block dirty: the record may be late with that.
func (b *block) thaw(now time.Time, cooldown time.Duration) bool {
	if !b.rest.IsZero() {
		if b.rest.After(now) {
			b.rest = now
		}
		if !rests(b.rest, now, cooldown) {
			b.rest = time.Time{}
		}
	}
	if b.freed == 0 {
		return false
	}
	before := b.freed
	b.entries = slices.DeleteFunc(b.entries, func(e *entry) bool {
		if e.inUse() {
			return false
		}
		if e.freed.After(now) {
			e.freed, b.lines.stale = now, true
		}
		if rests(e.freed, now, cooldown) {
			return false
		}
		b.freed--
		return true
	})
	b.lines.stale = b.lines.stale || b.freed < before
	return b.freed < before
}

// next returns an address that nobody has, not reserved and not in but; the
// zero Addr if there is none. It is the first after the one given last, so that
// what was freed is late to be given again. The time is that of the entries and
// of the reserved ranges, whatever the size of the block.
func (b *block) next(reserved ranges, but []netip.Addr) netip.Addr {
	if !b.rest.IsZero() || float64(len(b.entries)) >= Size(b.cidr) {
		return netip.Addr{}
	}
	first, last := b.cidr.Addr(), Last(b.cidr)
	if !b.last.IsValid() || b.last == last {
		return b.scan(first, last, reserved, but)
	}
	if a := b.scan(b.last.Next(), last, reserved, but); a.IsValid() {
		return a
	}
	return b.scan(first, b.last, reserved, but)
}

func (b *block) scan(from, to netip.Addr, reserved ranges, but []netip.Addr) netip.Addr {
	i, _ := b.find(from)
	for a := from; a.IsValid() && !to.Less(a); a = a.Next() {
		for i < len(b.entries) && b.entries[i].addr.Less(a) {
			i++
		}
		if i < len(b.entries) && b.entries[i].addr == a {
			continue
		}
		if len(reserved) > 0 {
			if r, ok := reserved.at(a); ok {
				a = Last(r)
				continue
			}
		}
		if !slices.Contains(but, a) {
			return a
		}
	}
	return netip.Addr{}
}

// splitAround returns the largest prefix around an address that is not shorter
// than size and overlaps nothing of a set; false if the address is in the set.
func splitAround(a netip.Addr, size int, taken ranges) (netip.Prefix, bool) {
	for ; size <= a.BitLen(); size++ {
		p := netip.PrefixFrom(a, size).Masked()
		if _, ok := taken.overlapping(p); !ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
