package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// TestAdoptInPart: a container keeps the address that could be adopted though
// another of its addresses could not: that is no assignment that was not finished.
func TestAdoptInPart(t *testing.T) {
	ctx := context.Background()
	before := Plan{Node: "a", Static: pfx("10.0.0.0/30", "fd00::/126")}
	known := []Allocation{{Addr: addr("10.0.0.0"), Handle: "one"}, {Addr: addr("fd00::"), Handle: "one"}}
	for name, c := range map[string]struct {
		plan Plan
		was  string // who has the IPv6 address by the records
		want error
	}{
		"its range is not of the node any more": {Plan{Node: "a", Static: pfx("10.0.0.0/30")}, "", ErrUnavailable},
		"it is another's by the records":        {before, "other", ErrTaken},
	} {
		t.Run(name, func(t *testing.T) {
			clock, s := newClock(), NewMemory()
			a := newAllocator(t, s, clock, c.plan)
			if c.was != "" {
				assign(t, a, Request{Handle: c.was, V6: 1})
			}
			if err := a.Adopt(ctx, known); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err := a.Tidy(ctx); err != nil {
				t.Fatal(err)
			}
			clock.advance(time.Hour)
			for i, a := range []*Allocator{a, newAllocator(t, s, clock, c.plan)} {
				if e := lookup(t, a, "10.0.0.0"); e.State != StateAllocated || e.Allocation.Handle != "one" {
					t.Errorf("allocator %d: 10.0.0.0 is %s of %q", i, e.State, e.Allocation.Handle)
				}
			}
		})
	}
}

// TestStaticRangeComesBack: the blocks of a static range that were given up while
// its pool was disabled are there again when it is not.
func TestStaticRangeComesBack(t *testing.T) {
	ctx, s := context.Background(), NewMemory()
	within := caracal.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16")}
	plan := Plan{Mode: ModePodCIDR, Node: "a", Static: pfx("10.0.0.0/24"), Pools: []caracal.Pool{within}}
	a := newAllocator(t, s, newClock(), plan)
	fill := func() {
		t.Helper()
		for i := range 256 {
			assign(t, a, Request{Handle: fmt.Sprint(i), V4: 1})
		}
	}
	fill()
	for i := range 256 {
		release(t, a, fmt.Sprint(i))
	}
	off := plan
	within.Disabled = true
	off.Pools = []caracal.Pool{within}
	a.Configure(off)
	if err := a.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
	a.Configure(plan)
	fill()
}
