package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// This file is about neighbors that come and go, and how long what they
// announced is kept.

// add begins to track a neighbor that GoBGP is to have, or goes on with one that
// is parked; disabled is the operator's reason if it is.
//
// It fails while another neighbor has the address, as one does whose removal
// failed.
func (t *tracker) add(n Neighbor, o peerOptions, disabled *string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.byAddr[n.Addr]; other != nil {
		return fmt.Errorf("%s still has the address %s", other.conf.Name, n.Addr)
	}
	state, now := Idle, time.Now()
	if disabled != nil {
		state = Disabled
	}
	nb := t.parked[n.Name]
	if nb == nil {
		nb = &tracked{conf: n, state: state, since: now}
		t.inbox.push(Event{Session: &Session{Neighbor: n.Name, State: state, Was: Idle, At: now}})
	}
	delete(t.parked, n.Name)
	if nb.stale != nil && !sameSpeaker(nb.conf, n) {
		t.expire(nb, "another speaker has its name now")
	}
	nb.conf, nb.options, nb.disabled, nb.refused = n, o, disabled, false
	t.byAddr[n.Addr] = nb
	if nb.state != state {
		t.move(nb, Session{State: state, At: now})
	}
	return nil
}

// failed is told that GoBGP did not take a neighbor. If it is one whose session
// we ended ourselves, its paths are kept on: their time runs, and the next
// attempt finds them. One that was refused stays to be seen.
func (t *tracker) failed(addr netip.Addr, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	var no *refusal
	switch {
	case nb == nil:
		return
	case errors.As(err, &no):
		nb.refused = true
	case nb.stale == nil:
		t.remove(nb, time.Now())
		return
	}
	t.park(nb)
	if nb.lastErr != err.Error() {
		nb.lastErr, nb.errAt = err.Error(), time.Now()
	}
}

// park takes a neighbor off its address, which may be another's next.
func (t *tracker) park(nb *tracked) {
	if t.byAddr[nb.conf.Addr] == nb {
		delete(t.byAddr, nb.conf.Addr)
	}
	t.parked[nb.conf.Name] = nb
}

// sweep removes parked neighbors that are no longer configured.
func (t *tracker) sweep(configured map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, nb := range t.parked {
		if !configured[name] {
			t.remove(nb, time.Now())
		}
	}
}

// leaving prepares for a removal, or with again for one after which the
// neighbor is parked to come back with that configuration. The channel is closed
// when GoBGP is through with it, and with everything that the neighbor sent
// before.
func (t *tracker) leaving(addr netip.Addr, again *Neighbor) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := make(chan struct{})
	if nb := t.byAddr[addr]; nb != nil {
		nb.gone, nb.again = gone, again
	} else {
		close(gone)
	}
	return gone
}

// staying takes leaving back.
func (t *tracker) staying(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		nb.gone, nb.again = nil, nil
	}
}

// left is leaving's end without GoBGP's word for it.
func (t *tracker) left(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil && nb.gone != nil {
		t.end(nb, time.Now())
	}
}

// end is what leaving waits for.
func (t *tracker) end(nb *tracked, at time.Time) {
	if nb.again == nil {
		t.remove(nb, at)
		return
	}
	t.park(nb)
	t.begin(nb, at)
	close(nb.gone)
	nb.gone, nb.again = nil, nil
}

// begin is the end of a session whose configuration changed.
func (t *tracker) begin(nb *tracked, at time.Time) {
	s := Session{State: Idle, Reason: "its configuration changed", At: at}
	if nb.disabled != nil {
		s.State = Disabled
	}
	was := nb.conf
	nb.conf = *nb.again
	nb.held, nb.heldUntil = false, time.Time{}
	switch {
	case nb.state == Established:
		nb.flaps++
		nb.lastErr, nb.errAt = s.Reason, at
		if sameSpeaker(was, nb.conf) {
			t.keepAll(nb, &s)
			t.startStale(nb, s.Kept4, s.Kept6)
		} else {
			nb.stopStale()
		}
		t.log.Info("session down", "neighbor", nb.conf.Name, "reason", s.Reason, "graceful", s.Graceful)
	case nb.stale != nil && !sameSpeaker(was, nb.conf):
		t.expire(nb, "another speaker has its name now")
	}
	if nb.state != s.State {
		t.move(nb, s)
	}
}

// sameSpeaker reports whether what a neighbor announced still holds when its
// configuration changes from a to b. A node stays itself with another AS number
// or address: it restarts for that, and forwards on. Whether a path whose next
// hop is a node's former address is still good is for the consumer to judge; of
// a session over IPv4 at least the IPv6 paths are. Of others only the address
// and the AS number say who they are.
func sameSpeaker(a, b Neighbor) bool {
	if a.Node != "" && a.Node == b.Node {
		return true
	}
	return a.Addr == b.Addr && a.ASN == b.ASN
}

// keep keeps the paths of a neighbor that may be restarting: those of the
// families for which it said that it can (RFC 4724 section 4.2, RFC 9494
// section 4.2).
func (t *tracker) keep(nb *tracked, s *Session) {
	long := nb.longLived()
	s.Kept4 = nb.conf.IPv4 && (nb.open.stale4 || long[0] > 0)
	s.Kept6 = nb.conf.IPv6 && (nb.open.stale6 || long[1] > 0)
	s.Graceful = s.Kept4 || s.Kept6
}

// keepAll keeps all paths of a session that we end ourselves only to begin it
// anew: the neighbor forwards meanwhile as before, whether or not it knows
// graceful restart.
func (t *tracker) keepAll(nb *tracked, s *Session) {
	s.Kept4, s.Kept6 = nb.conf.IPv4, nb.conf.IPv6
	s.Graceful = true
	if nb.open.restart == 0 {
		nb.open.restart = nb.conf.RestartTime
	}
}

func (t *tracker) remove(nb *tracked, at time.Time) {
	nb.stopStale()
	if t.byAddr[nb.conf.Addr] == nb {
		delete(t.byAddr, nb.conf.Addr)
	}
	if t.parked[nb.conf.Name] == nb {
		delete(t.parked, nb.conf.Name)
	}
	t.inbox.push(Event{Session: &Session{
		Neighbor: nb.conf.Name, State: Idle, Was: nb.state, Removed: true, Reason: "no longer configured", At: at,
	}})
	if nb.gone != nil {
		close(nb.gone)
	}
}
