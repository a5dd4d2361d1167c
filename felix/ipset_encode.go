package felix

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Attributes of nfnetlink's ipset subsystem (linux/netfilter/ipset/ip_set.h).
// Numbers repeat: what they mean depends on what they are nested in.
const (
	setAttrProtocol = 1
	setAttrName     = 2
	setAttrType     = 3
	setAttrName2    = 3
	setAttrRevision = 4
	setAttrFamily   = 5
	setAttrFlags    = 6
	setAttrData     = 7
	setAttrADT      = 8 // many setAttrData
	setAttrLine     = 9 // which of many failed

	// In the data of a member.
	memberIP    = 1
	memberCIDR  = 3
	memberPort  = 4
	memberProto = 7
	memberFlags = 8
	memberIface = 23

	// In the data of a set.
	headTimeout    = 6
	headFlags      = 8
	headHashSize   = 18
	headMaxElem    = 19
	headNetmask    = 20
	headElements   = 24
	headReferences = 25
	headBitmask    = 12

	addrIPv4 = 1
	addrIPv6 = 2
)

// Commands (enum ipset_cmd).
const (
	setCmdCreate  = 2
	setCmdDestroy = 3
	setCmdFlush   = 4
	setCmdSwap    = 6
	setCmdList    = 7
	setCmdAdd     = 9
	setCmdDel     = 10
	setCmdType    = 13
)

const (
	setProtocolVersion = 6
	listHeaders        = 1 << 2 // IPSET_FLAG_LIST_HEADER
	netOrder           = unix.NLA_F_NET_BYTEORDER
	nested             = unix.NLA_F_NESTED
)

// setMessage writes netlink messages of ipset one after the other.
type setMessage struct {
	b    []byte
	from int // where the message begins
}

// begin starts a message.
func (w *setMessage) begin(cmd uint8, flags uint16, seq uint32) {
	w.from = len(w.b)
	w.b = append(w.b, 0, 0, 0, 0, cmd, unix.NFNL_SUBSYS_IPSET)
	w.b = binary.NativeEndian.AppendUint16(w.b, flags|unix.NLM_F_REQUEST)
	w.b = binary.NativeEndian.AppendUint32(w.b, seq)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = append(w.b, unix.AF_INET, unix.NFNETLINK_V0, 0, 0) // struct nfgenmsg
	w.u8(setAttrProtocol, setProtocolVersion)
}

func (w *setMessage) end() {
	binary.NativeEndian.PutUint32(w.b[w.from:], uint32(len(w.b)-w.from))
}

// ack asks for an answer to the message that was written last.
func (w *setMessage) ack() {
	flags := binary.NativeEndian.Uint16(w.b[w.from+6:])
	binary.NativeEndian.PutUint16(w.b[w.from+6:], flags|unix.NLM_F_ACK)
}

// open begins an attribute; close, with what it returned, ends it.
func (w *setMessage) open(typ uint16) int {
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, typ)
	return at
}

func (w *setMessage) close(at int) {
	binary.NativeEndian.PutUint16(w.b[at:], uint16(len(w.b)-at))
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *setMessage) u8(typ uint16, v uint8) {
	at := w.open(typ)
	w.b = append(w.b, v)
	w.close(at)
}

func (w *setMessage) be32(typ uint16, v uint32) {
	at := w.open(typ | netOrder)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
	w.close(at)
}

func (w *setMessage) text(typ uint16, s string) {
	at := w.open(typ)
	w.b = append(append(w.b, s...), 0)
	w.close(at)
}

// line writes a number that comes back as it is when something fails.
func (w *setMessage) line(n int) {
	at := w.open(setAttrLine)
	w.b = binary.NativeEndian.AppendUint32(w.b, uint32(n))
	w.close(at)
}

// create writes the message that makes a set.
func (w *setMessage) create(op SetOp, revision uint8, seq uint32) {
	w.begin(setCmdCreate, unix.NLM_F_CREATE|unix.NLM_F_EXCL, seq)
	w.text(setAttrName, op.Set.Name)
	w.text(setAttrType, op.Set.Type.String())
	w.u8(setAttrRevision, revision)
	w.u8(setAttrFamily, kernelFamily(op.Set.Family))
	at := w.open(setAttrData | nested)
	w.be32(headHashSize, uint32(op.HashSize))
	w.be32(headMaxElem, uint32(op.MaxElem))
	w.close(at)
	w.end()
}

