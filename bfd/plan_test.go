package bfd

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

func names(ss []Session) string {
	var out []string
	for _, s := range ss {
		out = append(out, s.Name)
	}
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	s := func(name, remote string, change ...func(*Session)) Session {
		out := Session{Name: name, Local: addr("192.0.2.1"), Remote: addr(remote), BFD: fast}
		for _, c := range change {
			c(&out)
		}
		return out
	}
	off := func(s *Session) { s.BFD.Enabled = false }
	slow := func(s *Session) { s.BFD.Transmit = time.Second }
	hops := func(s *Session) { s.MaxHops = 3 }
	multi := func(s *Session) { s.Multihop = true }
	for _, c := range []struct {
		name                string
		have, want          []Session
		add, update, remove string
		failed              string
	}{
		{name: "nothing"},
		{name: "first", want: []Session{s("b", "192.0.2.3"), s("a", "192.0.2.2")}, add: "a b"},
		{name: "same", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("a", "192.0.2.2")}},
		{name: "off", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("a", "192.0.2.2", off)}, remove: "a"},
		{name: "timers", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("a", "192.0.2.2", slow)}, update: "a"},
		{name: "hops", have: []Session{s("a", "192.0.2.2", multi)}, want: []Session{s("a", "192.0.2.2", multi, hops)}, update: "a"},
		{name: "kind", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("a", "192.0.2.2", multi)}, add: "a", remove: "a"},
		{name: "address", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("a", "192.0.2.3")}, add: "a", remove: "a"},
		{name: "name", have: []Session{s("a", "192.0.2.2")}, want: []Session{s("b", "192.0.2.2")}, add: "b", remove: "a"},
		{name: "both kinds", want: []Session{s("a", "192.0.2.2"), s("b", "192.0.2.2", multi)}, add: "a b"},
		{name: "twice the name", want: []Session{s("a", "192.0.2.2"), s("a", "192.0.2.3")}, add: "a", failed: "a: two sessions have this name"},
		{name: "twice the ends", want: []Session{s("a", "192.0.2.2"), s("b", "192.0.2.2")}, add: "a", failed: "b: a is between the same addresses"},
	} {
		have := map[string]Session{}
		for _, h := range c.have {
			have[h.Name] = h
		}
		d, failed := plan(have, c.want)
		var errs []string
		for name, err := range failed {
			errs = append(errs, fmt.Sprintf("%s: %v", name, err))
		}
		if names(d.add) != c.add || names(d.update) != c.update || strings.Join(d.remove, " ") != c.remove || strings.Join(errs, " ") != c.failed {
			t.Errorf("%s: add %q, update %q, remove %q, failed %q", c.name, names(d.add), names(d.update), d.remove, errs)
		}
		// Carried out, there is nothing left to do.
		for _, name := range d.remove {
			delete(have, name)
		}
		for _, x := range append(d.add, d.update...) {
			have[x.Name] = x
		}
		if d, _ := plan(maps.Clone(have), c.want); len(d.add)+len(d.update)+len(d.remove) > 0 {
			t.Errorf("%s: planned again: %+v", c.name, d)
		}
	}
}

func TestNormal(t *testing.T) {
	got, err := normal(Session{Name: "a", Remote: addr("fe80::1%eth0"), Local: addr("::ffff:0:0").WithZone(""), BFD: fast})
	if err == nil {
		t.Errorf("mixed families: %+v", got)
	}
	got, err = normal(Session{Name: "a", Remote: addr("fe80::1%eth0")})
	if err != nil || got.Interface != "eth0" || got.Remote != addr("fe80::1") || got.BFD.Transmit != DefaultInterval || got.BFD.Receive != DefaultInterval || got.BFD.Multiplier != DefaultMultiplier {
		t.Errorf("%+v, %v", got, err)
	}
	if again, err := normal(got); err != nil || again != got {
		t.Errorf("again: %+v, %v", again, err)
	}
	for _, s := range []Session{
		{Remote: addr("192.0.2.1")},
		{Name: "a"},
		{Name: "a", Remote: addr("0.0.0.0")},
		{Name: "a", Remote: addr("224.0.0.1")},
		{Name: "a", Remote: addr("fe80::1")},
		{Name: "a", Remote: addr("fe80::1%eth0"), Multihop: true},
		{Name: "a", Remote: addr("192.0.2.1"), Local: addr("2001:db8::1")},
		{Name: "a", Remote: addr("192.0.2.1"), BFD: timers(time.Millisecond, time.Second)},
		{Name: "a", Remote: addr("192.0.2.1"), BFD: timers(time.Second, 2*time.Hour)},
	} {
		if got, err := normal(s); err == nil {
			t.Errorf("%+v is taken as %+v", s, got)
		}
	}
}

func TestMinTTL(t *testing.T) {
	for _, c := range []struct {
		s    Session
		want int
	}{
		{Session{}, 255}, {Session{MaxHops: 9}, 255}, {Session{Multihop: true}, 0},
		{Session{Multihop: true, MaxHops: 1}, 255}, {Session{Multihop: true, MaxHops: 255}, 1},
	} {
		if got := c.s.minTTL(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.s, got, c.want)
		}
	}
}
