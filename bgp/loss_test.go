package bgp_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

func TestLostConnectionBIRD(t *testing.T) {
	story(t, func(ns string) router { return &bird{ns: ns} }, lose)
}

func TestLostConnectionFRR(t *testing.T) {
	story(t, func(ns string) router { return &frr{ns: ns} }, lose)
}

// quick is how soon a neighbor is let in again, or dialed, at the latest. Without
// help GoBGP rests for 5 s first.
const quick = 4 * time.Second

// rested is how long after the end of a neighbor's last session that was. How long
// the neighbor takes then is its own affair.
func (s *station) rested(neighbor string) (rest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var end time.Time
	for _, e := range s.all {
		switch v := e.Session; {
		case v == nil || v.Neighbor != neighbor:
		case v.Was == bgp.Established && v.State == bgp.Idle:
			end, rest = v.At, -1
		case v.State == bgp.Active && rest == -1:
			rest = v.At.Sub(end)
		}
	}
	if rest < 0 {
		s.t.Errorf("%s was not tried again:\n%s", neighbor, render(s.all))
	}
	return rest
}

// lose cuts the connection at either end. The daemon must not have dropped a
// route of ours, and the session must be back soon, also when the daemon dies.
func lose(t *testing.T, r router) {
	a := newInteropStation(t)
	r.start(t)
	n := bgp.Neighbor{
		Name: "peer/tor@" + there4, Addr: addr(there4), Port: 179, ASN: asn, Local: addr(here4),
		IPv4: true, IPv6: true, HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectRetry: time.Second,
		GracefulRestart: true, RestartTime: 60 * time.Second, MaxPrefixes: 1000,
		Passive: true, // two that dial at once race inside GoBGP, says the race detector
	}
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26"), prefix("fd00:1::/122")}
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	await(t, r, "10.0.1.0/26", here4)
	await(t, r, "fd00:1::/122", here6)
	had4, had6 := identity(t, r, "10.0.1.0/26"), identity(t, r, "fd00:1::/122")
	a.settled(n.Name)
	want := []string{"up"}
	for _, cut := range []struct {
		name string
		do   func()
	}{
		{"our end", func() { abort(t, "", there4) }},
		{"the daemon's end", func() { abort(t, os.Getenv(childEnv), here4) }},
		{"the daemon", func() { r.kill(t); r.start(t) }},
	} {
		time.Sleep(2200 * time.Millisecond) // one that lasts shorter is given a rest
		a.mu.Lock()
		clear(a.eor)
		a.mu.Unlock()
		cut.do()
		want = append(want, "graceful", "up")
		a.ups(n.Name, want)
		if d := a.rested(n.Name); d > quick {
			t.Errorf("%s: the neighbor was let in after %s", cut.name, d)
		}
		a.settled(n.Name)
		await(t, r, "10.0.1.0/26", here4)
		if cut.name == "the daemon" {
			continue
		}
		if got := identity(t, r, "10.0.1.0/26"); !same(got, had4) {
			t.Errorf("%s: the daemon dropped our route: %q, then %q", cut.name, had4, got)
		}
		if got := identity(t, r, "fd00:1::/122"); !same(got, had6) {
			t.Errorf("%s: the daemon dropped our route: %q, then %q", cut.name, had6, got)
		}
	}
}

// settled waits until both ends have said all. GoBGP hands out paths while it
// marks them as stale if the session ends sooner, which the race detector sees.
func (s *station) settled(name string) {
	s.t.Helper()
	s.eventually("End-of-RIB of both families", func() bool { return s.eor[name+" false"] && s.eor[name+" true"] })
	for deadline := time.Now().Add(patient); s.status(name).Deferring; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("announcements are deferred on")
		}
	}
	time.Sleep(300 * time.Millisecond)
}

// abort kills the TCP connections to an address in a namespace, or in our own.
func abort(t *testing.T, ns, to string) {
	t.Helper()
	cmd := exec.Command("ss", "-K", "dst", to)
	if ns != "" {
		cmd = exec.Command("nsenter", "--net="+ns, "ss", "-K", "dst", to)
	}
	if out, err := cmd.CombinedOutput(); !strings.Contains(string(out), to) {
		t.Fatalf("ss -K dst %s: %v\n%s", to, err, out)
	}
}

// born is what both daemons print of when they took a route last that they did
// not have: BIRD the time, FRR its version.
var born = regexp.MustCompile(`\[here (\d+:\d+:\d+)|version \d+`)

