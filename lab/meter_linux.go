package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// MeterSpec says what a [LossMeter] measures.
type MeterSpec struct {
	// A and B are pods.
	A, B   string
	Family Family
	// Rate is in packets per second in each direction; 1,000 if 0.
	Rate int
}

// LossMeter sends numbered UDP datagrams from each of two pods to the other at a
// constant rate, and counts exactly which arrive. The two directions are
// independent: nothing is echoed, so a loss is known to be on one way.
type LossMeter struct {
	spec   MeterSpec
	stop   context.CancelFunc
	ab, ba *flow
	once   sync.Once
	report LossReport
}

// LossReport is what a [LossMeter] saw, in each direction.
type LossReport struct {
	AB, BA FlowReport
}

// Lost is the number of packets lost in both directions.
func (r LossReport) Lost() int { return r.AB.Lost + r.BA.Lost }

// Sent is the number of packets sent in both directions.
func (r LossReport) Sent() int { return r.AB.Sent + r.BA.Sent }

// LongestGap is the longer of the two directions' gaps.
func (r LossReport) LongestGap() time.Duration { return max(r.AB.LongestGap, r.BA.LongestGap) }

// String is one line for a person.
func (r LossReport) String() string {
	return fmt.Sprintf("%d sent, %d lost, longest gap %v (%s; %s)", r.Sent(), r.Lost(),
		r.LongestGap().Round(100*time.Microsecond), r.AB, r.BA)
}

// FlowReport counts one direction.
type FlowReport struct {
	From, To string
	// Sent includes the packets that the pod's kernel refused to send, which are
	// lost too.
	Sent, Received, Lost, Duplicates int
	// LongestGap is the longest time between two arrivals, by the kernel's time
	// stamps. Without loss it is the longest time that the sender was held up.
	LongestGap time.Duration
	// LongestRun is the largest number of packets lost in a row, and RunStart
	// the number of the first of them.
	LongestRun, RunStart int
	// LongestPause is the longest time between two sends: what this very process
	// could not see.
	LongestPause time.Duration
	// SendError is the last error of a send; nil if there was none.
	SendError error
}

// String is half a line for a person.
func (f FlowReport) String() string {
	s := fmt.Sprintf("%s→%s %d/%d", f.From, f.To, f.Received, f.Sent)
	if f.Lost > 0 {
		s += fmt.Sprintf(", %d in a row from no. %d", f.LongestRun, f.RunStart)
	}
	if f.SendError != nil {
		s += ", " + f.SendError.Error()
	}
	return s
}

// StartLossMeter starts a meter between two pods. Stop it before either pod
// goes. When ctx ends it stops sending; [LossMeter.Stop] must be called all the
// same.
func (l *Lab) StartLossMeter(ctx context.Context, spec MeterSpec) (*LossMeter, error) {
	m, err := l.startMeter(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("lab: start loss meter %s-%s: %w", spec.A, spec.B, err)
	}
	return m, nil
}

