package bgp

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestNotificationWords(t *testing.T) {
	for text, want := range map[string]string{
		"notification-received code 6(cease) subcode 3(peer deconfigured)":            "Cease: peer deconfigured",
		"notification-sent code 2(open) subcode 2(bad peer as)":                       "OPEN message error: bad peer AS",
		"notification-sent code 4(hold timer expired) subcode 0(undefined)":           "hold timer expired",
		"notification-received code 6(cease) subcode 200(undefined)":                  "Cease: subcode 200",
		"notification-received code 99(undefined) subcode 1(undefined)":               "NOTIFICATION 99/1",
		"notification-received code 3(update) subcode 11(malformed as path (or so?))": "UPDATE message error: malformed AS_PATH",
		"admin-down": "NOTIFICATION",
		"notification-received code 600(x) subcode 1(y)": "NOTIFICATION",
	} {
		if got := notification(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestDialFailed(t *testing.T) {
	n := Neighbor{Addr: netip.MustParseAddr("192.0.2.2"), Local: netip.MustParseAddr("192.0.2.1")}
	const dial = "dial tcp 192.0.2.1:0->192.0.2.2:179: "
	for text, want := range map[string]string{
		dial + "connect: " + syscall.ECONNREFUSED.Error(): "192.0.2.2:179 refuses the connection",
		dial + "i/o timeout":                              "192.0.2.2:179 does not answer",
		dial + "connect: " + syscall.ETIMEDOUT.Error():    "192.0.2.2:179 does not answer",
		dial + "connect: " + syscall.EHOSTUNREACH.Error(): "192.0.2.2:179 cannot be reached",
		dial + "connect: " + syscall.ENETUNREACH.Error():  "192.0.2.2:179 cannot be reached",
		dial + "bind: " + syscall.EADDRNOTAVAIL.Error():   "no interface has our address 192.0.2.1",
		"of another kind":                                 "192.0.2.2:179 cannot be dialed: of another kind",
	} {
		if got := dialFailed(n, text); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestWhyNoSession: each end of a session that cannot come up says why, in the
// status, and once in the log.
func TestWhyNoSession(t *testing.T) {
	log := &lines{}
	speaker := func(ip string, asn uint32, neighbors ...Neighbor) *Speaker {
		s := New(Options{Log: slog.New(slog.NewTextHandler(log, nil))})
		conf := Config{Global: Global{ASN: asn, RouterID: netip.MustParseAddr(ip), Port: 17900, ListenAddrs: ip}}
		if _, err := s.Apply(t.Context(), conf); err != nil { // GoBGP starts before any session
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Leave(context.Background()) })
		return s
	}
	give := func(s *Speaker, neighbors ...Neighbor) {
		if _, err := s.Apply(t.Context(), Config{Global: s.global, Neighbors: neighbors}); err != nil {
			t.Fatal(err)
		}
	}
	to := func(name, local, addr string, asn uint32, passive bool) Neighbor {
		return Neighbor{Name: name, Local: netip.MustParseAddr(local), Addr: netip.MustParseAddr(addr), ASN: asn, Port: 17900,
			Passive: passive, Multihop: true, IPv4: true, HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectRetry: time.Second}
	}
	a, b := speaker("127.0.31.1", 65001), speaker("127.0.31.2", 65003)
	hangsUp, err := net.Listen("tcp", "127.0.31.9:17900")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for c, err := hangsUp.Accept(); err == nil; c, err = hangsUp.Accept() {
			c.Close()
		}
	}()
	// The neighbor's AS number is wrong at a, which dials.
	give(b, to("dialing", "127.0.31.2", "127.0.31.1", 65001, true))
	give(a, to("wrong", "127.0.31.1", "127.0.31.2", 65002, false), to("refusing", "127.0.31.1", "127.0.31.8", 65002, false),
		to("closing", "127.0.31.1", "127.0.31.9", 65002, false), to("silent", "127.0.31.1", "127.0.31.7", 65002, true))
	want := func(s *Speaker, name, reason string) NeighborStatus {
		t.Helper()
		var st NeighborStatus
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			list, err := s.Neighbors(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, st = range list {
				if st.Name == name && st.LastError == reason {
					return st
				}
			}
		}
		t.Errorf("%s: %+v, want %q", name, st, reason)
		return st
	}
	const badAS = "we refused its OPEN: its AS number is not 65002, as is configured for it (bad peer AS)"
	want(a, "wrong", badAS)
	want(b, "dialing", refusedBy(65003))
	refusing := want(a, "refusing", "127.0.31.8:17900 refuses the connection: no BGP speaker listens there, or a firewall rejects it")
	want(a, "closing", "neighbor closed the connection before the session was up: it may not have this node's address 127.0.31.1 as a neighbor; its log says why")
	want(a, "silent", "")
	for deadline := time.Now().Add(time.Minute); log.count("neighbor=closing") == 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, what := range []string{"neighbor=wrong reason=", "neighbor=dialing reason=", "neighbor=refusing reason=", "neighbor=closing reason="} {
		if n := log.count("level=WARN msg=\"no session\" " + what); n != 1 {
			t.Errorf("%s is logged %d times", what, n)
		}
	}
	if again := want(a, "refusing", refusing.LastError); !again.LastErrorAt.Equal(refusing.LastErrorAt) {
		t.Error("the reason is as old as the last attempt")
	}

	// An operator's word replaces the reason, and the new attempt that word.
	if err := a.Disable(t.Context(), "refusing", "not yet"); err != nil {
		t.Fatal(err)
	}
	want(a, "refusing", "disabled by an operator: not yet")
	time.Sleep(1200 * time.Millisecond) // an attempt that was on its way
	want(a, "refusing", "disabled by an operator: not yet")
	if err := a.Enable(t.Context(), "refusing"); err != nil {
		t.Fatal(err)
	}
	want(a, "refusing", "")
	want(a, "refusing", refusing.LastError)
}
