package bfd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ports that packets are sent to (RFC 5881 section 4, RFC 5883 section 5),
// and the first one to send from.
const (
	portSingleHop = 3784
	portMultihop  = 4784
	firstSource   = 49152
)

// internetControl is the traffic class of routing protocols, CS6.
const internetControl = 0xc0

// listener receives all packets of one family to one port. It is read with raw
// system calls that never block, since only those keep the thread's place in
// Go's scheduler.
type listener struct {
	fd       int
	v6       bool
	multihop bool
	batch    *batch
}

// batch is room for the messages of one recvmmsg(2).
type batch struct {
	msgs [32]struct {
		unix.Msghdr
		len uint32
	}
	iovecs  [32]unix.Iovec
	names   [32]unix.RawSockaddrInet6 // has room for the IPv4 one
	data    [32][64]byte
	control [32][128]byte
}

// datagram is a received packet with what the kernel says of it. Addresses have
// no zone.
type datagram struct {
	from, to netip.Addr
	ifindex  int
	ttl      int       // or hop limit; -1 if unknown
	at       time.Time // on the wall clock; zero if unknown
	data     []byte    // valid until the next read
}

// listen opens the socket for a family and port. The socket takes packets for
// any address of ours: which one is checked by session.
func listen(v6, multihop bool) (*listener, error) {
	family, port := unix.AF_INET, portSingleHop
	if v6 {
		family = unix.AF_INET6
	}
	if multihop {
		port = portMultihop
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
	}
	var addr unix.Sockaddr = &unix.SockaddrInet4{Port: port}
	if v6 {
		options = append(options[:1], []struct{ level, name, value int }{
			{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		}...)
		addr = &unix.SockaddrInet6{Port: port}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set up the socket of UDP port %d: %w", port, err)
		}
	}
	// Room for what comes while the machine is too busy to read; without the
	// privilege for it as much as net.core.rmem_max allows.
	const room = 1 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	}
	if err := unix.Bind(fd, addr); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("listen on UDP port %d: %w: another BFD daemon (bird, bfdd) has it; stop that, or take bfd off the peers", port, err)
		}
		return nil, fmt.Errorf("listen on UDP port %d: %w", port, err)
	}
	return &listener{fd: fd, v6: v6, multihop: multihop, batch: new(batch)}, nil
}

// read hands out the datagrams that are waiting, up to a batch of them, and
// returns how many there were; 0 if none waits.
func (l *listener) read(deliver func(datagram)) int {
	b := l.batch
	for i := range b.msgs {
		m := &b.msgs[i]
		b.iovecs[i].Base = &b.data[i][0]
		b.iovecs[i].SetLen(len(b.data[i]))
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), uint32(unsafe.Sizeof(b.names[i]))
		m.Iov = &b.iovecs[i]
		m.SetIovlen(1)
		m.Control = &b.control[i][0]
		m.SetControllen(len(b.control[i]))
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&b.msgs[0])),
			uintptr(len(b.msgs)), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0
		}
		for i := range int(n) {
			deliver(l.datagram(i))
		}
		return int(n)
	}
}

func (l *listener) datagram(i int) datagram {
	b := l.batch
	d := datagram{ttl: -1, data: b.data[i][:min(int(b.msgs[i].len), len(b.data[i]))]}
	if l.v6 {
		d.from = netip.AddrFrom16(b.names[i].Addr)
	} else {
		d.from = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&b.names[i])).Addr)
	}
	for rest := b.control[i][:b.msgs[i].Controllen]; len(rest) >= unix.SizeofCmsghdr; {
		h, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		d.control(h, data)
		rest = next
	}
	return d
}

// control reads one control message.
func (d *datagram) control(h unix.Cmsghdr, data []byte) {
	p := unsafe.Pointer(unsafe.SliceData(data))
	is := func(level, kind int, size uintptr) bool {
		return int(h.Level) == level && int(h.Type) == kind && uintptr(len(data)) >= size
	}
	switch {
	case is(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, unsafe.Sizeof(unix.Timespec{})):
		d.at = time.Unix((*unix.Timespec)(p).Unix())
	case is(unix.IPPROTO_IP, unix.IP_TTL, 4), is(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, 4):
		d.ttl = int(*(*int32)(p))
	case is(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo):
		i := (*unix.Inet4Pktinfo)(p)
		d.to, d.ifindex = netip.AddrFrom4(i.Addr), int(i.Ifindex)
	case is(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo):
		i := (*unix.Inet6Pktinfo)(p)
		d.to, d.ifindex = netip.AddrFrom16(i.Addr), int(i.Ifindex)
	}
}

