package bgp

import (
	"net/netip"
	"slices"
	"time"
)

// Of several errors in an UPDATE GoBGP tells the first, so that an overrun, and
// with it the loss of the prefixes, may hide behind it: MED of five octets is
// both. What tells such an UPDATE from one that was read to its end is that of
// the latter its withdrawals come to us.

const (
	// settle is how long its withdrawals may take. They wait behind what was
	// received before.
	settle = 3 * time.Second
	// readBefore bounds the time from the receipt of an UPDATE, which its events
	// carry, to the line in the log. A longer one may take the withdrawals of an
	// UPDATE shortly before for its own.
	readBefore = time.Second
	// doubtsMax bounds what a neighbor that sends nothing else can make us keep.
	doubtsMax = 16
)

// doubt is an UPDATE that is treated as withdrawal, and may be lost.
type doubt struct {
	logged  time.Time
	settled bool
}

// unsure waits for the withdrawals of an UPDATE, and ends the session if there
// are none. One that announced nothing ends it, too; nobody sends that twice.
func (t *tracker) unsure(addr netip.Addr, why string, logged time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established || len(nb.doubts) >= doubtsMax {
		return
	}
	d, since := &doubt{logged: logged}, nb.since
	nb.doubts = append(nb.doubts, d)
	time.AfterFunc(settle, func() {
		t.mu.Lock()
		nb.doubts = slices.DeleteFunc(nb.doubts, func(o *doubt) bool { return o == d })
		lost := !d.settled && t.byAddr[addr] == nb && nb.state == Established && nb.since.Equal(since)
		t.mu.Unlock()
		if lost {
			t.lostTrack(addr, why)
		}
	})
}

// doubtless looks whether the events of an UPDATE are the withdrawals that are
// waited for.
func (t *tracker) doubtless(nb *tracked, events []Event) {
	if len(events) != 1 || events[0].Update.Attrs != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := events[0].Update.Received
	for _, d := range nb.doubts {
		if !at.After(d.logged) && d.logged.Sub(at) < readBefore {
			d.settled = true
		}
	}
}
