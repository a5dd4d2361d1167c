package fib

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// appendOp appends an RTM_NEWROUTE or RTM_DELROUTE message (rtnetlink(7)).
func appendOp(b []byte, m Mark, op *Op, seq uint32, ack bool) []byte {
	start := len(b)
	typ, flags := uint16(unix.RTM_NEWROUTE), uint16(unix.NLM_F_REQUEST)
	switch op.Verb {
	case Create:
		flags |= unix.NLM_F_CREATE | unix.NLM_F_EXCL
	case Replace:
		flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	case Delete:
		typ = unix.RTM_DELROUTE
	}
	if ack {
		flags |= unix.NLM_F_ACK
	}
	b = appendHeader(b, typ, flags, seq)
	b = appendRtmsg(b, m, op)
	addr := op.Route.Dst.Addr()
	b = appendAddr(b, unix.RTA_DST, addr.AsSlice())
	b = appendUint32(b, unix.RTA_PRIORITY, m.Metric)
	b = appendUint32(b, unix.RTA_TABLE, uint32(m.Table))
	if op.Route.Kind == Unicast {
		b = appendHops(b, addr.Is4(), op.Route.Hops)
	}
	native.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// Bytes of a message without its hops, and of a hop, at most.
const (
	opSize  = unix.SizeofNlMsghdr + unix.SizeofRtMsg + 20 + 8 + 8
	hopSize = unix.SizeofRtNexthop + 24
)

// size returns how many bytes the op takes, at most. An attribute cannot be
// longer than 64 KiB, so an op that would have one takes more than any socket.
func (op *Op) size() int {
	n := len(op.Route.Hops) * hopSize
	if n >= 1<<16-unix.SizeofRtAttr {
		return 1 << 30
	}
	return opSize + unix.SizeofRtAttr + n
}

// appendHeader appends a struct nlmsghdr whose length is still to be filled in.
func appendHeader(b []byte, typ, flags uint16, seq uint32) []byte {
	b = native.AppendUint32(b, 0)
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	return native.AppendUint32(b, 0)
}

// appendRtmsg appends a struct rtmsg. A deletion leaves type and scope open: it
// goes by prefix, table, metric and protocol.
func appendRtmsg(b []byte, m Mark, op *Op) []byte {
	family, table := byte(unix.AF_INET6), byte(unix.RT_TABLE_COMPAT)
	if op.Route.Dst.Addr().Is4() {
		family = unix.AF_INET
	}
	if m.Table < 256 {
		table = byte(m.Table)
	}
	scope, typ, flags := byte(unix.RT_SCOPE_UNIVERSE), typeOf(op.Route.Kind), uint32(0)
	hops := op.Route.Hops
	if op.Verb == Delete {
		scope, typ = unix.RT_SCOPE_NOWHERE, 0
	} else if op.Route.Kind == Unicast && family == unix.AF_INET && len(hops) == 1 && !hops[0].Gateway.IsValid() {
		scope = unix.RT_SCOPE_LINK
	}
	if len(hops) == 1 && hops[0].OnLink {
		flags = unix.RTNH_F_ONLINK
	}
	b = append(b, family, byte(op.Route.Dst.Bits()), 0, 0, table, m.Protocol, scope, typ)
	return native.AppendUint32(b, flags)
}

func appendHops(b []byte, ipv4 bool, hops []Hop) []byte {
	if len(hops) == 1 {
		b = appendGateway(b, ipv4, hops[0])
		return appendUint32(b, unix.RTA_OIF, uint32(hops[0].Link))
	}
	if len(hops) == 0 {
		return b // a deletion
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, h := range hops {
		at := len(b)
		flags := byte(0)
		if h.OnLink {
			flags = unix.RTNH_F_ONLINK
		}
		// struct rtnexthop: its weight counts from 0.
		b = append(b, 0, 0, flags, max(h.Weight, 1)-1)
		b = native.AppendUint32(b, uint32(h.Link))
		b = appendGateway(b, ipv4, h)
		native.PutUint16(b[at:], uint16(len(b)-at))
	}
	putAttr(b[start:], unix.RTA_MULTIPATH, len(b)-start)
	return b
}

// appendGateway appends RTA_GATEWAY, or RTA_VIA for an IPv6 gateway of an IPv4
// route.
func appendGateway(b []byte, ipv4 bool, h Hop) []byte {
	switch {
	case !h.Gateway.IsValid():
		return b
	case h.Gateway.Is4() == ipv4:
		return appendAddr(b, unix.RTA_GATEWAY, h.Gateway.AsSlice())
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = native.AppendUint16(b, unix.AF_INET6)
	b = append(b, h.Gateway.AsSlice()...)
	putAttr(b[start:], unix.RTA_VIA, len(b)-start)
	return pad(b)
}

func appendAddr(b []byte, typ uint16, addr []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofRtAttr+len(addr)))
	b = native.AppendUint16(b, typ)
	return append(b, addr...) // 4 or 16 bytes: aligned
}

func appendUint32(b []byte, typ uint16, v uint32) []byte {
	b = native.AppendUint16(b, unix.SizeofRtAttr+4)
	b = native.AppendUint16(b, typ)
	return native.AppendUint32(b, v)
}

func putAttr(b []byte, typ uint16, n int) {
	native.PutUint16(b, uint16(n))
	native.PutUint16(b[2:], typ)
}

// pad fills up to a multiple of four bytes (NLMSG_ALIGN).
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
