package bgp_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// neighborOf returns a passive neighbor for a sender on ip, and its Config.
func neighborOf(s *station, ip string) (bgp.Neighbor, sender.Config) {
	self := s.conf.NextHop4
	n := bgp.Neighbor{
		Name: "peer/test@" + ip, Addr: addr(ip), Port: testPort, ASN: asn, Local: self, Passive: true,
		IPv4: true, IPv6: true, HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second,
		ConnectRetry: time.Second, GracefulRestart: true, RestartTime: 20 * time.Second, MaxPrefixes: 1000000,
	}
	return n, sender.Config{
		Local: addr(ip), Remote: netip.AddrPortFrom(self, testPort), ASN: asn, RouterID: addr(ip),
		IPv4: true, IPv6: true, GracefulRestart: true, RestartTime: 20 * time.Second,
	}
}

func dial(t *testing.T, c sender.Config) *sender.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	s, err := sender.Dial(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sessions renders the session events of a neighbor from the nth on, without
// the states on the way up.
func (s *station) sessions(neighbor string, from int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, e := range s.all[from:] {
		switch {
		case e.Update != nil && e.Update.Neighbor == neighbor:
			list = append(list, "update")
		case e.EndOfRIB != nil && e.EndOfRIB.Neighbor == neighbor:
			list = append(list, "eor")
		case e.Session == nil || e.Session.Neighbor != neighbor:
		case e.Session.Removed:
			list = append(list, "removed")
		case e.Session.Expired:
			list = append(list, "expired")
		case e.Session.State == bgp.Established:
			list = append(list, "up")
		case e.Session.Was == bgp.Established && e.Session.Graceful:
			list = append(list, "graceful")
		case e.Session.Was == bgp.Established:
			list = append(list, "down")
		}
	}
	return list
}

func (s *station) sequence(neighbor string, want ...string) {
	s.t.Helper()
	deadline := time.Now().Add(patient)
	var got []string
	for time.Now().Before(deadline) {
		if got = s.sessions(neighbor, 0); slices.Equal(got, want) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("events of %s:\n%v\nwant:\n%v\nall:\n%s", neighbor, got, want, render(s.all))
}

// path4 and path6 are what test senders announce with.
func path4(ip string) sender.Path { return sender.Path{NextHop: addr(ip), LocalPref: 100} }

func TestGracefulRestart(t *testing.T) {
	a := newStation(t, "a", "127.0.2.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.2.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()

	s := dial(t, c)
	if err := s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.2.9")); err != nil {
		t.Fatal(err)
	}
	s.EndOfRIB(false)
	s.EndOfRIB(true)
	a.sequence(n.Name, "up", "update", "eor", "eor")

	was := a.status(n.Name)
	s.Abort()
	a.sequence(n.Name, "up", "update", "eor", "eor", "graceful")
	if st := a.status(n.Name); !st.Restarting || st.LastError != "connection lost" || st.Flaps != 1 {
		t.Errorf("while the neighbor restarts: %+v", st)
	} else if left := time.Until(st.StaleUntil); left <= 0 || left > was.NeighborRestartTime {
		t.Errorf("the routes are kept for %s more, and the restart time is %s", left, was.NeighborRestartTime)
	}

	// Back, with the R and F bits: the events are in order.
	c.Restarting, c.Preserved = true, true
	s = dial(t, c)
	s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.2.9"))
	s.EndOfRIB(false)
	s.EndOfRIB(true)
	a.sequence(n.Name, "up", "update", "eor", "eor", "graceful", "up", "update", "eor", "eor")
	a.eventually("the F bits", func() bool {
		ups := 0
		for _, e := range a.all {
			if e.Session != nil && e.Session.State == bgp.Established {
				ups++
				if want := ups == 2; e.Session.Preserved4 != want || e.Session.Preserved6 != want {
					return false
				}
			}
		}
		return ups == 2
	})
	if a.status(n.Name).Restarting {
		t.Error("still restarting after End-of-RIB")
	}

	// A NOTIFICATION is not a restart.
	s.Close()
	a.sequence(n.Name, "up", "update", "eor", "eor", "graceful", "up", "update", "eor", "eor", "down")
}

// TestRestartTimeEnds: a neighbor that never comes back is reported once its own
// restart time ended, not GoBGP's view of it.
func TestRestartTimeEnds(t *testing.T) {
	a := newStation(t, "a", "127.0.3.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.3.9")
	c.IPv6, c.RestartTime = false, 2*time.Second
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	start := time.Now() // before it is lost, or a pause in between would be missing
	s.Abort()
	a.sequence(n.Name, "up", "graceful", "expired")
	if d := time.Since(start); d < 1400*time.Millisecond || d > 15*time.Second {
		t.Errorf("expired after %s, want 2s", d)
	}
	a.eventually("only the family it can restart kept", func() bool {
		return slices.ContainsFunc(a.all, func(e bgp.Event) bool {
			return e.Session != nil && e.Session.Graceful && e.Session.Kept4 && !e.Session.Kept6
		})
	})
}

// TestHoldTime: a frozen neighbor is not a restarting one (RFC 4724 section 4),
// though GoBGP says so.
func TestHoldTime(t *testing.T) {
	a := newStation(t, "a", "127.0.4.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.4.9")
	n.HoldTime, n.KeepaliveTime = 3*time.Second, time.Second
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	c.Frozen = true
	start := time.Now()
	s := dial(t, c)
	defer s.Abort()
	a.sequence(n.Name, "up", "down")
	if d := time.Since(start); d < 3*time.Second || d > 20*time.Second {
		t.Errorf("noticed after %s, want 3s", d)
	}
	if st := a.status(n.Name); !strings.Contains(st.LastError, "hold time") {
		t.Errorf("last error %q", st.LastError)
	}
}

func (s *station) status(name string) bgp.NeighborStatus {
	s.t.Helper()
	list, err := s.Neighbors(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, n := range list {
		if n.Name == name {
			return n
		}
	}
	s.t.Fatalf("%s: no neighbor %s", s.name, name)
	return bgp.NeighborStatus{}
}

// TestClose: leaving without a word is what keeps the neighbors' routes to us.
func TestClose(t *testing.T) {
	a := newStation(t, "a", "127.0.12.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.12.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	s := dial(t, c)
	defer s.Abort()
	a.sequence(n.Name, "up")
	a.Close()
	select {
	case <-s.Done():
		t.Errorf("the session ended: %v", s.Err())
	case <-time.After(300 * time.Millisecond):
	}
	if err := s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.12.9")); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if got := a.sessions(n.Name, 0); !slices.Equal(got, []string{"up"}) {
		t.Errorf("events after Close: %v", got)
	}
}
