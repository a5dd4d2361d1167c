package fib

import (
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// message is one netlink message.
type message struct {
	typ, flags uint16
	seq, pid   uint32
	body       []byte
}

// messages yields the messages of a datagram. A torn one ends it.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			n := int(native.Uint32(b))
			if n < unix.SizeofNlMsghdr || n > len(b) {
				return
			}
			m := message{
				typ: native.Uint16(b[4:]), flags: native.Uint16(b[6:]),
				seq: native.Uint32(b[8:]), pid: native.Uint32(b[12:]),
				body: b[unix.SizeofNlMsghdr:n],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

func align(n int) int { return (n + 3) &^ 3 }

// rtaNextHopID is RTA_NH_ID: the route uses a nexthop object.
const rtaNextHopID = 30

const nlaTypeMask = 1<<14 - 1 // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

// nextAttr cuts the first attribute off b; ok is false at the end.
func nextAttr(b []byte) (typ uint16, val, rest []byte, ok bool) {
	if len(b) < unix.SizeofRtAttr {
		return 0, nil, nil, false
	}
	n := int(native.Uint16(b))
	if n < unix.SizeofRtAttr || n > len(b) {
		return 0, nil, nil, false
	}
	return native.Uint16(b[2:]) & nlaTypeMask, b[unix.SizeofRtAttr:n], b[min(align(n), len(b)):], true
}

// routeHead is what tells whose a route is, without its hops.
type routeHead struct {
	family, dstLen, tos uint8
	protocol, typ       uint8
	table               int
	metric              uint32
	flags               uint32
	dst                 netip.Prefix
	attrs               []byte
}

// parseHead reads the head of a route message; ok is false for what is not a
// unicast-family route, for clones and for what is torn.
func parseHead(b []byte) (h routeHead, ok bool) {
	if len(b) < unix.SizeofRtMsg {
		return h, false
	}
	h = routeHead{
		family: b[0], dstLen: b[1], tos: b[3], table: int(b[4]), protocol: b[5], typ: b[7],
		flags: native.Uint32(b[8:]), attrs: b[unix.SizeofRtMsg:],
	}
	if h.family != unix.AF_INET && h.family != unix.AF_INET6 || h.flags&unix.RTM_F_CLONED != 0 {
		return h, false
	}
	addr := netip.IPv4Unspecified()
	if h.family == unix.AF_INET6 {
		addr = netip.IPv6Unspecified()
	}
	for b := h.attrs; ; {
		typ, val, rest, more := nextAttr(b)
		if !more {
			break
		}
		switch {
		case typ == unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(val); ok {
				addr = a
			}
		case typ == unix.RTA_TABLE && len(val) == 4:
			h.table = int(native.Uint32(val))
		case typ == unix.RTA_PRIORITY && len(val) == 4:
			h.metric = native.Uint32(val)
		}
		b = rest
	}
	h.dst = netip.PrefixFrom(addr, int(h.dstLen))
	return h, h.dst.IsValid()
}

func (h *routeHead) own(m Mark) bool {
	return h.protocol == m.Protocol && h.metric == m.Metric && h.table == m.Table && h.tos == 0
}

// parseRoute reads the rest of a route into r, whose Hops are used again. Dead
// hops are left out if alive is set.
func parseRoute(h *routeHead, r *Read, alive bool) {
	r.Route = Route{Dst: h.dst, Kind: kindOf(h.typ), Hops: r.Hops[:0]}
	r.Protocol, r.Metric, r.Type = h.protocol, h.metric, h.typ
	single := Hop{OnLink: h.flags&unix.RTNH_F_ONLINK != 0}
	dead := h.flags&unix.RTNH_F_DEAD != 0
	for b := h.attrs; ; {
		typ, val, rest, more := nextAttr(b)
		if !more {
			break
		}
		switch typ {
		case unix.RTA_OIF:
			if len(val) == 4 {
				single.Link = int(native.Uint32(val))
			}
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			single.Gateway = gateway(typ, val)
		case unix.RTA_MULTIPATH:
			r.Hops = parseHops(r.Hops, val, alive)
		case unix.RTA_PREFSRC, unix.RTA_METRICS, unix.RTA_FLOW, unix.RTA_ENCAP, rtaNextHopID, unix.RTA_SRC:
			r.Odd = true
		case unix.RTA_PREF:
			r.Odd = r.Odd || len(val) > 0 && val[0] != 0
		}
		b = rest
	}
	if single.Link != 0 && !(alive && dead) {
		r.Hops = append(r.Hops, single)
	}
	if r.Kind != Unicast {
		r.Hops = r.Hops[:0]
	}
}

func parseHops(hops []Hop, b []byte, alive bool) []Hop {
	for len(b) >= unix.SizeofRtNexthop {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			break
		}
		h := Hop{Link: int(native.Uint32(b[4:])), OnLink: b[2]&unix.RTNH_F_ONLINK != 0}
		if b[3] > 0 {
			h.Weight = b[3] + 1
		}
		dead := b[2]&unix.RTNH_F_DEAD != 0
		for a := b[unix.SizeofRtNexthop:n]; ; {
			typ, val, rest, more := nextAttr(a)
			if !more {
				break
			}
			if typ == unix.RTA_GATEWAY || typ == unix.RTA_VIA {
				h.Gateway = gateway(typ, val)
			}
			a = rest
		}
		if !(alive && dead) {
			hops = append(hops, h)
		}
		b = b[min(align(n), len(b)):]
	}
	return hops
}

func gateway(typ uint16, val []byte) netip.Addr {
	if typ == unix.RTA_VIA && len(val) > 2 {
		val = val[2:] // the family
	}
	a, _ := netip.AddrFromSlice(val)
	return a
}

func kindOf(typ uint8) Kind {
	switch typ {
	case unix.RTN_UNICAST:
		return Unicast
	case unix.RTN_BLACKHOLE:
		return Blackhole
	case unix.RTN_UNREACHABLE:
		return Unreachable
	}
	return OtherKind
}

// parseLink reads a link message; ok is false for what a bridge says of its
// ports, which comes in messages of the same type.
func parseLink(b []byte) (l Link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return l, false
	}
	flags := native.Uint32(b[8:])
	l = Link{
		Index: int(int32(native.Uint32(b[4:]))),
		Up:    flags&unix.IFF_UP != 0, Carrier: flags&unix.IFF_RUNNING != 0,
	}
	for b := b[unix.SizeofIfInfomsg:]; ; {
		typ, val, rest, more := nextAttr(b)
		if !more {
			break
		}
		if typ == unix.IFLA_IFNAME {
			l.Name = unix.ByteSliceToString(val)
		}
		b = rest
	}
	return l, l.Name != ""
}
