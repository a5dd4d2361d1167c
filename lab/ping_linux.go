package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Matrix is the result of a ping from every pod to every other.
type Matrix struct {
	Family Family
	Pods   []string
	// Cells is indexed by from and to, as in Pods; the diagonal is empty.
	Cells [][]Cell
}

// Cell is one ping.
type Cell struct {
	OK  bool
	RTT time.Duration
	// Why says why there was no answer.
	Why string
}

// Failed lists the pings without an answer, in words.
func (m *Matrix) Failed() []string {
	var out []string
	for i, row := range m.Cells {
		for j, c := range row {
			if i != j && !c.OK {
				out = append(out, fmt.Sprintf("%s→%s: %s", m.Pods[i], m.Pods[j], c.Why))
			}
		}
	}
	return out
}

// Pairs returns how many pings there were.
func (m *Matrix) Pairs() int { return len(m.Pods) * (len(m.Pods) - 1) }

// pingTimeout is how long a ping waits for its answer.
const pingTimeout = time.Second

// PingMatrix sends one ping from each of the pods named, or of all, to each
// other one, all at once, and waits up to a second for the answers. Pods without
// an address of the family are left out.
func (l *Lab) PingMatrix(ctx context.Context, f Family, pods ...string) (*Matrix, error) {
	m, err := l.pingMatrix(ctx, f, pingTimeout, pods)
	if err != nil {
		return nil, fmt.Errorf("lab: ping: %w", err)
	}
	return m, nil
}

