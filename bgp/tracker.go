package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// tracker turns what GoBGP tells into events, and remembers of each neighbor
// what an operator asks for. GoBGP's one goroutine of callbacks calls its sink
// methods, timers and the Speaker the others.
type tracker struct {
	log   *slog.Logger
	inbox *inbox

	mu     sync.Mutex
	byAddr map[netip.Addr]*tracked
	engine *engine // set before there is any neighbor
	asn    uint32  // ours, set with it
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
	// stale is set while paths of an ended session are kept; timer ends that.
	stale *time.Timer
	// gone is closed when GoBGP has reported the end of a removed neighbor. With
	// again set it is to come back so.
	gone  chan struct{}
	again *Neighbor
	// restarted is set while a session ends that an operator restarts.
	restarted bool
	// fault is why we end the session, in words.
	fault string
}

func newTracker(log *slog.Logger, in *inbox) *tracker {
	return &tracker{log: log, inbox: in, byAddr: map[netip.Addr]*tracked{}, refusals: newSeldom()}
}

// setEngine is called before there is any neighbor.
func (t *tracker) setEngine(e *engine, asn uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.engine, t.asn = e, asn
}

// add begins to track a neighbor; disabled is the operator's reason if it is.
func (t *tracker) add(n Neighbor, o peerOptions, disabled *string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := &tracked{conf: n, state: Idle, since: time.Now(), disabled: disabled, options: o}
	if disabled != nil {
		nb.state = Disabled
	}
	t.byAddr[n.Addr] = nb
	t.inbox.push(Event{Session: &Session{Neighbor: n.Name, State: nb.state, Was: Idle, At: nb.since}})
}

// forget drops a neighbor that GoBGP never had.
func (t *tracker) forget(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		t.remove(nb, time.Now())
	}
}

// update takes a changed configuration of the same session.
func (t *tracker) update(n Neighbor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[n.Addr]; nb != nil {
		nb.conf = n
	}
}

// leaving prepares for a removal, or with again for one after which the
// neighbor comes back with that configuration. The channel is closed when GoBGP
// is through with it, and with everything that the neighbor sent before.
func (t *tracker) leaving(addr netip.Addr, again *Neighbor) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := make(chan struct{})
	if nb := t.byAddr[addr]; nb != nil {
		nb.gone, nb.again = gone, again
	} else {
		close(gone)
	}
	return gone
}

// staying takes leaving back.
func (t *tracker) staying(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		nb.gone, nb.again = nil, nil
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
	t.mu.Lock()
	nb := t.byAddr[addr]
	up := nb != nil && nb.state == Established
	var g guard
	if up {
		g = t.guardOf(nb.conf)
	}
	t.mu.Unlock()
	if !up {
		return
	}
	events := convert(g)
	t.inbox.push(events...)
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
	i := 0
	if v6 {
		i = 1
	}
	nb.eor[i] = true
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
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[c.addr]
	if nb == nil {
		return
	}
	if nb.gone != nil && c.state == Idle {
		if nb.again != nil {
			t.begin(nb, c.at)
		} else {
			t.remove(nb, c.at)
		}
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
	nb.eor, nb.notified, nb.restarted, nb.fault = [2]bool{}, notified, false, ""
	nb.room = int(nb.conf.MaxPrefixes)
	t.move(nb, Session{
		State:      Established,
		Preserved4: c.open.kept4,
		Preserved6: c.open.kept6,
		At:         c.at,
	})
	t.log.Info("session up", "neighbor", nb.conf.Name, "local", c.local, "remote", c.remote, "capabilities", c.open.caps)
	if nb.options.restarting && nb.conf.GracefulRestart {
		go t.announceEarly(nb, c.at)
	}
}

func (t *tracker) down(nb *tracked, c change, notified uint64) {
	s := Session{State: t.resting(nb, c), Reason: c.reason, At: c.at}
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
	case nb.restarted:
		t.keepAll(nb, &s)
	case c.lost && !lost:
	case nb.fault != "":
		s.Reason = nb.fault
		s.Reason = reasonHoldTime
	case lost && nb.conf.GracefulRestart:
		s.Kept4 = nb.open.stale4 && nb.conf.IPv4
		s.Kept6 = nb.open.stale6 && nb.conf.IPv6
		s.Graceful = s.Kept4 || s.Kept6
	}
	nb.flaps++
	nb.lastErr, nb.errAt = s.Reason, c.at
	t.move(nb, s)
	if s.Graceful {
		t.startStale(nb)
	} else {
		nb.stopStale()
	}
	t.log.Warn("session down", "neighbor", nb.conf.Name, "reason", s.Reason, "graceful", s.Graceful)
}