func identity(t *testing.T, r router, p string) string {
	t.Helper()
	text := r.has(p)
	id := born.FindStringSubmatch(text)
	if id == nil {
		t.Fatalf("the daemon's route to %s: %q", p, text)
	}
	if id[1] != "" {
		return id[1]
	}
	return id[0]
}

// same reports whether two identities are one. BIRD works out the time of day
// each time it prints it, and now and then another millisecond.
func same(a, b string) bool {
	x, err1 := time.Parse(time.TimeOnly, a)
	y, err2 := time.Parse(time.TimeOnly, b)
	return a == b || err1 == nil && err2 == nil && x.Sub(y).Abs() <= time.Second
}

// ups waits for a sequence of a neighbor's sessions.
func (s *station) ups(neighbor string, want []string) {
	s.t.Helper()
	var got []string
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got = slices.DeleteFunc(s.sessions(neighbor, 0), func(e string) bool { return e == "update" || e == "eor" })
		if slices.Equal(got, want) {
			return
		}
	}
	s.t.Fatalf("sessions of %s: %v, want %v", neighbor, got, want)
}

// TestLostConnection: after the mere loss of a connection our OPEN says that
// forwarding went on, which GoBGP by itself denies, and nothing that was counted
// is lost.
func TestLostConnection(t *testing.T) {
	a := newStation(t, "a", "127.0.18.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.18.9")
	plain, cp := neighborOf(a, "127.0.18.8")
	plain.GracefulRestart = false
	a.conf.Originate = []netip.Prefix{prefix("10.0.1.0/26")}
	a.conf.Neighbors = []bgp.Neighbor{n, plain}
	a.apply()
	opens := make(chan []byte, 10)
	c.OnMessage = func(kind byte, body []byte) {
		if kind == sender.Open {
			opens <- slices.Clone(body)
		}
	}
	for i, want := range []byte{0, 0x80} {
		s := redial(t, c)
		restart := capability(t, <-opens, 64)
		if restart[0]&0x80 != want || restart[5]&0x80 != want || restart[9]&0x80 != want {
			t.Errorf("session %d: graceful restart capability % x", i+1, restart)
		}
		s.Announce([]netip.Prefix{prefix("10.1.0.0/26")}, path4("127.0.18.9"))
		a.ups(n.Name, []string{"up", "graceful", "up"}[:2*i+1])
		s.EndOfRIB(false)
		s.EndOfRIB(true)
		a.settled(n.Name)
		a.mu.Lock()
		clear(a.eor)
		a.mu.Unlock()
		if i == 0 {
			time.Sleep(2200 * time.Millisecond) // one that lasts shorter is given a rest, and GoBGP may then be first
		}
		s.Abort()
		a.ups(n.Name, []string{"up", "graceful", "up", "graceful"}[:2*i+2])
	}
	// Not at once: while it is taken from GoBGP and given back, some are counted nowhere.
	a.eventually("all is counted, and nothing twice", func() bool {
		st := a.status(n.Name)
		return st.Sent.Open == 2 && st.Received.Open == 2 && st.Received.Update == 6 && st.Sent.Notification == 0
	})

	// Without graceful restart there is nothing to keep, nor to claim.
	s := redial(t, cp)
	s.Abort()
	a.ups(plain.Name, []string{"up", "down"})
}

// redial dials until the neighbor is there again.
func redial(t *testing.T, c sender.Config) *sender.Session {
	t.Helper()
	for deadline := time.Now().Add(quick); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		s, err := sender.Dial(ctx, c)
		cancel()
		if err == nil {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestDisabledWhileLost: what an operator says in the moments after a loss holds.
func TestDisabledWhileLost(t *testing.T) {
	a := newStation(t, "a", "127.0.19.1", bgp.Options{})
	n, c := neighborOf(a, "127.0.19.9")
	a.conf.Neighbors = []bgp.Neighbor{n}
	a.apply()
	dial(t, c).Abort()
	a.ups(n.Name, []string{"up", "graceful"})
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := a.Disable(ctx, n.Name, "not now"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	if st := a.status(n.Name); st.State != bgp.Disabled {
		t.Errorf("disabled: %+v", st)
	}
	if err := a.Enable(ctx, n.Name); err != nil {
		t.Fatal(err)
	}
	a.conf.Neighbors = nil
	a.apply()
	a.ups(n.Name, []string{"up", "graceful", "removed"})
}
