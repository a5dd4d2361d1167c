package felix

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// familyOf returns the family of an address.
func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// subtract returns the prefixes that hold exactly the addresses of net that are in
// none of except, sorted and as few as possible. Prefixes of except that lie
// outside of net take nothing away.
func subtract(net netip.Prefix, except []netip.Prefix) []netip.Prefix {
	return appendDifference(nil, net.Masked(), except)
}

// appendDifference halves net until each half is wholly in or wholly out.
func appendDifference(out []netip.Prefix, net netip.Prefix, except []netip.Prefix) []netip.Prefix {
	var within []netip.Prefix
	for _, e := range except {
		if caracal.Covers(e, net) {
			return out
		}
		if caracal.Covers(net, e) {
			within = append(within, e)
		}
	}
	if len(within) == 0 {
		return append(out, net)
	}
	low, high := halves(net)
	return appendDifference(appendDifference(out, low, within), high, within)
}

// halves returns the two prefixes that net, which is no host's, consists of.
func halves(net netip.Prefix) (low, high netip.Prefix) {
	bits := net.Bits()
	addr := net.Addr().AsSlice()
	addr[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(addr)
	return netip.PrefixFrom(net.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}

// splitDefault returns net, or its halves if it has the length 0, which a hash:net
// cannot hold.
func splitDefault(net netip.Prefix) []netip.Prefix {
	if net.Bits() > 0 {
		return []netip.Prefix{net}
	}
	low, high := halves(net)
	return []netip.Prefix{low, high}
}

// union sorts nets and leaves out each that another one covers.
func union(nets []netip.Prefix) []netip.Prefix {
	slices.SortFunc(nets, netip.Prefix.Compare)
	out := nets[:0]
	for _, n := range nets {
		// Of those before n in this order only the last kept one may cover it: the
		// others end before that one begins, or cover it too.
		if len(out) == 0 || !caracal.Covers(out[len(out)-1], n) {
			out = append(out, n)
		}
	}
	return out
}
