package bgp

import (
	"context"
	"time"
)

const (
	earlyTry   = 5 * time.Millisecond
	earlyTries = 200
)

// announceEarly announces what is originated as soon as the session of a
// restart is up, and ends with End-of-RIB.
//
// GoBGP waits for End-of-RIB from every neighbor, or for the deferral time (RFC
// 4724 section 4.1). That is for routers that pass on what they learn: they must
// not speak before they have chosen. What we announce is our own, and complete
// before the first neighbor is added. To wait would only be a danger: a helper
// drops what is stale already when a session ends a second time (section 4.2),
// so a daemon that is killed between Established and its announcements loses
// the packets of all its pods. A reflector passes paths on, and so waits until
// [Speaker.Complete] (see hold.go).
//
// The event of Established comes a moment before GoBGP takes the order, and it
// says nothing if it did not; so it is repeated until an UPDATE has gone out. At
// the end of the deferral GoBGP announces everything once more, which no
// neighbor minds.
func (t *tracker) announceEarly(nb *tracked, since time.Time) {
	t.mu.Lock()
	addr, name := nb.conf.Addr, nb.conf.Name
	t.mu.Unlock()
	c := t.engine.counters(addr)
	before := c.sent.Update
	for range earlyTries {
		if !c.deferring || c.sent.Update != before || !t.isSession(nb, since) {
			return
		}
		if err := t.engine.refreshOut(context.Background(), addr); err != nil {
			t.log.Error("not announced at once after a restart", "neighbor", name, "err", err)
			return
		}
		time.Sleep(earlyTry)
		c = t.engine.counters(addr)
	}
}

// isSession reports whether a neighbor is in the session that came up then.
func (t *tracker) isSession(nb *tracked, since time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return nb.state == Established && nb.since.Equal(since)
}
