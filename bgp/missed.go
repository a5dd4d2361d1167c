package bgp

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

// A session that comes up is announced the Loc-RIB a moment before GoBGP calls it
// Established, and of what changes in between it is never told: a path that is
// added then is missing there until it is announced for another reason, and one
// that is withdrawn stays for good. The moment is some microseconds, or as long
// as a busy machine makes of it. So once GoBGP does call the session Established it
// is looked whether anything was changed since, and if so it is all said again.

const (
	// missedTry and missedWait are how often, and how long, it is looked whether
	// GoBGP calls a session Established that has come up.
	missedTry  = time.Millisecond
	missedWait = 10 * time.Second
	// missedBusy is the time between two looks whether a burst has ended.
	missedBusy = 100 * time.Millisecond
	// withdrawnKept is how long it is known what was withdrawn.
	withdrawnKept = 2 * missedWait
)

// changes says when something was changed in what GoBGP announces.
type changes struct {
	running atomic.Int32
	last    atomic.Pointer[time.Time] // the end of the last; nil before the first
}

// begin is called before a change, and what it returns after it.
func (c *changes) begin() (end func()) {
	c.running.Add(1)
	return func() {
		now := time.Now() // whole, so that a clock that is set does not matter
		c.last.Store(&now)
		c.running.Add(-1)
	}
}

// since reports whether there was a change since then, or there is one now.
func (c *changes) since(t time.Time) bool {
	last := c.last.Load()
	return c.running.Load() > 0 || last != nil && !last.Before(t)
}

// withdrawal is a path that was taken from GoBGP.
type withdrawal struct {
	at   time.Time
	nlri netip.Prefix
	own  own
	from *passing // if it was passed on; else it was our own
}

// withdrew notes what was taken from GoBGP. The caller holds the lock.
func (s *Speaker) withdrew(list ...withdrawal) {
	now, old := time.Now(), 0
	for old < len(s.withdrawn) && now.Sub(s.withdrawn[old].at) > withdrawnKept {
		old++
	}
	s.withdrawn = s.withdrawn[old:]
	for _, w := range list {
		w.at = now
		s.withdrawn = append(s.withdrawn, w)
	}
}

// catchUp tells a neighbor whose session came up then what it may have missed.
func (s *Speaker) catchUp(nb *tracked, addr netip.Addr, since time.Time) {
	e := s.running.Load()
	if e == nil {
		return
	}
	for end := time.Now().Add(missedWait); ; time.Sleep(missedTry) {
		if !s.tracker.isSession(nb, since) || time.Now().After(end) {
			return
		}
		if c := e.counters(addr); c.deferring {
			return // it is told everything later
		} else if c.up {
			break
		}
	}
	if !e.changes.since(since) {
		return
	}
	for s.tracker.isSession(nb, since) && !s.tellAgain(addr, since) {
		time.Sleep(missedBusy)
	}
}

// tellAgain announces everything to a neighbor, and withdraws what was withdrawn
// since. Others hear of the withdrawals a second time, too. It returns false if
// it must wait for the end of a burst.
func (s *Speaker) tellAgain(addr netip.Addr, since time.Time) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil || s.left || s.holding {
		return true
	}
	if s.relays.burst != "" {
		return false
	}
	ctx := context.Background()
	s.announceTable(ctx, addr)
	if err := s.withdrawAgain(ctx, since); err != nil {
		s.opts.Log.Error("a neighbor may have kept what was withdrawn; `caracal restart` ends that", "neighbor", s.tracker.name(addr), "err", err)
	}
	return true
}

// withdrawAgain withdraws once more what was withdrawn since then and is gone
// still. GoBGP withdraws only what it has, so it gets it back for that, behind a
// policy that lets it out to nobody. The caller holds the lock.
func (s *Speaker) withdrawAgain(ctx context.Context, since time.Time) error {
	owns, order, failed := map[netip.Prefix]own{}, []netip.Prefix(nil), map[string]error{}
	var relayed []passing
	var all []netip.Prefix
	for _, w := range s.withdrawn {
		if _, ours := s.have.paths[w.nlri]; w.at.Before(since) || ours || len(s.relays.have[w.nlri]) > 0 {
			continue
		}
		all = append(all, w.nlri)
		if w.from != nil {
			relayed = append(relayed, *w.from)
		} else if _, twice := owns[w.nlri]; !twice {
			owns[w.nlri], order = w.own, append(order, w.nlri)
		}
	}
	if len(all) == 0 {
		return nil
	}
	s.relays.bursts++
	s.relays.burst = burstName(s.relays.bursts)
	err := s.engine.holdBack(ctx, s.relays.burst, all, s.exported.name)
	if err == nil {
		s.engine.announce(owns, order, failed)
		s.engine.withdraw(owns, order, failed)
		lost := map[netip.Prefix]error{}
		s.engine.pass(relayed, lost)
		s.engine.passNoMore(relayed, lost)
		for _, e := range lost {
			err = e
		}
		for _, e := range failed {
			err = e
		}
	}
	if rerr := s.releaseBurst(ctx); rerr != nil {
		err = rerr
	}
	return err
}
