package bfd

import (
	"testing"
	"time"
)

const ms = time.Millisecond

var conf100 = timing{tx: 100 * ms, rx: 100 * ms, multiplier: 3}

// half is a jitter without chance.
func half() float64 { return 0.5 }

// from is a packet of a neighbor with discriminator 9 and 3 x 100 ms.
func from(s State) packet {
	return packet{State: s, Multiplier: 3, MyDiscr: 9, YourDiscr: 1, DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms}
}

// in returns a machine in a state, at time 0. In Init and Up it has heard the
// neighbor and agreed on its timers.
func in(s State) *machine {
	m := newMachine(conf100, 1, half, 0)
	switch s {
	case AdminDown:
		m.leave(0)
	case Init:
		m.receive(from(Down), 0, 0)
	case Up:
		m.receive(from(Init), 0, 0)
		m.transmit(0)
		final := from(Up)
		final.Final = true
		m.receive(final, 0, 0)
	}
	return m
}

// TestTransitions is the table of RFC 5880 section 6.8.6 in full.
func TestTransitions(t *testing.T) {
	want := map[State]map[State]State{
		AdminDown: {AdminDown: AdminDown, Down: AdminDown, Init: AdminDown, Up: AdminDown},
		Down:      {AdminDown: Down, Down: Init, Init: Up, Up: Down},
		Init:      {AdminDown: Down, Down: Init, Init: Up, Up: Up},
		Up:        {AdminDown: Down, Down: Down, Init: Up, Up: Up},
	}
	for was, row := range want {
		for got, next := range row {
			m := in(was)
			if m.state != was {
				t.Fatalf("not in %s but %s", was, m.state)
			}
			m.urgent = false
			_, c := m.receive(from(got), 0, 0)
			if m.state != next || (c != nil) != (was != next) {
				t.Errorf("%s, received %s: %s with change %+v, want %s", was, got, m.state, c, next)
			}
			if c == nil {
				continue
			}
			if c.was != was || c.state != next || !m.urgent || c.adminDown != (got == AdminDown) {
				t.Errorf("%s, received %s: change %+v, urgent %t", was, got, c, m.urgent)
			}
			if wantDiag := map[bool]Diag{true: DiagNeighborDown}[next == Down]; m.diag != wantDiag {
				t.Errorf("%s, received %s: diagnostic %s", was, got, m.diag)
			}
		}
	}
}

func TestDetection(t *testing.T) {
	m := in(Up)
	if d := m.detection(); d != 300*ms {
		t.Fatalf("detection time %s", d)
	}
	m.receive(from(Up), 1000*ms, 1000*ms)
	if c := m.tick(1299*ms, 0); c != nil || m.doubt != 0 {
		t.Fatalf("Down before its time: %+v", c)
	}
	// Silence is doubted for a tenth of the interval.
	if c := m.tick(1300*ms, 0); c != nil || m.due() > 1310*ms {
		t.Fatalf("%+v, due %s", c, m.due())
	}
	c := m.tick(1310*ms, 0)
	if c == nil || c.state != Down || c.was != Up || c.diag != DiagExpired || c.adminDown {
		t.Fatalf("change %+v", c)
	}
	if p := m.transmit(1310 * ms); p.State != Down || p.Diag != DiagExpired || p.YourDiscr != 0 || p.DesiredMinTx != time.Second || p.Poll {
		t.Errorf("packet %+v", p)
	}
	if c := m.tick(time.Hour, 0); c != nil || m.expires() != never {
		t.Errorf("again: %+v", c)
	}
}

// TestDetectionWhenLate: a busy machine waits as long as it was late, for at
// most one interval, and a packet in the meantime is in time.
func TestDetectionWhenLate(t *testing.T) {
	m := in(Up)
	m.tick(500*ms, 40*ms)
	if m.doubt != 540*ms {
		t.Errorf("doubt until %s", m.doubt)
	}
	m.receive(from(Up), 299*ms, 530*ms)
	if c := m.tick(541*ms, 0); c != nil || m.state != Up {
		t.Fatalf("the packet did not count: %+v", c)
	}
	m = in(Up)
	m.tick(5*time.Second, 5*time.Second)
	if m.doubt != 5100*ms {
		t.Errorf("doubt until %s", m.doubt)
	}
	// In Init, too, silence is Down; in Down, what was heard is forgotten.
	m = in(Init)
	m.tick(400*ms, 0)
	if c := m.tick(500*ms, 0); c == nil || c.was != Init || c.state != Down {
		t.Errorf("Init: %+v", c)
	}
	m = in(Down)
	m.receive(from(Up), 0, 0)
	m.tick(400*ms, 0)
	if c := m.tick(500*ms, 0); c != nil || m.far != unheard {
		t.Errorf("Down: %+v, %+v", c, m.far)
	}
}

