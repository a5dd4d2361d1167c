package bfd

import (
	"fmt"
	"math"
	"time"
)

// idle is the shortest interval of transmission while a session is not Up
// (RFC 5880 section 6.8.3).
const idle = time.Second

// never is a time that does not come. Times here are those since an epoch that
// is the owner's affair; only differences count.
const never = time.Duration(math.MaxInt64)

// timing is what is configured of a session and may change while it is Up.
type timing struct {
	tx, rx     time.Duration // desired minimum to send, required minimum to receive
	multiplier uint8
}

// remote is what the neighbor's packets said last (RFC 5880 section 6.8.1).
type remote struct {
	state        State
	diag         Diag
	discr        uint32
	minTx, minRx time.Duration
	multiplier   uint8
	demand, cpi  bool
}

// unheard is a neighbor that has not sent anything: bfd.RemoteSessionState is
// Down and bfd.RemoteMinRxInterval 1.
var unheard = remote{state: Down, minRx: time.Microsecond}

// machine is one session's state machine (RFC 5880 section 6.8): pure, with the
// time given from outside. Its owner calls receive for each packet of the
// session, tick when due says so, and sends what transmit and final return.
type machine struct {
	conf timing
	// hold is the desired interval during a pause (see [Server.Pause]), else 0.
	hold  time.Duration
	discr uint32
	state State
	diag  Diag
	far   remote

	// desiredTx and requiredRx are what packets say; usedTx and usedRx are in
	// force, and differ until a poll sequence has told the neighbor.
	desiredTx, requiredRx time.Duration
	usedTx, usedRx        time.Duration
	poll                  bool // packets carry the P bit
	pollAgain             bool // a further change waits for the end of the poll

	heard  bool // far is from packets, not older than the detection time
	lastRx time.Duration
	doubt  time.Duration // 0, or when silence becomes Down: see tick
	urgent bool          // send before the interval is over
	lastTx time.Duration
	nextTx time.Duration
	jitter func() float64 // in [0, 1)
}

// change is a transition of the state.
type change struct {
	was, state State
	diag       Diag
	far        remote // as it was while the session still was in was
	adminDown  bool   // the neighbor said AdminDown
	reason     string
}

// newMachine returns a session that is Down and sends at once.
func newMachine(conf timing, discr uint32, jitter func() float64, now time.Duration) *machine {
	m := &machine{conf: conf, discr: discr, state: Down, far: unheard, jitter: jitter, urgent: true, lastTx: now, nextTx: now}
	m.desiredTx, m.requiredRx = m.wanted()
	m.usedTx, m.usedRx = m.desiredTx, m.requiredRx
	return m
}

// wanted returns what bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval
// should be.
func (m *machine) wanted() (tx, rx time.Duration) {
	tx = max(m.conf.tx, m.hold)
	if m.state != Up {
		// "When bfd.SessionState is not Up, the system MUST set
		// bfd.DesiredMinTxInterval to a value of not less than one second" (6.8.3)
		tx = max(tx, idle)
	}
	return tx, m.conf.rx
}

// retime makes wanted announced, and in force as far as RFC 5880 section 6.8.3
// allows before the neighbor has answered the poll.
func (m *machine) retime(now time.Duration) {
	tx, rx := m.wanted()
	if tx == m.desiredTx && rx == m.requiredRx {
		return
	}
	if m.poll {
		// The F bit would not say which of the two changes it answers.
		m.pollAgain = true
		return
	}
	m.desiredTx, m.requiredRx = tx, rx
	// "If bfd.DesiredMinTxInterval is increased and bfd.SessionState is Up, the
	// actual transmission interval used MUST NOT change until the Poll Sequence
	// ... has terminated."
	if m.state != Up || tx < m.usedTx {
		m.usedTx = tx
	}
	// "If bfd.RequiredMinRxInterval is reduced and bfd.SessionState is Up, the
	// previous value ... MUST be used when calculating the Detection Time for the
	// remote system until the Poll Sequence ... has terminated."
	if m.state != Up || rx > m.usedRx {
		m.usedRx = rx
	}
	if m.far.discr != 0 {
		m.poll = true
	} else {
		m.usedTx, m.usedRx = tx, rx
	}
	m.schedule(now)
}

// setTiming takes a new configuration without touching the state.
func (m *machine) setTiming(conf timing, now time.Duration) {
	m.conf = conf
	m.retime(now)
	m.schedule(now)
}

// pause asks the neighbor to bear a silence of its detection time over d, at
// once: who pauses may have no time left. It is agreed once paused returns true.
func (m *machine) pause(d, now time.Duration) {
	m.hold = d
	m.retime(now)
	m.urgent = true
}

func (m *machine) paused() bool {
	return m.state == Up && m.hold > 0 && m.desiredTx >= m.hold && !m.poll
}