func (l *Lab) startMeter(ctx context.Context, spec MeterSpec) (*LossMeter, error) {
	if spec.Rate == 0 {
		spec.Rate = 1000
	}
	a, b := l.Pod(spec.A), l.Pod(spec.B)
	if a == nil || b == nil {
		return nil, errors.New("there is no such pod")
	}
	sa, err := a.listenUDP(spec.Family)
	if err != nil {
		return nil, err
	}
	sb, err := b.listenUDP(spec.Family)
	if err != nil {
		sa.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	m := &LossMeter{spec: spec, stop: stop, ab: newFlow(a.Name, b.Name, sa, sb), ba: newFlow(b.Name, a.Name, sb, sa)}
	for _, f := range []*flow{m.ab, m.ba} {
		go f.receive()
		go f.send(ctx, time.Second/time.Duration(spec.Rate))
	}
	return m, nil
}

// quiet is how long nothing must come before the rest is given up for lost. It
// is long since on a busy machine it is this process that is late, with packets
// that arrived.
const quiet = 2 * time.Second

// Stop ends the sending, waits for what is under way, and returns the counts. It
// may be called more than once.
func (m *LossMeter) Stop() LossReport {
	m.once.Do(func() {
		m.stop()
		<-m.ab.sendDone
		<-m.ba.sendDone
		for before := int64(-1); before != m.got(); {
			before = m.got()
			if until(quiet, func() bool { return m.ab.whole() && m.ba.whole() }) {
				break
			}
		}
		m.ab.from.Close()
		m.ba.from.Close()
		<-m.ab.recvDone
		<-m.ba.recvDone
		m.report = LossReport{m.ab.count(), m.ba.count()}
	})
	return m.report
}

// got is how many packets were received so far, both ways.
func (m *LossMeter) got() int64 { return m.ab.got.Load() + m.ba.got.Load() }

// listenUDP opens a socket in the pod's namespace, bound to its address.
func (p *Pod) listenUDP(f Family) (*net.UDPConn, error) {
	addr := p.Addr(f)
	if !addr.IsValid() {
		return nil, fmt.Errorf("pod %s has no %s address", p.Name, f)
	}
	var c *net.UDPConn
	err := inNetns(p.NS, func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := timestamped(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// timestamped makes the kernel note the arrival of each datagram (SO_TIMESTAMPNS
// in socket(7)), and the receive buffer large enough for some seconds in which
// this process does not run.
func timestamped(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	err = raw.Control(func(fd uintptr) {
		opt = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20))
	})
	return errors.Join(err, opt)
}

// flow is one direction of a meter.
type flow struct {
	a, b               string
	from, to           *net.UDPConn
	sent, got          atomic.Int64
	sendDone, recvDone chan struct{}

	// Of the sender, until sendDone is closed.
	sendErr error
	pause   time.Duration
	// Of the receiver, until recvDone is closed.
	seen []bool
	dups int
	gap  time.Duration
}

func newFlow(a, b string, from, to *net.UDPConn) *flow {
	return &flow{a: a, b: b, from: from, to: to, sendDone: make(chan struct{}), recvDone: make(chan struct{})}
}

// meterMagic begins every datagram, before its number.
const meterMagic = 0x63617261636d6574 // "caracmet"

func (f *flow) send(ctx context.Context, interval time.Duration) {
	defer close(f.sendDone)
	dst := f.to.LocalAddr().(*net.UDPAddr).AddrPort()
	buf := make([]byte, 16)
	binary.BigEndian.PutUint64(buf, meterMagic)
	start := time.Now()
	last := start
	for seq := int64(0); ctx.Err() == nil; seq++ {
		// The schedule is absolute: a sender that was held up catches up.
		time.Sleep(time.Until(start.Add(time.Duration(seq) * interval)))
		binary.BigEndian.PutUint64(buf[8:], uint64(seq))
		if _, err := f.from.WriteToUDPAddrPort(buf, dst); err != nil {
			f.sendErr = err
		}
		f.sent.Add(1)
		now := time.Now()
		f.pause = max(f.pause, now.Sub(last))
		last = now
	}
}

func (f *flow) receive() {
	defer close(f.recvDone)
	buf, oob := make([]byte, 64), make([]byte, 128)
	var last time.Time
	for {
		n, oobn, _, _, err := f.to.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 16 || binary.BigEndian.Uint64(buf) != meterMagic {
			continue
		}
		seq := int(binary.BigEndian.Uint64(buf[8:]))
		for len(f.seen) <= seq {
			f.seen = append(f.seen, false)
		}
		if f.seen[seq] {
			f.dups++
			continue
		}
		f.seen[seq] = true
		f.got.Add(1)
		if at := arrival(oob[:oobn]); !at.IsZero() {
			if !last.IsZero() {
				f.gap = max(f.gap, at.Sub(last))
			}
			last = at
		}
	}
}

// arrival reads the kernel's time stamp; the zero time if there is none.
func arrival(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

func (f *flow) whole() bool { return f.got.Load() == f.sent.Load() }

// count is called when sender and receiver have ended.
func (f *flow) count() FlowReport {
	r := FlowReport{From: f.a, To: f.b, Sent: int(f.sent.Load()), Received: int(f.got.Load()), Duplicates: f.dups,
		LongestGap: f.gap, LongestPause: f.pause, SendError: f.sendErr}
	r.Lost = r.Sent - r.Received
	run := 0
	for seq := range r.Sent {
		if seq < len(f.seen) && f.seen[seq] {
			run = 0
			continue
		}
		run++
		if run > r.LongestRun {
			r.LongestRun, r.RunStart = run, seq-run+1
		}
	}
	return r
}
