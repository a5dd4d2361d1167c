package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func adopt(t *testing.T, a *Allocator, known []Allocation) {
	t.Helper()
	if err := a.Adopt(context.Background(), known); err != nil {
		t.Fatal(err)
	}
}

func allocations(t *testing.T, a *Allocator) []Allocation {
	t.Helper()
	got, err := a.Allocations(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func lookup(t *testing.T, a *Allocator, s string) Address {
	t.Helper()
	got, err := a.Lookup(context.Background(), addr(s))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestDamagedBlock: nothing of a block whose record is lost is given, until all
// that is known to be in use has been told; the rest of it rests first.
func TestDamagedBlock(t *testing.T) {
	for name, harm := range map[string]func(s *Memory, key string){
		"damaged": func(s *Memory, key string) { s.Damage(key) },
		"missing": func(s *Memory, key string) {
			r, _ := s.Get(context.Background(), key)
			_ = s.Delete(context.Background(), key, r.Revision)
		},
		"nonsense": func(s *Memory, key string) {
			r, _ := s.Get(context.Background(), key)
			_, _ = s.Put(context.Background(), Record{Key: key, Value: []byte("{}\n"), Revision: r.Revision})
		},
		"damaged, with its affinity": func(s *Memory, key string) {
			s.Damage(key)
			s.Damage("affinity/a/10.0.0.0-29")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newClock(), NewMemory()
			plan := Plan{Static: pfx("10.0.0.0/29", "10.0.9.0/29", "fd00::/126"), Cooldown: time.Minute}
			a := newAllocator(t, s, c, plan)
			for i := range 3 {
				assign(t, a, Request{Handle: fmt.Sprint("h", i), V4: 1, V6: 1})
			}
			known := allocations(t, a)
			harm(s, "block/10.0.0.0-29")

			a = newAllocator(t, s, c, plan)
			if got := assign(t, a, Request{Handle: "new", V4: 1}); got != "10.0.9.0" {
				t.Fatalf("got %s; only 10.0.9.0/29 is known", got)
			}
			assignError(t, a, Request{Handle: "wish", Addrs: []netip.Addr{addr("10.0.0.7")}}, ErrUnavailable, "10.0.0.0/29", "mended")
			if got := lookup(t, a, "10.0.0.1"); got.State != StateDamaged || got.Note == "" {
				t.Errorf("%+v", got)
			}
			if _, err := a.ReleaseAddr(context.Background(), addr("10.0.0.1")); !errors.Is(err, ErrDamaged) {
				t.Errorf("released: %v", err)
			}
			if got := uses(t, a); !strings.Contains(got, "damaged block/10.0.0.0-29") {
				t.Errorf("not reported:\n%s", got)
			}
			// The IPv6 addresses of the same workloads are not taken for left-overs.
			if got := text(allocations(t, a)); got != "10.0.9.0 fd00:: fd00::1 fd00::2" {
				t.Errorf("known: %s", got)
			}
			if err := a.Tidy(context.Background()); err != nil {
				t.Fatal(err)
			}

			testMended(t, a, s, c, plan, known[:1]) // the others ended meanwhile
		})
	}
}

// testMended tells an allocator of all that still is in use, h0 of 10.0.0.0/29.
func testMended(t *testing.T, a *Allocator, s Store, c *clock, plan Plan, known []Allocation) {
	t.Helper()
	adopt(t, a, known)
	for range 2 {
		got := allocations(t, a)
		if text(got) != "10.0.0.0 10.0.9.0 fd00::" || got[0].Handle != "h0" {
			t.Fatalf("after mending: %s", text(got))
		}
		if got := lookup(t, a, "10.0.0.1"); got.State != StateCooling || !got.Until.Equal(c.t.Add(time.Minute)) {
			t.Errorf("%+v", got)
		}
		a = newAllocator(t, s, c, plan) // and in another life
	}
	c.advance(time.Minute)
	if got := assign(t, a, Request{Handle: "later", V4: 1}); got != "10.0.0.1" {
		t.Fatalf("got %s", got)
	}
	if got := uses(t, a); strings.Contains(got, "damaged") {
		t.Errorf("still damaged:\n%s", got)
	}
}

// TestLaterVersion: what a later program wrote is neither given nor overwritten.
func TestLaterVersion(t *testing.T) {
	s := NewMemory()
	const value = `{"version":2,"block":"10.0.0.0/29","node":"a"}` + "\n"
	if _, err := s.Put(context.Background(), Record{Key: "block/10.0.0.0-29", Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
	a := newAllocator(t, s, newClock(), Plan{Static: pfx("10.0.0.0/29")})
	if err := a.Adopt(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	assignError(t, a, Request{Handle: "h", V4: 1}, ErrExhausted, "version 2")
	if r, err := s.Get(context.Background(), "block/10.0.0.0-29"); err != nil || string(r.Value) != value {
		t.Errorf("%s %v", r.Value, err)
	}
}

func TestAdopt(t *testing.T) {
	c, s := newClock(), NewMemory()
	a := newAllocator(t, s, c, Plan{Static: pfx("10.0.0.0/29")})
	assign(t, a, Request{Handle: "there", V4: 1})
	err := a.Adopt(context.Background(), []Allocation{
		{Addr: addr("10.0.0.0"), Handle: "other"}, {Addr: addr("10.0.0.3"), Handle: "new"}, {Addr: addr("10.1.0.0"), Handle: "far"},
	})
	for _, want := range []string{"10.0.0.0 of other: by the records it belongs to there", "10.1.0.0 of far: it is in no block of node a"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not say %q", err, want)
		}
	}
	if got := text(allocations(t, a)); got != "10.0.0.0 10.0.0.3" {
		t.Errorf("got %s", got)
	}
	if got := release(t, a, "new"); got != "10.0.0.3" {
		t.Errorf("released %s", got)
	}
	if !errors.Is(err, ErrTaken) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("not told apart: %v", err)
	}
}

// TestRenamedNode: a node that comes back under another name keeps its range, and
// what its workloads have once they are told of.
func TestRenamedNode(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Node: "old", Static: pfx("10.0.0.0/29"), Cooldown: time.Minute}
	a := newAllocator(t, s, c, plan)
	assign(t, a, Request{Handle: "h0", V4: 1})
	assign(t, a, Request{Handle: "h1", V4: 1})
	known := allocations(t, a)
	plan.Node = "new"
	a = newAllocator(t, s, c, plan)
	adopt(t, a, known[:1])
	if got := assign(t, a, Request{Handle: "h0", V4: 1}); got != "10.0.0.0" {
		t.Errorf("h0 has %s", got)
	}
	if got := assign(t, a, Request{Handle: "h2", V4: 1}); got != "10.0.0.2" {
		t.Errorf("h2 has %s", got)
	}
	if got := lookup(t, a, "10.0.0.1"); got.State != StateAllocated || got.Allocation.Node != "old" {
		t.Errorf("%+v", got)
	}
	if was, err := a.ReleaseAddr(context.Background(), addr("10.0.0.1")); err != nil || was.Handle != "h1" {
		t.Errorf("%+v %v", was, err)
	}
	wantUses(t, a, "10.0.0.0/29  new static 8: 2 allocated 0 reserved 1 cooling 0 borrowed")
}

// TestCrash stops a process before and after each write of an assignment and of
// a release of both families; the next one finds all or nothing.
func TestCrash(t *testing.T) {
	for n := 1; n < 12; n++ {
		for _, after := range []bool{false, true} {
			for _, op := range []string{"assign", "release"} {
				c, s := newClock(), NewMemory()
				plan := Plan{Static: pfx("10.0.0.0/29", "fd00::/126"), Cooldown: time.Minute}
				view := &flaky{Memory: s, after: after, crash: true}
				a := newAllocator(t, view, c, plan)
				if op == "release" {
					assign(t, a, Request{Handle: "h", V4: 1, V6: 1})
				}
				view.left = n
				var err error
				if op == "release" {
					_, err = a.Release(context.Background(), "h")
				} else {
					_, err = a.Assign(context.Background(), Request{Handle: "h", V4: 1, V6: 1})
				}
				a = newAllocator(t, s, c, plan)
				got := allocations(t, a)
				if len(got) != 0 && len(got) != 2 {
					t.Fatalf("%s, crash at write %d: %s", op, n, text(got))
				}
				if want := map[string]int{"assign": 2, "release": 0}[op]; err == nil && len(got) != want {
					t.Fatalf("%s, no crash up to write %d: %s", op, n, text(got))
				}
				assign(t, a, Request{Handle: "h", V4: 1, V6: 1})
			}
		}
	}
}

func TestLookup(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Static: pfx("10.0.0.0/24"), Reserved: pfx("10.0.0.0/32", "10.0.0.9/32", "10.0.1.9/32"), Cooldown: time.Minute}
	a := newAllocator(t, s, c, plan)
	owner := Owner{Kind: "cni", ContainerID: "c1", Namespace: "ns", Name: "web"}
	assign(t, a, Request{Handle: "h1", V4: 1, Owner: owner})
	assign(t, a, Request{Handle: "h2", V4: 1})
	assign(t, a, Request{Handle: "h3", Addrs: []netip.Addr{addr("10.0.0.9")}})
	release(t, a, "h2")
	for in, want := range map[string]Address{
		"10.0.0.0":  {State: StateReserved},
		"10.0.0.1":  {State: StateAllocated, Allocation: Allocation{Handle: "h1", Owner: owner}},
		"10.0.0.2":  {State: StateCooling, Allocation: Allocation{Handle: "h2"}, Until: c.t.Add(time.Minute)},
		"10.0.0.3":  {State: StateFree},
		"10.0.0.99": {State: StateFree}, // of a part that is no block yet
		"10.0.0.9":  {State: StateAllocated, Allocation: Allocation{Handle: "h3"}},
		"10.0.1.9":  {State: StateReserved},
		"10.0.1.1":  {State: StateOutside},
		"fd00::1":   {State: StateOutside},
	} {
		got := lookup(t, a, in)
		if got.State != want.State || got.Allocation.Handle != want.Allocation.Handle || got.Allocation.Owner != want.Allocation.Owner || !got.Until.Equal(want.Until) {
			t.Errorf("%s: %+v; want %+v", in, got, want)
		}
		if inside := strings.HasPrefix(in, "10.0.0."); inside != (got.Block == plan.Static[0]) {
			t.Errorf("%s is in block %s", in, got.Block)
		}
	}
}

func TestReleaseAddr(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Static: pfx("10.0.0.0/29", "fd00::/126"), Cooldown: time.Minute}
	a := newAllocator(t, s, c, plan)
	assign(t, a, Request{Handle: "h", V4: 2, V6: 1})
	was, err := a.ReleaseAddr(context.Background(), addr("10.0.0.0"))
	if err != nil || was.Handle != "h" {
		t.Fatalf("%+v %v", was, err)
	}
	for range 2 { // the rest stays, and is not taken for a left-over at the next start
		if got := assign(t, a, Request{Handle: "h", V4: 2, V6: 1}); got != "10.0.0.1 fd00::" {
			t.Fatalf("h has %s", got)
		}
		a = newAllocator(t, s, c, plan)
	}
	if got := lookup(t, a, "10.0.0.0"); got.State != StateCooling {
		t.Errorf("%+v", got)
	}
	if _, err := a.ReleaseAddr(context.Background(), addr("10.0.0.0")); err != nil {
		t.Errorf("end of a rest: %v", err)
	}
	if got := lookup(t, a, "10.0.0.0"); got.State != StateFree {
		t.Errorf("%+v", got)
	}
	for _, in := range []string{"10.0.0.0", "10.9.0.0"} {
		if _, err := a.ReleaseAddr(context.Background(), addr(in)); !errors.Is(err, ErrNotFound) {
			t.Errorf("release %s, which nobody has: %v", in, err)
		}
	}
	if got := release(t, a, "h"); got != "10.0.0.1 fd00::" {
		t.Errorf("released %s", got)
	}
}

