package bgp

import (
	"context"
	"net/netip"
	"time"
)

// GoBGP has one flag for two bits of its OPEN: that it restarted, and that it
// kept forwarding (R and F, RFC 4724 section 3). It sets it for a neighbor that
// is added with the flag, and clears it once the neighbor has our routes. So
// when only a connection is lost its next OPEN denies that forwarding went on,
// and the neighbor drops our routes for a moment, though no packet ever was in
// danger. GoBGP also rests for 5 s after such a loss.
//
// A neighbor whose session was lost is therefore taken from GoBGP, and given
// back, with the flag if it may have kept our routes. Nothing is sent for that: there is no connection. F is no
// lie, since routes stay in the kernel as long as this process lives.
//
// R is set with it, and has a price where it was the neighbor that restarted: it
// does not wait for our End-of-RIB then (RFC 4724 section 4.1), and may tidy up
// its own kernel before our UPDATE is there, a millisecond later. BIRD 2 did so
// in one restart of four, for 0.2 ms, if we were the last it waited for. That is
// less than what a denied F costs each time, and how a connection ended does not
// tell the two apart.

const (
	// reviveTime is how long after the end of a session that is done: GoBGP rests
	// for 5 s, and has no connection until then.
	reviveTime = 3 * time.Second
	// A session that was lost sooner than flapTime is given a rest of flapRest, so
	// that a neighbor that hangs up again and again costs little.
	flapTime = 2 * time.Second
	flapRest = 1500 * time.Millisecond
	// steadyTime is how long a session must have lasted to be begun again at once
	// though its end was no mere loss. Of the others GoBGP's rest is due: a
	// neighbor that refuses what we announce would else be told again and again.
	steadyTime = 10 * time.Second
	// reviveRetry is when a neighbor is given back that GoBGP did not take.
	reviveRetry = time.Second
)

// revive gives a neighbor a new session after one ended by itself. If it keeps
// our paths, OPEN says that they still lead somewhere.
func (s *Speaker) revive(name string, lost time.Time, lasted time.Duration, kept bool) {
	if lasted < flapTime {
		time.Sleep(flapRest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.have.neighbors[name]
	if !ok || s.left || !s.tracker.resting(n.Addr, lost) {
		return
	}
	c := s.engine.counters(n.Addr)
	if !c.idle || time.Since(lost) > reviveTime {
		return // GoBGP is on its way by itself
	}
	if err := s.clear(n); err != nil {
		s.opts.Log.Error("neighbor not taken up at once after its connection was lost", "neighbor", name, "err", err)
		return
	}
	s.begin(n, c, kept)
}

// clear takes a neighbor without a session from GoBGP, to give it back. A connection
// that the neighbor had just dialed, as in a collision, GoBGP forgets without closing
// it; to the neighbor it would be the session, and each new one a collision (RFC 4271
// section 6.8).
func (s *Speaker) clear(n Neighbor) error {
	if err := s.engine.pull(context.Background(), n.Addr); err != nil {
		return err
	}
	for _, left := range connections(n) {
		hangUp(left.local, left.remote)
	}
	return nil
}

// begin gives a neighbor back to GoBGP that was taken from it, with the counters
// of before. The caller holds the lock.
func (s *Speaker) begin(n Neighbor, c counters, kept bool) {
	s.resume(n, peerOptions{restarting: kept, deferral: s.deferral()}, c)
}

// resume is begin with all options. The caller holds the lock.
func (s *Speaker) resume(n Neighbor, o peerOptions, c counters) {
	s.options[n.Name] = o
	s.tracker.revived(n.Addr, o, c)
	s.giveBack(n, o)
}

// giveBack adds a neighbor that GoBGP had a moment ago. There is no reason why
// that should fail; but if it did, nobody else would try again. The caller holds
// the lock.
func (s *Speaker) giveBack(n Neighbor, o peerOptions) {
	err := s.engine.add(context.Background(), n, o)
	if err == nil {
		return
	}
	s.opts.Log.Error("neighbor not taken up again after its connection was lost; it is tried again", "neighbor", n.Name, "err", err)
	time.AfterFunc(reviveRetry, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.have.neighbors[n.Name] == n && !s.left && !s.engine.counters(n.Addr).known {
			s.giveBack(n, o)
		}
	})
}

// resting reports whether a neighbor's session was lost then and nothing was
// done about it since.
func (t *tracker) resting(addr netip.Addr, since time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	return nb != nil && nb.state == Idle && nb.since.Equal(since) && nb.gone == nil && nb.disabled == nil && !nb.held
}

// revived notes that GoBGP has a neighbor anew, and what it had counted.
func (t *tracker) revived(addr netip.Addr, o peerOptions, c counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		nb.options = o
		nb.sent.add(c.sent)
		nb.received.add(c.received)
	}
}

func (m *Messages) add(n Messages) {
	m.Open += n.Open
	m.Update += n.Update
	m.Notification += n.Notification
	m.Keepalive += n.Keepalive
	m.Refresh += n.Refresh
}
