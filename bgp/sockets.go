package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// GoBGP keeps its listening sockets to itself, and does two things with them
// that must not be left to it. It only logs that the kernel refused a key for
// TCP-MD5, so that whoever has the neighbor's address could connect without one;
// and it never takes a key away again with the neighbor. And towards a neighbor
// that looks at the TTL (RFC 5082), its answers over IPv6 have too low a one.
// So the sockets are looked for among the process's own, and held by a duplicate.

// sockets are those that GoBGP listens on.
type sockets struct {
	list  []listenSocket
	keys  map[netip.Addr]bool  // neighbors with a key; those of several links share one
	least map[netip.Addr]uint8 // the TTL of neighbors whose packets are looked at
}

type listenSocket struct {
	fd int
	v6 bool
}

// listenHops is the TTL of what a listening socket answers.
const listenHops = 255

// findSockets returns duplicates of the sockets that this process listens on at
// the addresses of g.
func findSockets(g Global) (*sockets, error) {
	s := &sockets{keys: map[netip.Addr]bool{}, least: map[netip.Addr]uint8{}}
	addrs, err := g.listenAddrs()
	if err != nil {
		return nil, err
	}
	eachSocket(func(fd int) bool {
		at, ok := listensAt(fd)
		if !ok || at.Port() != g.Port || !contains(addrs, at.Addr()) {
			return false
		}
		s.list = append(s.list, listenSocket{fd, at.Addr().Is6()})
		return true
	})
	if len(s.list) < len(addrs) {
		s.close()
		return nil, fmt.Errorf("look for listening sockets: %d of %d found", len(s.list), len(addrs))
	}
	return s, s.setOwnHops()
}

// eachSocket calls fn with a duplicate of each file descriptor of the process,
// and closes those that fn does not keep.
func eachSocket(fn func(fd int) (keep bool)) {
	open, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil && !fn(own) { // closed meanwhile, as that of the directory is
			unix.Close(own)
		}
	}
}

func contains(addrs []netip.Addr, a netip.Addr) bool {
	for _, b := range addrs {
		if a == b.WithZone("") {
			return true
		}
	}
	return false
}

// listensAt returns the address of a listening TCP socket, without a zone.
func listensAt(fd int) (netip.AddrPort, bool) {
	if accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || accepts == 0 {
		return netip.AddrPort{}, false
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return addrPort(name)
}

func addrPort(name unix.Sockaddr) (netip.AddrPort, bool) {
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}

func (s *sockets) setOwnHops() error {
	for _, l := range s.list {
		if !l.v6 {
			continue // GoBGP did
		}
		if err := unix.SetsockoptInt(l.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, listenHops); err != nil {
			s.close()
			return fmt.Errorf("set the hop limit of a listening socket: %w", err)
		}
	}
	return nil
}

func (s *sockets) close() {
	for _, l := range s.list {
		unix.Close(l.fd)
	}
	s.list = nil
}

// setKey has the kernel drop every segment from addr that is not signed with the
// key (RFC 2385), on all sockets that may get one; on none if one refuses.
func (s *sockets) setKey(addr netip.Addr, key string) error {
	for _, l := range s.list {
		if l.v6 != addr.Is6() {
			continue
		}
		if err := signWith(l.fd, addr.WithZone(""), key); err != nil {
			s.dropKey(addr)
			return err
		}
		s.keys[addr] = true
	}
	return nil
}

// dropKey takes a key away, if there is one that nobody else needs.
func (s *sockets) dropKey(addr netip.Addr) {
	if !s.keys[addr] {
		return
	}
	delete(s.keys, addr)
	for other := range s.keys {
		if other.WithZone("") == addr.WithZone("") {
			return
		}
	}
	for _, l := range s.list {
		if l.v6 == addr.Is6() {
			_ = signWith(l.fd, addr.WithZone(""), "") // ENOENT where there is none
		}
	}
}

// signWith sets a socket's key for segments from and to addr; an empty one takes
// it away (TCP_MD5SIG of tcp(7)).
func signWith(fd int, addr netip.Addr, key string) error {
	sig := unix.TCPMD5Sig{Keylen: uint16(len(key))}
	if addr.Is4() {
		sig.Addr.Family = unix.AF_INET
		a := addr.As4()
		copy(sig.Addr.Data[2:], a[:]) // sockaddr_in: the port, then the address
	} else {
		sig.Addr.Family = unix.AF_INET6
		a := addr.As16()
		copy(sig.Addr.Data[6:], a[:]) // sockaddr_in6: the port and the flow, then the address
	}
	copy(sig.Key[:], key)
	err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	if errors.Is(err, unix.ENOMEM) {
		return errKeysFull
	}
	return err
}

// errKeysFull is why the kernel refuses a key.
var errKeysFull = errors.New("the kernel has no room for another key")

// optmemFile limits what a socket keeps beside its data (net/core/sock.c,
// sock_kmalloc). The limit is read when something is added.
const optmemFile = "/proc/sys/net/core/optmem_max"

const (
	// keySize is what a key takes of that: struct tcp_md5sig_key has 136 octets,
	// as 963 of them fill 128 KiB. The rest is room for it to grow.
	keySize   = 160
	optmemOwn = 8 << 10
)

// OptmemNeeded is the least net.core.optmem_max, in octets, with which the
// kernel takes the passwords of all neighbors. It is 0 if none has one.
func OptmemNeeded(neighbors []Neighbor) int {
	keys := 0
	for _, n := range neighbors {
		if !n.Password.Secret.IsZero() {
			keys++
		}
	}
	if keys == 0 {
		return 0
	}
	return optmemOwn + keys*keySize
}

func optmem() string {
	text, _ := os.ReadFile(optmemFile)
	return strings.TrimSpace(string(text))
}
