package ndp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ICMPv6 types, and the hop limit that proves a packet to be from this link:
// every router on its way would have lowered it (RFC 4861 section 4).
const (
	typeSolicit   = 133
	typeAdvertise = 134
	hopLimit      = 255

	solicitSize   = 8
	advertiseSize = 16

	optionSourceLink = 1 // RFC 4861 section 4.6.1
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// packet is what was read from the socket.
type packet struct {
	link     int
	from     netip.Addr
	hopLimit int
	body     []byte
}

// message is a valid router solicitation or advertisement.
type message struct {
	advertise bool
	from      netip.Addr // of a solicitation also ::
}

// parse reads a packet and refuses what RFC 4861 sections 6.1.1 and 6.1.2 say
// must be discarded.
func parse(p packet) (message, error) {
	b := p.body
	switch {
	case len(b) < solicitSize:
		return message{}, fmt.Errorf("of %d bytes is too short", len(b))
	case p.hopLimit != hopLimit:
		return message{}, fmt.Errorf("has hop limit %d, so it is not from this link", p.hopLimit)
	case b[1] != 0:
		return message{}, fmt.Errorf("has code %d", b[1])
	}
	m := message{from: p.from.WithZone("")}
	switch b[0] {
	case typeSolicit:
		source, err := options(b[solicitSize:])
		if err == nil && source && p.from.IsUnspecified() {
			err = errors.New("has a link-layer address but no source address")
		}
		return m, err
	case typeAdvertise:
		m.advertise = true
		if len(b) < advertiseSize {
			return m, fmt.Errorf("of %d bytes is too short", len(b))
		}
		if !p.from.Is6() || !p.from.IsLinkLocalUnicast() {
			return m, errors.New("is not from a link-local address")
		}
		_, err := options(b[advertiseSize:])
		return m, err
	}
	return m, fmt.Errorf("has type %d", b[0])
}

// options walks through the options, which each say how many times eight bytes
// they are long, and reports whether a link-layer address is among them.
func options(b []byte) (source bool, err error) {
	for len(b) > 0 {
		if len(b) < 2 || b[1] == 0 || len(b) < 8*int(b[1]) {
			return false, errors.New("has an option of a wrong length")
		}
		source = source || b[0] == optionSourceLink
		b = b[8*int(b[1]):]
	}
	return source, nil
}

// advertisement says that a router is here, and that it is nobody's default
// router: everything is 0, which stands for unspecified, and for the lifetime
// means just that. The kernel fills in the checksum.
func advertisement(hardware net.HardwareAddr) []byte {
	b := make([]byte, advertiseSize, advertiseSize+8)
	b[0] = typeAdvertise
	return appendSource(b, hardware)
}

// solicitation asks the routers of a link to advertise themselves now.
func solicitation(hardware net.HardwareAddr) []byte {
	b := make([]byte, solicitSize, solicitSize+8)
	b[0] = typeSolicit
	return appendSource(b, hardware)
}

func appendSource(b []byte, hardware net.HardwareAddr) []byte {
	if len(hardware) != 6 { // a device without Ethernet's
		return b
	}
	return append(append(b, optionSourceLink, 1), hardware...)
}
