package bfd

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"
)

const (
	// gap is the time after a turn in which no packet begins another: their
	// times of arrival are the kernel's, so they can wait, and those of many
	// sessions are read together. A flood makes it longer, to floodFactor times
	// what reading took, so that it cannot fill a processor.
	gap         = 5 * time.Millisecond
	floodFactor = 3
	// reliefAfter is how late the server's thread may be before Go's do its work.
	reliefAfter = 10 * time.Millisecond
	// retryEvery is how often a socket that fails is opened anew.
	retryEvery = time.Second
)

// errRefused is what ICMP said of the packets sent. Anyone may forge that, so it
// is shown and nothing else.
var errRefused = errors.New("the neighbor's host answers that nothing listens on its BFD port: is BFD configured there?")

// run is the server's thread. What it must not be kept from is sending; see
// relieve for the rest. Sleeping in the kernel, and not in Go's scheduler, makes
// it run at once when the processors are busy with other processes.
func (s *Server) run() {
	defer close(s.done)
	runtime.LockOSThread() // never unlocked: the thread with its priority ends with us
	how, err := s.raise()
	if err != nil {
		how = "normal"
		s.log.Debug("BFD runs without a raised priority; CAP_SYS_NICE would allow it", "err", err)
	}
	s.mu.Lock()
	s.stats.Thread = how
	s.mu.Unlock()
	for {
		next, quiet, fds, ok := s.turn()
		if !ok {
			return
		}
		now := s.now()
		if quiet > now && (s.bell.wait(nil, min(quiet, next)-now) || next <= quiet) {
			continue
		}
		if now = s.now(); next > now {
			s.bell.wait(fds, min(next-now, time.Hour))
		}
	}
}

// relieve does a turn in the place of a thread that is late. When Go's scheduler
// has more goroutines to run than processors, one that comes from the kernel may
// wait behind them all, but what a timer starts runs next.
func (s *Server) relieve() {
	s.mu.Lock()
	late := s.now() - s.planned
	if late >= reliefAfter {
		s.stats.Relieved++
	}
	s.mu.Unlock()
	s.turn()
}

// turn receives what waits, sends what is due, and declares Down what was silent
// for too long, in this order: what arrived before the turn began counts. It
// returns when the next turn is due, until when packets should not begin one, and
// the sockets to watch after that; not ok once the server is closed.
func (s *Server) turn() (next, quiet time.Duration, fds []int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, 0, nil, false
	}
	now := s.now()
	late := max(0, now-s.planned)
	s.stats.Late = max(s.stats.Late, late)
	for o, l := range s.listeners {
		s.drain(o, l, now)
		fds = append(fds, l.fd)
	}
	s.last = now
	quiet = now + max(gap, floodFactor*(s.now()-now))
	next = never
	for _, x := range s.sessions {
		if c := x.tick(now, late); c != nil {
			s.event(x, c)
		}
		if x.sends(now) {
			s.transmit(x, now)
		}
		next = min(next, x.due())
	}
	for _, x := range slices.Clone(s.leaving) {
		if x.sends(now) {
			s.transmit(x, now)
		}
		if now >= x.until {
			s.drop(x)
			continue
		}
		next = min(next, x.due(), x.until)
	}
	s.planned = next
	s.relief.Reset(min(next-now, time.Hour) + reliefAfter)
	return next, quiet, fds, true
}

// drain reads a socket until it is empty, or what it holds came after now.
func (s *Server) drain(o origin, l *listener, now time.Duration) {
	for later := false; !later; {
		wall, mono := time.Now().Round(0), s.now()
		n := l.read(func(d datagram) {
			at := mono
			if !d.at.IsZero() {
				// A jump of the wall clock must not move it out of where it can be.
				at = min(max(mono-wall.Sub(d.at), s.last), mono)
			}
			later = later || at > now
			s.deliver(o, d, at, mono)
		})
		if n < len(l.batch.msgs) {
			return
		}
	}
}

