package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A probe is one try of a connection. Arrived says that a packet of it came to
// the other end, answered that an answer came back.
type probe struct {
	from, to *endpoint
	v6       bool
	port     port

	arrived, answered bool
	fd                int // of TCP
}

func (p *probe) flow() flow { return flow{p.from.addr(p.v6), p.to.addr(p.v6), p.port} }

func (p *probe) String() string {
	family := "v4"
	if p.v6 {
		family = "v6"
	}
	return fmt.Sprintf("%s > %s %s %s", p.from.name, p.to.name, p.port, family)
}

// probes are all pairs of which at least one is a pod, by each family that both
// have, to each port.
func (w *world) probes(ports []port) (out []*probe) {
	return probesOf(w.endpoints, ports)
}

func probesOf(endpoints []*endpoint, ports []port) (out []*probe) {
	for _, from := range endpoints {
		for _, to := range endpoints {
			if from == to || from.node == "" && to.node == "" {
				continue
			}
			for _, v6 := range []bool{false, true} {
				if !from.addr(v6).IsValid() || !to.addr(v6).IsValid() {
					continue
				}
				for _, p := range ports {
					out = append(out, &probe{from: from, to: to, v6: v6, port: p})
				}
			}
		}
	}
	return out
}

// socketKey names a socket that stays open: that of a server, or (number 0) the
// one that a place sends its UDP or SCTP packets by.
type socketKey struct {
	e    *endpoint
	v6   bool
	port port
}

// sockets are those that stay open.
type sockets struct {
	mu  sync.Mutex
	fds map[socketKey]int
	// serial makes the packets of one round unlike those of any other.
	serial uint32
}

func (s *sockets) add(k socketKey, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fds == nil {
		s.fds = map[socketKey]int{}
	}
	s.fds[k] = fd
}

func (s *sockets) get(k socketKey) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	fd, ok := s.fds[k]
	if !ok {
		panic(fmt.Sprintf("no socket %s %v", k.e.name, k.port))
	}
	return fd
}

func (s *sockets) close() {
	for fd := range maps.Values(s.fds) {
		unix.Close(fd)
	}
}

// open opens a socket of an endpoint, bound to its address; of TCP it listens.
func (s *sockets) open(k socketKey) error {
	kind, proto := unix.SOCK_DGRAM, 0
	switch k.port.protocol {
	case "TCP":
		kind = unix.SOCK_STREAM
	case "SCTP":
		kind, proto = unix.SOCK_RAW, unix.IPPROTO_SCTP
	}
	fd, err := unix.Socket(family(k.v6), kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return fmt.Errorf("socket for %s at %s: %w", k.port, k.e.name, err)
	}
	s.add(k, fd)
	at := sockaddr(k.e.addr(k.v6), k.port.number)
	if k.port.protocol == "SCTP" {
		at = sockaddr(k.e.addr(k.v6), 0)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, at); err != nil {
		return fmt.Errorf("bind %s to %s: %w", k.port, k.e.addr(k.v6), err)
	}
	if k.port.protocol == "TCP" {
		return unix.Listen(fd, 4096)
	}
	return nil
}

