package fib

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stand is a FIB over a fake machine with a clock of its own.
type stand struct {
	*Fake
	t   *testing.T
	f   *FIB
	now time.Time
	saw []time.Duration
}

func newStand(t *testing.T) *stand {
	s := &stand{Fake: NewFake(DefaultMark), t: t, now: time.Unix(1_000_000, 0)}
	s.AddLink("eth0", "10.0.0.1/24", "fd00::1/64")
	s.AddLink("cali1")
	s.restart()
	return s
}

// restart makes a new FIB over the same machine.
func (s *stand) restart() int {
	s.f = New(s.Fake, Options{
		Now:     func() time.Time { return s.now },
		Observe: func(d time.Duration) { s.saw = append(s.saw, d) },
	})
	n, err := s.f.Adopt(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stand) apply() Report {
	s.t.Helper()
	s.f.Notify(s.Events())
	return applyAll(s.t, s.f)
}

// holds compares our routes with lines.
func (s *stand) holds(lines ...string) {
	s.t.Helper()
	if got, want := s.Fake.String(), strings.Join(lines, "\n"); got != want {
		s.t.Errorf("the kernel has\n%s\nwant\n%s", got, want)
	}
}

func (s *stand) reason(dst, part string) {
	s.t.Helper()
	if st, _ := s.f.State(pfx(dst)); !strings.Contains(st.Reason, part) || part == "" && st.Reason != "" {
		s.t.Errorf("%s: reason %q, want %q", dst, st.Reason, part)
	}
}

func TestReportAndState(t *testing.T) {
	s := newStand(t)
	w := learned("100.64.0.0/26", "10.0.0.2")
	w.Received = s.now.Add(-3 * time.Millisecond)
	s.f.Set(w)
	if st, ok := s.f.State(w.Dst); !ok || st.Installed || !st.Pending || st.Reason == "" {
		t.Errorf("before Apply: %+v", st)
	}
	r := s.apply()
	if !slices.Equal(r.Installed, []netip.Prefix{w.Dst}) || r.Written != 1 {
		t.Errorf("report %+v", r)
	}
	if !slices.Equal(s.saw, []time.Duration{3 * time.Millisecond}) {
		t.Errorf("observed %v", s.saw)
	}
	st, _ := s.f.State(w.Dst)
	if !st.Installed || st.Reason != "" || !st.Since.Equal(s.now) || st.Route.String() != "100.64.0.0/26 via 10.0.0.2 dev eth0" {
		t.Errorf("after Apply: %+v", st)
	}
	// The same way by another path is no write; another way is one.
	w.Source = "mesh/c"
	s.f.Set(w)
	if r := s.apply(); r.Written != 0 {
		t.Errorf("the same way: %+v", r)
	}
	s.f.Set(learned("100.64.0.0/26", "10.0.0.3"))
	if r := s.apply(); r.Written != 1 || len(r.Installed) != 0 {
		t.Errorf("another way: %+v", r)
	}
	s.f.Unset(w.Dst)
	if r := s.apply(); !slices.Equal(r.Uninstalled, []netip.Prefix{w.Dst}) {
		t.Errorf("unset: %+v", r)
	}
	if _, ok := s.f.State(w.Dst); ok || s.f.Len() != 0 {
		t.Error("the FIB remembers what is neither wanted nor there")
	}
	s.holds()
	if due := s.f.Due(); !due.IsZero() {
		t.Errorf("due %v with nothing left to do", due)
	}
}

func TestAdoptAndSweep(t *testing.T) {
	s := newStand(t)
	for _, dst := range []string{"100.64.0.0/26", "100.64.1.0/26", "100.64.2.0/26", "100.64.3.0/26"} {
		s.f.Set(learned(dst, "10.0.0.2"))
	}
	s.apply()
	before := s.Writes()
	if n := s.restart(); n != 4 {
		t.Fatalf("adopted %d, want 4", n)
	}
	if !s.f.Installed(pfx("100.64.0.0/26")) {
		t.Error("what is adopted does not count as installed")
	}
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	s.apply()
	if n := s.Writes() - before; n != 0 {
		t.Errorf("wanting what was adopted cost %d writes", n)
	}
	s.f.Set(learned("100.64.1.0/26", "10.0.0.3"))
	s.apply()
	var left []string
	s.f.Adopted(func(r Route) bool { left = append(left, r.Dst.String()); return true })
	slices.Sort(left)
	if !slices.Equal(left, []string{"100.64.2.0/26", "100.64.3.0/26"}) {
		t.Errorf("adopted and not wanted: %v", left)
	}
	if n := s.f.Sweep(func(r Route) bool { return r.Dst == pfx("100.64.3.0/26") }); n != 1 {
		t.Errorf("swept %d, want 1", n)
	}
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.2 dev eth0", "100.64.1.0/26 via 10.0.0.3 dev eth0", "100.64.3.0/26 via 10.0.0.2 dev eth0")
	if n := s.f.Sweep(nil); n != 1 {
		t.Errorf("swept %d, want 1", n)
	}
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.2 dev eth0", "100.64.1.0/26 via 10.0.0.3 dev eth0")
}

func TestUnsetDeletesWhatWasAdopted(t *testing.T) {
	s := newStand(t)
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	s.apply()
	s.restart()
	s.f.Unset(pfx("100.64.0.0/26"))
	s.apply()
	s.holds()
}

func TestOneRefusalDoesNotStopTheOthers(t *testing.T) {
	s := newStand(t)
	bad := pfx("100.64.1.0/26")
	s.Refuse(func(op Op) syscall.Errno {
		if op.Route.Dst == bad {
			return syscall.ENOBUFS
		}
		return 0
	})
	for _, dst := range []string{"100.64.0.0/26", "100.64.1.0/26", "100.64.2.0/26"} {
		s.f.Set(learned(dst, "10.0.0.2"))
	}
	if r := s.apply(); r.Written != 2 || r.Failed != 1 {
		t.Errorf("report %+v", r)
	}
	s.reason("100.64.1.0/26", "short of memory")
	if st, _ := s.f.State(bad); !errors.Is(st.Err, syscall.ENOBUFS) || st.Attempts != 1 {
		t.Errorf("state %+v", st)
	}
	// Tried again, later and later.
	var gaps []time.Duration
	for range 12 {
		due := s.f.Due()
		gaps = append(gaps, due.Sub(s.now))
		s.now = due
		s.apply()
	}
	if gaps[0] != firstRetry || gaps[1] != 2*firstRetry || gaps[11] != lastRetry {
		t.Errorf("gaps between tries: %v", gaps)
	}
	s.Refuse(nil)
	s.now = s.f.Due()
	if r := s.apply(); !slices.Equal(r.Installed, []netip.Prefix{bad}) {
		t.Errorf("when it works again: %+v", r)
	}
	s.reason("100.64.1.0/26", "")
}

func TestForeignRouteInTheWay(t *testing.T) {
	s := newStand(t)
	dst := pfx("100.64.0.0/26")
	theirs := Route{Dst: dst, Kind: Blackhole}
	if errno := s.Foreign(theirs, 4, 427); errno != 0 {
		t.Fatal(errno)
	}
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	s.f.Set(learned("100.64.1.0/26", "10.0.0.2"))
	s.apply()
	s.holds("100.64.1.0/26 via 10.0.0.2 dev eth0")
	s.reason("100.64.0.0/26", "protocol 4 (static)")
	if st := s.f.Stats(); st.Conflicts != 1 || st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
	s.DeleteForeign(dst, 4, 427)
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.2 dev eth0", "100.64.1.0/26 via 10.0.0.2 dev eth0")
	// It takes our place while we want to change ours: it stays.
	s.f.Set(learned("100.64.0.0/26", "10.0.0.3"))
	s.Foreign(theirs, 4, 427)
	s.apply()
	s.holds("100.64.1.0/26 via 10.0.0.2 dev eth0")
	s.reason("100.64.0.0/26", "protocol 4 (static)")
	if errno := s.DeleteForeign(dst, 4, 427); errno != 0 {
		t.Errorf("the foreign route is gone: %v", errno)
	}
}

func TestNextHopChangeWritesItsRoutesOnly(t *testing.T) {
	s := newStand(t)
	s.Foreign(Route{Dst: pfx("10.9.0.0/16"), Kind: Unicast, Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.8"), Link: 1}}}, 188, 20)
	for i := range 100 {
		nh := []string{"10.0.0.2", "10.9.0.1"}[i%2]
		s.f.Set(learned(netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i), 0}), 24).String(), nh))
	}
	s.apply()
	before, lookups := s.Writes(), s.f.Stats().Lookups
	s.Foreign(Route{Dst: pfx("192.0.2.0/24"), Kind: Blackhole}, 188, 20)
	s.now = s.now.Add(time.Second)
	s.apply()
	if n := s.f.Stats().Lookups - lookups; n != 0 {
		t.Errorf("a foreign route that covers no next hop cost %d lookups", n)
	}
	s.Foreign(Route{Dst: pfx("10.9.0.0/16"), Kind: Unicast, Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.9"), Link: 1}}}, 188, 20)
	s.apply()
	if n, l := s.Writes()-before, s.f.Stats().Lookups-lookups; n != 50 || l != 1 {
		t.Errorf("a changed foreign route cost %d writes and %d lookups, want 50 and 1", n, l)
	}
	s.DeleteForeign(pfx("10.9.0.0/16"), 188, 20)
	s.now = s.now.Add(time.Second)
	s.apply()
	s.reason("100.64.1.0/24", "next hop 10.9.0.1: no route to it")
	if st := s.f.Stats(); st.Installed != 50 || st.Unresolved != 50 {
		t.Errorf("stats %+v", st)
	}
}

func TestLookupsAreCoalesced(t *testing.T) {
	s := newStand(t)
	s.f.Set(learned("100.64.0.0/26", "10.9.0.1"))
	s.apply()
	before := s.f.Stats().Lookups
	for i := range 1000 {
		gw := netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i%200)})
		s.Foreign(Route{Dst: pfx("10.9.0.0/16"), Kind: Unicast, Hops: []Hop{{Gateway: gw, Link: 1}}}, 188, 20)
		s.now = s.now.Add(time.Millisecond)
		s.apply()
	}
	s.now = s.now.Add(time.Second)
	s.apply()
	if n := s.f.Stats().Lookups - before; n < 10 || n > 25 {
		t.Errorf("1,000 changes in a second cost %d lookups, want about 20", n)
	}
	s.holds("100.64.0.0/26 via 10.0.0.201 dev eth0")
}