// receive takes a packet that was found to be of this session, which arrived at
// the given time: RFC 5880 section 6.8.6 from "Set bfd.RemoteDiscr" on, in its
// order. final says that an answer is to be sent at once.
func (m *machine) receive(p packet, at, now time.Duration) (final bool, c *change) {
	before := m.far
	// "Set bfd.RemoteDiscr ... bfd.RemoteState ... bfd.RemoteDemandMode ...
	// bfd.RemoteMinRxInterval". Echo is never sent, so there is none to cease.
	m.far = remote{
		state: p.State, diag: p.Diag, discr: p.MyDiscr, minTx: p.DesiredMinTx, minRx: p.RequiredMinRx,
		multiplier: p.Multiplier, demand: p.Demand, cpi: p.CPI,
	}
	m.heard = true
	// "If a Poll Sequence is being transmitted by the local system and the Final
	// (F) bit in the received packet is set, the Poll Sequence MUST be terminated."
	if m.poll && p.Final {
		m.poll = false
		m.usedTx, m.usedRx = m.desiredTx, m.requiredRx
	}
	// "Update the transmit interval as described in section 6.8.2. Update the
	// Detection Time as described in section 6.8.4": txInterval and detection.
	//
	// "If bfd.SessionState is AdminDown, discard the packet."
	if m.state == AdminDown {
		return false, nil
	}
	c = m.transition(p.State, before)
	if c != nil {
		m.enter(c.state, c.diag, now)
	}
	// The rules on demand mode are in periodic.
	if m.pollAgain && !m.poll && !m.periodic() {
		m.pollAgain = false
		m.retime(now)
	}
	m.schedule(now)
	// "If the packet was not discarded, it has been received for purposes of the
	// Detection Time expiration rules in section 6.8.4."
	m.lastRx, m.doubt = max(m.lastRx, at), 0
	// "If the Poll (P) bit is set, send a BFD Control packet to the remote system
	// with the Poll (P) bit clear, and the Final (F) bit set."
	return p.Poll, c
}

// transition is the table of RFC 5880 section 6.8.6 (and 6.2): what a received
// state does to ours; nil for nothing.
func (m *machine) transition(got State, before remote) *change {
	c := &change{was: m.state, far: m.far}
	if m.state == Up {
		c.far.cpi = before.cpi // a successor's first packet says nothing of what was Up
	}
	switch {
	case got == AdminDown && m.state != Down:
		c.state, c.diag, c.adminDown = Down, DiagNeighborDown, true
		c.reason = "the neighbor took BFD down on purpose (AdminDown)"
	case m.state == Down && got == Down:
		c.state = Init
	case m.state == Down && got == Init, m.state == Init && (got == Init || got == Up):
		c.state = Up
	case m.state == Up && got == Down:
		c.state, c.diag = Down, DiagNeighborDown
		c.reason = "the neighbor says Down: " + m.far.diag.String()
		if m.far.diag == DiagExpired {
			c.reason += ": our packets do not reach it"
		} else if m.far.diag == DiagNone && before.discr != m.far.discr {
			c.reason = "the neighbor's BFD started anew"
		}
	default:
		return nil
	}
	return c
}

// enter changes the state, and has it told to the neighbor at once: a packet
// SHOULD be sent between the periodic ones "when the contents of that packet
// would differ from that in the previously transmitted packet" (6.8.7).
func (m *machine) enter(s State, d Diag, now time.Duration) {
	m.state, m.diag = s, d
	m.poll, m.pollAgain, m.urgent = false, false, true
	m.usedTx, m.usedRx = m.desiredTx, m.requiredRx
	m.retime(now)
}

// periodic reports whether packets are sent in intervals (RFC 5880 section
// 6.8.7; the neighbor may be in demand mode, we never are).
func (m *machine) periodic() bool {
	// "A system MUST NOT periodically transmit BFD Control packets if
	// bfd.RemoteMinRxInterval is zero."
	if m.far.minRx == 0 {
		return false
	}
	// "... if Demand mode is active on the remote system (bfd.RemoteDemandMode is
	// 1, bfd.SessionState is Up, and bfd.RemoteSessionState is Up) and a Poll
	// Sequence is not being transmitted."
	return !m.far.demand || m.state != Up || m.far.state != Up || m.poll
}

// txInterval is how often packets are sent, before jitter: not more often than
// either end wants (RFC 5880 section 6.8.2).
func (m *machine) txInterval() time.Duration { return max(m.usedTx, m.far.minRx) }

// wait is an interval with jitter: 75 to 100 percent of it, and at most 90 if a
// single missing packet counts (RFC 5880 section 6.8.7). It leaves out the
// lowest part for slack.
func (m *machine) wait() time.Duration {
	top := 1.0
	if m.conf.multiplier == 1 {
		top = 0.9
	}
	return time.Duration(float64(m.txInterval()) * (0.8 + (top-0.8)*m.jitter()))
}

// slack is how much too early a packet may be sent, to go out together with those
// of other sessions, without being earlier than 75 percent of the interval.
func (m *machine) slack() time.Duration { return min(m.txInterval()/20, 2*time.Millisecond) }