// openRaw opens what an endpoint sends UDP by, and all its SCTP.
func (w *world) openRaw(e *endpoint) error {
	for _, v6 := range []bool{false, true} {
		if !e.addr(v6).IsValid() {
			continue
		}
		for _, proto := range []string{"UDP", "SCTP"} {
			if err := w.open(socketKey{e, v6, port{proto, 0}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve opens the servers of ports that are not open yet.
func (w *world) serve(ports []port) error {
	for _, p := range ports {
		if w.servers[p] || p.protocol == "SCTP" {
			continue
		}
		w.servers[p] = true
		err := onAll(w.endpoints, (*endpoint).place, func(e *endpoint) error {
			for _, v6 := range []bool{false, true} {
				if e.addr(v6).IsValid() {
					if err := w.open(socketKey{e, v6, p}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maxDevices is more than the devices that a packet passes on its way there and
// that of its answer, three times over.
const maxDevices = 30

// try makes all probes at once. When it returns no packet is on its way any
// more, so what has not arrived was dropped.
func (w *world) try(list []*probe) (err error) {
	w.serial++
	byPlace := map[*place][]int{}
	for i, p := range list {
		p.arrived, p.answered, p.fd = false, false, -1
		byPlace[p.from.at] = append(byPlace[p.from.at], i)
	}
	places := slices.Collect(maps.Keys(byPlace))
	err = onAll(places, func(at *place) *place { return at }, func(at *place) error {
		for _, i := range byPlace[at] {
			if err := w.send(list[i], uint32(i)); err != nil {
				return fmt.Errorf("%s: %w", list[i], err)
			}
		}
		return nil
	})
	defer func() { err = errors.Join(err, w.hangUp(list)) }()
	if err != nil {
		return err
	}
	if err := w.router.drain(maxDevices); err != nil {
		return err
	}
	w.answer(list)
	if err := w.router.drain(maxDevices); err != nil {
		return err
	}
	w.collect(list)
	for _, p := range list {
		if p.port.protocol != "TCP" {
			continue
		}
		done, err := connected(p.fd)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		p.arrived, p.answered = done, done
	}
	return err
}

// hangUp resets the probes' TCP connections, and returns when the resets have
// arrived. One that came when the nodes have forgotten its connection would be
// dropped, and the server, left waiting for its end, refuses a later probe from
// the same port.
func (w *world) hangUp(list []*probe) error {
	for _, p := range list {
		if p.fd >= 0 {
			unix.Close(p.fd)
		}
	}
	return w.router.drain(maxDevices)
}

// send sends the first packet of a probe, on the thread of its place.
func (w *world) send(p *probe, i uint32) error {
	to := sockaddr(p.to.addr(p.v6), p.port.number)
	switch p.port.protocol {
	case "UDP":
		payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w.serial), i)
		return quiet(unix.Sendto(w.get(socketKey{p.from, p.v6, port{"UDP", 0}}), payload, 0, to))
	case "SCTP":
		init := sctp(sctpInit, w.sctpSource(), p.port.number, 0, i+1)
		return quiet(unix.Sendto(w.get(socketKey{p.from, p.v6, port{"SCTP", 0}}), init, 0, sockaddr(p.to.addr(p.v6), 0)))
	}
	fd, err := unix.Socket(family(p.v6), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	p.fd = fd
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := unix.Bind(fd, sockaddr(p.from.addr(p.v6), 0)); err != nil {
		return err
	}
	// A signal of the runtime's does not end it either: it goes on (connect(2)).
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		return err
	}
	return nil
}

// quiet lets pass the errors by which a kernel says that an earlier packet was
// not wanted, or that this one is not.
func quiet(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	return err
}

// connected says whether a TCP connection is up. One whose next neighbor was not
// found is not: on a slow machine that is known before it was looked.
func connected(fd int) (bool, error) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(ready, 0)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Poll(ready, 0)
	}
	if err != nil || ready[0].Revents == 0 {
		return false, err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code == int(unix.EHOSTUNREACH) {
		return false, nil
	}
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err == nil, err
}

// answer takes what has come to the servers and answers it.
func (w *world) answer(list []*probe) {
	w.each(func(k socketKey, fd int) {
		switch {
		case k.port.protocol == "TCP":
			for {
				got, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
				if err != nil {
					return
				}
				defer unix.Close(got) // after the collecting, so that it stays up
			}
		case k.port.protocol == "UDP" && k.port.number != 0:
			w.receive(k, fd, list, func(p *probe, _ bool, packet []byte, from unix.Sockaddr) {
				p.arrived = true
				unix.Sendto(fd, packet, 0, from)
			})
		case k.port.protocol == "SCTP":
			w.receive(k, fd, list, func(p *probe, back bool, packet []byte, _ unix.Sockaddr) {
				if back {
					p.answered = true
					return
				}
				p.arrived = true
				tag := binary.BigEndian.Uint32(packet[16:])
				unix.Sendto(fd, sctp(sctpInitAck, p.port.number, w.sctpSource(), tag, tag), 0, sockaddr(p.from.addr(p.v6), 0))
			})
		}
	})
}

// collect takes what has come back.
func (w *world) collect(list []*probe) {
	w.each(func(k socketKey, fd int) {
		if k.port.number == 0 {
			w.receive(k, fd, list, func(p *probe, back bool, _ []byte, _ unix.Sockaddr) { p.answered = p.answered || back })
		}
	})
}

func (w *world) each(fn func(socketKey, int)) {
	w.mu.Lock()
	fds := maps.Clone(w.fds)
	w.mu.Unlock()
	for k, fd := range fds {
		fn(k, fd)
	}
}

// receive reads all that waits at a socket, and gives those packets that are of
// this round and came to where they were sent.
func (w *world) receive(k socketKey, fd int, list []*probe, got func(p *probe, back bool, packet []byte, from unix.Sockaddr)) {
	buf := make([]byte, 256)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		packet := buf[:n]
		var serial, i uint32
		back := k.port.number == 0
		if k.port.protocol == "UDP" && n == 8 {
			serial, i = binary.BigEndian.Uint32(packet), binary.BigEndian.Uint32(packet[4:])
		} else if k.port.protocol == "SCTP" {
			if !k.v6 && n > 20 {
				packet = packet[int(packet[0]&15)*4:]
			}
			if len(packet) < 32 {
				continue
			}
			back = packet[12] == sctpInitAck
			local := 0
			if back {
				local = 2
			}
			serial, i = uint32(binary.BigEndian.Uint16(packet[local:])), binary.BigEndian.Uint32(packet[16:])-1
		}
		if int(i) >= len(list) || serial != w.serial && (k.port.protocol != "SCTP" || serial != uint32(w.sctpSource())) {
			continue
		}
		p := list[i]
		if end := map[bool]*endpoint{false: p.to, true: p.from}[back]; end != k.e || p.v6 != k.v6 || p.port.protocol != k.port.protocol {
			continue
		}
		got(p, back, packet, from)
	}
}

// The types of SCTP's chunks (RFC 9260 section 3.2).
const (
	sctpInit    = 1
	sctpInitAck = 2
)

// sctpSource is the port that INITs come from: another in each round, and none
// that is sent to, lest two that meet be one connection.
func (s *sockets) sctpSource() uint16 { return uint16(20000 + s.serial%40000) }

// sctp makes a packet with an INIT or INIT ACK chunk (RFC 9260 section 3.3.2).
func sctp(kind byte, from, to uint16, tag, initiate uint32) []byte {
	b := make([]byte, 32, 40)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint32(b[4:], tag)
	b[12] = kind
	binary.BigEndian.PutUint32(b[16:], initiate)
	binary.BigEndian.PutUint32(b[20:], 65536) // the receiver's window
	binary.BigEndian.PutUint32(b[24:], 1<<16|1)
	binary.BigEndian.PutUint32(b[28:], 1)
	if kind == sctpInitAck {
		b = append(b, 0, 7, 0, 8, 1, 2, 3, 4) // a State Cookie, which an INIT ACK must have
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-12))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func family(v6 bool) int {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
}
