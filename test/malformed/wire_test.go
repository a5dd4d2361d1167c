package malformed

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Types of messages and attributes, and flags of attributes, as numbers: an
// encoder that could not get them wrong would be of no use here.
const (
	open, updateMsg, notification, keepalive, refresh = 1, 2, 3, 4, 5

	origin, asPath, nextHop, med, localPref, atomic, aggregator = 1, 2, 3, 4, 5, 6, 7
	communities, originatorID, clusterList, mpReach, mpUnreach  = 8, 9, 10, 14, 15
	extCommunities, as4Path, as4Aggregator                      = 16, 17, 18
	pmsi, tunnelEncap, ext6Communities, aigp, largeCommunities  = 22, 23, 25, 26, 32
	unknown                                                     = 99

	wellKnown, optional, transitive, partial, extended = 0x40, 0x80, 0x40, 0x20, 0x10
	optTrans                                           = optional | transitive
)

func be16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func join(parts ...[]byte) []byte { return slices.Concat(parts...) }

// header is a header that says what it is told.
func header(length int, kind byte) []byte {
	return join(slices.Repeat([]byte{0xff}, 16), be16(length), []byte{kind})
}

func message(kind byte, body ...[]byte) []byte {
	b := join(body...)
	return join(header(19+len(b), kind), b)
}

// attr is an attribute with a right length.
func attr(flags, kind byte, value ...byte) []byte {
	if flags&extended != 0 {
		return join([]byte{flags, kind}, be16(len(value)), value)
	}
	return join([]byte{flags, kind, byte(len(value))}, value)
}

// update is an UPDATE with right lengths.
func update(withdrawn, attrs, nlri []byte) []byte {
	return message(updateMsg, be16(len(withdrawn)), withdrawn, be16(len(attrs)), attrs, nlri)
}

func nlri(prefixes ...netip.Prefix) []byte {
	var b []byte
	for _, p := range prefixes {
		b = append(append(b, byte(p.Bits())), p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

// segment is a segment of an AS_PATH of four-octet numbers.
func segment(kind byte, as ...uint32) []byte {
	b := []byte{kind, byte(len(as))}
	for _, a := range as {
		b = append(b, be32(a)...)
	}
	return b
}

// reach is the value of an MP_REACH_NLRI.
func reach(afi int, safi byte, hop []byte, nlri []byte) []byte {
	return join(be16(afi), []byte{safi, byte(len(hop))}, hop, []byte{0}, nlri)
}

func unreach(afi int, safi byte, nlri []byte) []byte { return join(be16(afi), []byte{safi}, nlri) }

// capability is one in a parameter of its own.
func capability(code byte, value ...byte) []byte {
	return join([]byte{2, byte(2 + len(value)), code, byte(len(value))}, value)
}

// openBody are the fields of an OPEN.
type openBody struct {
	version byte
	as      int
	hold    int
	id      netip.Addr
	params  []byte
}

func (o openBody) bytes() []byte { return o.withLength(len(o.params)) }

// withLength says another length of the optional parameters.
func (o openBody) withLength(n int) []byte {
	return message(open, []byte{o.version}, be16(o.as), be16(o.hold), o.id.AsSlice(), []byte{byte(n)}, o.params)
}
