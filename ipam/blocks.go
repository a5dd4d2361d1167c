package ipam

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"sort"

	"caracal.dev/caracal"
)

// The prefix lengths of blocks where the pool does not say.
const (
	DefaultBlockSize4 = 26
	DefaultBlockSize6 = 122
)

// maxIndex bounds the numbers of blocks: no pool is searched further.
const maxIndex = 1 << 62

// DefaultBlockSize returns the prefix length of blocks of a family.
func DefaultBlockSize(v6 bool) int {
	if v6 {
		return DefaultBlockSize6
	}
	return DefaultBlockSize4
}

// BlockSize returns the prefix length of a pool's blocks: as the pool says, or
// the default; never shorter than the pool itself.
func BlockSize(p caracal.Pool) int {
	size := p.BlockSize
	if size <= 0 || size > p.CIDR.Addr().BitLen() {
		size = DefaultBlockSize(p.CIDR.Addr().Is6())
	}
	return max(size, p.CIDR.Bits())
}

// BlockOf returns the block of a pool that an address is in; false if it is
// outside of the pool.
func BlockOf(p caracal.Pool, a netip.Addr) (netip.Prefix, bool) {
	if !p.CIDR.Contains(a) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, BlockSize(p)).Masked(), true
}

// Size returns the number of addresses of a prefix, as a float since that of an
// IPv6 prefix may not fit an integer.
func Size(p netip.Prefix) float64 {
	if !p.IsValid() {
		return 0
	}
	return math.Ldexp(1, p.Addr().BitLen()-p.Bits())
}

// Last returns the last address of a prefix.
func Last(p netip.Prefix) netip.Addr {
	hi, lo := halves(p.Addr())
	host := p.Addr().BitLen() - p.Bits()
	if host >= 64 {
		lo = math.MaxUint64
		hi |= 1<<(host-64) - 1
	} else {
		lo |= 1<<host - 1
	}
	return fromHalves(hi, lo, p.Addr().Is4())
}

// NetworkAddrs returns the addresses of a network that no host of it may have:
// network and broadcast address in IPv4 (RFC 922; none of a /31, RFC 3021), the
// subnet-router anycast address in IPv6 (RFC 4291 section 2.6.1; none of a /127,
// RFC 6164).
//
// Blocks keep them: a workload's address is a /32 or /128, so the block is no
// network on any link, and the kernel has no broadcast or anycast address of it.
// They have to be reserved only where an interface of the node has an address
// with just the block's prefix, which a caller that knows of one does.
func NetworkAddrs(p netip.Prefix) []netip.Prefix {
	p = p.Masked()
	switch {
	case p.Addr().BitLen()-p.Bits() < 2:
		return nil
	case p.Addr().Is4():
		return []netip.Prefix{caracal.HostPrefix(p.Addr()), caracal.HostPrefix(Last(p))}
	default:
		return []netip.Prefix{caracal.HostPrefix(p.Addr())}
	}
}

// numBlocks returns how many blocks of a size there are in a pool, at most
// maxIndex.
func numBlocks(pool netip.Prefix, size int) uint64 {
	n := size - pool.Bits()
	if n < 0 {
		return 0
	}
	if n >= 62 {
		return maxIndex
	}
	return 1 << n
}

// nthBlock returns the block with an index below numBlocks.
func nthBlock(pool netip.Prefix, size int, n uint64) netip.Prefix {
	hi, lo := halves(pool.Masked().Addr())
	shift := pool.Addr().BitLen() - size
	var addHi, addLo uint64
	if shift >= 64 {
		addHi = n << (shift - 64)
	} else {
		addLo = n << shift
		addHi = n >> (64 - shift) // 0 for shift 0: Go shifts by 64 to nothing
	}
	lo, carry := bits.Add64(lo, addLo, 0)
	hi, _ = bits.Add64(hi, addHi, carry)
	return netip.PrefixFrom(fromHalves(hi, lo, pool.Addr().Is4()), size)
}

// blockIndex returns the index of the block that an address of the pool is in,
// and false if it is beyond those that numBlocks counts.
func blockIndex(pool netip.Prefix, size int, a netip.Addr) (uint64, bool) {
	hi, lo := halves(a)
	baseHi, baseLo := halves(pool.Masked().Addr())
	lo, borrow := bits.Sub64(lo, baseLo, 0)
	hi, _ = bits.Sub64(hi, baseHi, borrow)
	shift := pool.Addr().BitLen() - size
	if shift >= 64 {
		return hi >> (shift - 64), hi>>(shift-64) < maxIndex
	}
	n := lo>>shift | hi<<(64-shift) // for shift 0 Go shifts hi out of it
	return n, hi>>shift == 0 && n < maxIndex
}

// halves returns an address as a number.
func halves(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func fromHalves(hi, lo uint64, v4 bool) netip.Addr {
	if v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// ranges is a sorted set of prefixes of which none covers another.
type ranges []netip.Prefix

// newRanges makes the set of what the prefixes cover.
func newRanges(prefixes []netip.Prefix) ranges {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() {
			sorted = append(sorted, p.Masked())
		}
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var set ranges
	for _, p := range sorted {
		if n := len(set); n == 0 || !caracal.Covers(set[n-1], p) {
			set = append(set, p)
		}
	}
	return set
}

// search returns the index of the first prefix that begins after a.
func (r ranges) search(a netip.Addr) int {
	return sort.Search(len(r), func(i int) bool { return a.Less(r[i].Addr()) })
}

// at returns the prefix that an address is in.
func (r ranges) at(a netip.Addr) (netip.Prefix, bool) {
	if i := r.search(a); i > 0 && r[i-1].Contains(a) {
		return r[i-1], true
	}
	return netip.Prefix{}, false
}

// overlapping returns a prefix of the set that shares addresses with p.
func (r ranges) overlapping(p netip.Prefix) (netip.Prefix, bool) {
	i := r.search(p.Addr())
	if i > 0 && r[i-1].Overlaps(p) {
		return r[i-1], true
	}
	if i < len(r) && r[i].Overlaps(p) {
		return r[i], true
	}
	return netip.Prefix{}, false
}

// add puts a prefix that overlaps none into the set.
func (r *ranges) add(p netip.Prefix) {
	*r = slices.Insert(*r, r.search(p.Addr()), p)
}

// remove takes a prefix out of the set.
func (r *ranges) remove(p netip.Prefix) {
	if i := r.search(p.Addr()); i > 0 && (*r)[i-1] == p {
		*r = slices.Delete(*r, i-1, i)
	}
}

// size returns the number of addresses of p that are in the set.
func (r ranges) size(p netip.Prefix) float64 {
	if outer, ok := r.at(p.Addr()); ok && caracal.Covers(outer, p) {
		return Size(p)
	}
	n := 0.0
	for i := max(0, r.search(p.Addr())-1); i < len(r) && !Last(p).Less(r[i].Addr()); i++ {
		if caracal.Covers(p, r[i]) {
			n += Size(r[i])
		}
	}
	return n
}
