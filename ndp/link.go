package ndp

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Times of sending and of forgetting.
const (
	// interval between advertisements, at most; they come up to a quarter earlier
	// so that routers do not fall into step (RFC 4861 section 6.2.4).
	interval = 10 * time.Second
	// The first few of both kinds follow each other faster: somebody waits.
	initialCount    = 3
	initialInterval = time.Second
	// answerInterval is the least time between two answers to solicitations.
	answerInterval = 100 * time.Millisecond
	// A router that was silent for quiet is asked each second whether it is still
	// there. It must answer within 3.5 s (RFC 4861 section 6.2.6), so after
	// maxAsked questions it is gone. How often it advertises itself by itself, and
	// which lifetime it has as a default router, is not asked.
	quiet    = 3 * interval
	maxAsked = 6
	// retryInterval is the time after which something is tried again that the
	// kernel refused, as it does while an address is tentative.
	retryInterval = 250 * time.Millisecond
	maxOthers     = 8
)

// device is how a network device is at one time.
type device struct {
	index    int
	up       bool // with carrier
	hardware net.HardwareAddr
	// local is the address to send from, link-local; invalid without one. own are
	// all of the device.
	local netip.Addr
	own   []netip.Addr
}

// usable reports whether packets can be sent.
func (d device) usable() bool { return d.index != 0 && d.up && d.local.IsValid() }

// link is what is known of the routers on a device. It is pure: time and what
// happens come from outside, and what to send goes there.
type link struct {
	name string
	now  device

	advertiseAt time.Time
	advertised  int // since it came up
	solicitAt   time.Time
	asked       int
	answeredAt  time.Time

	router  netip.Addr // without zone
	heard   time.Time
	doubted bool                     // the link was down since: another may be there now
	others  map[netip.Addr]time.Time // further routers, by when they were heard
	err     string
	counts  Counts
}

// Counts counts packets of one device.
type Counts struct {
	// Advertised and Solicited were sent, Heard are valid advertisements,
	// Answered solicitations that were answered, Discarded invalid packets.
	Advertised, Solicited, Heard, Answered, Discarded uint64
}

// changed takes in how the device is now. One that comes up begins anew.
func (l *link) changed(now time.Time, d device) {
	was := l.now
	l.now = d
	switch {
	case d.index == 0:
		l.router, l.others = netip.Addr{}, nil
		l.err = fmt.Sprintf("device %s does not exist", l.name)
	case !d.up:
		l.doubted, l.others = true, nil
		l.err = fmt.Sprintf("device %s is down or has no carrier", l.name)
	case !d.local.IsValid():
		l.err = fmt.Sprintf("device %s has no link-local address; look at net.ipv6.conf.%s.disable_ipv6 and addr_gen_mode", l.name, l.name)
	default:
		l.err = ""
	}
	if d.usable() && (!was.usable() || was.index != d.index || was.local != d.local) {
		l.advertised, l.advertiseAt = 0, now
		l.asked, l.solicitAt = 0, now
	}
}

// what is to be sent on a link now.
type due struct{ advertise, solicit bool }

// tick returns what is to be sent, and forgets who is gone.
func (l *link) tick(now time.Time) (d due) {
	if !l.now.usable() {
		return d
	}
	l.forget(now)
	if !now.Before(l.advertiseAt) {
		d.advertise = true
		l.advertised++
		wait := initialInterval
		if l.advertised >= initialCount {
			wait = interval*3/4 + rand.N(interval/4)
		}
		l.advertiseAt = now.Add(wait)
	}
	if l.asking(now) && !now.Before(l.solicitAt) {
		d.solicit = true
		l.asked++
		l.solicitAt = now.Add(initialInterval)
	}
	return d
}

// asking reports whether there is something to ask: who is there, in the
// beginning, or whether the one that was there still is.
func (l *link) asking(now time.Time) bool {
	if !l.router.IsValid() || l.doubted {
		return l.asked < maxAsked
	}
	return now.Sub(l.heard) >= quiet
}

// forget drops the router that does not answer; another that is there takes its
// place at its next word.
func (l *link) forget(now time.Time) {
	for a, at := range l.others {
		if now.Sub(at) > quiet+maxAsked*initialInterval {
			delete(l.others, a)
		}
	}
	silent := now.Sub(l.heard) >= quiet || l.doubted
	if l.router.IsValid() && silent && l.asked >= maxAsked && !now.Before(l.solicitAt) {
		l.router, l.doubted, l.asked = netip.Addr{}, false, 0
	}
}

// refused has what could not be sent sent again soon.
func (l *link) refused(now time.Time, d due, err error) {
	l.err = err.Error()
	if d.advertise {
		l.advertised--
		l.advertiseAt = now.Add(retryInterval)
	}
	if d.solicit {
		l.asked--
		l.solicitAt = now.Add(retryInterval)
	}
}

// advertisedBy takes in a router's advertisement.
func (l *link) advertisedBy(now time.Time, from netip.Addr) {
	if slices.Contains(l.now.own, from) {
		return // our own words, or the other end of a cable to ourselves
	}
	l.counts.Heard++
	switch {
	case from == l.router, !l.router.IsValid(), l.doubted:
		l.router, l.heard, l.doubted, l.asked = from, now, false, 0
		delete(l.others, from)
	case l.others[from].IsZero() && len(l.others) >= maxOthers: // enough to warn of
	default:
		if l.others == nil {
			l.others = map[netip.Addr]time.Time{}
		}
		l.others[from] = now
	}
}

// solicitedNow reports whether a solicitation is to be answered: too many are
// not, the next advertisement is never far.
func (l *link) solicitedNow(now time.Time) bool {
	if !l.now.usable() || now.Sub(l.answeredAt) < answerInterval {
		return false
	}
	l.answeredAt = now
	return true
}

// next is when tick has something to do.
func (l *link) next(now time.Time) time.Time {
	if !l.now.usable() {
		return now.Add(time.Hour)
	}
	at := l.advertiseAt
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	switch {
	case l.asking(now), l.router.IsValid() && l.doubted:
		sooner(l.solicitAt)
	case l.router.IsValid():
		sooner(l.heard.Add(quiet))
	}
	return at
}
