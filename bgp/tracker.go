package bgp

import (
	"iter"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// tracker turns what GoBGP tells into events, and remembers of each neighbor
// what an operator asks for. GoBGP's one goroutine of callbacks calls its sink
// methods, timers and the Speaker the others.
type tracker struct {
	log   *slog.Logger
	inbox *inbox

	// flow is held while an UPDATE is taken, so that a neighbor gets no other name
	// in between. It is taken before mu.
	flow sync.Mutex

	mu     sync.Mutex
	byAddr map[netip.Addr]*tracked
	// parked are those that GoBGP does not have now, by name: between the end of a
	// session that we reset and its next begin, or since that failed.
	parked map[string]*tracked
	engine *engine // set before there is any neighbor
	// holding: a reflector that restarts has not passed on everything.
	holding bool
	// revive is called when a session ended that is to come back at once: when it
	// ended, how long it had lasted, and whether its paths are kept.
	revive func(name string, lost time.Time, lasted time.Duration, kept bool)
	// impatient is called when a neighbor that should dial us has not since then.
	impatient func(addr netip.Addr, since time.Time)
	// shed is called when a neighbor passed its prefix limit, release when it is to
	// be tried again.
	shed, release func(name string)
	// arrived is called when a session came up.
	arrived func(nb *tracked, addr netip.Addr, since time.Time)
	asn     uint32 // ours, set with it
	// refusals remembers of which neighbors malformed UPDATEs were logged.
	refusals *seldom
}

// tracked is one neighbor.
type tracked struct {
	conf    Neighbor
	state   State
	since   time.Time
	open    open // of the present or the last session
	local   netip.AddrPort
	remote  netip.AddrPort
	device  string  // where link-local addresses of the session are
	eor     [2]bool // IPv4, IPv6
	flaps   uint64
	lastErr string
	errAt   time.Time
	// disabled is the operator's reason; held that the prefix limit was passed, and
	// heldUntil when that ends by itself.
	disabled  *string
	held      bool
	heldUntil time.Time
	// refused says that GoBGP is not given the neighbor as it is configured.
	refused bool
	// room is how many prefixes may be announced before they are counted; warned
	// says that they were too many for silence then.
	room   int
	warned bool
	// options are those GoBGP has for it.
	options peerOptions
	// notified is how many NOTIFICATIONs we had sent when the session came up.
	notified uint64
	staleness
	// gone is closed when GoBGP has reported the end of a removed neighbor. With
	// again set it is then parked, to come back so.
	gone  chan struct{}
	again *Neighbor
	// restarted is set while a session ends that an operator restarts.
	restarted bool
	// fault is why we end the session, in words; doubts are UPDATEs that may
	// become one.
	fault string
	// reported says that we reported the end of the session, and GoBGP has not.
	reported bool
	// notice is the last NOTIFICATION.
	notice Notification
	// trouble is why no session comes up, and retried when an attempt last followed
	// another without a rest.
	trouble trouble
	retried time.Time
	doubts  []*doubt
	// sent and received is what GoBGP had counted when it was given the neighbor
	// anew.
	sent, received Messages
}

func newTracker(log *slog.Logger, in *inbox) *tracker {
	return &tracker{log: log, inbox: in, byAddr: map[netip.Addr]*tracked{}, parked: map[string]*tracked{}, refusals: newSeldom()}
}

// setEngine is called before there is any neighbor.
func (t *tracker) setEngine(e *engine, asn uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.engine, t.asn = e, asn
}

func (t *tracker) ownASN() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asn
}

// update takes a changed configuration of the same session.
func (t *tracker) update(n Neighbor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[n.Addr]; nb != nil {
		nb.conf = n
	}
}

// restarting notes that the session's end is ours.
func (t *tracker) restarting(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil && nb.state == Established {
		nb.restarted = true
	}
}

