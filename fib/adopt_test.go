package fib

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// torn is a machine whose table changes while it is listed: the first lists are
// not whole, and lack a route.
type torn struct {
	*Fake
	lists int
	lacks netip.Prefix
	dumps int
	cost  func() // what a dump takes
}

func (k *torn) Dump(ctx context.Context, filter Filter, fn func(Read)) (bool, error) {
	k.dumps++
	if k.cost != nil {
		k.cost()
	}
	if k.lists == 0 {
		return k.Fake.Dump(ctx, filter, fn)
	}
	k.lists--
	_, err := k.Fake.Dump(ctx, filter, func(r Read) {
		if r.Dst != k.lacks {
			fn(r)
		}
	})
	return false, err
}

func ownVia(dst, gw string) Route {
	return Route{Dst: pfx(dst), Kind: Unicast, Hops: []Hop{{Gateway: netip.MustParseAddr(gw), Link: 1}}}
}

func TestAdoptReadsATornListAgain(t *testing.T) {
	s := newStand(t)
	s.Foreign(ownVia("100.64.0.0/26", "10.0.0.2"), 67, 427)
	s.Foreign(ownVia("100.64.1.0/26", "10.0.0.2"), 67, 427)
	k := &torn{Fake: s.Fake, lists: 2, lacks: pfx("100.64.1.0/26")}
	f := New(k, Options{})
	if n, err := f.Adopt(t.Context()); n != 2 || err != nil || k.dumps != 3 {
		t.Errorf("adopted %d in %d lists, %v; want 2 in 3", n, k.dumps, err)
	}
	if f.AuditDue() {
		t.Error("an audit is due after a whole list")
	}
	k.lists, k.dumps = 100, 0
	f = New(k, Options{})
	if n, err := f.Adopt(t.Context()); n != 1 || err != nil || k.dumps != adoptTries {
		t.Errorf("adopted %d in %d lists, %v; want 1 in %d", n, k.dumps, err, adoptTries)
	}
	if !f.AuditDue() {
		t.Error("no audit is due after a list that was never whole")
	}
}

