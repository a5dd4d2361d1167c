package bfd

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

func timers(tx, rx time.Duration) caracal.BFD {
	return caracal.BFD{Enabled: true, Transmit: tx, Receive: rx, Multiplier: 3}
}

func TestTimerChangeKeepsTheSessionUp(t *testing.T) {
	a, b, sa, sb := upPair(t, newWorld(t), "v4")
	before := a.status("v4")
	for _, step := range []time.Duration{500 * ms, 50 * ms, 100 * ms} {
		sa.BFD = timers(step, step)
		a.apply(sa)
		want := max(step, 100*ms)
		eventually(t, "a's new timers are agreed", func() bool {
			x, y := a.status("v4"), b.status("v4")
			return !x.Polling && x.Transmit == want && x.Detection == 3*want && y.Transmit == want && y.Detection == 3*want
		})
	}
	sb.BFD.Multiplier = 5
	b.apply(sb)
	eventually(t, "b's multiplier counts", func() bool { return a.status("v4").Detection == 500*ms })
	a.calm()
	b.calm()
	after := a.status("v4")
	if after.LocalDiscr != before.LocalDiscr || after.RemoteDiscr != before.RemoteDiscr || after.SourcePort != before.SourcePort || after.Flaps != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestAdminDown(t *testing.T) {
	w := newWorld(t)
	a, b, sa, _ := upPair(t, w, "v6")
	a.apply() // no longer configured
	if e := a.awaitDown("v6"); !e.Removed || e.Failure() || e.State != AdminDown {
		t.Errorf("event of a: %+v", e)
	}
	e := b.awaitDown("v6")
	if e.Failure() || !e.RemoteAdminDown || e.State != Down || e.Diag != DiagNeighborDown || e.RemoteDiag != DiagAdminDown {
		t.Errorf("event of b: %+v", e)
	}
	if took := e.At.Sub(a.events[len(a.events)-1].At); took > 100*ms+slack {
		t.Errorf("b heard after %s", took)
	}
	// The port is free again after the detection time, for another daemon.
	eventually(t, "the port is free", func() bool {
		var l *listener
		var err error
		w.a.Do(func() { l, err = listen(true, false) })
		if err == nil {
			l.close()
		}
		return err == nil
	})
	a.apply(sa)
	a.awaitUp("v6")
	b.awaitUp("v6")
	a.Close(true)
	if e := b.awaitDown("v6"); e.Failure() || !e.RemoteAdminDown {
		t.Errorf("event of b at a's end: %+v", e)
	}
	if failed := a.Apply([]Session{sa}); failed["v6"] == nil {
		t.Error("a closed server takes sessions")
	}
	a.Close(true)
}

// TestLinkDown and what follows: both ends find out, and are back with the link.
func TestLinkDown(t *testing.T) {
	w := newWorld(t)
	a, b, _, _ := upPair(t, w, "v4")
	start := time.Now()
	w.a.Run("ip", "link", "set", "up0", "down")
	for _, s := range []*station{a, b} {
		e := s.awaitDown("v4")
		if took := e.At.Sub(start); !e.Failure() || took > 400*ms+slack {
			t.Errorf("after %s: %+v", took, e)
		}
	}
	eventually(t, "a says what is wrong", func() bool { return a.status("v4").Err != "" })
	w.a.Run("ip", "link", "set", "up0", "up")
	a.awaitUp("v4")
	b.awaitUp("v4")
	eventually(t, "nothing is wrong any more", func() bool { return a.status("v4").Err == "" })
}

// TestDeviceAndAddressReturn: a device of the same name, later.
func TestDeviceAndAddressReturn(t *testing.T) {
	w := newWorld(t)
	a, b, _, _ := upPair(t, w, "anylocal")
	w.a.Run("ip", "link", "del", "up0")
	a.awaitDown("anylocal")
	b.awaitDown("anylocal")
	nstest.Veth(t, w.a, "up0", w.b, "up0")
	w.a.Addr("up0", "192.0.2.1/24")
	w.b.Addr("up0", "192.0.2.2/24")
	a.awaitUp("anylocal")
	b.awaitUp("anylocal")
}

func TestApplyFails(t *testing.T) {
	w := newWorld(t)
	a, b := newStation(t, w.a), newStation(t, w.b)
	sa, sb := both("v4", fast)
	sa.Local = addr("192.0.2.77")
	sb.Remote = sa.Local
	b.apply(sb)
	if err := a.Apply([]Session{sa})["v4"]; err == nil || !strings.Contains(err.Error(), "no interface has this address") {
		t.Errorf("missing address: %v", err)
	}
	if st := a.status("v4"); st.State != Down || st.Err == "" {
		t.Errorf("status %+v", st)
	}
	w.a.Addr("up0", "192.0.2.77/24")
	a.awaitUp("v4") // without another Apply

	c := newStation(t, w.a)
	if err := c.Apply([]Session{sa})["v4"]; err == nil || !strings.Contains(err.Error(), "another BFD daemon") {
		t.Errorf("port in use: %v", err)
	}
	if len(c.Apply(nil)) > 0 || len(c.Status()) > 0 {
		t.Error("the session that failed cannot be removed")
	}
}

// TestRefused sends a what its neighbor would not, and nothing of it has effect. The
// sessions are slow, so that none ends for another reason on a busy machine.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.b.Addr("up0", "192.0.2.66/24")
	nstest.Veth(t, w.b, "side0", w.a, "side0")
	w.a.Addr("side0", "198.51.100.1/24", "fe80::a/64")
	w.b.Addr("side0", "198.51.100.2/24", "fe80::b/64")
	a, b := newStation(t, w.a), newStation(t, w.b)
	var as, bs []Session
	for _, name := range []string{"v4", "link", "multi4", "multi6"} {
		sa, sb := both(name, timers(time.Second, time.Second))
		if name == "multi6" {
			sa.MaxHops = 2
		}
		as, bs = append(as, sa), append(bs, sb)
	}
	a.apply(as...)
	b.apply(bs...)
	for _, s := range as {
		eventually(t, s.Name+" is up", func() bool { return a.status(s.Name).State == Up && b.status(s.Name).State == Up })
	}
	known := func(name string) packet {
		st := a.status(name)
		return packet{State: Down, Multiplier: 3, MyDiscr: 5, YourDiscr: st.LocalDiscr, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	}
	anonymous := packet{State: Down, Multiplier: 3, MyDiscr: 5, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
	stranger := netip.MustParseAddr("192.0.2.66")
	for _, c := range []struct {
		name    string // of the session it seems to be of
		as      Session
		ttl     int
		p       packet
		dropped string // by that session
	}{
		{"v4", Session{Local: addr("192.0.2.2"), Remote: addr("192.0.2.1")}, 254, known("v4"), "TTL is 254"},
		{"v4", Session{Local: addr("192.0.2.2"), Remote: addr("192.0.2.1")}, 64, anonymous, "TTL is 64"},
		{"v4", Session{Local: stranger, Remote: addr("192.0.2.1")}, 255, known("v4"), "came from 192.0.2.66"},
		{"v4", Session{Local: addr("192.0.2.2"), Remote: addr("198.51.100.1")}, 255, known("v4"), "sent to 198.51.100.1"},
		{"v4", Session{Local: addr("192.0.2.2"), Remote: addr("192.0.2.1"), Multihop: true}, 255, known("v4"), "the other kind"},
		{"link", Session{Local: addr("fe80::b"), Remote: addr("fe80::a"), Interface: "side0"}, 255, known("link"), "another device"},
		{"link", Session{Local: addr("fe80::b"), Remote: addr("fe80::a"), Interface: "side0"}, 255, anonymous, "another device"},
		{"multi6", Session{Local: addr("2001:db8::2"), Remote: addr("2001:db8::1"), Multihop: true}, 253, known("multi6"), "at least 254"},
	} {
		before := a.status(c.name)
		intrude(t, w.b, c.as, c.ttl, c.p)
		eventually(t, c.name+": "+c.dropped, func() bool {
			st := a.status(c.name)
			return st.Dropped == before.Dropped+1 && strings.Contains(st.LastDropped, c.dropped)
		})
	}
	a.refuseNameless(w.b, known("v4"), anonymous)
	for _, s := range as {
		if st := a.status(s.Name); st.State != Up || st.Flaps > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// refuseNameless sends what belongs to no session, which is counted.
func (s *station) refuseNameless(ns *nstest.NS, known, anonymous packet) {
	s.t.Helper()
	unknown := known
	unknown.YourDiscr++
	odd := anonymous
	odd.State = Up
	for _, c := range []struct {
		what  string
		as    Session
		p     packet
		count func(Stats) uint64
	}{
		{"unknown discriminator", Session{Local: addr("192.0.2.2"), Remote: addr("192.0.2.1")}, unknown, func(st Stats) uint64 { return st.UnknownDiscr }},
		{"no session", Session{Local: addr("192.0.2.66"), Remote: addr("192.0.2.1")}, anonymous, func(st Stats) uint64 { return st.NoSession }},
		{"Up to nobody", Session{Local: addr("192.0.2.2"), Remote: addr("192.0.2.1")}, odd, func(st Stats) uint64 { return st.Malformed }},
	} {
		before := c.count(s.s.Stats())
		intrude(s.t, ns, c.as, 255, c.p)
		eventually(s.t, c.what, func() bool { return c.count(s.s.Stats()) == before+1 })
	}
}

// intrude sends one packet from a namespace.
func intrude(t testing.TB, ns *nstest.NS, as Session, ttl int, p packet) {
	t.Helper()
	var out *sender
	var err error
	ns.Do(func() { out, err = dial(as, 0, func(uint16) bool { return false }) })
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	if as.Remote.Is4() {
		err = unix.SetsockoptInt(out.fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
	} else {
		err = unix.SetsockoptInt(out.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
	}
	if err != nil {
		t.Fatal(err)
	}
	if sent, err := out.send(p); !sent {
		t.Fatal(err)
	}
}

// TestNeighborRestarts: the successor of a crashed server has other
// discriminators, and its first packet ends the old session. It must come within
// the detection time, which is therefore a long one.
func TestNeighborRestarts(t *testing.T) {
	w := newWorld(t)
	a, b := newStation(t, w.a), newStation(t, w.b)
	sa, sb := both("v4", timers(5*time.Second, 5*time.Second))
	a.apply(sa)
	b.apply(sb)
	a.awaitUp("v4")
	b.awaitUp("v4")
	old := a.status("v4").RemoteDiscr
	b.Close(false)
	b = newStation(t, w.b)
	b.apply(sb)
	e := a.awaitDown("v4")
	if !e.Failure() || e.Diag != DiagNeighborDown || !strings.Contains(e.Reason, "anew") {
		t.Errorf("event %+v", e)
	}
	a.awaitUp("v4")
	b.awaitUp("v4")
	if st := a.status("v4"); st.RemoteDiscr == old {
		t.Error("the discriminator is the old one")
	}
}

// TestPauseIsNotSeen: a server pauses and ends, and another goes on in its place
// after more than a detection time.
func TestPauseIsNotSeen(t *testing.T) {
	w := newWorld(t)
	a, b, _, sb := upPair(t, w, "v4")
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	saved := b.s.Pause(ctx, 30*time.Second)
	if len(saved) != 1 || time.Until(saved[0].Until) < 20*time.Second {
		t.Fatalf("saved %+v", saved)
	}
	b.Close(false)
	time.Sleep(500 * ms) // what the restart takes, longer than the detection time was
	b = newStation(t, w.b, saved...)
	b.apply(sb)
	b.awaitUp("v4")
	for _, s := range []*station{a, b} {
		eventually(t, "the timers are as before", func() bool {
			st := s.status("v4")
			return !st.Polling && st.Detection == 300*ms && st.State == Up
		})
	}
	a.calm()
	b.calm()
	if st := b.status("v4"); st.SourcePort != saved[0].Port || st.LocalDiscr != saved[0].Discr {
		t.Errorf("%+v, saved %+v", st, saved)
	}
	// It detects again.
	b.Close(false)
	if e := a.awaitDown("v4"); !e.Failure() {
		t.Errorf("event %+v", e)
	}
}

// TestRemoteCPI: a neighbor by hand, whose C bit is set while it is up, and not
// in the first packet of its successor.
func TestRemoteCPI(t *testing.T) {
	w := newWorld(t)
	a := newStation(t, w.a)
	sa, sb := both("v6", fast)
	a.apply(sa)
	say := func(s State, cpi bool) {
		intrude(t, w.b, sb, 255, packet{
			State: s, CPI: cpi, Multiplier: 10, MyDiscr: 7, YourDiscr: a.status("v6").LocalDiscr,
			DesiredMinTx: time.Second, RequiredMinRx: time.Second,
		})
	}
	say(Down, true)
	a.await("Init", func(e Event) bool { return e.State == Init })
	say(Init, true)
	a.awaitUp("v6")
	if st := a.status("v6"); !st.RemoteCPI || st.Detection != 10*time.Second {
		t.Errorf("status %+v", st)
	}
	say(Down, false)
	if e := a.awaitDown("v6"); !e.RemoteCPI || !e.Failure() {
		t.Errorf("event %+v", e)
	}
}