func TestTransmitIntervals(t *testing.T) {
	for _, c := range []struct {
		name       string
		multiplier uint8
		far        time.Duration
		jitter     float64
		low, high  time.Duration
	}{
		{"earliest", 3, 0, 0, 75 * ms, 90 * ms},
		{"latest", 3, 0, 0.999, 95 * ms, 100 * ms},
		{"multiplier 1, latest", 1, 0, 0.999, 75 * ms, 90 * ms},
		{"the neighbor is slower", 3, 200 * ms, 0.999, 190 * ms, 200 * ms},
	} {
		m := in(Up)
		m.conf.multiplier, m.jitter = c.multiplier, func() float64 { return c.jitter }
		p := from(Up)
		p.RequiredMinRx = max(c.far, 1)
		m.receive(p, 0, 0)
		m.transmit(time.Second)
		first, last := m.nextTx-m.slack()-time.Second, m.nextTx-time.Second
		if first < c.low || last > c.high || !m.sends(time.Second+last) || m.sends(time.Second+first-1) {
			t.Errorf("%s: from %s to %s, want from %s to %s", c.name, first, last, c.low, c.high)
		}
	}
	// Not Up: once a second, whatever is configured.
	for _, s := range []State{Down, Init} {
		m := in(s)
		m.transmit(0)
		if m.nextTx < 750*ms || m.nextTx > time.Second {
			t.Errorf("%s: next after %s", s, m.nextTx)
		}
	}
}

func TestTransmitCeases(t *testing.T) {
	m := in(Up)
	p := from(Up)
	p.RequiredMinRx = 0
	m.receive(p, 0, 0)
	m.transmit(0)
	if m.nextTx != never {
		t.Error("a neighbor that wants nothing is sent to")
	}
	p = from(Up)
	p.Demand = true
	m.receive(p, 10*ms, 10*ms)
	if m.nextTx != never {
		t.Error("a neighbor in demand mode is sent to")
	}
	if m.detection() != 300*ms {
		t.Error("the neighbor's demand mode changes our detection")
	}
	// ... but for a poll sequence.
	m.setTiming(timing{tx: 100 * ms, rx: 50 * ms, multiplier: 3}, 20*ms)
	if m.nextTx == never || !m.transmit(100*ms).Poll {
		t.Error("no poll in demand mode")
	}
	p.Final = true
	m.receive(p, 110*ms, 110*ms)
	m.transmit(120 * ms)
	if m.nextTx != never || m.poll {
		t.Error("the poll does not end")
	}
	p.Demand, p.Final = false, false
	m.receive(p, 130*ms, 130*ms)
	if m.nextTx == never {
		t.Error("the end of demand mode is not seen")
	}
}

func TestPollOnWayUp(t *testing.T) {
	m := in(Down)
	m.transmit(0)
	if final, _ := m.receive(from(Init), 0, 0); final || m.state != Up {
		t.Fatal(m.state)
	}
	// Up: the shorter interval is in force at once, and polled for.
	p := m.transmit(0)
	if p.State != Up || !p.Poll || p.DesiredMinTx != 100*ms || m.nextTx > 100*ms {
		t.Errorf("packet %+v, next at %s", p, m.nextTx)
	}
	if p := m.transmit(90 * ms); !p.Poll {
		t.Error("the poll ended by itself")
	}
	// A poll of the neighbor is answered without P, and ours goes on.
	poll := from(Up)
	poll.Poll = true
	if final, _ := m.receive(poll, 100*ms, 100*ms); !final {
		t.Error("no answer to a poll")
	}
	if p := m.final(); !p.Final || p.Poll {
		t.Errorf("answer %+v", p)
	}
	f := from(Up)
	f.Final = true
	m.receive(f, 110*ms, 110*ms)
	if p := m.transmit(180 * ms); p.Poll || m.poll {
		t.Error("the poll did not end")
	}
}