func TestLostNotificationsMeanAnAudit(t *testing.T) {
	s := newStand(t)
	for _, dst := range []string{"100.64.0.0/26", "100.64.1.0/26", "100.64.2.0/26"} {
		s.f.Set(learned(dst, "10.0.0.2"))
	}
	s.f.Sweep(nil)
	s.apply()
	s.Lose(true)
	own := func(dst, gw string) Route {
		return Route{Dst: pfx(dst), Kind: Unicast, Hops: []Hop{{Gateway: netip.MustParseAddr(gw), Link: 1}}}
	}
	s.DeleteForeign(pfx("100.64.0.0/26"), 67, 427)
	s.Foreign(own("100.64.1.0/26", "10.0.0.66"), 67, 427)
	s.Foreign(own("100.64.9.0/26", "10.0.0.66"), 67, 427)
	s.Lose(false)
	s.apply()
	if !s.f.AuditDue() {
		t.Fatal("no audit is due")
	}
	rep, err := s.f.Audit(t.Context())
	if err != nil || rep != (AuditReport{Routes: 3, Missing: 1, Changed: 1, Stray: 1}) {
		t.Errorf("audit %+v, %v", rep, err)
	}
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.2 dev eth0", "100.64.1.0/26 via 10.0.0.2 dev eth0", "100.64.2.0/26 via 10.0.0.2 dev eth0")
	if s.f.AuditDue() {
		t.Error("an audit is still due")
	}
	if st := s.f.Stats(); st.Lost == 0 || st.DriftAudit != 3 || st.Drift[CauseChanged] != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestChangesDuringAnAudit changes, adds and deletes routes after the audit has
// read the kernel: they are not drift.
func TestChangesDuringAnAudit(t *testing.T) {
	s := newStand(t)
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	s.f.Set(learned("100.64.1.0/26", "10.0.0.2"))
	s.apply()
	a := s.f.NewAudit()
	if err := a.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.f.Set(learned("100.64.0.0/26", "10.0.0.3"))
	s.f.Unset(pfx("100.64.1.0/26"))
	s.f.Set(learned("100.64.2.0/26", "10.0.0.2"))
	s.apply()
	before := s.Writes()
	if rep := s.f.Finish(a); rep != (AuditReport{Routes: 2}) {
		t.Errorf("audit %+v", rep)
	}
	if s.apply(); s.Writes() != before {
		t.Errorf("%d writes after an audit that found nothing", s.Writes()-before)
	}
	s.holds("100.64.0.0/26 via 10.0.0.3 dev eth0", "100.64.2.0/26 via 10.0.0.2 dev eth0")
}

func TestKernelThatCannotBeAsked(t *testing.T) {
	s := newStand(t)
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	s.Break(syscall.EIO)
	r := s.f.Apply(t.Context())
	if !errors.Is(r.Err, syscall.EIO) || !strings.HasPrefix(r.Err.Error(), "fib: apply: ") {
		t.Errorf("error %v", r.Err)
	}
	if due := s.f.Due(); !due.After(s.now) {
		t.Errorf("due %v, which is a busy loop", due)
	}
	s.Break(nil)
	s.now = s.f.Due()
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.2 dev eth0")
}

func TestApplyComesUpForAir(t *testing.T) {
	s := newStand(t)
	s.f = New(s.Fake, Options{Now: func() time.Time { return s.now }, MaxPerApply: 300})
	for i := range 1000 {
		s.f.Set(learned(netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), 32).String(), "10.0.0.2"))
	}
	if r := s.f.Apply(t.Context()); r.Written != 300 || !r.More {
		t.Errorf("report %+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := s.f.Apply(ctx); r.Written != 0 || !r.More && r.Err == nil {
		t.Errorf("with an ended context: %+v", r)
	}
	applyAll(t, s.f)
	if n := s.f.Stats().Installed; n != 1000 {
		t.Errorf("%d installed, want 1000", n)
	}
}

