package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Flood sends UDP datagrams from a pod to addresses, round and round, whether or
// not anybody is there: the probe that must not get through.
type Flood struct {
	stop context.CancelFunc
	done chan struct{}
	sent atomic.Int64
	err  atomic.Pointer[error]
}

// StartFlood starts a flood from the pod to all of the addresses, with a pause
// after each round, until ctx ends or [Flood.Stop].
func (p *Pod) StartFlood(ctx context.Context, to []netip.AddrPort, pause time.Duration) (*Flood, error) {
	var conn *net.UDPConn
	err := p.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: flood from %s: %w", p.Name, err)
	}
	ctx, stop := context.WithCancel(ctx)
	f := &Flood{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer conn.Close()
		for ctx.Err() == nil {
			for _, a := range to {
				if _, err := conn.WriteToUDPAddrPort([]byte("flood"), a); err != nil {
					f.err.Store(&err)
					continue
				}
				f.sent.Add(1)
			}
			time.Sleep(pause)
		}
	}()
	return f, nil
}

// Sent is how many datagrams have been sent.
func (f *Flood) Sent() int { return int(f.sent.Load()) }

// Err is the last error of a send; nil if there was none.
func (f *Flood) Err() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Stop ends the flood and returns how many datagrams were sent.
func (f *Flood) Stop() int {
	f.stop()
	<-f.done
	return f.Sent()
}

// Sniffer counts the UDP datagrams to a port that come into a namespace by any
// interface, also one that is made later, before anything there can drop them.
type Sniffer struct {
	fd    int
	port  uint16
	once  sync.Once
	done  chan struct{}
	stop  atomic.Bool
	count atomic.Int64

	mu   sync.Mutex
	from map[netip.Addr]int
	last time.Time
}

// Sniff starts a sniffer in a namespace, by its name or path.
func Sniff(netns string, port uint16) (*Sniffer, error) {
	s := &Sniffer{port: port, done: make(chan struct{}), from: map[netip.Addr]int{}}
	err := inNetns(netns, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(bigEndian(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
		return unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	})
	if err != nil {
		return nil, fmt.Errorf("lab: sniff in %s: %w", netns, err)
	}
	go s.run()
	return s, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

func (s *Sniffer) run() {
	defer close(s.done)
	buf := make([]byte, 256)
	var end time.Time
	for {
		n, from, err := unix.Recvfrom(s.fd, buf, 0)
		if s.stop.Load() {
			if end.IsZero() { // from here on, and not from a pause of the machine before
				end = time.Now().Add(sniffLonger)
			}
			// What others send to the namespace meanwhile may never let it rest.
			if err != nil || time.Now().After(end) {
				return
			}
		}
		if err != nil {
			continue
		}
		if at, ok := from.(*unix.SockaddrLinklayer); !ok || at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if src, port := udpOf(buf[:n]); src.IsValid() && port == s.port {
			s.count.Add(1)
			s.mu.Lock()
			s.from[src]++
			s.last = time.Now()
			s.mu.Unlock()
		}
	}
}

// udpOf returns the source and the destination port of a UDP datagram.
func udpOf(p []byte) (src netip.Addr, port uint16) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && p[9] == unix.IPPROTO_UDP && len(p) >= int(p[0]&15)*4+8:
		src, _ = netip.AddrFromSlice(p[12:16])
		port = binary.BigEndian.Uint16(p[int(p[0]&15)*4+2:])
	case len(p) >= 48 && p[0]>>4 == 6 && p[6] == unix.IPPROTO_UDP:
		src, _ = netip.AddrFromSlice(p[8:24])
		port = binary.BigEndian.Uint16(p[42:])
	}
	return src, port
}

// Count is how many datagrams have come.
func (s *Sniffer) Count() int { return int(s.count.Load()) }

// From returns how many came from each address, and when the last came.
func (s *Sniffer) From() (counts map[netip.Addr]int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts = map[netip.Addr]int{}
	for a, n := range s.from {
		counts[a] = n
	}
	return counts, s.last
}

// sniffLonger is how long a sniffer that is stopped takes what has come by then.
const sniffLonger = time.Second

// Stop ends the sniffer, when it has taken what has come, and returns the count.
func (s *Sniffer) Stop() int {
	s.once.Do(func() {
		s.stop.Store(true)
		<-s.done
		unix.Close(s.fd)
	})
	return s.Count()
}