// deliver finds the session of a packet: the first part of RFC 5880 section
// 6.8.6. What follows in it is machine.receive.
func (s *Server) deliver(o origin, d datagram, at, now time.Duration) {
	p, err := decode(d.data)
	if err != nil {
		s.stats.Malformed++
		return
	}
	var x *session
	switch {
	case p.YourDiscr != 0:
		// "If the Your Discriminator field is nonzero, it MUST be used to select the
		// session ... If no session is found, the packet MUST be discarded."
		if x = s.byDiscr[p.YourDiscr]; x == nil {
			s.stats.UnknownDiscr++
			return
		}
	case p.State != Down && p.State != AdminDown:
		// "If the Your Discriminator field is zero and the State field is not Down or
		// AdminDown, the packet MUST be discarded."
		s.stats.Malformed++
		return
	default:
		// "If the Your Discriminator field is zero, the session MUST be selected based
		// on some combination of other fields ... If a matching session is not found
		// ... the packet MAY simply be discarded."
		if x = s.byFields(o, d); x == nil {
			s.stats.NoSession++
			return
		}
	}
	why := x.conf.accepts(d, o, x.localAddr(), x.device())
	if why == "" && p.Auth {
		// "If the A bit is set and no authentication is in use ..., the packet MUST
		// be discarded."
		why = "it is authenticated, which we do not do"
	}
	if why != "" {
		x.status.Dropped++
		x.status.LastDropped = why
		return
	}
	x.status.Received++
	final, c := x.receive(p, at, now)
	if c != nil {
		s.event(x, c)
	}
	if final {
		s.send(x, x.final(), now)
	}
}

// byFields finds the session of a packet that names none: by its addresses, the
// port, and the device.
func (s *Server) byFields(o origin, d datagram) *session {
	var near *session
	for _, x := range s.byAddr[d.from] {
		if s.sessions[x.conf.Name] != x {
			continue
		}
		if x.conf.accepts(d, o, x.localAddr(), x.device()) == "" {
			return x
		}
		near = x // to be counted there, with the reason
	}
	return near
}

// event records a change of state and hands it out.
func (s *Server) event(x *session, c *change) {
	at := time.Now()
	x.status.Since = at
	if c.was == Up {
		x.status.Flaps++
		x.status.LastDown, x.status.LastDownAt = c.reason, at
	}
	s.inbox.push(Event{
		Name: x.conf.Name, State: c.state, Was: c.was, Diag: c.diag, RemoteDiag: c.far.diag,
		RemoteAdminDown: c.adminDown, RemoteCPI: c.far.cpi, Reason: c.reason, At: at,
	})
}

func (s *Server) transmit(x *session, now time.Duration) { s.send(x, x.transmit(now), now) }

// send sends a packet, or opens what it needs for the next one.
func (s *Server) send(x *session, p packet, now time.Duration) {
	if x.out == nil || s.listeners[x.origin()] == nil {
		if now < x.retryAt {
			return
		}
		if s.open(x, now); x.err != nil {
			return
		}
	}
	sent, err := x.out.send(p)
	if sent {
		x.status.Sent++
		if x.state == Up || x.err != errRefused {
			x.err = nil
		}
		if errors.Is(err, syscall.ECONNREFUSED) && x.state != Up {
			x.err = errRefused
		}
		return
	}
	x.err = fmt.Errorf("send to %s: %w", x.conf.Remote, err)
	// The device or the address may be another of the same name by now.
	if x.state != Up && now >= x.retryAt {
		x.shut()
		x.retryAt = now + retryEvery
	}
}

// open opens what sockets the session misses.
func (s *Server) open(x *session, now time.Duration) {
	x.retryAt, x.err = now+retryEvery, nil
	s.inside(func() {
		if o := x.origin(); s.listeners[o] == nil {
			l, err := listen(o.v6, o.multihop)
			if err != nil {
				x.err = err
				return
			}
			s.listeners[o] = l
		}
		if x.out != nil {
			return
		}
		delete(s.ports, x.port)
		x.out, x.err = dial(x.conf, x.port, func(port uint16) bool { return s.ports[port] })
		if x.err == nil {
			x.port = x.out.port
			s.ports[x.port] = true
		}
	})
}

// drop forgets a session that has left, and the socket it was the last to use.
func (s *Server) drop(x *session) {
	x.shut()
	delete(s.ports, x.port)
	delete(s.byDiscr, x.discr)
	is := func(y *session) bool { return x == y }
	s.leaving = slices.DeleteFunc(s.leaving, is)
	same := slices.DeleteFunc(s.byAddr[x.conf.Remote], is)
	if s.byAddr[x.conf.Remote] = same; len(same) == 0 {
		delete(s.byAddr, x.conf.Remote)
	}
	for _, y := range s.byDiscr {
		if y.origin() == x.origin() {
			return
		}
	}
	if l := s.listeners[x.origin()]; l != nil {
		l.close()
		delete(s.listeners, x.origin())
	}
}

func (x *session) origin() origin { return origin{v6: x.conf.Remote.Is6(), multihop: x.conf.Multihop} }

func (x *session) shut() {
	if x.out != nil {
		x.out.close()
		x.out = nil
	}
}