// TestAddBeforeDelete moves a block: the new routes are in before the old one
// goes.
func TestAddBeforeDelete(t *testing.T) {
	s := newStand(t)
	s.f.Set(learned("100.64.0.0/24", "10.0.0.2"))
	s.apply()
	s.f.Unset(pfx("100.64.0.0/24"))
	s.f.Set(learned("100.64.0.0/25", "10.0.0.3"))
	s.f.Set(learned("100.64.0.128/25", "10.0.0.3"))
	var order []Verb
	s.Refuse(func(op Op) syscall.Errno { order = append(order, op.Verb); return 0 })
	s.apply()
	if !slices.Equal(order, []Verb{Create, Create, Delete}) {
		t.Errorf("order %v", order)
	}
}

func TestErrorsAreAdvice(t *testing.T) {
	r := Route{Dst: pfx("100.64.0.0/26"), Kind: Unicast, Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.2"), Link: 2, Device: "eth0"}}}
	for _, tc := range []struct {
		err  RouteError
		want string
	}{
		{RouteError{Verb: Create, Route: r, Errno: syscall.ENETUNREACH, Text: "Nexthop has invalid gateway"},
			"the kernel does not take 100.64.0.0/26 via 10.0.0.2 dev eth0: network is unreachable (Nexthop has invalid gateway): the gateway is not on a network that the device is connected to"},
		{RouteError{Verb: Delete, Route: Route{Dst: r.Dst}, Errno: syscall.EPERM},
			"the kernel does not delete 100.64.0.0/26: operation not permitted: the daemon needs CAP_NET_ADMIN"},
		{RouteError{Verb: Create, Route: r, Errno: syscall.EEXIST, Blocker: 12},
			"the kernel does not take 100.64.0.0/26 via 10.0.0.2 dev eth0: file exists: a route of protocol 12 (bird) has the same prefix and our metric; remove it, or configure another metric"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
