package bgp_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal/bgp"
)

// slowly is a neighbor that takes connections and answers as a test wants.
type slowly struct {
	t  *testing.T
	at netip.Addr
	l  *net.TCPListener
}

func listenSlowly(t *testing.T, ip string) *slowly {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr(ip), testPort)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &slowly{t, addr(ip), l}
}

// taken returns the next connection, with its OPEN read, and how long it took to
// come; nil if there is none in time.
func (s *slowly) taken(within time.Duration) (net.Conn, time.Duration) {
	s.t.Helper()
	begin := time.Now()
	s.l.SetDeadline(begin.Add(within))
	c, err := s.l.Accept()
	if err != nil {
		return nil, 0
	}
	s.t.Cleanup(func() { c.Close() })
	took := time.Since(begin)
	c.SetReadDeadline(time.Now().Add(patient))
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		s.t.Fatalf("no OPEN: %v", err)
	}
	return c, took
}

func message(kind byte, body ...byte) []byte {
	m := append(bytes.Repeat([]byte{0xff}, 16), 0, byte(19+len(body)), kind)
	return append(m, body...)
}

// refuse answers a connection and ends it as FRR does that has just thawed.
func (s *slowly) refuse(c net.Conn) {
	s.t.Helper()
	id := s.at.As4()
	open := append(binary.BigEndian.AppendUint16([]byte{4}, asn), 0, 30, id[0], id[1], id[2], id[3], 0)
	if _, err := c.Write(append(message(1, open...), message(3, 6, 7)...)); err != nil {
		s.t.Fatal(err)
	}
	c.Close()
}

// TestRefusedOnce: one attempt that fails late is followed by another without
// the rest of 5 s, but a neighbor that refuses again has its rest.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	a := newStation(t, "a", "127.0.42.1", bgp.Options{})
	n, _ := neighborOf(a, "127.0.42.9")
	n.Passive = false
	s := listenSlowly(t, "127.0.42.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	c, _ := s.taken(patient)
	if c == nil {
		t.Fatal("not dialed")
	}
	s.refuse(c)
	c, took := s.taken(patient)
	if c == nil {
		t.Fatal("not dialed again")
	}
	t.Logf("dialed again after %v", took)
	if took > 6*time.Second { // it is dialed 1.5 to 2 s after it may, with a rest 6.5 s at the earliest
		t.Errorf("dialed again only after %v", took)
	}
	s.refuse(c)
	if c, took = s.taken(4 * time.Second); c != nil {
		t.Errorf("dialed a third time after %v, without a rest", took)
	}
}

// TestReachable: a connection that the neighbor does not answer is closed when
// the neighbor is said to be back, not before, and it is dialed again. A session
// that is up is left alone. (It is not parallel as TestRefusedOnce is: GoBGP writes
// package variables when it starts.)
func TestReachable(t *testing.T) {
	a := newStation(t, "a", "127.0.43.1", bgp.Options{})
	n, _ := neighborOf(a, "127.0.43.9")
	n.Passive = false
	up, config := neighborOf(a, "127.0.43.8")
	s := listenSlowly(t, "127.0.43.9")
	a.conf.Neighbors = []bgp.Neighbor{n, up}
	a.apply()
	a.Reachable("peer/nobody")
	session := dial(t, config)
	defer session.Abort()
	a.eventually("the session", a.in(up.Name, bgp.Established))
	c, _ := s.taken(patient)
	if c == nil {
		t.Fatal("not dialed")
	}
	c.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
		t.Fatalf("the connection does not wait: %v", err)
	}
	a.Reachable(n.Name)
	a.Reachable(up.Name)
	if again, took := s.taken(patient); again == nil {
		t.Error("not dialed again")
	} else {
		t.Logf("dialed again after %v", took)
	}
	c.SetReadDeadline(time.Now().Add(patient))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection that was not answered is there still")
	}
	stays(t, session)
}
