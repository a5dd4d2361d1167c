package bgp

import (
	"context"
	"fmt"
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
	// revive is called when only the connection of a session was lost, with how
	// long that had lasted.
	revive func(name string, lost time.Time, lasted time.Duration)
	asn    uint32 // ours, set with it
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
	// disabled is the operator's reason; held that the prefix limit was passed.
	disabled *string
	held     bool
	// room is how many prefixes may be announced before they are counted.
	room int
	// options are those GoBGP has for it.
	options peerOptions
	// notified is how many NOTIFICATIONs we had sent when the session came up.
	notified uint64
	// stale is set while paths of an ended session are kept, and ends that.
	stale *time.Timer
	// gone is closed when GoBGP has reported the end of a removed neighbor. With
	// again set it is then parked, to come back so.
	gone  chan struct{}
	again *Neighbor
	// restarted is set while a session ends that an operator restarts.
	restarted bool
	// fault is why we end the session, in words; doubts are UPDATEs that may
	// become one.
	fault string
	// trouble is why no session comes up.
	trouble trouble
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
	}
	switch {
	case reason == nil && nb.state == Disabled:
		nb.held = false
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

// spend counts announcements, and reports whether the limit may be passed.
func (t *tracker) spend(addr netip.Addr, announced int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.conf.MaxPrefixes == 0 {
		return false
	}
	nb.room -= announced
	return nb.room < 0
}

// checkLimit counts what a neighbor has announced, and has GoBGP hold it down if
// that is beyond its limit. GoBGP's own check counts the whole table for every
// UPDATE, which makes 100,000 prefixes cost seconds, so ours counts only when as
// many were announced as there was room for. Withdrawals make no room until
// then; a neighbor that announces the same again and again near its limit is
// counted each time it announced a twentieth of it.
func (t *tracker) checkLimit(addr netip.Addr) {
	most := int(t.engine.counters(addr).most)
	t.mu.Lock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established {
		t.mu.Unlock()
		return
	}
	limit := int(nb.conf.MaxPrefixes)
	conf, o := nb.conf, nb.options
	nb.room = max(limit-most, limit/20)
	t.mu.Unlock()
	if limit == 0 || most <= limit {
		return
	}
	o.limit = true
	if err := t.engine.update(context.Background(), conf, o); err != nil {
		t.log.Error("neighbor cannot be held to its prefix limit", "neighbor", conf.Name, "err", err)
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
	nb.held = c.held
	switch {
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
	nb.eor, nb.notified, nb.restarted, nb.fault = [2]bool{}, notified, false, ""
	nb.trouble = trouble{}
	nb.room = int(nb.conf.MaxPrefixes)
	t.move(nb, Session{
		State:      Established,
		Preserved4: c.open.kept4,
		Preserved6: c.open.kept6,
		At:         c.at,
	})
	t.log.Info("session up", "neighbor", nb.conf.Name, "local", c.local, "remote", c.remote, "capabilities", strings.Join(c.open.caps, ","))
	if nb.options.restarting && nb.conf.GracefulRestart {
		go t.announceEarly(nb, c.at)
	}
}

func (t *tracker) down(nb *tracked, c change, notified uint64) {
	s := Session{State: nb.downTo(c), Reason: c.reason, At: c.at}
	if s.Reason == "" {
		s.Reason = "unknown"
	}
	// GoBGP calls the end of the hold time, and of too many prefixes, a graceful
	// restart. Both sent a NOTIFICATION, after which RFC 4724 section 4 keeps
	// nothing.
	lost := c.lost && notified == nb.notified
	switch {
	case nb.disabled != nil:
		s.Reason = disabledBecause(*nb.disabled)
	case c.held:
		s.Reason = fmt.Sprintf("more than %d prefixes: the session stays down until the neighbor is enabled", nb.conf.MaxPrefixes)
	case nb.fault != "":
		s.Reason = nb.fault
	case nb.restarted:
		t.keepAll(nb, &s)
	case c.lost && !lost:
		s.Reason = reasonHoldTime
	case lost && nb.conf.GracefulRestart:
		s.Kept4 = nb.open.stale4 && nb.conf.IPv4
		s.Kept6 = nb.open.stale6 && nb.conf.IPv6
		s.Graceful = s.Kept4 || s.Kept6
	}
	nb.flaps++
	nb.lastErr, nb.errAt = s.Reason, c.at
	lasted := c.at.Sub(nb.since)
	t.move(nb, s)
	if s.Graceful {
		t.startStale(nb)
		if lost && !nb.restarted && nb.fault == "" {
			go t.revive(nb.conf.Name, c.at, lasted)
		}
	} else {
		nb.stopStale()
	}
	t.log.Warn("session down", "neighbor", nb.conf.Name, "reason", s.Reason, "graceful", s.Graceful)
}

// step is a change that neither begins nor ends a session.
func (t *tracker) step(nb *tracked, c change) {
	state := c.state
	if state == Idle {
		state = nb.downTo(c)
		if c.reason != "" {
			c.reason = t.unfinished(nb, c)
			t.fail(nb, c.reason, c.at)
		}
	}
	if state != nb.state {
		t.move(nb, Session{State: state, Reason: c.reason, At: c.at})
	}
}

// downTo is the state of a neighbor without a connection.
func (nb *tracked) downTo(c change) State {
	if nb.disabled != nil || c.held {
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

// status returns what is known of all neighbors, in no order.
func (t *tracker) status() []NeighborStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]NeighborStatus, 0, len(t.byAddr)+len(t.parked))
	for nb := range t.all() {
		s := NeighborStatus{
			Neighbor:    nb.conf,
			State:       nb.state,
			Since:       nb.since,
			Restarting:  nb.stale != nil,
			Flaps:       nb.flaps,
			LastError:   nb.lastErr,
			LastErrorAt: nb.errAt,
			Sent:        nb.sent,
			Received:    nb.received,
		}
		s.Held = nb.held
		if nb.state == Established {
			s.RouterID, s.RemoteASN = nb.open.routerID, nb.open.asn
			s.LocalAddr, s.RemoteAddr = nb.local, nb.remote
			s.Capabilities = nb.open.caps
			s.NeighborRestartTime = nb.open.restart
			s.EndOfRIB4, s.EndOfRIB6 = nb.eor[0], nb.eor[1]
		}
		list = append(list, s)
	}
	return list
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