// TestNothingIsDeletedBeforeTheSweep has routes with our mark turn up that Adopt
// did not see: they live until the sweep, and after it none does.
func TestNothingIsDeletedBeforeTheSweep(t *testing.T) {
	s := newStand(t)
	s.Foreign(ownVia("100.64.0.0/26", "10.0.0.2"), 67, 427)
	s.Foreign(ownVia("100.64.1.0/26", "10.0.0.2"), 67, 427)
	s.Events()
	k := &torn{Fake: s.Fake, lists: adoptTries, lacks: pfx("100.64.1.0/26")}
	s.f = New(k, Options{Now: func() time.Time { return s.now }})
	if n, err := s.f.Adopt(t.Context()); n != 1 || err != nil {
		t.Fatalf("adopted %d, %v", n, err)
	}
	s.Foreign(ownVia("100.64.2.0/26", "10.0.0.2"), 67, 427) // told
	s.apply()
	rep, err := s.f.Audit(t.Context()) // finds 100.64.1.0/26
	if err != nil || rep != (AuditReport{Routes: 3, Adopted: 1}) {
		t.Errorf("audit %+v, %v", rep, err)
	}
	s.apply()
	all := []string{"100.64.0.0/26 via 10.0.0.2 dev eth0", "100.64.1.0/26 via 10.0.0.2 dev eth0", "100.64.2.0/26 via 10.0.0.2 dev eth0"}
	s.holds(all...)
	if st := s.f.Stats(); st.Adopted != 3 || total(st.Drift)+st.DriftAudit != 0 {
		t.Errorf("stats %+v", st)
	}
	keep := func(r Route) bool { return r.Dst == pfx("100.64.2.0/26") }
	if n := s.f.Sweep(keep); n != 2 {
		t.Errorf("swept %d, want 2", n)
	}
	s.Foreign(ownVia("100.64.3.0/26", "10.0.0.2"), 67, 427) // the sweep is not over
	s.apply()
	s.holds(all[2], "100.64.3.0/26 via 10.0.0.2 dev eth0")
	s.f.Sweep(nil)
	s.apply()
	s.holds()
	s.Foreign(ownVia("100.64.4.0/26", "10.0.0.2"), 67, 427)
	s.apply()
	s.holds()
	if st := s.f.Stats(); st.Drift[CauseStray] != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestLossDuringAnAudit loses notifications after the audit's reading: another
// is due.
func TestLossDuringAnAudit(t *testing.T) {
	s := newStand(t)
	a := s.f.NewAudit()
	if err := a.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.f.Notify(Events{Lost: true})
	s.f.Finish(a)
	s.now = s.now.Add(leastAuditPause)
	if !s.f.AuditDue() {
		t.Error("the loss is forgotten")
	}
	if _, err := s.f.Audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.now = s.now.Add(time.Hour); s.f.AuditDue() {
		t.Error("still due")
	}
}

// TestAuditsOfAChurningTableBackOff has the table change during each list: the
// pauses between audits grow to sixteen times what one costs, and are short again
// once it was calm.
func TestAuditsOfAChurningTableBackOff(t *testing.T) {
	s := newStand(t)
	k := &torn{Fake: s.Fake, lists: 1000, cost: func() { s.now = s.now.Add(400 * time.Millisecond) }}
	s.f = New(k, Options{Now: func() time.Time { return s.now }})
	s.f.Notify(Events{Lost: true})
	pauses := func(n int) (list []time.Duration) {
		for range n {
			ended := s.now
			for !s.f.AuditDue() {
				s.now = s.now.Add(100 * time.Millisecond)
			}
			list = append(list, s.now.Sub(ended))
			rep, err := s.f.Audit(t.Context())
			if err != nil || rep.Again != (k.lists > 0) {
				t.Fatalf("audit %+v, %v", rep, err)
			}
		}
		return list
	}
	for i, got := range pauses(8) {
		want := []time.Duration{0, time.Second, 1600, 3200, 6400, 6400, 6400, 6400}[i]
		if i > 1 {
			want *= time.Millisecond
		}
		if got != want {
			t.Errorf("pause %d is %v, want %v", i, got, want)
		}
	}
	k.lists = 0
	pauses(1)
	s.now = s.now.Add(time.Minute) // calm, and an audit that was only scheduled
	if _, err := s.f.Audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.f.Notify(Events{Lost: true})
	if got := pauses(1)[0]; got != leastAuditPause {
		t.Errorf("the pause after a calm time is %v", got)
	}
}

func TestInstalledAsWanted(t *testing.T) {
	s := newStand(t)
	dst := pfx("100.64.0.0/26")
	check := func(when string, want bool) {
		t.Helper()
		if got := s.f.InstalledAsWanted(dst); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("unknown", false)
	s.Foreign(ownVia("100.64.0.0/26", "10.0.0.2"), 67, 427)
	s.Events()
	s.restart()
	check("adopted", false)
	s.f.Set(learned("100.64.0.0/26", "10.0.0.2"))
	check("not resolved yet", false)
	s.apply()
	check("as adopted", true)
	s.Refuse(func(Op) syscall.Errno { return syscall.ENOBUFS })
	s.f.Set(learned("100.64.0.0/26", "10.0.0.3"))
	check("another way wanted", false)
	s.apply()
	check("refused", false)
	if !s.f.Installed(dst) {
		t.Error("the old way is gone")
	}
	s.Refuse(nil)
	s.now = s.now.Add(time.Minute)
	s.apply()
	check("written", true)
	s.f.Set(learned("100.64.0.0/26", "192.0.2.1"))
	s.apply()
	check("no way there", false)
	s.f.Unset(dst)
	check("unset", false)
	if s.f.InstalledAsWanted(netip.Prefix{}) {
		t.Error("the invalid prefix is installed")
	}
}
