package bgp

import (
	"net/netip"
	"time"
)

// Of two nodes one dials and the other waits for it. But the neighbor may be a router
// of another kind, which does not keep to that: BIRD with `passive`, and FRR, which
// keeps the routes of a neighbor that restarts and waits for it to dial (seen with
// 8.4.4, also where it is the one that had dialed). With both waiting there would be no
// session. So a node that has waited for patience dials, too, until there is one; after
// that session it waits again.
//
// Nodes of ours dial each connectRetry, so it is not used between those that run. A
// BGPPeer with passive is an operator's word, and obeyed.
//
// After a start of ours the neighbors' restart time runs, and what is left of it may be
// a second or two: there it is hurry. GoBGP itself first dials 1.5 to 2 s after it may,
// and by then a node of ours has dialed.
const (
	patience = 3 * time.Second
	hurry    = 300 * time.Millisecond
)

// dialRetry is how often such a neighbor is dialed: seldom, since it may after all be
// one of ours that is away and dials when it is back.
const dialRetry = 5 * time.Second

// connectRetry is how often a neighbor is dialed.
func (o peerOptions) connectRetry(n Neighbor) time.Duration {
	if o.dial {
		return max(n.ConnectRetry, dialRetry)
	}
	return n.ConnectRetry
}

// await has a neighbor dialed that has not dialed us in time. The caller holds the lock.
func (t *tracker) await(nb *tracked) {
	if nb.state != Active || !nb.conf.Impatient || nb.options.dial {
		return
	}
	addr, since, wait := nb.conf.Addr, nb.since, patience
	if nb.options.started {
		wait = hurry
	}
	time.AfterFunc(wait, func() { t.impatient(addr, since) })
}

// awaits returns the name of a neighbor that has not dialed us since then.
func (t *tracker) awaits(addr netip.Addr, since time.Time) (name string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Active || !nb.since.Equal(since) || nb.gone != nil || !nb.conf.Impatient || nb.options.dial {
		return "", false
	}
	return nb.conf.Name, true
}

// dial has GoBGP dial a neighbor that it waits for since then.
func (s *Speaker) dial(addr netip.Addr, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.tracker.awaits(addr, since)
	n := s.have.neighbors[name]
	if !ok || s.left || n.Addr != addr {
		return
	}
	c := s.engine.counters(addr)
	if err := s.clear(n); err != nil {
		s.opts.Log.Error("neighbor not dialed, and it does not dial us", "neighbor", name, "err", err)
		return
	}
	s.opts.Log.Debug("neighbor is dialed since it does not dial us", "neighbor", name, "waited", time.Since(since).Round(time.Millisecond))
	o := s.options[name]
	o.dial = true
	s.resume(n, o, c)
}
