package sender

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config describes one session.
type Config struct {
	// Local is our address, Remote the receiver's address and port.
	Local  netip.Addr
	Remote netip.AddrPort
	// ASN is our AS number, RouterID an IPv4 address.
	ASN      uint32
	RouterID netip.Addr
	// HoldTime is proposed to the receiver; 0 means 90 s.
	HoldTime time.Duration
	// IPv4 and IPv6 are the families to negotiate; neither means IPv4.
	IPv4, IPv6 bool
	// GracefulRestart announces the capability with RestartTime; Restarting and
	// Preserved set its R and F bits (RFC 4724 section 3).
	GracefulRestart       bool
	RestartTime           time.Duration
	Restarting, Preserved bool
	// Frozen sends no keepalives once the session is up, as a stopped process.
	Frozen bool
	// Dialer dials; nil means a plain one from Local. One that dials within a
	// network namespace goes here.
	Dialer func(ctx context.Context) (net.Conn, error)
	// OnMessage is called with each message received from OPEN on, from one
	// goroutine; body is without the header and only valid during the call.
	OnMessage func(kind byte, body []byte)
}

func (c Config) families() []byte {
	var afi []byte
	if c.IPv4 || !c.IPv6 {
		afi = append(afi, 1)
	}
	if c.IPv6 {
		afi = append(afi, 2)
	}
	return afi
}

// Session is an established session. Its methods may be called from any
// goroutine.
type Session struct {
	conn net.Conn
	mu   sync.Mutex // of writes
	stop context.CancelFunc
	done chan struct{}
	err  error // why it ended; written before done is closed
}

// retryAfter is the pause between attempts to connect.
const retryAfter = 50 * time.Millisecond

// Dial brings a session up. It tries again until ctx ends, since a receiver may
// refuse connections while it starts, or for some time after a session ended.
func Dial(ctx context.Context, c Config) (*Session, error) {
	if c.HoldTime == 0 {
		c.HoldTime = 90 * time.Second
	}
	for {
		s, err := dialOnce(ctx, c)
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("sender: dial %s: %w", c.Remote, errors.Join(ctx.Err(), err))
		case <-time.After(retryAfter):
		}
	}
}

func dialOnce(ctx context.Context, c Config) (*Session, error) {
	dial := c.Dialer
	if dial == nil {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Local, 0))}
		dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", c.Remote.String()) }
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	hold, err := handshake(ctx, conn, c)
	if err != nil {
		conn.Close()
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	s := &Session{conn: conn, stop: stop, done: make(chan struct{})}
	if !c.Frozen {
		go s.keepalive(run, hold/3)
	}
	go s.receive(c.OnMessage)
	return s, nil
}

// handshake exchanges OPEN and the first KEEPALIVE, and returns the hold time.
func handshake(ctx context.Context, conn net.Conn, c Config) (time.Duration, error) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(openMessage(c)); err != nil {
		return 0, err
	}
	hold := c.HoldTime
	for {
		kind, body, err := read(conn)
		if err != nil {
			return 0, err
		}
		if c.OnMessage != nil {
			c.OnMessage(kind, body)
		}
		switch kind {
		case Open:
			if len(body) < 5 {
				return 0, errors.New("OPEN is too short")
			}
			hold = min(hold, time.Duration(binary.BigEndian.Uint16(body[3:]))*time.Second)
			if _, err := conn.Write(message(Keepalive, nil)); err != nil {
				return 0, err
			}
		case Keepalive:
			return hold, conn.SetDeadline(time.Time{})
		default:
			return 0, fmt.Errorf("message of type %d instead of OPEN or KEEPALIVE: % x", kind, body)
		}
	}
}

func read(conn io.Reader) (byte, []byte, error) {
	var header [headerLen]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(header[16:]))
	if size < headerLen {
		return 0, nil, fmt.Errorf("message of %d octets", size)
	}
	body := make([]byte, size-headerLen)
	_, err := io.ReadFull(conn, body)
	return header[18], body, err
}

func (s *Session) keepalive(ctx context.Context, every time.Duration) {
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.Send(message(Keepalive, nil)) != nil {
				return
			}
		}
	}
}

func (s *Session) receive(on func(byte, []byte)) {
	defer close(s.done)
	defer s.stop()
	for {
		kind, body, err := read(s.conn)
		if err != nil {
			s.err = err
			return
		}
		if on != nil {
			on(kind, body)
		}
		if kind == Notification {
			s.conn.Close()
			s.err = fmt.Errorf("NOTIFICATION % x", body)
			return
		}
	}
}

// Send writes messages as they are.
func (s *Session) Send(messages ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	buffers := net.Buffers(append([][]byte(nil), messages...))
	if _, err := buffers.WriteTo(s.conn); err != nil {
		return fmt.Errorf("sender: send: %w", err)
	}
	return nil
}

// Announce encodes and sends prefixes of one family. A benchmark calls [Encode]
// beforehand, and then [Session.Send].
func (s *Session) Announce(prefixes []netip.Prefix, path Path) error {
	return s.Send(Encode(prefixes, path)...)
}

// Withdraw encodes and sends prefixes of one family.
func (s *Session) Withdraw(prefixes []netip.Prefix) error {
	return s.Send(EncodeWithdraw(prefixes)...)
}

// EndOfRIB sends the marker of a family.
func (s *Session) EndOfRIB(v6 bool) error { return s.Send(EncodeEndOfRIB(v6)) }

// Done is closed when the session has ended; Err says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, nil while it is up.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the session with a Cease (RFC 4486 subcode 2).
func (s *Session) Close() error {
	err := s.Send(message(Notification, []byte{6, 2}))
	s.Abort()
	return err
}

// Abort ends the connection without a word, as a killed process does.
func (s *Session) Abort() {
	s.conn.Close()
	<-s.done
}
