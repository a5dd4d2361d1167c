package bgp

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// This file holds neighbors to their prefix limits. GoBGP's own check counts the
// whole table for every UPDATE, which makes 100,000 prefixes cost seconds, so
// ours counts only when as many were announced as there was room for. It also
// keeps all that a neighbor leaked until its restart time ends; so the neighbor
// is taken from GoBGP, and given back disabled.

// room is how many prefixes may be announced, when there are that many, before
// they must be counted again. Withdrawals make no room until then; a neighbor
// that announces the same again and again near a limit is counted each time it
// announced a twentieth of it.
func (n Neighbor) room(most uint64, warned bool) int {
	spare := func(limit uint32) int { return max(int(limit)-int(most), int(limit)/20) }
	room := math.MaxInt
	if n.MaxPrefixes > 0 {
		room = spare(n.MaxPrefixes)
	}
	if n.WarnPrefixes > 0 && !warned {
		room = min(room, spare(n.WarnPrefixes))
	}
	return room
}

// spend counts announcements, and reports whether a limit may be passed.
func (t *tracker) spend(addr netip.Addr, announced int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil {
		return false
	}
	nb.room -= announced
	return nb.room < 0
}

// checkLimit counts what a neighbor has announced. If that is beyond its limit,
// the session is over at once, whatever GoBGP still has to read.
func (t *tracker) checkLimit(addr netip.Addr) {
	most := t.engine.counters(addr).most
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established {
		return
	}
	if warn := uint64(nb.conf.WarnPrefixes); warn > 0 && (most > warn) != nb.warned {
		if nb.warned = most > warn; nb.warned {
			t.log.Warn("neighbor announces many prefixes", "neighbor", nb.conf.Name, "prefixes", most, "warn_at", warn, "limit", nb.conf.MaxPrefixes)
		}
	}
	nb.room = nb.conf.room(most, nb.warned)
	if limit := uint64(nb.conf.MaxPrefixes); limit == 0 || most <= limit {
		return
	}
	now := time.Now()
	nb.held, nb.reported = true, true
	if after := nb.conf.MaxPrefixesRetry; after > 0 {
		nb.heldUntil = now.Add(after)
		t.releaseAfter(nb, after)
	}
	t.down(nb, change{addr: addr, state: Idle, at: now}, nb.notified)
	go t.shed(nb.conf.Name)
}

// heldBecause is why a neighbor that passed its limit is down.
func (nb *tracked) heldBecause() string {
	why := fmt.Sprintf("more than %d prefixes: the session stays down until the neighbor is enabled", nb.conf.MaxPrefixes)
	if !nb.heldUntil.IsZero() {
		why += fmt.Sprintf(", or %s have passed", nb.conf.MaxPrefixesRetry)
	}
	return why
}

// releaseAfter has a neighbor tried again, unless it was before. The caller
// holds the lock.
func (t *tracker) releaseAfter(nb *tracked, after time.Duration) {
	until, name := nb.heldUntil, nb.conf.Name
	time.AfterFunc(after, func() {
		t.mu.Lock()
		due := nb.held && nb.heldUntil.Equal(until)
		t.mu.Unlock()
		if due {
			t.release(name)
		}
	})
}

// isHeld reports whether a neighbor is down for its prefix limit.
func (t *tracker) isHeld(addr netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	return nb != nil && nb.held && nb.gone == nil
}

// given returns what GoBGP has of a neighbor.
func (t *tracker) given(name string) (n Neighbor, o peerOptions, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, nb := range t.byAddr {
		if nb.conf.Name == name {
			return nb.conf, nb.options, true
		}
	}
	return n, o, false
}

// ceaseTime is given to GoBGP to send a NOTIFICATION, before the session that it
// ends is taken away.
const ceaseTime = 200 * time.Millisecond

// settleDown waits until GoBGP has no session with a neighbor any more.
func (e *engine) settleDown(addr netip.Addr) {
	for until := time.Now().Add(ceaseTime); e.counters(addr).up && time.Now().Before(until); {
		time.Sleep(earlyTry)
	}
}

// shed ends the session of a neighbor that passed its limit (RFC 4486 subcode 1)
// and frees what GoBGP has of it.
func (s *Speaker) shed(name string) {
	ctx := context.Background()
	n, o, ok := s.tracker.given(name)
	if !ok {
		return
	}
	// With any other option changed, GoBGP would begin the session anew instead.
	o.limit = true
	e := s.running.Load()
	if err := e.update(ctx, n, o); err == nil {
		e.settleDown(n.Addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok = s.have.neighbors[name]; !ok || s.left || !s.tracker.isHeld(n.Addr) {
		return
	}
	c := e.counters(n.Addr)
	if err := e.pull(ctx, n.Addr); err != nil {
		s.opts.Log.Error("neighbor beyond its prefix limit cannot be taken down; disable it", "neighbor", name, "err", err)
		return
	}
	s.resume(n, peerOptions{down: true, deferral: s.opts.DeferralTime}, c)
}

// release tries a neighbor again that passed its limit some time ago.
func (s *Speaker) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.have.neighbors[name]
	if _, disabled := s.disabled[name]; !ok || disabled || s.left || !s.tracker.isHeld(n.Addr) {
		return
	}
	if err := s.up(context.Background(), n); err != nil {
		s.opts.Log.Error("neighbor not tried again after it passed its prefix limit; enable it", "neighbor", name, "err", err)
		return
	}
	s.opts.Log.Info("neighbor tried again after it passed its prefix limit", "neighbor", name)
}