func TestTimersWhileUp(t *testing.T) {
	final := from(Up)
	final.Final = true

	m := in(Up)
	m.transmit(0)
	m.setTiming(timing{tx: 400 * ms, rx: 400 * ms, multiplier: 5}, 10*ms)
	// Slower sending waits for the answer, slower receiving does not.
	if m.txInterval() != 100*ms || m.detection() != 1200*ms || m.state != Up {
		t.Errorf("before the answer: %s, %s, %s", m.txInterval(), m.detection(), m.state)
	}
	if p := m.transmit(80 * ms); !p.Poll || p.DesiredMinTx != 400*ms || p.RequiredMinRx != 400*ms || p.Multiplier != 5 {
		t.Errorf("packet %+v", p)
	}
	// Another change waits until the answer to this one is there.
	m.setTiming(timing{tx: 50 * ms, rx: 50 * ms, multiplier: 5}, 90*ms)
	if p := m.transmit(160 * ms); p.DesiredMinTx != 400*ms {
		t.Errorf("packet %+v", p)
	}
	m.receive(final, 170*ms, 170*ms)
	if m.txInterval() != 400*ms || m.poll {
		t.Errorf("after the answer: %s, poll %t", m.txInterval(), m.poll)
	}
	if p := m.transmit(500 * ms); p.Poll {
		t.Error("no packet between two polls")
	}
	// Now the second: faster sending is at once, faster receiving is not.
	if m.txInterval() != 100*ms || m.detection() != 1200*ms || m.nextTx > 600*ms {
		t.Errorf("second: %s, %s, next %s", m.txInterval(), m.detection(), m.nextTx)
	}
	if p := m.transmit(590 * ms); !p.Poll || p.RequiredMinRx != 50*ms {
		t.Errorf("packet %+v", p)
	}
	m.receive(final, 600*ms, 600*ms)
	if m.detection() != 300*ms {
		t.Errorf("detection %s", m.detection())
	}
	// The neighbor becomes faster: that holds at once.
	p := from(Up)
	p.RequiredMinRx = 10 * ms
	m.transmit(700 * ms)
	m.receive(p, 710*ms, 710*ms)
	if m.txInterval() != 50*ms || m.nextTx > 750*ms {
		t.Errorf("faster neighbor: %s, next %s", m.txInterval(), m.nextTx)
	}
}

func TestNeighborStartsAnew(t *testing.T) {
	m := in(Up)
	old := from(Up)
	old.CPI = true
	m.receive(old, 0, 0)
	p := from(Down)
	p.MyDiscr, p.YourDiscr = 77, 0
	_, c := m.receive(p, 10*ms, 10*ms)
	if c == nil || c.state != Down || c.adminDown || !c.far.cpi || m.far.discr != 77 {
		t.Fatalf("change %+v, far %+v", c, m.far)
	}
	if p := m.transmit(10 * ms); p.YourDiscr != 77 || p.State != Down {
		t.Errorf("packet %+v", p)
	}
	m.receive(p, 20*ms, 20*ms)
	p.State = Init
	if _, c := m.receive(p, 30*ms, 30*ms); c == nil || m.state != Up {
		t.Errorf("in %s", m.state)
	}
}

func TestLeave(t *testing.T) {
	m := in(Up)
	m.transmit(0)
	if until := m.leave(50 * ms); until != 350*ms {
		t.Errorf("leaves at %s", until)
	}
	p := m.transmit(50 * ms)
	if p.State != AdminDown || p.Diag != DiagAdminDown || p.DesiredMinTx != time.Second || m.nextTx > 150*ms {
		t.Errorf("packet %+v, next %s", p, m.nextTx)
	}
	if final, c := m.receive(from(Up), 60*ms, 60*ms); final || c != nil || m.tick(time.Hour, 0) != nil {
		t.Error("AdminDown is not the end")
	}
}

// TestPauseAndResume has two machines, the first of which is replaced.
func TestPauseAndResume(t *testing.T) {
	m := in(Up)
	m.transmit(0)
	m.pause(10*time.Second, 10*ms)
	if m.paused() || m.txInterval() != 100*ms {
		t.Error("paused without being asked")
	}
	if p := m.transmit(90 * ms); !p.Poll || p.DesiredMinTx != 10*time.Second {
		t.Errorf("packet %+v", p)
	}
	final := from(Up)
	final.Final = true
	m.receive(final, 95*ms, 95*ms)
	m.transmit(180 * ms)
	if !m.paused() || m.nextTx < 7*time.Second {
		t.Errorf("paused %t, next %s", m.paused(), m.nextTx)
	}
	next := resumed(conf100, Saved{Discr: 1, RemoteDiscr: 9, RemoteMultiplier: 3, RemoteMinTx: 100 * ms, RemoteMinRx: 100 * ms, Hold: 10 * time.Second}, half, 0)
	p := next.transmit(0)
	if p.State != Up || p.MyDiscr != 1 || p.YourDiscr != 9 || !p.Poll || p.DesiredMinTx != 100*ms || next.nextTx > 100*ms {
		t.Errorf("packet %+v, next %s", p, next.nextTx)
	}
	next.tick(301*ms, 0)
	if c := next.tick(320*ms, 0); c == nil || c.state != Down {
		t.Error("a neighbor that is gone is not missed")
	}
}
