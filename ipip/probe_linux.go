package ipip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Path is what a probe found on the way to a node.
type Path struct {
	// MTU is the largest IPv4 packet that arrives unfragmented, in bytes, outer
	// header included.
	MTU int
	// Limit is the router that said that a larger one does not fit; invalid if none
	// did: then larger packets vanish without a word, which TCP does not get over by
	// itself (RFC 2923 section 2.1).
	Limit netip.Addr
	// RTT is that of the last echo.
	RTT time.Duration
}

const (
	ipHeader   = 20
	icmpHeader = 8
	smallest   = 576 // what every host must take (RFC 1122 section 3.3.3)
	tries      = 3
	tryTime    = 300 * time.Millisecond
)

// ProbePath finds the path MTU (RFC 1191) from one node's address to another's,
// at most most, by ICMP echoes that may not be fragmented. It needs CAP_NET_RAW.
// The error is about a node that does not answer at all.
func ProbePath(ctx context.Context, from, to netip.Addr, most int) (Path, error) {
	p, err := openProbe(ctx, from, to)
	if err != nil {
		return Path{}, fmt.Errorf("ipip: probe %s: %w", to, err)
	}
	defer p.conn.Close()
	if err := p.answers(ctx); err != nil {
		return Path{}, fmt.Errorf("ipip: probe %s: %w", to, err)
	}
	low, high := smallest, max(most, smallest) // low arrives
	for size := high; low < high; size = (low + high + 1) / 2 {
		ok, err := p.arrives(ctx, size)
		switch {
		case err != nil:
			return Path{}, fmt.Errorf("ipip: probe %s: %w", to, err)
		case ok:
			low = size
		default:
			high = size - 1
			// A router that says how much fits spares the search.
			if said := p.said; said >= low && said < high {
				high = said
			}
		}
	}
	p.path.MTU = low
	return p.path, nil
}

// prober sends echoes to one address.
type prober struct {
	conn *net.IPConn
	to   *net.IPAddr
	id   uint16
	seq  uint16
	path Path
	said int // the MTU that the last "fragmentation needed" named; 0 for none
}

func openProbe(ctx context.Context, from, to netip.Addr) (*prober, error) {
	if !to.Is4() {
		return nil, fmt.Errorf("IPIP is for IPv4")
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", from.String())
	if err != nil {
		return nil, err
	}
	p := &prober{conn: conn.(*net.IPConn), to: &net.IPAddr{IP: to.AsSlice()}, id: uint16(rand.Uint32())}
	raw, err := p.conn.SyscallConn()
	if err == nil {
		var failed error
		// Sets DF, and does not heed what the kernel has learned of the path (ip(7)).
		err = raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		})
		err = errors.Join(err, failed)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return p, nil
}

// answers makes sure that the node is there at all, and that its hardware
// address is known, which may take a moment.
func (p *prober) answers(ctx context.Context) error {
	const rounds = 4
	for range rounds {
		if ok, err := p.arrives(ctx, smallest); err != nil || ok {
			return err
		}
	}
	return fmt.Errorf("no answer to %d echoes of %d bytes: the node is away, or something drops ICMP", rounds*tries, smallest)
}

// arrives reports whether a packet of the size, headers included, gets there.
func (p *prober) arrives(ctx context.Context, size int) (bool, error) {
	p.said = 0
	for range tries {
		p.seq++
		sent := time.Now()
		_, err := p.conn.WriteTo(p.echo(size), p.to)
		switch {
		case errors.Is(err, unix.EMSGSIZE): // more than the device takes
			return false, nil
		case err != nil:
			return false, err
		}
		deadline := sent.Add(tryTime)
		if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
			deadline = d
		}
		if err := p.conn.SetReadDeadline(deadline); err != nil {
			return false, err
		}
		ok, err := p.answer(sent)
		if ok || p.said > 0 || err != nil {
			return ok, err
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// answer waits for what comes back of the last echo.
func (p *prober) answer(sent time.Time) (bool, error) {
	buf := make([]byte, 65536)
	for {
		n, src, err := p.conn.ReadFromIP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch msg := buf[:n]; {
		case p.isReply(msg):
			p.path.RTT = time.Since(sent)
			return true, nil
		case p.isTooBig(msg):
			p.said = int(binary.BigEndian.Uint16(msg[6:]))
			p.path.Limit, _ = netip.AddrFromSlice(src.IP.To4())
			if p.said == 0 { // a router older than RFC 1191
				p.said = 1
			}
			return false, nil
		}
	}
}

// echo is an ICMP echo request (RFC 792) that makes a packet of the size.
func (p *prober) echo(size int) []byte {
	msg := make([]byte, max(size-ipHeader, icmpHeader))
	msg[0] = 8
	binary.BigEndian.PutUint16(msg[4:], p.id)
	binary.BigEndian.PutUint16(msg[6:], p.seq)
	binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	return msg
}

// isReply reports whether msg answers the last echo: type 0.
func (p *prober) isReply(msg []byte) bool {
	return len(msg) >= icmpHeader && msg[0] == 0 && p.mine(msg)
}

// isTooBig reports whether msg says of the last echo that it does not fit: type
// 3 code 4, with the head of that packet in it.
func (p *prober) isTooBig(msg []byte) bool {
	if len(msg) < icmpHeader+ipHeader+icmpHeader || msg[0] != 3 || msg[1] != 4 {
		return false
	}
	inner := msg[icmpHeader:]
	head := int(inner[0]&0xf) * 4
	return head >= ipHeader && len(inner) >= head+icmpHeader && p.mine(inner[head:])
}

func (p *prober) mine(echo []byte) bool {
	return binary.BigEndian.Uint16(echo[4:]) == p.id && binary.BigEndian.Uint16(echo[6:]) == p.seq
}

// checksum is the Internet checksum (RFC 1071) of b, whose own field is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
