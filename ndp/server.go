package ndp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Server looks for routers on the devices it is given, and advertises this
// machine there. Its methods may be called by anybody; all its work is done in
// [Server.Run].
type Server struct {
	wanted  atomic.Pointer[[]string]
	wake    chan struct{} // wanted or a device changed
	bell    chan struct{}
	routers atomic.Pointer[map[string]netip.Addr]
	status  atomic.Pointer[[]Device]

	links map[string]*link // Run's
	conn  *conn            // Run's; nil while there is nothing to do
}

// Device is the state of one device, for status.
type Device struct {
	Name string
	// Router is whom an unnumbered session is with, with the device as its zone;
	// invalid if nobody advertises himself. Heard is when it last did.
	Router netip.Addr
	Heard  time.Time
	// Others advertise themselves there too, but a session can be with one only:
	// the first keeps it while it lives.
	Others []netip.Addr
	// Reason is why nothing can be sent, in words; empty if all is well.
	Reason string
	Counts
}

// NewServer returns a Server without devices.
func NewServer() *Server {
	s := &Server{wake: make(chan struct{}, 1), bell: make(chan struct{}, 1), links: map[string]*link{}}
	s.wanted.Store(&[]string{})
	s.routers.Store(&map[string]netip.Addr{})
	s.status.Store(&[]Device{})
	return s
}

// Apply says on which devices to look and to advertise from now on. A device may
// appear later.
func (s *Server) Apply(devices []string) {
	devices = slices.Compact(slices.Sorted(slices.Values(devices)))
	if was := s.wanted.Swap(&devices); !slices.Equal(*was, devices) {
		ring(s.wake)
	}
}

// Look says that devices or their addresses may have changed. Without it that is
// found out within five seconds.
func (s *Server) Look() { ring(s.wake) }

// Bell rings when what [Server.Routers] returns has changed. It has one listener.
func (s *Server) Bell() <-chan struct{} { return s.bell }

// Routers returns the link-local address, with its zone, of the router on each
// device that has one. The map must not be changed. A router stays while its
// link is down, for it is likely to be there when it is up again.
func (s *Server) Routers() map[string]netip.Addr { return *s.routers.Load() }

// Status returns what is known of each device, by name. It must not be changed.
func (s *Server) Status() []Device { return *s.status.Load() }

func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look is how often devices are looked at without anybody asking for it, and
// lookSoon how often while one is not as it should be.
const (
	look     = 5 * time.Second
	lookSoon = time.Second
)

// Run serves until ctx ends. Its socket, and the devices it sees, are those of
// the network namespace of the calling thread. It needs CAP_NET_RAW, once there
// is a device; without it, or while there is no IPv6, it says so in
// [Server.Status] and tries again.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var packets <-chan packet
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-packets:
			s.take(time.Now(), p)
		case <-s.wake:
			s.look(time.Now())
		case <-timer.C:
			s.look(time.Now())
		}
		packets = nil
		if s.conn != nil {
			packets = s.conn.packets
		}
		s.tick(time.Now())
		s.publish()
		timer.Reset(s.rest(time.Now()))
	}
}

func (s *Server) close() {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
}

// look brings the links in line with what is wanted and with the devices.
func (s *Server) look(now time.Time) {
	wanted := *s.wanted.Load()
	maps.DeleteFunc(s.links, func(name string, _ *link) bool { return !slices.Contains(wanted, name) })
	if len(wanted) == 0 {
		s.close()
		return
	}
	err := s.open()
	for _, name := range wanted {
		l := s.links[name]
		if l == nil {
			l = &link{name: name}
			s.links[name] = l
		}
		was := l.now
		d := deviceNow(name)
		l.changed(now, d)
		if err == nil && d.usable() && (d.index != was.index || !was.usable()) {
			if joined := s.conn.join(d.index); joined != nil {
				l.changed(now, device{}) // the next look tries again
				l.err = fmt.Sprintf("ndp: listen on %s: %v", name, joined)
			}
		}
		if err != nil {
			l.err = err.Error()
		}
	}
}

func (s *Server) open() (err error) {
	if s.conn == nil {
		if s.conn, err = openConn(); err != nil {
			return fmt.Errorf("ndp: open a raw ICMPv6 socket (needs CAP_NET_RAW, and IPv6 in the kernel): %w", err)
		}
	}
	return nil
}

// tick sends what is due.
func (s *Server) tick(now time.Time) {
	if s.conn == nil {
		return
	}
	for _, l := range s.links {
		d := l.tick(now)
		if d.advertise {
			s.send(now, l, due{advertise: true}, allNodes)
		}
		if d.solicit {
			s.send(now, l, due{solicit: true}, allRouters)
		}
	}
}

// send sends one of the two messages; one that fails is tried again.
func (s *Server) send(now time.Time, l *link, d due, to netip.Addr) {
	body, count := advertisement(l.now.hardware), &l.counts.Advertised
	if d.solicit {
		body, count = solicitation(l.now.hardware), &l.counts.Solicited
	}
	if err := s.conn.send(body, l.now, to); err != nil {
		l.refused(now, d, fmt.Errorf("ndp: send to %s on %s: %w", to, l.name, err))
		return
	}
	l.err = ""
	*count++
}

// take takes in a packet.
func (s *Server) take(now time.Time, p packet) {
	for _, l := range s.links {
		if l.now.index != p.link || l.now.index == 0 {
			continue
		}
		m, err := parse(p)
		switch {
		case err != nil:
			l.counts.Discarded++
		case m.advertise:
			l.advertisedBy(now, m.from)
		case slices.Contains(l.now.own, m.from):
		case l.solicitedNow(now):
			to := m.from
			if !to.IsValid() || to.IsUnspecified() {
				to = allNodes
			}
			if s.conn.send(advertisement(l.now.hardware), l.now, to) == nil {
				l.counts.Answered++
			}
		}
	}
}

// rest is how long there is nothing to do but to listen.
func (s *Server) rest(now time.Time) time.Duration {
	switch {
	case len(s.links) == 0:
		return time.Hour
	case s.conn == nil:
		return look
	}
	wait := look
	for _, l := range s.links {
		wait = min(wait, l.next(now).Sub(now))
		if !l.now.usable() {
			wait = min(wait, lookSoon)
		}
	}
	return max(wait, time.Millisecond)
}

// publish makes what is known known to others.
func (s *Server) publish() {
	routers := map[string]netip.Addr{}
	var status []Device
	for _, name := range slices.Sorted(maps.Keys(s.links)) {
		l := s.links[name]
		d := Device{Name: name, Heard: l.heard, Others: slices.SortedFunc(maps.Keys(l.others), netip.Addr.Compare), Reason: l.err, Counts: l.counts}
		if l.router.IsValid() {
			d.Router = l.router.WithZone(name)
			routers[name] = d.Router
		}
		status = append(status, d)
	}
	s.status.Store(&status)
	if !maps.Equal(*s.routers.Load(), routers) {
		s.routers.Store(&routers)
		ring(s.bell)
	}
}
