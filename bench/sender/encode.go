package sender

import (
	"encoding/binary"
	"net/netip"
)

// Types of messages (RFC 4271 section 4.1).
const (
	Open         = 1
	Update       = 2
	Notification = 3
	Keepalive    = 4
	Refresh      = 5 // RFC 2918
)

const (
	headerLen  = 19
	messageMax = 4096 // RFC 4271 section 4.1
	asTrans    = 23456

	attrOrigin    = 1
	attrASPath    = 2
	attrNextHop   = 3
	attrLocalPref = 5
	attrReach     = 14
	attrUnreach   = 15

	flagTransitive = 0x40
	flagOptional   = 0x80
	flagExtended   = 0x10
)

// message puts the header in front of a body.
func message(kind byte, body []byte) []byte {
	m := make([]byte, headerLen, headerLen+len(body))
	for i := range 16 {
		m[i] = 0xff
	}
	m = append(m, body...)
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	m[18] = kind
	return m
}

// openMessage encodes OPEN with the capabilities of c: the families (RFC 4760),
// the four-octet AS number (RFC 6793), route refresh (RFC 2918), and graceful
// restart (RFC 4724) if it is asked for.
func openMessage(c Config) []byte {
	var caps []byte
	capability := func(code byte, value ...byte) {
		caps = append(append(caps, code, byte(len(value))), value...)
	}
	for _, afi := range c.families() {
		capability(1, 0, afi, 0, 1)
	}
	capability(2)
	capability(65, binary.BigEndian.AppendUint32(nil, c.ASN)...)
	if c.GracefulRestart {
		flags := uint16(0)
		preserved := byte(0)
		if c.Restarting {
			flags = 0x8000
		}
		if c.Preserved {
			preserved = 0x80
		}
		gr := binary.BigEndian.AppendUint16(nil, flags|uint16(c.RestartTime.Seconds())&0xfff)
		for _, afi := range c.families() {
			gr = append(gr, 0, afi, 1, preserved)
		}
		capability(64, gr...)
	}
	as := c.ASN
	if as > 0xffff {
		as = asTrans
	}
	body := []byte{4}
	body = binary.BigEndian.AppendUint16(body, uint16(as))
	body = binary.BigEndian.AppendUint16(body, uint16(c.HoldTime.Seconds()))
	id := c.RouterID.As4()
	body = append(body, id[:]...)
	body = append(body, byte(2+len(caps)), 2, byte(len(caps)))
	return message(Open, append(body, caps...))
}

// Path is what the prefixes of an [Encode] share.
type Path struct {
	NextHop netip.Addr
	// ASPath is one AS_SEQUENCE of four-octet AS numbers.
	ASPath []uint32
	// LocalPref is left out where it is 0, as towards an external neighbor.
	LocalPref uint32
}

func (p Path) attributes(withNextHop bool) []byte {
	attrs := []byte{flagTransitive, attrOrigin, 1, 0}
	attrs = append(attrs, flagTransitive, attrASPath)
	if len(p.ASPath) == 0 {
		attrs = append(attrs, 0)
	} else {
		attrs = append(attrs, byte(2+4*len(p.ASPath)), 2, byte(len(p.ASPath)))
		for _, as := range p.ASPath {
			attrs = binary.BigEndian.AppendUint32(attrs, as)
		}
	}
	if withNextHop {
		hop := p.NextHop.As4()
		attrs = append(append(attrs, flagTransitive, attrNextHop, 4), hop[:]...)
	}
	if p.LocalPref != 0 {
		attrs = append(attrs, flagTransitive, attrLocalPref, 4)
		attrs = binary.BigEndian.AppendUint32(attrs, p.LocalPref)
	}
	return attrs
}

// Encode returns UPDATEs that announce the prefixes, with as many in each as
// fit (about 800 /32). All are of the family of path.NextHop.
func Encode(prefixes []netip.Prefix, path Path) [][]byte {
	if path.NextHop.Is4() {
		attrs := path.attributes(true)
		fixed := headerLen + 2 + 2 + len(attrs)
		return pack(prefixes, messageMax-fixed, func(nlri []byte) []byte {
			body := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
			return append(append(body, attrs...), nlri...)
		})
	}
	attrs := path.attributes(false)
	hop := path.NextHop.As16()
	reach := append([]byte{0, 2, 1, 16}, hop[:]...)
	reach = append(reach, 0)
	fixed := headerLen + 2 + 2 + len(attrs) + 4 + len(reach)
	return pack(prefixes, messageMax-fixed, func(nlri []byte) []byte {
		return onlyAttributes(append(extended(attrReach, append(reach[:len(reach):len(reach)], nlri...)), attrs...))
	})
}

// EncodeWithdraw returns UPDATEs that withdraw the prefixes, all of one family.
func EncodeWithdraw(prefixes []netip.Prefix) [][]byte {
	if len(prefixes) == 0 {
		return nil
	}
	if prefixes[0].Addr().Is4() {
		return pack(prefixes, messageMax-headerLen-4, func(nlri []byte) []byte {
			body := binary.BigEndian.AppendUint16(nil, uint16(len(nlri)))
			return append(append(body, nlri...), 0, 0)
		})
	}
	return pack(prefixes, messageMax-headerLen-4-4-3, func(nlri []byte) []byte {
		return onlyAttributes(extended(attrUnreach, append([]byte{0, 2, 1}, nlri...)))
	})
}

// EncodeEndOfRIB returns the marker of a family (RFC 4724 section 2).
func EncodeEndOfRIB(v6 bool) []byte {
	if v6 {
		return message(Update, []byte{0, 0, 0, 6, flagOptional, attrUnreach, 3, 0, 2, 1})
	}
	return message(Update, []byte{0, 0, 0, 0})
}

// extended is an optional attribute with a length of two octets.
func extended(kind byte, value []byte) []byte {
	attr := binary.BigEndian.AppendUint16([]byte{flagOptional | flagExtended, kind}, uint16(len(value)))
	return append(attr, value...)
}

func onlyAttributes(attrs []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs))), attrs...)
}

// pack fills messages with up to room octets of prefixes.
func pack(prefixes []netip.Prefix, room int, body func(nlri []byte) []byte) [][]byte {
	var messages [][]byte
	var nlri []byte
	flush := func() {
		if len(nlri) > 0 {
			messages = append(messages, message(Update, body(nlri)))
			nlri = nil
		}
	}
	for _, p := range prefixes {
		octets := (p.Bits() + 7) / 8
		if len(nlri)+1+octets > room {
			flush()
		}
		nlri = append(append(nlri, byte(p.Bits())), p.Addr().AsSlice()[:octets]...)
	}
	flush()
	return messages
}