// schedule sets the time of the next packet anew after a change. "If the local
// system reduces its transmit interval ... the local system MUST honor the new
// interval immediately" (6.8.3).
func (m *machine) schedule(now time.Duration) {
	if !m.periodic() {
		m.nextTx = never
		return
	}
	if latest := m.lastTx + m.txInterval(); m.nextTx > latest {
		m.nextTx = max(now, m.lastTx+m.wait())
	}
}

// detection is the time without a packet after which the session is Down: the
// neighbor's multiplier times what both agreed on (RFC 5880 section 6.8.4). 0 if
// nothing was heard.
func (m *machine) detection() time.Duration {
	if !m.heard {
		return 0
	}
	return time.Duration(m.far.multiplier) * max(m.usedRx, m.far.minTx)
}

func (m *machine) expires() time.Duration {
	if !m.heard || m.state == AdminDown {
		return never
	}
	if m.doubt != 0 {
		return m.doubt
	}
	return m.lastRx + m.detection()
}

// due returns when transmit or tick is to be called.
func (m *machine) due() time.Duration {
	if m.urgent {
		return 0
	}
	return min(m.nextTx, m.expires())
}

// sends reports whether it is time to transmit.
func (m *machine) sends(now time.Duration) bool {
	return m.urgent || m.nextTx != never && now >= m.nextTx-m.slack()
}

// tick declares the session Down if the detection time is over. All packets that
// the sockets hold must have been received before. late is how much later it is
// called than was asked for: then this machine was busy, and packets may still
// be on their way through its kernel, so it waits for as long again, but for a
// tenth of an interval at least and one interval at most.
func (m *machine) tick(now, late time.Duration) *change {
	if now < m.expires() {
		return nil
	}
	took := m.detection()
	if m.doubt == 0 {
		interval := took / time.Duration(m.far.multiplier)
		m.doubt = now + min(max(late, interval/10), interval)
		return nil
	}
	c := &change{was: m.state, state: Down, diag: DiagExpired, far: m.far,
		reason: fmt.Sprintf("no packet from the neighbor for %s (detection time %s)", round(now-m.lastRx), round(took))}
	// bfd.RemoteDiscr: "If a period of a Detection Time passes without the receipt
	// of a valid, authenticated BFD packet from the remote system, this variable
	// MUST be set to zero" (6.8.1). The rest of what it said goes, too.
	m.heard, m.doubt, m.far = false, 0, unheard
	m.poll, m.pollAgain = false, false
	if m.state == Down {
		m.usedTx, m.usedRx = m.desiredTx, m.requiredRx
		m.retime(now)
		m.schedule(now)
		return nil
	}
	m.enter(Down, DiagExpired, now)
	m.schedule(now)
	return c
}

// leave goes to AdminDown (RFC 5880 section 6.8.16) and returns until when
// packets should say so: for a detection time of the neighbor. They are sent at
// the pace that was agreed, so that it hears in time.
func (m *machine) leave(now time.Duration) (until time.Duration) {
	m.state, m.diag = AdminDown, DiagAdminDown
	m.poll, m.pollAgain, m.urgent = false, false, true
	m.desiredTx = max(m.desiredTx, idle)
	return now + time.Duration(m.conf.multiplier)*m.txInterval()
}

// transmit returns the packet that is due.
func (m *machine) transmit(now time.Duration) packet {
	p := m.packet()
	p.Poll = m.poll
	m.urgent = false
	m.lastTx, m.nextTx = now, never
	if m.pollAgain && !m.poll {
		m.pollAgain = false
		m.retime(now)
	}
	m.schedule(now)
	return p
}

// final returns the answer to a packet with the P bit: "without respect to the
// transmission timer or any other transmission limitations" (6.8.7).
func (m *machine) final() packet {
	p := m.packet()
	p.Final = true
	m.urgent = false
	return p
}

// packet is what is to be said now (RFC 5880 section 6.8.7). C and D are 0, and
// no echo packets are wanted.
func (m *machine) packet() packet {
	return packet{
		Diag: m.diag, State: m.state, Multiplier: m.conf.multiplier, MyDiscr: m.discr, YourDiscr: m.far.discr,
		DesiredMinTx: m.desiredTx, RequiredMinRx: m.requiredRx,
	}
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// resumed returns a session that goes on where the one of an earlier process
// paused: Up, with the same discriminators. To the neighbor the desired interval
// becomes shorter, by a poll sequence.
func resumed(conf timing, old Saved, jitter func() float64, now time.Duration) *machine {
	m := &machine{
		conf: conf, discr: old.Discr, state: Up, jitter: jitter, urgent: true, lastTx: now, nextTx: now, heard: true, lastRx: now,
		far: remote{
			state: Up, discr: old.RemoteDiscr, minTx: old.RemoteMinTx, minRx: old.RemoteMinRx,
			multiplier: old.RemoteMultiplier, cpi: old.RemoteCPI,
		},
		desiredTx: max(old.Hold, conf.tx), requiredRx: conf.rx,
	}
	m.usedTx, m.usedRx = m.desiredTx, m.requiredRx
	m.retime(now)
	return m
}
