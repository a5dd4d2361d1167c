package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func pfx(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// clock is a clock that stands still.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }
func newClock() *clock                   { return &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func newAllocator(t *testing.T, s Store, c *clock, p Plan, options ...Option) *Allocator {
	t.Helper()
	if p.Node == "" {
		p.Node = "a"
	}
	if p.Mode == "" {
		p.Mode = ModePodCIDR
	}
	a := New(s, append(options, WithClock(c.now))...)
	a.Configure(p)
	return a
}

func assign(t *testing.T, a *Allocator, r Request) string {
	t.Helper()
	got, err := a.Assign(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return text(got)
}

func text(as []Allocation) string {
	var out []string
	for _, x := range as {
		out = append(out, x.Addr.String())
	}
	return strings.Join(out, " ")
}

func assignError(t *testing.T, a *Allocator, r Request, want error, words ...string) {
	t.Helper()
	got, err := a.Assign(context.Background(), r)
	if !errors.Is(err, want) {
		t.Fatalf("assign to %s: %s, %v; want %v", r.Handle, text(got), err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error %q does not say %q", err, w)
		}
	}
}

func release(t *testing.T, a *Allocator, handle string) string {
	t.Helper()
	got, err := a.Release(context.Background(), handle)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(fmt.Sprint(got), "[]")
}

func uses(t *testing.T, a *Allocator) string {
	t.Helper()
	blocks, bad, err := a.Blocks(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range blocks {
		out = append(out, fmt.Sprintf("%s %s %s %s %.0f: %d allocated %d reserved %d cooling %d borrowed",
			b.CIDR, b.Pool, b.Node, b.Affinity, b.Size, b.Allocated, b.Reserved, b.Cooling, b.Borrowed))
	}
	for _, d := range bad {
		out = append(out, "damaged "+d.Key)
	}
	return strings.Join(out, "\n")
}

func wantUses(t *testing.T, a *Allocator, want ...string) {
	t.Helper()
	if got := uses(t, a); got != strings.Join(want, "\n") {
		t.Errorf("blocks:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestStatic(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Static: pfx("10.0.1.0/24", "fd00:1::/64"), Reserved: pfx("10.0.1.0/31", "fd00:1::/127"), Cooldown: time.Minute}
	a := newAllocator(t, s, c, plan)
	for i, want := range []string{"10.0.1.2 fd00:1::2", "10.0.1.3 fd00:1::3"} {
		r := Request{Handle: fmt.Sprintf("h%d", i), V4: 1, V6: 1, Owner: Owner{Namespace: "ns"}}
		if got := assign(t, a, r); got != want {
			t.Fatalf("got %s; want %s", got, want)
		}
		if got := assign(t, a, r); got != want {
			t.Fatalf("asked again: got %s; want %s", got, want)
		}
	}
	if got := release(t, a, "h0"); got != "10.0.1.2 fd00:1::2" {
		t.Fatalf("released %s", got)
	}
	if got := release(t, a, "h0"); got != "" {
		t.Fatalf("released twice: %s", got)
	}
	wantUses(t, a,
		"10.0.1.0/24  a static 256: 1 allocated 2 reserved 1 cooling 0 borrowed",
		"fd00:1::/64  a static 18446744073709551616: 1 allocated 2 reserved 1 cooling 0 borrowed")
	// Another life: all of it is remembered.
	a = newAllocator(t, s, c, plan)
	if got := assign(t, a, Request{Handle: "h1", V4: 1, V6: 1}); got != "10.0.1.3 fd00:1::3" {
		t.Fatalf("after a restart: %s", got)
	}
	if got := assign(t, a, Request{Handle: "h2", V4: 1, V6: 1}); got != "10.0.1.4 fd00:1::4" {
		t.Fatalf("after a restart: %s", got)
	}
	c.advance(time.Minute)
	wantUses(t, a,
		"10.0.1.0/24  a static 256: 2 allocated 2 reserved 0 cooling 0 borrowed",
		"fd00:1::/64  a static 18446744073709551616: 2 allocated 2 reserved 0 cooling 0 borrowed")
	got, err := a.Allocations(context.Background())
	if err != nil || text(got) != "10.0.1.3 10.0.1.4 fd00:1::3 fd00:1::4" {
		t.Fatalf("allocations: %s %v", text(got), err)
	}
	if got[0].Owner.Namespace != "ns" || got[0].Node != "a" || got[0].Block != plan.Static[0] || !got[0].Since.Equal(newClock().t) {
		t.Errorf("%+v", got[0])
	}
}

func TestConcurrent(t *testing.T) {
	c := newClock()
	a := newAllocator(t, NewMemory(), c, Plan{Static: pfx("10.0.0.0/24", "fd00::/64")})
	var mu sync.Mutex
	seen := map[netip.Addr]string{}
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			h := fmt.Sprintf("h%d", i)
			got, err := a.Assign(context.Background(), Request{Handle: h, V4: 1, V6: 1})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, g := range got {
				if seen[g.Addr] != "" {
					t.Errorf("%s is of %s and of %s", g.Addr, seen[g.Addr], h)
				}
				seen[g.Addr] = h
			}
		})
	}
	wait.Wait()
	if len(seen) != 200 {
		t.Errorf("%d addresses", len(seen))
	}
}

func TestClaim(t *testing.T) {
	c, s := newClock(), NewMemory()
	pool := caracal.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/24")}
	plan := func(node string) Plan { return Plan{Node: node, Mode: ModeBlocks, Pools: []caracal.Pool{pool}} }
	a, b := newAllocator(t, s, c, plan("a"), WithShared()), newAllocator(t, s, c, plan("b"), WithShared())
	seen := map[string]bool{}
	for i := range 128 {
		for _, x := range []*Allocator{a, b} {
			got := assign(t, x, Request{Handle: fmt.Sprintf("h%d", i), V4: 1})
			if seen[got] {
				t.Fatalf("%s twice", got)
			}
			seen[got] = true
		}
	}
	assignError(t, a, Request{Handle: "more", V4: 1}, ErrExhausted, "pool p (10.0.0.0/24): 128 of 128", "every block of pool p has a node", "handle h0 (1)")
	for i := range 128 {
		release(t, b, fmt.Sprintf("h%d", i))
	}
	got, err := a.Assign(context.Background(), Request{Handle: "borrowed", V4: 1})
	if err != nil || got[0].Node != "a" {
		t.Fatalf("borrow: %v %v", got, err)
	}
	loans, _, err := ListBorrowed(context.Background(), s)
	if err != nil || len(loans) != 1 || loans[0].Node != "a" || !loans[0].Certain || loans[0].Addr != got[0].Addr {
		t.Fatalf("borrowed: %+v %v", loans, err)
	}
	if err := b.Tidy(context.Background()); err != nil {
		t.Fatal(err)
	}
	affinities, _, err := Affinities(context.Background(), s)
	if err != nil || len(affinities) != 3 || slices.ContainsFunc(affinities, func(f BlockAffinity) bool { return f.State != AffinityConfirmed }) {
		t.Fatalf("affinities: %+v %v", affinities, err)
	}
	release(t, a, "borrowed")
	if loans, _, _ := ListBorrowed(context.Background(), s); len(loans) > 0 {
		t.Fatalf("borrowed: %+v", loans)
	}
}
