package bgp

import (
	"context"
	"time"
)

// Of two nodes one dials and the other waits for it. But the neighbor may be a router
// of another kind, which does not keep to that: BIRD with `passive`, and FRR, which
// keeps the routes of a neighbor that restarts and waits for it to dial (seen with
// 8.4.4, also where it is the one that had dialed). With both waiting there would be no
// session. So a node that has waited for patience dials, too, until there is one; after
// that session it waits again.
//
// Nodes of ours dial each connectRetry, so it is not used between those that run.
const patience = 3 * time.Second

// waits reports whether the neighbor is a node that dials us. A BGPPeer with passive is
// an operator's word and no matter of patience.
func (n Neighbor) waits() bool { return n.Passive && n.Node != "" && !n.linkLocal() }

// await has a neighbor dialed that has not dialed us in time. The caller holds the lock.
func (t *tracker) await(nb *tracked) {
	if nb.state != Active || !nb.conf.waits() || nb.options.dial {
		return
	}
	name, since := nb.conf.Name, nb.since
	time.AfterFunc(patience, func() { t.impatient(name, since) })
}

// awaits reports whether a neighbor has not dialed us since then.
func (t *tracker) awaits(n Neighbor, since time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[n.Addr]
	return nb != nil && nb.conf.Name == n.Name && nb.state == Active && nb.since.Equal(since) && nb.gone == nil &&
		nb.conf.waits() && !nb.options.dial
}

// dial has GoBGP dial a neighbor that it waits for since then.
func (s *Speaker) dial(name string, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.have.neighbors[name]
	if !ok || s.left || !s.tracker.awaits(n, since) {
		return
	}
	c := s.engine.counters(n.Addr)
	if err := s.engine.pull(context.Background(), n.Addr); err != nil {
		s.opts.Log.Error("neighbor not dialed, and it does not dial us", "neighbor", name, "err", err)
		return
	}
	for _, left := range connections(n) { // see revive
		hangUp(left.local, left.remote)
	}
	s.opts.Log.Debug("neighbor is dialed since it does not dial us", "neighbor", name, "waited", time.Since(since).Round(time.Millisecond))
	o := s.options[name]
	o.dial = true
	s.resume(n, o, c)
}
