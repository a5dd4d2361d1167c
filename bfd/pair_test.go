package bfd

import (
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

// slack is how much later than by the protocol something may be on a busy machine.
const slack = 10 * time.Second

var fast = caracal.BFD{Enabled: true, Transmit: 100 * time.Millisecond, Receive: 100 * time.Millisecond, Multiplier: 3}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// quiet is a log that nobody reads.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// world is two namespaces with a link, "up0" in both.
type world struct{ a, b *nstest.NS }

func newWorld(t testing.TB) world {
	t.Helper()
	w := world{nstest.New(t), nstest.New(t)}
	nstest.Veth(t, w.a, "up0", w.b, "up0")
	w.a.Addr("up0", "192.0.2.1/24", "2001:db8::1/64", "fe80::a/64")
	w.b.Addr("up0", "192.0.2.2/24", "2001:db8::2/64", "fe80::b/64")
	return w
}

// station is a Server or a Process in a namespace, and what it said so far.
type station struct {
	daemon
	s      *Server // nil if it is a Process
	t      testing.TB
	events []Event
	seen   int
}

func newStation(t testing.TB, ns *nstest.NS, resume ...Saved) *station {
	s := New(Options{Log: quiet(), Resume: resume})
	s.inside = ns.Do
	t.Cleanup(func() { s.Close(false) })
	return &station{daemon: s, s: s, t: t}
}

// apply is Apply that must succeed.
func (s *station) apply(want ...Session) {
	s.t.Helper()
	if failed := s.Apply(want); len(failed) > 0 {
		s.t.Fatalf("Apply: %v", failed)
	}
}

// await returns the next event that is as asked for.
func (s *station) await(what string, is func(Event) bool) Event {
	s.t.Helper()
	deadline := time.After(10*time.Second + slack)
	for {
		for ; s.seen < len(s.events); s.seen++ {
			if is(s.events[s.seen]) {
				s.seen++
				return s.events[s.seen-1]
			}
		}
		select {
		case <-s.Bell():
			s.events = append(s.events, s.Take()...)
		case <-deadline:
			s.t.Fatalf("no event: %s; had %+v; now %+v", what, s.events, s.Status())
		}
	}
}

func (s *station) awaitUp(name string) Event {
	s.t.Helper()
	return s.await(name+" Up", func(e Event) bool { return e.Name == name && e.State == Up })
}

func (s *station) awaitDown(name string) Event {
	s.t.Helper()
	return s.await(name+" left Up", func(e Event) bool { return e.Name == name && e.Was == Up })
}

// calm fails the test if there was any event since the last one awaited.
func (s *station) calm() {
	s.t.Helper()
	s.events = append(s.events, s.Take()...)
	if rest := s.events[s.seen:]; len(rest) > 0 {
		s.t.Errorf("unexpected events: %+v", rest)
	}
}

// status returns that of one session.
func (s *station) status(name string) Status {
	s.t.Helper()
	for _, st := range s.Status() {
		if st.Name == name {
			return st
		}
	}
	s.t.Fatalf("no session %s in %+v", name, s.Status())
	return Status{}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10*time.Second + slack); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// kinds are the sessions between a and b, from a's side, by name.
var kinds = map[string]Session{
	"v4":       {Local: addr("192.0.2.1"), Remote: addr("192.0.2.2")},
	"v6":       {Local: addr("2001:db8::1"), Remote: addr("2001:db8::2")},
	"link":     {Local: addr("fe80::a%up0"), Remote: addr("fe80::b%up0")},
	"anylocal": {Remote: addr("192.0.2.2"), Interface: "up0"},
	"multi4":   {Local: addr("192.0.2.1"), Remote: addr("192.0.2.2"), Multihop: true},
	"multi6":   {Local: addr("2001:db8::1"), Remote: addr("2001:db8::2"), Multihop: true, MaxHops: 1},
}

// both returns a session of both sides.
func both(name string, conf caracal.BFD) (a, b Session) {
	a = kinds[name]
	a.Name, a.BFD = name, conf
	b = a
	b.Local, b.Remote = a.Remote, a.Local
	if !b.Remote.IsValid() {
		b.Remote = addr("192.0.2.1")
	}
	return a, b
}

// upPair returns two stations with one session that is Up on both sides, at its
// own pace.
func upPair(t testing.TB, w world, name string) (a, b *station, sa, sb Session) {
	t.Helper()
	a, b = newStation(t, w.a), newStation(t, w.b)
	sa, sb = both(name, fast)
	a.apply(sa)
	b.apply(sb)
	a.awaitUp(name)
	b.awaitUp(name)
	for _, s := range []*station{a, b} {
		eventually(t, "the timers are agreed", func() bool {
			st := s.status(name)
			return !st.Polling && st.Detection == 300*time.Millisecond
		})
	}
	return a, b, sa, sb
}

func TestPairComesUpAndDetects(t *testing.T) {
	for name := range kinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b, _, _ := upPair(t, w, name)
			for _, s := range []*station{a, b} {
				st := s.status(name)
				if st.SourcePort < firstSource || st.Transmit != 100*time.Millisecond || st.RemoteDiscr == 0 || st.Err != "" || st.RemoteCPI {
					t.Errorf("status: %+v", st)
				}
			}
			a.calm()
			start := time.Now()
			b.s.mu.Lock() // frozen, as by SIGSTOP
			e := a.awaitDown(name)
			silence := e.At.Sub(a.status(name).LastReceived)
			b.s.mu.Unlock()
			if took := e.At.Sub(start); silence < 300*time.Millisecond || took > 400*time.Millisecond+slack {
				t.Errorf("Down after %s, of which %s were silent", took, silence)
			} else {
				t.Logf("Down after %s: %s", took, e.Reason)
			}
			if !e.Failure() || e.Diag != DiagExpired || e.State != Down {
				t.Errorf("event: %+v", e)
			}
			if e := b.awaitDown(name); !e.Failure() || e.Diag != DiagNeighborDown || e.RemoteDiag != DiagExpired {
				t.Errorf("event of b: %+v", e)
			}
			a.awaitUp(name)
			b.awaitUp(name)
			if st := a.status(name); st.Flaps != 1 || st.LastDown == "" {
				t.Errorf("status: %+v", st)
			}
		})
	}
}
