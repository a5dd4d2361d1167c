package bgp

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A neighbor that is frozen, or hangs, still has a kernel that takes connections.
// GoBGP dials it, sends its OPEN, and waits for as long as four minutes for an
// answer. Then there are two ways for it to go wrong:
//
//   - The neighbor thaws and finds, all at once, its old session ended and a new
//     connection with an OPEN. BIRD takes it; FRR, which is still busy with the
//     old one, answers and then refuses it as a collision. After that GoBGP rests
//     for 5 s. So the first attempt that fails is followed by the next without a
//     rest (see tracker.retry).
//   - Its host is switched off and on. It has forgotten the connection, and since
//     nothing is sent on it, we don't learn of that. So such a connection is closed
//     when something else, BFD or the link, tells that the neighbor is back (see
//     Speaker.Reachable).
//
// Not to dial while BFD is down (RFC 5882 section 4.1 allows that) would avoid
// both, but is worse: a neighbor that no longer does BFD would be kept waiting,
// and one that thaws would be dialed 2 s later than it could answer.

const (
	// retryRest is how much time passes between two attempts that are made without
	// a rest.
	retryRest = 30 * time.Second
	// answerTime is what a neighbor that is back has to answer an OPEN that waited
	// for it.
	answerTime = 500 * time.Millisecond
)

// retry has the next attempt begin at once after one that failed before the
// session was up, unless that was done lately: a neighbor that refuses us for a
// reason would else be asked again and again. The caller holds the lock.
func (t *tracker) retry(nb *tracked, at time.Time) {
	if at.Sub(nb.retried) < retryRest || nb.disabled != nil || nb.held || nb.gone != nil {
		return
	}
	nb.retried = at
	go t.revive(nb.conf.Name, at, flapTime, nb.options.restarting)
}

// Reachable says that a neighbor is there again, by BFD or by its link. If it
// has no session it is dialed within two seconds: a connection on which it does
// not answer now is closed, for it may know nothing of it. It returns at once,
// and a name that is not configured is no error.
func (s *Speaker) Reachable(name string) {
	n, err := s.tracker.named(name)
	if err != nil || s.tracker.state(n.Addr) == Established {
		return
	}
	old := connections(n)
	time.AfterFunc(answerTime, func() { s.unstick(n, old) })
}

// unstick closes connections with a neighbor that became no session, and ends
// the rest that GoBGP may be having.
func (s *Speaker) unstick(n Neighbor, old []connection) {
	e := s.running.Load()
	since, kept, ok := s.tracker.waits(n)
	if e == nil || !ok {
		return
	}
	c := e.counters(n.Addr)
	switch {
	case c.up:
	case c.idle:
		s.revive(n.Name, since, flapTime, kept)
	default:
		for _, conn := range old {
			if hangUp(conn.local, conn.remote) {
				s.opts.Log.Info("connection closed that was not answered", "neighbor", n.Name, "local", conn.local, "remote", conn.remote)
			}
		}
	}
}

// waits reports whether a neighbor has no session and may have one, since when it
// is in its state, and whether its paths are kept.
func (t *tracker) waits(n Neighbor) (since time.Time, kept, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[n.Addr]
	if nb == nil || nb.conf.Name != n.Name || nb.state == Established || nb.disabled != nil || nb.held || nb.gone != nil {
		return time.Time{}, false, false
	}
	return nb.since, nb.options.restarting, true
}

// connection is one of this process's, by its ends, without zones.
type connection struct{ local, remote netip.AddrPort }

// connections are those with a neighbor's address. Other than for BGP there are
// none.
func connections(n Neighbor) (found []connection) {
	zone := uint32(0)
	if n.linkLocal() {
		link, err := net.InterfaceByName(n.device())
		if err != nil {
			return nil
		}
		zone = uint32(link.Index)
	}
	eachSocket(func(fd int) bool {
		here, err1 := unix.Getsockname(fd)
		there, err2 := unix.Getpeername(fd)
		if err1 != nil || err2 != nil {
			return false
		}
		a, ok1 := addrPort(here)
		b, ok2 := addrPort(there)
		if six, ok := there.(*unix.SockaddrInet6); ok && six.ZoneId != zone {
			return false
		}
		if ok1 && ok2 && b.Addr() == n.Addr.WithZone("") {
			found = append(found, connection{a, b})
		}
		return false
	})
	return found
}
