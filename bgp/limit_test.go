package bgp_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// hosts are n host prefixes from 11.0.0.0 on.
func hosts(n int) []netip.Prefix {
	list := make([]netip.Prefix, n)
	for i := range list {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i))
		list[i] = netip.PrefixFrom(netip.AddrFrom4(a), 32)
	}
	return list
}

// rss is the memory of this process, in MiB.
func rss(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// announced counts what a neighbor announced so far.
func (s *station) announced(neighbor string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		if e.Update != nil && e.Update.Neighbor == neighbor {
			n += len(e.Update.Announced)
		}
	}
	return n
}

// TestLeak: a neighbor that leaks a table is stopped at once, nothing of it is
// kept, its other sessions stay up, and it is tried again when its time is over.
func TestLeak(t *testing.T) {
	const leaked, limit = 200_000, 10_000
	a := newStation(t, "a", "127.0.32.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.32.8")
	n.MaxPrefixes, n.WarnPrefixes, n.MaxPrefixesRetry = limit, 8000, 10*time.Second
	other, co := neighborOf(a, "127.0.32.9")
	a.conf.Neighbors = []bgp.Neighbor{n, other}
	a.apply()
	calm := dial(t, co)
	defer calm.Abort()
	messages := sender.Encode(hosts(leaked), path4("127.0.32.8"))
	debug.FreeOSMemory()
	before := rss(t)

	notice := make(chan []byte, 10)
	c.OnMessage = func(kind byte, body []byte) {
		if kind == sender.Notification {
			notice <- append([]byte(nil), body...)
		}
	}
	s := dial(t, c)
	a.eventually("the session", a.in(n.Name, bgp.Established))
	start := time.Now()
	go s.Send(messages...)
	a.eventually("the limit", a.in(n.Name, bgp.Disabled))
	t.Logf("acted on after %s and %d prefixes", time.Since(start), a.announced(n.Name)) // 0.5 s on a machine of its own
	if got := a.announced(n.Name); got > 2*limit {
		t.Errorf("acted on after %d prefixes", got)
	}
	<-s.Done()
	if body := <-notice; body[0] != 6 || body[1] != 1 {
		t.Errorf("NOTIFICATION % x, want Cease/1", body)
	}
	most := rss(t)
	st := a.status(n.Name)
	if !st.Held || st.HeldUntil.Before(time.Now()) || st.Restarting || !strings.Contains(st.LastError, "more than 10000 prefixes") || !strings.Contains(st.LastError, "10s") {
		t.Errorf("after the leak: %+v", st)
	}
	a.eventually("nothing kept", a.has(n.Name))
	debug.FreeOSMemory()
	t.Logf("RSS %d MiB before, %d at the end of the session, %d after", before, most, rss(t))
	if most > before+400 {
		t.Errorf("RSS grew by %d MiB", most-before)
	}

	// It is tried again by itself, and what it may announce is taken.
	s = dial(t, c)
	defer s.Abort()
	if d := time.Since(start); d < 10*time.Second {
		t.Errorf("tried again after %s", d)
	}
	s.Announce(hosts(8001), path4("127.0.32.8"))
	a.eventually("the warning", func() bool {
		st := a.status(n.Name)
		return st.Warned && st.Prefixes == 8001 && !st.Held
	})

	// Then it withdraws what it never announced.
	messages = sender.EncodeWithdraw(hosts(leaked)[10_000:])
	debug.FreeOSMemory()
	before = rss(t)
	if err := s.Send(messages...); err != nil {
		t.Error(err)
	}
	s.EndOfRIB(false)
	a.eventually("the end of the withdrawals", func() bool { return a.eor[n.Name+" false"] })
	t.Logf("RSS %d MiB before the withdrawals, %d after", before, rss(t))
	if grown := rss(t) - before; grown > 200 {
		t.Errorf("RSS grew by %d MiB", grown)
	}
	if st := a.status(n.Name); st.State != bgp.Established || st.Prefixes != 8001 {
		t.Errorf("after the withdrawals: %+v", st)
	}

	// And leaks once more.
	go s.Announce(hosts(leaked), path4("127.0.32.8"))
	<-s.Done()
	if body := <-notice; body[0] != 6 || body[1] != 1 {
		t.Errorf("the second leak: NOTIFICATION % x, want Cease/1", body)
	}
	if a.downs(other.Name) != 0 || calm.Err() != nil {
		t.Error("another session ended")
	}
}
