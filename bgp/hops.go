package bgp

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// GoBGP looks at the TTL of a neighbor's packets once it has taken a connection
// (RFC 5082). Until then anybody far away with the neighbor's address may open
// one, and say OPEN, and then keep the neighbor itself out: GoBGP waits for the
// rest for four minutes. So the sockets that it listens on drop such packets by a
// filter (socket(7), SO_ATTACH_FILTER), which connections inherit.

const (
	// netHeader is where a filter finds the network header (SKF_NET_OFF of
	// linux/filter.h).
	netHeader = 1<<32 - 0x100000
	ttl4      = 8  // of the IPv4 header (RFC 791 section 3.1)
	source4   = 12 // its source address
	hops6     = 7  // of the IPv6 header (RFC 8200 section 3)
	source6   = 8

	takePacket, dropPacket = 1<<32 - 1, 0
)

// hopsFilter drops what comes from one of the addresses with a lower TTL than is
// said of it.
func hopsFilter(least map[netip.Addr]uint8, v6 bool) []unix.SockFilter {
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_ABS | size, K: netHeader + at}
	}
	source, ttl := uint32(source4), uint32(ttl4)
	if v6 {
		source, ttl = source6, hops6
	}
	var program []unix.SockFilter
	for _, addr := range slices.SortedFunc(maps.Keys(least), netip.Addr.Compare) {
		if addr.Is6() != v6 {
			continue
		}
		raw := addr.AsSlice()
		const judge = 4 // instructions after the address
		for i := 0; i < len(raw); i += 4 {
			left := (len(raw)-i)/4 - 1 // words to compare yet
			program = append(program, load(unix.BPF_W, source+uint32(i)), unix.SockFilter{
				Code: unix.BPF_JMP | unix.BPF_JEQ, K: binary.BigEndian.Uint32(raw[i:]), Jf: uint8(2*left + judge),
			})
		}
		program = append(program,
			load(unix.BPF_B, ttl),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGE, K: uint32(least[addr]), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET, K: takePacket},
			unix.SockFilter{Code: unix.BPF_RET, K: dropPacket})
	}
	if len(program) == 0 {
		return nil
	}
	return append(program, unix.SockFilter{Code: unix.BPF_RET, K: takePacket})
}

// setHops has what comes from addr dropped below a TTL; 0 is for any.
func (s *sockets) setHops(addr netip.Addr, least uint8) error {
	addr = addr.WithZone("")
	was := s.least[addr]
	if was == least {
		return nil
	}
	set := func(least uint8) error {
		if delete(s.least, addr); least > 0 {
			s.least[addr] = least
		}
		for _, l := range s.list {
			if l.v6 != addr.Is6() {
				continue
			}
			if err := attach(l.fd, hopsFilter(s.least, l.v6)); err != nil {
				return err
			}
		}
		return nil
	}
	err := set(least)
	if err != nil {
		_ = set(was) // it fitted before
	}
	return err
}

// attach replaces a socket's filter.
func attach(fd int, program []unix.SockFilter) error {
	if len(program) == 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) { // there is none
			err = nil
		}
		return err
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}
