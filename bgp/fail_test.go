package bgp_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// TestFail: a session whose neighbor is gone ends at once, and the neighbor may
// come back at once. Its successor is not hit by what ended it.
func TestFail(t *testing.T) {
	a := newStation(t, "a", "127.0.30.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.30.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	notices := make(chan []byte, 10)
	c.OnMessage = func(kind byte, body []byte) {
		if kind == sender.Notification {
			notices <- append([]byte(nil), body...)
		}
	}
	fail := func(graceful bool) {
		t.Helper()
		if err := a.Fail(t.Context(), n.Name, "BFD: no packet for 300 ms", graceful); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Fail(t.Context(), "peer/nobody", "", false); !errors.Is(err, bgp.ErrUnknown) {
		t.Errorf("a name of nobody: %v", err)
	}
	fail(false) // without a session it must do nothing, now and later

	s := dial(t, c)
	s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.30.9"))
	want := []string{"up", "update"}
	a.sequence(n.Name, want...)
	fail(false)
	failed := time.Now()
	fail(false) // and not twice
	want = append(want, "down")
	a.sequence(n.Name, want...)
	if st := a.status(n.Name); st.LastErrorAt.After(failed) {
		t.Errorf("the event came %s later", st.LastErrorAt.Sub(failed))
	}
	<-s.Done()
	select {
	case body := <-notices:
		if body[0] != 6 || body[1] != 4 || !strings.Contains(string(body[2:]), "BFD") {
			t.Errorf("NOTIFICATION % x, want Cease/4 with the reason", body)
		}
	default:
		t.Error("no NOTIFICATION")
	}
	if st := a.status(n.Name); st.State != bgp.Idle && st.State != bgp.Active || st.LastError != "BFD: no packet for 300 ms" {
		t.Errorf("after it failed: %+v", st)
	}
	s = dial(t, c)
	want = append(want, "up")
	a.sequence(n.Name, want...)
	if d := a.rested(n.Name); d > quick {
		t.Errorf("let in after %s", d)
	}
	stays(t, s)

	// Gracefully: not a word, and the paths are kept.
	fail(true)
	want = append(want, "graceful")
	a.sequence(n.Name, want...)
	<-s.Done()
	select {
	case body := <-notices:
		t.Errorf("NOTIFICATION % x", body)
	default:
	}
	open := make(chan []byte, 10)
	c.OnMessage = func(kind byte, body []byte) {
		if kind == sender.Open {
			open <- append([]byte(nil), body...)
		}
	}
	s = dial(t, c)
	defer s.Abort()
	a.sequence(n.Name, append(want, "up")...)
	if d := a.rested(n.Name); d > quick {
		t.Errorf("let in after %s", d)
	}
	if gr := capability(t, <-open, 64); binary.BigEndian.Uint16(gr)&0x8000 == 0 || gr[5]&0x80 == 0 {
		t.Errorf("graceful restart capability % x: our routes do lead somewhere still", gr)
	}
	stays(t, s)
}

// stays fails the test if the session ends within the time that a leftover order
// would need to end it.
func stays(t *testing.T, s *sender.Session) {
	t.Helper()
	select {
	case <-s.Done():
		t.Fatalf("the session ended: %v", s.Err())
	case <-time.After(500 * time.Millisecond):
	}
}

// TestFailRaces ends sessions at the moment in which they end by themselves. A
// session that comes up afterwards stays.
func TestFailRaces(t *testing.T) {
	a := newStation(t, "a", "127.0.31.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.31.9")
	c.GracefulRestart = false
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	for i := range 5 {
		s := dial(t, c)
		a.eventually("the session", a.in(n.Name, bgp.Established))
		go s.Abort()
		time.Sleep(time.Duration(i*i) * 50 * time.Microsecond)
		if err := a.Fail(context.Background(), n.Name, "BFD down", i%2 == 0); err != nil {
			t.Fatal(err)
		}
		<-s.Done()
	}
	s := dial(t, c)
	defer s.Abort()
	stays(t, s)
}

// TestShutdownCommunication: what a neighbor says when it shuts down is shown
// (RFC 9003), but for what a terminal would obey.
func TestShutdownCommunication(t *testing.T) {
	a := newStation(t, "a", "127.0.34.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.34.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	a.eventually("the session", a.in(n.Name, bgp.Established))
	const said = "new line card, ticket 4711\x1b[2J"
	body := append([]byte{6, 2, byte(len(said))}, said...)
	m := append([]byte(strings.Repeat("\xff", 16)), 0, byte(19+len(body)), sender.Notification)
	if err := s.Send(append(m, body...)); err != nil {
		t.Fatal(err)
	}
	a.eventually("the end", func() bool { return !a.in(n.Name, bgp.Established)() })
	s.Abort()
	st := a.status(n.Name)
	if want := `neighbor sent Cease: administrative shutdown, saying "new line card, ticket 4711?[2J"`; st.LastError != want {
		t.Errorf("last error %q, want %q", st.LastError, want)
	}
	got := st.LastNotification
	got.At = time.Time{}
	if got != (bgp.Notification{Code: 6, Subcode: 2, Text: "new line card, ticket 4711?[2J"}) {
		t.Errorf("notification %+v", got)
	}
}