// WaitPing repeats the matrix until every ping is answered. When ctx ends first
// the error tells the pings that had no answer. It waits a little longer for
// answers each time: on a busy machine it is this process that is late.
func (l *Lab) WaitPing(ctx context.Context, f Family, pods ...string) (*Matrix, error) {
	for wait := 200 * time.Millisecond; ; wait = min(wait+wait/4, 2*pingTimeout) {
		m, err := l.pingMatrix(ctx, f, wait, pods)
		if err != nil {
			return nil, fmt.Errorf("lab: ping: %w", err)
		}
		failed := m.Failed()
		if len(failed) == 0 {
			return m, nil
		}
		if ctx.Err() != nil {
			return m, fmt.Errorf("lab: ping: %d of %d pings are not answered: %s", len(failed), m.Pairs(),
				strings.Join(failed[:min(len(failed), 6)], "; "))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Ping sends one ping from the pod and waits up to a second for the answer.
func (p *Pod) Ping(ctx context.Context, dst netip.Addr) (Cell, error) {
	return p.ping(ctx, dst, pingTimeout)
}

// Answers sends one ping from the pod and reports whether there was an answer in
// time.
func (p *Pod) Answers(ctx context.Context, dst netip.Addr, within time.Duration) (bool, error) {
	c, err := p.ping(ctx, dst, within)
	return c.OK, err
}

// WaitReach pings dst until there is an answer. It is for measuring: a ping
// that is lost delays the next by no more than 20 ms.
func (p *Pod) WaitReach(ctx context.Context, dst netip.Addr) error {
	for {
		c, err := p.ping(ctx, dst, 20*time.Millisecond)
		if err != nil || c.OK {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: ping %s from %s: %w (%s)", dst, p.Name, ctx.Err(), c.Why)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *Pod) ping(ctx context.Context, dst netip.Addr, timeout time.Duration) (Cell, error) {
	f := IPv4
	if dst.Is6() {
		f = IPv6
	}
	r := newRound(1)
	pr, err := p.prober(f, 0, r)
	if err != nil {
		return Cell{}, fmt.Errorf("lab: ping %s from %s: %w", dst, p.Name, err)
	}
	defer pr.conn.Close()
	pr.targets = []netip.Addr{dst}
	go pr.receive()
	pr.send(0)
	r.wait(ctx, timeout)
	return r.cell(0, 0), nil
}

func (l *Lab) pingMatrix(ctx context.Context, f Family, timeout time.Duration, only []string) (*Matrix, error) {
	m := &Matrix{Family: f}
	var pods []*Pod
	var addrs []netip.Addr
	for _, p := range l.Pods() {
		if a := p.Addr(f); a.IsValid() && (len(only) == 0 || slices.Contains(only, p.Name)) {
			pods, addrs, m.Pods = append(pods, p), append(addrs, a), append(m.Pods, p.Name)
		}
	}
	r := newRound(m.Pairs())
	var probers []*prober
	for i, p := range pods {
		pr, err := p.prober(f, i, r)
		if err != nil {
			return nil, fmt.Errorf("from %s: %w", p.Name, err)
		}
		defer pr.conn.Close()
		pr.targets = addrs
		probers = append(probers, pr)
		go pr.receive()
	}
	for i, pr := range probers {
		for j := range addrs {
			if i != j {
				pr.send(j)
			}
		}
	}
	r.wait(ctx, timeout)
	for i := range pods {
		row := make([]Cell, len(pods))
		for j := range pods {
			if i != j {
				row[j] = r.cell(i, j)
			}
		}
		m.Cells = append(m.Cells, row)
	}
	return m, nil
}

// round collects the answers to one round of pings.
type round struct {
	id   uint16
	done chan struct{}

	mu    sync.Mutex
	left  int
	cells map[[2]int]Cell
	sent  map[[2]int]time.Time
}

func newRound(n int) *round {
	r := &round{id: uint16(rand.Uint32()), done: make(chan struct{}), left: n,
		cells: map[[2]int]Cell{}, sent: map[[2]int]time.Time{}}
	if n == 0 {
		close(r.done)
	}
	return r
}

// settle notes the first answer to a ping, which came at now; err nil is an echo
// reply.
func (r *round) settle(from, to int, now time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]int{from, to}
	sent, ok := r.sent[key]
	if _, settled := r.cells[key]; settled || !ok {
		return
	}
	c := Cell{OK: err == nil, RTT: max(now.Sub(sent), 0)}
	if err != nil {
		c.Why = err.Error()
	}
	r.cells[key] = c
	if r.left--; r.left == 0 {
		close(r.done)
	}
}

// wait waits for all answers. A pause of the machine, in which this process cannot
// take any, counts for one step of the time and no more.
func (r *round) wait(ctx context.Context, timeout time.Duration) {
	for timeout > 0 {
		step := min(timeout, 20*time.Millisecond)
		timeout -= step
		select {
		case <-r.done:
			return
		case <-ctx.Done():
			return
		case <-time.After(step):
		}
	}
}

func (r *round) cell(from, to int) Cell {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.cells[[2]int{from, to}]; ok {
		return c
	}
	return Cell{Why: "no answer"}
}

// prober sends the pings of one pod and receives their answers.
type prober struct {
	conn    *net.IPConn
	family  Family
	index   int
	targets []netip.Addr
	round   *round
}

// prober opens a raw ICMP socket in the pod's namespace.
func (p *Pod) prober(f Family, index int, r *round) (*prober, error) {
	network, addr := "ip4:icmp", p.Addr(IPv4)
	if f == IPv6 {
		network, addr = "ip6:ipv6-icmp", p.Addr(IPv6)
	}
	pr := &prober{family: f, index: index, round: r}
	err := inNetns(p.NS, func() (err error) {
		pr.conn, err = net.ListenIP(network, &net.IPAddr{IP: addr.AsSlice()})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := stamped(pr.conn); err != nil {
		pr.conn.Close()
		return nil, err
	}
	return pr, nil
}

// stamped has the kernel note when each message arrives: with many pings at once
// it may be long before the program comes to read it.
func stamped(conn *net.IPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	return errors.Join(err, set)
}

// The ICMP types used here (RFC 792, RFC 4443).
const (
	echoReply4, unreachable4, echoRequest4 = 0, 3, 8
	unreachable6, echoRequest6, echoReply6 = 1, 128, 129
)

func (p *prober) send(to int) {
	msg := make([]byte, 8+24)
	msg[0] = echoRequest4
	if p.family == IPv6 {
		msg[0] = echoRequest6 // the kernel fills in the checksum (RFC 3542 section 3.1)
	}
	binary.BigEndian.PutUint16(msg[4:], p.round.id)
	binary.BigEndian.PutUint16(msg[6:], uint16(to))
	if p.family == IPv4 {
		binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	}
	p.round.mu.Lock()
	p.round.sent[[2]int{p.index, to}] = time.Now().Round(0) // to compare with the kernel's clock
	p.round.mu.Unlock()
	if _, err := p.conn.WriteTo(msg, &net.IPAddr{IP: p.targets[to].AsSlice()}); err != nil {
		p.round.settle(p.index, to, time.Now(), err)
	}
}

func (p *prober) receive() {
	buf, oob := make([]byte, 1500), make([]byte, 128)
	for {
		n, oobn, _, from, err := p.conn.ReadMsgIP(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		msg := buf[:n]
		if p.family == IPv4 { // a raw socket gives the header too (raw(7))
			if n < 20 {
				continue
			}
			msg = msg[min(int(msg[0]&0xf)*4, n):]
		}
		at := arrival(oob[:oobn])
		if at.IsZero() {
			at = time.Now()
		}
		p.take(msg, from.String(), at)
	}
}

// take looks at one ICMP message: an answer to a ping of ours, or the news that
// one could not be delivered.
func (p *prober) take(msg []byte, from string, at time.Time) {
	reply, unreachable, request, inner := byte(echoReply4), byte(unreachable4), byte(echoRequest4), 0
	if p.family == IPv6 {
		reply, unreachable, request = echoReply6, unreachable6, echoRequest6
	}
	if len(msg) < 8 {
		return
	}
	switch {
	case msg[0] == reply:
		p.match(msg, at, nil)
	case msg[0] == unreachable && len(msg) > 8:
		// After the header follows the packet that could not be delivered.
		inner = 8 + 40
		if p.family == IPv4 {
			inner = 8 + int(msg[8]&0xf)*4
		}
		if len(msg) >= inner+8 && msg[inner] == request {
			p.match(msg[inner:], at, fmt.Errorf("unreachable, says %s", from))
		}
	}
}

// match settles the ping that an echo message belongs to, if it is of this
// round.
func (p *prober) match(echo []byte, at time.Time, err error) {
	to := int(binary.BigEndian.Uint16(echo[6:]))
	if binary.BigEndian.Uint16(echo[4:]) == p.round.id && to < len(p.targets) {
		p.round.settle(p.index, to, at, err)
	}
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
