package bgp

import "time"

// This file is about how long stale paths are kept: for the restart time of the
// neighbor (RFC 4724), and if both ends want it as a last choice for much longer
// (RFC 9494). GoBGP's own timers are not used. The one of the restart ends with
// any failed attempt to connect, and both end when the neighbor is taken from
// GoBGP to begin anew.

// staleEarly is by how much less stale paths are kept: those of one of our own
// nodes, which announces connectTime more than its restart time, so go half a
// second after that, and those of others half a second before.
const staleEarly = connectTime / 2

// staleness is what a neighbor's stale paths wait for.
type staleness struct {
	// stale is set while there are some, and ends the phase.
	stale *time.Timer
	until time.Time // the end of all of them
	back  time.Time // when they end at the latest without a session till then
	// families has those that are kept, for IPv4 and IPv6, last those that are the
	// last choice by now.
	families, last [2]bool
}

// keptUntil is when stale paths end if nothing more is heard of the neighbor.
func (nb *tracked) keptUntil() time.Time {
	if nb.state != Established && time.Now().Before(nb.back) {
		return nb.back
	}
	return nb.until
}

// longLived is how long the stale paths of each family are kept as a last choice:
// as long as the neighbor says, and no longer than is configured.
func (nb *tracked) longLived() (long [2]time.Duration) {
	if nb.conf.longLived() {
		for i, d := range nb.open.longLived {
			long[i] = min(d, nb.conf.LongLived)
		}
	}
	return long
}

// startStale begins the time that stale paths are kept: the neighbor's restart
// time until it must be back, and as long again for its End-of-RIB. Another
// loss in between does not prolong it, so that a neighbor that flaps cannot
// keep paths alive that it no longer announces (RFC 4724 section 4.2); if they
// are a last choice by then, what came in between is that, too (RFC 9494
// section 4.2).
func (t *tracker) startStale(nb *tracked, v4, v6 bool) {
	nb.families[0], nb.families[1] = nb.families[0] || v4, nb.families[1] || v6
	if nb.stale != nil {
		if nb.last != [2]bool{} {
			t.sayExpired(nb, "neighbor was lost again before it had sent all")
		}
		return
	}
	after := max(nb.open.restart-staleEarly, 0)
	now := time.Now()
	nb.back, nb.until = now.Add(after), now.Add(2*after)
	t.staleFor(nb, after, func() {
		if nb.state != Established {
			t.overdue(nb)
			return
		}
		t.staleFor(nb, after, func() { t.overdue(nb) })
	})
}

// staleFor sets what is next. fn is called with the lock held, which the caller
// holds, too.
func (t *tracker) staleFor(nb *tracked, after time.Duration, fn func()) {
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if nb.stale == timer {
			fn()
		}
	})
	nb.stale = timer
}

// overdue ends the restart time: what may be kept longer becomes the last choice.
func (t *tracker) overdue(nb *tracked) {
	long := nb.longLived()
	var most time.Duration
	for i, d := range long {
		nb.last[i] = nb.families[i] && d > 0
		if nb.last[i] {
			most = max(most, d)
		}
	}
	if most == 0 {
		t.expire(nb, "restart time ended")
		return
	}
	nb.back, nb.until = time.Time{}, time.Now().Add(most)
	t.sayExpired(nb, "restart time ended; long-lived stale paths stay as the last choice")
	first := most // of two families one may end before the other
	for i, d := range long {
		if nb.last[i] {
			first = min(first, d)
		}
	}
	t.staleFor(nb, first, func() {
		for i, d := range long {
			nb.last[i] = nb.last[i] && d > first
		}
		if nb.last == [2]bool{} {
			t.expire(nb, "long-lived stale time ended")
			return
		}
		t.sayExpired(nb, "long-lived stale time of a family ended")
		t.staleFor(nb, most-first, func() { t.expire(nb, "long-lived stale time ended") })
	})
}

// expire ends the time that stale paths are kept.
func (t *tracker) expire(nb *tracked, reason string) {
	nb.stopStale()
	t.sayExpired(nb, reason)
}

// sayExpired has all stale paths dropped but for those that are a last choice.
func (t *tracker) sayExpired(nb *tracked, reason string) {
	t.inbox.push(Event{Session: &Session{
		Neighbor: nb.conf.Name, State: nb.state, Was: nb.state, Expired: true,
		LongLived4: nb.last[0], LongLived6: nb.last[1], Reason: reason, At: time.Now(),
	}})
	if nb.last == [2]bool{} {
		t.log.Warn("stale paths dropped", "neighbor", nb.conf.Name, "reason", reason)
	} else {
		t.log.Warn("stale paths are the last choice", "neighbor", nb.conf.Name, "until", nb.until, "reason", reason)
	}
}

func (nb *tracked) stopStale() {
	if nb.stale != nil {
		nb.stale.Stop()
		nb.staleness = staleness{}
	}
}