// sender is a session's socket for sending. Nothing is received on it.
type sender struct {
	fd      int
	local   netip.Addr // without zone
	port    uint16
	ifindex int // 0 if the session is not tied to a device
}

// dial opens the socket of a session: from its local address, or the one that
// the kernel chooses, and from port or, if that is 0, one that taken does not
// know. TTL and hop limit are 255 (RFC 5881 section 5).
func dial(s Session, port uint16, taken func(uint16) bool) (*sender, error) {
	v6 := s.Remote.Is6()
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	out := &sender{fd: fd}
	if err = out.setUp(s, v6); err == nil {
		err = out.connect(s, port, taken)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return out, nil
}

func (o *sender) setUp(s Session, v6 bool) error {
	level, hops, class := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if v6 {
		level, hops, class = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_TCLASS
	}
	if err := unix.SetsockoptInt(o.fd, level, hops, 255); err != nil {
		return fmt.Errorf("set TTL 255: %w", err)
	}
	// Priority in queues is a wish.
	_ = unix.SetsockoptInt(o.fd, level, class, internetControl)
	_ = unix.SetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 6)
	if s.Interface == "" {
		return nil
	}
	req, err := unix.NewIfreq(s.Interface)
	if err == nil {
		err = unix.IoctlIfreq(o.fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return fmt.Errorf("find device %s: %w", s.Interface, err)
	}
	o.ifindex = int(req.Uint32())
	if err := unix.BindToDevice(o.fd, s.Interface); err != nil {
		return fmt.Errorf("bind to device %s: %w", s.Interface, err)
	}
	return nil
}

// connect chooses the local end and fixes the remote one.
func (o *sender) connect(s Session, port uint16, taken func(uint16) bool) error {
	local := s.Local
	if !local.IsValid() {
		local = netip.IPv4Unspecified()
		if s.Remote.Is6() {
			local = netip.IPv6Unspecified()
		}
	}
	var err error
	for range 50 {
		try := port
		if port == 0 {
			try = firstSource + uint16(rand.N(1<<16-firstSource))
		}
		if port == 0 && taken(try) {
			continue
		}
		port = 0 // if the old one is in use, any will do
		if err = unix.Bind(o.fd, o.sockaddr(local, try)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("send from %s: %w: no interface has this address", local, err)
	}
	if err != nil {
		return fmt.Errorf("send from %s: %w", local, err)
	}
	to := uint16(portSingleHop)
	if s.Multihop {
		to = portMultihop
	}
	if err := unix.Connect(o.fd, o.sockaddr(s.Remote, to)); err != nil {
		return fmt.Errorf("send to %s: %w", s.Remote, err)
	}
	got, err := unix.Getsockname(o.fd)
	if err != nil {
		return fmt.Errorf("ask for the local address: %w", err)
	}
	switch a := got.(type) {
	case *unix.SockaddrInet4:
		o.local, o.port = netip.AddrFrom4(a.Addr), uint16(a.Port)
	case *unix.SockaddrInet6:
		o.local, o.port = netip.AddrFrom16(a.Addr), uint16(a.Port)
	}
	return nil
}

func (o *sender) sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	s := &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
	if a.IsLinkLocalUnicast() {
		s.ZoneId = uint32(o.ifindex)
	}
	return s
}

// send sends a packet without ever blocking. An error of the socket may be that
// of an earlier packet, by ICMP, and then this one was not sent: so it is tried
// twice. The first error is returned if it was of the earlier one.
func (o *sender) send(p packet) (sent bool, err error) {
	b := p.encode()
	for range 2 {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(o.fd), uintptr(unsafe.Pointer(&b[0])), packetLen,
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return true, err
		}
		err = errno
	}
	return false, err
}

func (o *sender) close()   { unix.Close(o.fd) }
func (l *listener) close() { unix.Close(l.fd) }
