package bgp

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Fail ends an Established session at once because the neighbor is known to be
// gone, by BFD (RFC 5882) or by the link. The event is in the inbox when it
// returns, before GoBGP has done anything. With graceful set the paths are kept
// as after the loss of a connection, if the neighbor does graceful restart, and
// nothing is sent; otherwise they are gone, and the neighbor is sent a Cease
// with the reason (administrative reset; GoBGP has no way to send BFD down of
// RFC 9384).
//
// The neighbor is dialed, and may dial, again at once. A neighbor without a
// session is left alone. The error is [ErrUnknown], for a name that is not
// configured.
func (s *Speaker) Fail(_ context.Context, name, reason string, graceful bool) error {
	n, err := s.tracker.named(name)
	if err != nil {
		return fmt.Errorf("bgp: fail: %w", err)
	}
	end, ok := s.tracker.cut(n.Addr, reason, graceful)
	if ok {
		go s.renew(name, end)
	}
	return nil
}

// ending is a session that was reported as over, and is not yet.
type ending struct {
	addr          netip.Addr
	local, remote netip.AddrPort
	reason        string
	kept          bool
	flaps         uint64 // of the neighbor, with this one
}

// cut reports the end of a session that is Established; false if it is not.
func (t *tracker) cut(addr netip.Addr, reason string, graceful bool) (ending, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established || nb.gone != nil {
		return ending{}, false
	}
	nb.fault, nb.reported = reason, true
	t.down(nb, change{addr: addr, state: Idle, failed: graceful, at: time.Now()}, nb.notified)
	return ending{addr, nb.local, nb.remote, reason, nb.stale != nil, nb.flaps}, true
}

// renew ends what cut reported as over, and has GoBGP begin anew. The neighbor
// is taken away from it in any case: GoBGP keeps the order to end a session that
// has ended by itself meanwhile, and would end the next one with it.
func (s *Speaker) renew(name string, end ending) {
	e := s.running.Load()
	if !end.kept || !hangUp(end.local, end.remote) {
		if err := e.resetFor(context.Background(), end.addr, end.reason); err != nil {
			s.opts.Log.Debug("session was over before it was ended", "neighbor", name, "err", err)
		}
	}
	e.settleDown(end.addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.have.neighbors[name]
	if !ok || s.left || n.Addr != end.addr || !s.tracker.ended(end) {
		return
	}
	c := e.counters(n.Addr)
	if err := e.pull(context.Background(), n.Addr); err != nil {
		s.opts.Log.Error("session with a neighbor that is gone cannot be ended; restart the neighbor", "neighbor", name, "err", err)
		return
	}
	s.begin(n, c, end.kept)
}

// ended reports whether that session was the neighbor's last, and there may be
// another.
func (t *tracker) ended(end ending) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[end.addr]
	return nb != nil && nb.flaps == end.flaps && nb.state != Established && nb.gone == nil && nb.disabled == nil && !nb.held
}

// hangUp closes one of this process's connections without a word; false if it
// is not there.
func hangUp(local, remote netip.AddrPort) bool {
	found := false
	eachSocket(func(fd int) bool {
		here, err1 := unix.Getsockname(fd)
		there, err2 := unix.Getpeername(fd)
		if err1 != nil || err2 != nil {
			return false
		}
		a, ok1 := addrPort(here)
		b, ok2 := addrPort(there)
		if ok1 && ok2 && a.Port() == local.Port() && b == netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port()) {
			found = unix.Shutdown(fd, unix.SHUT_RDWR) == nil
		}
		return false
	})
	return found
}
