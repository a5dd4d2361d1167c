package malformed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// patience bounds each wait for the speaker.
const patience = 20 * time.Second

// peer is the neighbor of one case. It knows the right bytes, so that a case
// has to say only what is wrong.
type peer struct {
	stand *stand
	index int
	session
	conn net.Conn

	mu       sync.Mutex
	messages map[byte]int // received, by type
	notified *outcome
	over     chan struct{} // closed at the end of the connection
	news     chan struct{}
}

// Addresses are told apart by the index of the case: the address it dials
// from, the node's address, and its blocks.

func (p *peer) name() string         { return fmt.Sprintf("mesh/n%d", p.index) }
func (p *peer) addr() netip.Addr     { return offset("127.77.1.0", p.index) }
func (p *peer) hop4() netip.Addr     { return offset("10.200.1.0", p.index) }
func (p *peer) hop6() netip.Addr     { return offset("2001:db8::100", p.index) }
func (p *peer) route4() netip.Prefix { return netip.PrefixFrom(offset("10.64.0.0", p.index*64), 26) }
func (p *peer) route6() netip.Prefix { return netip.PrefixFrom(offset("fd00:1::", p.index*64), 122) }

// other4 stays announced through the case, and last4 is announced after it.
func (p *peer) other4() netip.Prefix { return p.host4(1) }
func (p *peer) last4() netip.Prefix  { return p.host4(2) }

func (p *peer) host4(n int) netip.Prefix {
	return netip.PrefixFrom(offset("10.64.0.0", p.index*64+n), 32)
}

func offset(base string, n int) netip.Addr {
	a := netip.MustParseAddr(base)
	b := a.AsSlice()
	last := b[len(b)-4:]
	binary.BigEndian.PutUint32(last, binary.BigEndian.Uint32(last)+uint32(n))
	a, _ = netip.AddrFromSlice(b)
	return a
}

func (s session) as() uint32 {
	if s.external {
		return otherAS
	}
	return ownAS
}

// base are the right attributes, in the order of their types.
func (p *peer) base(v6 bool) [][]byte {
	attrs := [][]byte{attr(wellKnown, origin, 0)}
	switch {
	case p.external && p.oldAS:
		attrs = append(attrs, attr(wellKnown, asPath, join([]byte{2, 1}, be16(otherAS))...))
	case p.external:
		attrs = append(attrs, attr(wellKnown, asPath, segment(2, otherAS)...))
	default:
		attrs = append(attrs, attr(wellKnown, asPath))
	}
	if !v6 {
		attrs = append(attrs, attr(wellKnown, nextHop, p.hop4().AsSlice()...))
	}
	if !p.external {
		attrs = append(attrs, attr(wellKnown, localPref, be32(100)...))
	}
	return attrs
}

// with returns the right attributes of an IPv4 route with some replaced or
// added; replaced is what has the same type.
func (p *peer) with(attrs ...[]byte) []byte { return replace(p.base(false), attrs) }

// with6 returns those of an IPv6 route.
func (p *peer) with6(attrs ...[]byte) []byte { return replace(p.base(true), attrs) }

func replace(base, attrs [][]byte) []byte {
	types := map[byte]bool{}
	for _, a := range attrs {
		types[a[1]] = true
	}
	var out []byte
	for _, a := range base {
		if !types[a[1]] {
			out = append(out, a...)
		}
	}
	return append(out, join(attrs...)...)
}

// without leaves attributes out.
func (p *peer) without(types ...byte) []byte {
	var out []byte
	for _, a := range p.base(false) {
		keep := true
		for _, t := range types {
			keep = keep && a[1] != t
		}
		if keep {
			out = append(out, a...)
		}
	}
	return out
}

func (p *peer) announce4(prefixes ...netip.Prefix) []byte {
	return update(nil, p.with(), nlri(prefixes...))
}

func (p *peer) announce6() []byte { return p.sendReach(p.reach6(nlri(p.route6()))) }

// reach6 is the value of a right MP_REACH_NLRI but for the prefixes.
func (p *peer) reach6(nlri []byte) []byte { return reach(2, 1, p.hop6().AsSlice(), nlri) }

// sendReach is an UPDATE with an MP_REACH_NLRI of that value.
func (p *peer) sendReach(value []byte) []byte {
	return update(nil, p.with6(attr(optional, mpReach, value...)), nil)
}

// open is the right OPEN.
func (p *peer) open() openBody {
	o := openBody{version: 4, as: int(p.as()), hold: 90, id: p.hop4(), params: p.params()}
	return o
}

func (p *peer) params() []byte {
	params := join(capability(1, 0, 1, 0, 1), capability(2))
	if !p.onlyIPv4 {
		params = join(params, capability(1, 0, 2, 0, 1))
	}
	if !p.oldAS {
		params = join(params, capability(65, be32(p.as())...))
	}
	return join(params, p.extra)
}

// dial connects, and once more while the speaker is not ready for it.
func (p *peer) dial() error {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.addr(), 0)), Timeout: patience}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := d.Dial("tcp", p.stand.listen().String())
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.conn, p.messages, p.notified = conn, map[byte]int{}, nil
		p.over, p.news = make(chan struct{}), make(chan struct{}, 1)
		p.mu.Unlock()
		go p.read(conn, p.over)
		if p.await(func() bool { return p.messages[open] > 0 }) == nil {
			return nil
		}
		conn.Close()
		if time.Now().After(deadline) {
			return errors.New("the speaker sends no OPEN")
		}
	}
}

// read counts what the speaker sends.
func (p *peer) read(conn net.Conn, over chan struct{}) {
	defer close(over)
	head := make([]byte, 19)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, max(0, int(binary.BigEndian.Uint16(head[16:]))-19))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		p.mu.Lock()
		p.messages[head[18]]++
		if head[18] == notification && len(body) >= 2 {
			p.notified = &outcome{reset, body[0], body[1]}
		}
		p.mu.Unlock()
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

var errOver = errors.New("the connection is over")

// await waits until ok holds, which is called under the lock.
func (p *peer) await(ok func() bool) error {
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		done := ok()
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-p.news:
		case <-p.over:
			p.mu.Lock()
			defer p.mu.Unlock()
			if ok() {
				return nil
			}
			return errOver
		case <-timeout:
			return errors.New("the speaker does not answer")
		}
	}
}

// write leaves it to the reader to notice the end of the connection.
func (p *peer) write(b []byte) { _, _ = p.conn.Write(b) }

// ended is the outcome of a connection that is over.
func (p *peer) ended() outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.notified != nil {
		return *p.notified
	}
	return only(closed)
}

// establish ends the handshake after OPEN.
func (p *peer) establish() error {
	err := p.await(func() bool { return p.messages[keepalive] > 0 })
	if err == nil {
		p.write(message(keepalive))
	}
	return err
}