// setDisabled notes an operator's word. A neighbor without a connection changes
// its state at once, since GoBGP reports none.
func (t *tracker) setDisabled(addr netip.Addr, reason *string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil {
		return
	}
	nb.disabled = reason
	if reason != nil {
		nb.lastErr, nb.errAt = disabledBecause(*reason), time.Now()
	} else {
		nb.lastErr, nb.errAt, nb.trouble = "", time.Time{}, trouble{} // it is on its way
		nb.held, nb.heldUntil = false, time.Time{}                    // GoBGP may have told so before
	}
	switch {
	case reason == nil && nb.state == Disabled:
		t.move(nb, Session{State: Idle, At: time.Now()})
	case reason != nil && nb.state == Idle:
		t.move(nb, Session{State: Disabled, At: time.Now(), Reason: disabledBecause(*reason)})
	}
}

func disabledBecause(reason string) string {
	if reason == "" {
		return "disabled by an operator"
	}
	return "disabled by an operator: " + reason
}

// paths implements sink. What comes outside of a session that was reported as
// up is of one that was reported as over: its paths are gone already.
func (t *tracker) paths(addr netip.Addr, convert func(guard) []Event) {
	t.flow.Lock()
	t.mu.Lock()
	nb := t.byAddr[addr]
	up := nb != nil && nb.state == Established
	var g guard
	if up {
		g = t.guardOf(nb)
	}
	t.mu.Unlock()
	if !up {
		t.flow.Unlock()
		return
	}
	events := convert(g)
	t.inbox.push(events...)
	t.flow.Unlock()
	t.doubtless(nb, events)
	announced := 0
	for _, e := range events {
		announced += len(e.Update.Announced)
	}
	if announced > 0 && t.spend(addr, announced) {
		t.checkLimit(addr)
	}
}

// endOfRIB implements sink.
func (t *tracker) endOfRIB(addr netip.Addr, v6 bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established {
		return
	}
	nb.eor[index(v6)] = true
	if (nb.eor[0] || !nb.conf.IPv4) && (nb.eor[1] || !nb.conf.IPv6) {
		nb.stopStale()
	}
	t.inbox.push(Event{EndOfRIB: &EndOfRIB{Neighbor: nb.conf.Name, IPv6: v6}})
}