// member writes one member; n is its number among those of the op, from 1 on.
func (w *setMessage) member(t SetType, m Member, n int) {
	at := w.open(setAttrData | nested)
	addr := m.Net.Addr()
	ip := w.open(memberIP | nested)
	typ := uint16(addrIPv6)
	if addr.Is4() {
		typ = addrIPv4
	}
	a := w.open(typ | netOrder)
	w.b = append(w.b, addr.AsSlice()...)
	w.close(a)
	w.close(ip)
	if t == HashNet || t == HashNetIface {
		w.u8(memberCIDR, uint8(m.Net.Bits()))
	}
	if t == HashIPPort {
		p := w.open(memberPort | netOrder)
		w.b = binary.BigEndian.AppendUint16(w.b, m.Port)
		w.close(p)
		w.u8(memberProto, m.Protocol)
	}
	if t == HashNetIface {
		w.text(memberIface, m.Iface)
	}
	w.line(n)
	w.close(at)
}

func kernelFamily(f Family) uint8 {
	if f == IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// setAttrs calls fn for each attribute in b; typ has no flags.
func setAttrs(b []byte, fn func(typ uint16, val []byte)) {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint16(b[2:])&^(nested|netOrder), b[4:n])
		b = b[min((n+3)&^3, len(b)):]
	}
}

// parseSetMember reads the data of a member. plain is false if it has properties
// that ours have not.
func parseSetMember(t SetType, data []byte) (m Member, plain bool) {
	var addr netip.Addr
	bits := -1
	plain = true
	setAttrs(data, func(typ uint16, val []byte) {
		switch typ {
		case memberIP:
			setAttrs(val, func(_ uint16, ip []byte) { addr, _ = netip.AddrFromSlice(ip) })
		case memberCIDR:
			bits = int(val[0])
		case memberPort:
			m.Port = binary.BigEndian.Uint16(val)
		case memberProto:
			m.Protocol = val[0]
		case memberIface:
			m.Iface = cString(val)
		case memberFlags:
			plain = plain && beUint32(val) == 0
		}
	})
	if bits < 0 || t == HashIP || t == HashIPPort {
		bits = addr.BitLen()
	}
	m.Net = netip.PrefixFrom(addr, bits)
	return m, plain
}

// parseSetHeader reads what there is to know of a set. ok is false without a name.
func parseSetHeader(body []byte) (h SetHeader, ok bool) {
	typ, family := "", uint8(0)
	setAttrs(body, func(t uint16, val []byte) {
		switch t {
		case setAttrName:
			h.Name = cString(val)
		case setAttrType:
			typ = cString(val)
		case setAttrFamily:
			family = val[0]
		case setAttrData:
			parseSetHead(val, &h)
		}
	})
	if typ == "" {
		return h, false // more members of the set before
	}
	known := false
	for _, t := range []SetType{HashIP, HashNet, HashIPPort, HashNetIface} {
		if t.String() == typ {
			h.Type, known = t, true
		}
	}
	switch family {
	case unix.AF_INET:
		h.Family = IPv4
	case unix.AF_INET6:
		h.Family = IPv6
	default:
		known = false
	}
	if !known {
		h.Type = noSetType
	}
	return h, h.Name != ""
}

// noSetType is the type of sets of a type that we never use.
const noSetType SetType = 255

func parseSetHead(data []byte, h *SetHeader) {
	setAttrs(data, func(typ uint16, val []byte) {
		switch typ {
		case headHashSize:
			h.HashSize = int(beUint32(val))
		case headMaxElem:
			h.MaxElem = int(beUint32(val))
		case headElements:
			h.Elements = int(beUint32(val))
		case headReferences:
			h.References = int(beUint32(val))
		case headTimeout, headNetmask, headBitmask:
			h.Odd = true // members that expire, or are not what was added
		case headFlags:
			h.Odd = h.Odd || beUint32(val) != 0
		}
	})
}

func beUint32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func cString(b []byte) string { return unix.ByteSliceToString(b) }