// TestUnreachableStore: nothing is given while the store does not answer, and
// all is well once it does.
func TestUnreachableStore(t *testing.T) {
	view := &flaky{Memory: NewMemory(), dead: true}
	a := newAllocator(t, view, newClock(), Plan{Static: pfx("10.0.0.0/29")})
	for range 2 {
		if _, err := a.Assign(context.Background(), Request{Handle: "h", V4: 1}); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		if _, err := a.Allocations(context.Background()); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
	}
	view.dead = false
	if got := assign(t, a, Request{Handle: "h", V4: 1}); got != "10.0.0.0" {
		t.Fatal(got)
	}
	b := New(NewMemory())
	if _, err := b.Assign(context.Background(), Request{Handle: "h", V4: 1}); err == nil || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("without a plan: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.Assign(ctx, Request{Handle: "h2", V4: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if got := text(allocations(t, a)); !slices.Equal(strings.Fields(got), []string{"10.0.0.0"}) {
		t.Errorf("got %s", got)
	}
}

// TestReleaseAddrInterrupted: a release by hand that got only half way does not
// make the next one take more than its address.
func TestReleaseAddrInterrupted(t *testing.T) {
	ctx, c, s := context.Background(), newClock(), NewMemory()
	plan := Plan{Static: pfx("10.0.0.0/29", "fd00::/126")}
	view := &flaky{Memory: s, crash: true}
	a := newAllocator(t, view, c, plan)
	assign(t, a, Request{Handle: "h", V4: 2, V6: 1})
	view.left = 2
	if _, err := a.ReleaseAddr(ctx, addr("10.0.0.1")); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	a = newAllocator(t, s, c, plan)
	if _, err := a.ReleaseAddr(ctx, addr("fd00::")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := text(allocations(t, a)); got != "10.0.0.0 10.0.0.1" {
			t.Fatalf("h has %s", got)
		}
		a = newAllocator(t, s, c, plan)
	}
}