// keepAll keeps all paths of a session that we end ourselves only to begin it
// anew: the neighbor forwards meanwhile as before, whether or not it knows
// graceful restart.
func (t *tracker) keepAll(nb *tracked, s *Session) {
	s.Kept4, s.Kept6 = nb.conf.IPv4, nb.conf.IPv6
	s.Graceful = true
	if nb.open.restart == 0 {
		nb.open.restart = nb.conf.RestartTime
	}
}

// begin is the end of a session whose configuration changed.
func (t *tracker) begin(nb *tracked, at time.Time) {
	s := Session{State: Idle, Reason: "its configuration changed", At: at}
	if nb.disabled != nil {
		s.State = Disabled
	}
	was := nb.conf
	nb.conf = *nb.again
	nb.held = false
	if nb.state == Established {
		nb.flaps++
		nb.lastErr, nb.errAt = s.Reason, at
		if was.Addr == nb.conf.Addr && was.ASN == nb.conf.ASN {
			t.keepAll(nb, &s)
			t.startStale(nb)
		}
		t.log.Info("session down", "neighbor", nb.conf.Name, "reason", s.Reason)
	}
	if nb.state != s.State {
		t.move(nb, s)
	}
	close(nb.gone)
	nb.gone, nb.again = nil, nil
}

// step is a change that neither begins nor ends a session.
func (t *tracker) step(nb *tracked, c change) {
	state := c.state
	if state == Idle {
		state = t.resting(nb, c)
		if c.reason != "" && nb.disabled == nil {
			nb.lastErr, nb.errAt = c.reason, c.at
		}
	}
	if state != nb.state {
		t.move(nb, Session{State: state, Reason: c.reason, At: c.at})
	}
}

func (t *tracker) resting(nb *tracked, c change) State {
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

func (t *tracker) remove(nb *tracked, at time.Time) {
	nb.stopStale()
	delete(t.byAddr, nb.conf.Addr)
	t.inbox.push(Event{Session: &Session{
		Neighbor: nb.conf.Name, State: Idle, Was: nb.state, Removed: true, Reason: "no longer configured", At: at,
	}})
	if nb.gone != nil {
		close(nb.gone)
	}
}

// startStale begins the time that stale paths are kept: the neighbor's restart
// time until it must be back, and as long again for its End-of-RIB. Another
// loss in between does not prolong it, so that a neighbor that flaps cannot
// keep paths alive that it no longer announces (RFC 4724 section 4.2).
//
// GoBGP's own timer is not used: it ends with any failed attempt to connect.
func (t *tracker) startStale(nb *tracked) {
	if nb.stale != nil {
		return
	}
	after := nb.open.restart
	var timer *time.Timer
	var expire func(last bool) func()
	expire = func(last bool) func() {
		return func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if nb.stale != timer || t.byAddr[nb.conf.Addr] != nb {
				return
			}
			if nb.state == Established && !last {
				timer = time.AfterFunc(after, expire(true))
				nb.stale = timer
				return
			}
			nb.stale = nil
			t.inbox.push(Event{Session: &Session{
				Neighbor: nb.conf.Name, State: nb.state, Was: nb.state, Expired: true,
				Reason: "restart time ended", At: time.Now(),
			}})
			t.log.Warn("stale paths dropped: the neighbor's restart time ended", "neighbor", nb.conf.Name, "after", after)
		}
	}
	timer = time.AfterFunc(after, expire(false))
	nb.stale = timer
}

func (nb *tracked) stopStale() {
	if nb.stale != nil {
		nb.stale.Stop()
		nb.stale = nil
	}
}

// status returns what is known of all neighbors, in no order.
func (t *tracker) status() []NeighborStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]NeighborStatus, 0, len(t.byAddr))
	for _, nb := range t.byAddr {
		s := NeighborStatus{
			Neighbor:    nb.conf,
			State:       nb.state,
			Since:       nb.since,
			Restarting:  nb.stale != nil,
			Flaps:       nb.flaps,
			LastError:   nb.lastErr,
			LastErrorAt: nb.errAt,
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

// state returns a neighbor's state; Idle for one that is not tracked.
func (t *tracker) state(addr netip.Addr) State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if nb := t.byAddr[addr]; nb != nil {
		return nb.state
	}
	return Idle
}

// close stops the timers.
func (t *tracker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, nb := range t.byAddr {
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
