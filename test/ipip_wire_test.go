package test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/lab"
)

// wire counts the IPv4 packets that cross an interface, by what they are: "ipip
// OUTER>OUTER INNER>INNER" or "plain SOURCE>DESTINATION".
type wire struct {
	file *os.File
	done chan struct{}
	mu   sync.Mutex
	seen map[string]int
}

// watchWire begins to watch an interface of a node.
func watchWire(t *testing.T, n *lab.Node, device string) *wire {
	t.Helper()
	w := &wire{done: make(chan struct{}), seen: map[string]int{}}
	err := n.Do(func() error {
		link, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
		if err != nil {
			return err
		}
		w.file = os.NewFile(uintptr(fd), "packets")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.file.Close() })
	go func() {
		defer close(w.done)
		buf := make([]byte, 65536)
		for {
			k, err := w.file.Read(buf)
			if err != nil {
				return
			}
			if what := describe(buf[:k]); what != "" {
				w.mu.Lock()
				w.seen[what]++
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// describe says what an IPv4 packet is.
func describe(b []byte) string {
	if len(b) < 20 || b[0]>>4 != 4 {
		return ""
	}
	ends := func(b []byte) string {
		return fmt.Sprintf("%s>%s", netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])))
	}
	head := int(b[0]&0xf) * 4
	if b[9] == unix.IPPROTO_IPIP && len(b) >= head+20 {
		return "ipip " + ends(b) + " " + ends(b[head:])
	}
	return "plain " + ends(b)
}

// saw reports whether such a packet crossed.
func (w *wire) saw(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[what] > 0
}

// about lists what was seen with an address in it.
func (w *wire) about(a netip.Addr) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for what := range w.seen {
		if strings.Contains(what+" ", a.String()+" ") || strings.Contains(what, a.String()+">") {
			out = append(out, what)
		}
	}
	return out
}

// transfer moves bytes from one pod to another by TCP and returns how long it
// took.
func transfer(t *testing.T, l *lab.Lab, from, to string, bytes int64, within time.Duration) time.Duration {
	t.Helper()
	took, err := tryTransfer(t.Context(), l, from, to, bytes, within)
	if err != nil {
		t.Errorf("%s to %s: %v", from, to, err)
	}
	return took
}

func tryTransfer(ctx context.Context, l *lab.Lab, from, to string, bytes int64, within time.Duration) (time.Duration, error) {
	var ln net.Listener
	err := l.Pod(to).Do(func() (err error) {
		ln, err = net.Listen("tcp4", netip.AddrPortFrom(l.Pod(to).Addr(lab.IPv4), 0).String())
		return err
	})
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	type result struct {
		n   int64
		err error
	}
	got := make(chan result, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			got <- result{0, err}
			return
		}
		defer c.Close()
		n, err := io.Copy(io.Discard, c)
		got <- result{n, err}
	}()
	begin := time.Now()
	// A socket stays in the namespace it was made in; a dialer would make it on
	// another thread.
	fd, err := dialTCP(ctx, l.Pod(from), ln.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer fd.Close()
	if err := fd.SetDeadline(begin.Add(within)); err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for left := bytes; left > 0; left -= int64(len(buf)) {
		if _, err := fd.Write(buf[:min(left, int64(len(buf)))]); err != nil {
			return 0, fmt.Errorf("with %d bytes left: %w", left, err)
		}
	}
	fd.Close()
	select {
	case r := <-got:
		if r.err != nil || r.n != bytes {
			return 0, fmt.Errorf("%d of %d bytes arrived, %w", r.n, bytes, r.err)
		}
	case <-time.After(time.Until(begin.Add(within))):
		return 0, fmt.Errorf("not done after %v", within)
	}
	return time.Since(begin), nil
}

func dialTCP(ctx context.Context, p *lab.Pod, to netip.AddrPort) (c net.Conn, err error) {
	err = p.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "tcp")
		defer f.Close()
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
			return err
		}
		c, err = net.FileConn(f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, ctx.Err()
}

// echo is what became of one ping that may not be fragmented.
type echo struct {
	ok bool
	// mtu is what "fragmentation needed" said, who said it; 0 without.
	mtu int
	who netip.Addr
}

// pingDF sends a ping of a size, IPv4 header included, that may not be
// fragmented, whatever the pod has learned of the path.
func pingDF(t *testing.T, p *lab.Pod, to netip.Addr, size int) echo {
	t.Helper()
	var conn net.PacketConn
	err := p.Do(func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", p.Addr(lab.IPv4).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}); err != nil {
		t.Fatal(err)
	}
	msg := make([]byte, size-20)
	msg[0] = 8
	binary.BigEndian.PutUint16(msg[4:], uint16(size))
	sum := ^(uint32(8<<8) + uint32(size))
	binary.BigEndian.PutUint16(msg[2:], uint16(sum))
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(msg, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return echo{}
		}
		switch who, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP.To4()); {
		case n >= 8 && buf[0] == 0 && binary.BigEndian.Uint16(buf[4:]) == uint16(size):
			return echo{ok: true}
		case n >= 8 && buf[0] == 3 && buf[1] == 4:
			return echo{mtu: int(binary.BigEndian.Uint16(buf[6:])), who: who}
		}
	}
}