// changed implements sink.
func (t *tracker) changed(c change) {
	var notified uint64
	if c.state == Established || c.lost {
		notified = t.engine.counters(c.addr).sent.Notification
	}
	if c.state == Established && c.local.Addr().Is6() {
		c.device = deviceOf(c.local.Addr())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[c.addr]
	if nb == nil {
		return
	}
	if nb.gone != nil && c.state == Idle {
		t.end(nb, c.at)
		return
	}
	if nb.reported && c.state == Idle {
		nb.reported = false
		return
	}
	switch {
	case c.state == Established && nb.conf.ASN == 0 && !nb.conf.of(c.open.asn).external(t.asn):
		t.turnAway(nb, c.open.asn)
	case c.state == Established:
		t.up(nb, c, notified)
	case nb.state == Established:
		t.down(nb, c, notified)
	default:
		t.step(nb, c)
	}
}

func (t *tracker) up(nb *tracked, c change, notified uint64) {
	nb.open, nb.local, nb.remote = c.open, c.local, c.remote
	if nb.device = nb.conf.device(); nb.device == "" {
		nb.device = c.device
	}
	nb.eor, nb.notified, nb.restarted, nb.fault, nb.reported = [2]bool{}, notified, false, "", false
	nb.trouble = trouble{}
	nb.warned = false
	nb.room = nb.conf.room(0, false)
	t.move(nb, Session{
		State:      Established,
		Preserved4: c.open.kept4,
		Preserved6: c.open.kept6,
		At:         c.at,
	})
	t.log.Info("session up", "neighbor", nb.conf.Name, "local", c.local, "remote", c.remote, "capabilities", strings.Join(c.open.caps, ","))
	if nb.options.restarting && nb.conf.GracefulRestart && !t.holding {
		go t.announceEarly(nb, c.at)
	}
	if t.arrived != nil {
		go t.arrived(nb, nb.conf.Addr, c.at)
	}
}

func (t *tracker) down(nb *tracked, c change, notified uint64) {
	s := Session{State: nb.downTo(c), Reason: nb.said(c), At: c.at}
	// GoBGP calls the end of the hold time, and of too many prefixes, a graceful
	// restart. Both sent a NOTIFICATION, after which RFC 4724 section 4 keeps
	// nothing.
	lost := c.lost && notified == nb.notified
	switch {
	case nb.disabled != nil:
		s.Reason = disabledBecause(*nb.disabled)
	case nb.held:
		s.Reason = nb.heldBecause()
	case nb.fault != "" && c.failed && nb.conf.GracefulRestart:
		s.Reason = nb.fault
		t.keep(nb, &s)
		s.Suspect = s.Graceful
	case nb.fault != "":
		s.Reason = nb.fault
	case nb.restarted:
		t.keepAll(nb, &s)
	case c.lost && !lost:
		s.Reason = reasonHoldTime
	case lost && nb.conf.GracefulRestart:
		t.keep(nb, &s)
	}
	nb.flaps++
	nb.lastErr, nb.errAt = s.Reason, c.at
	lasted := c.at.Sub(nb.since)
	t.move(nb, s)
	if s.Graceful {
		t.startStale(nb, s.Kept4, s.Kept6)
	} else {
		nb.stopStale()
	}
	if nb.fault == "" && !nb.restarted && nb.disabled == nil && !nb.held && (s.Graceful || lasted > steadyTime) {
		go t.revive(nb.conf.Name, c.at, lasted, s.Graceful)
	}
	nb.fault = ""
	t.log.Warn("session down", "neighbor", nb.conf.Name, "reason", s.Reason, "graceful", s.Graceful)
}

// step is a change that neither begins nor ends a session.
func (t *tracker) step(nb *tracked, c change) {
	state, tried := c.state, nb.state == OpenSent || nb.state == OpenConfirm
	if state == Idle {
		state = nb.downTo(c)
		if nb.fault != "" {
			t.fail(nb, nb.fault, c.at)
			nb.fault = ""
		} else if c.reason != "" {
			c.reason = t.unfinished(nb, c)
			t.fail(nb, c.reason, c.at)
		}
	}
	if state != nb.state {
		t.move(nb, Session{State: state, Reason: c.reason, At: c.at})
		t.await(nb)
	}
	if tried && state == Idle {
		t.retry(nb, c.at)
	}
}

// downTo is the state of a neighbor without a connection.
func (nb *tracked) downTo(c change) State {
	if nb.disabled != nil || nb.held {
		return Disabled
	}
	return c.state
}

// move changes the state and says so. The caller holds the lock.
func (t *tracker) move(nb *tracked, s Session) {
	s.Neighbor, s.Was = nb.conf.Name, nb.state
	nb.state, nb.since = s.State, s.At
	t.inbox.push(Event{Session: &s})
}

// all goes through the neighbors in no order. The caller holds the lock.
func (t *tracker) all() iter.Seq[*tracked] {
	return func(yield func(*tracked) bool) {
		for _, nb := range t.byAddr {
			if !yield(nb) {
				return
			}
		}
		for _, nb := range t.parked {
			if !yield(nb) {
				return
			}
		}
	}
}

// state returns a neighbor's state; Idle for one that is not tracked.
func (t *tracker) state(addr netip.Addr) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		return nb.state
	}
	return Idle
}

// named returns the neighbor of that name.
func (t *tracker) named(name string) (Neighbor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for nb := range t.all() {
		if nb.conf.Name == name {
			return nb.conf, nil
		}
		names = append(names, nb.conf.Name)
	}
	return Neighbor{}, unknown(name, names)
}

// close stops the timers.
func (t *tracker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for nb := range t.all() {
		nb.stopStale()
	}
}

// name returns the name of the neighbor with an address, or the address.
func (t *tracker) name(addr netip.Addr) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		return nb.conf.Name
	}
	return addr.String()
}
