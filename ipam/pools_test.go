package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func pool(name, cidr string, size int) caracal.Pool {
	return caracal.Pool{Name: name, CIDR: netip.MustParsePrefix(cidr), BlockSize: size}
}

func disabled(p caracal.Pool) caracal.Pool {
	p.Disabled = true
	return p
}

// TestAssign: what one request gets, of a fresh node.
func TestAssign(t *testing.T) {
	one := Request{Handle: "h", V4: 1}
	pools := []caracal.Pool{pool("big", "10.1.0.0/16", 30), pool("six", "fd00::/120", 126), pool("small", "10.2.0.0/30", 30)}
	for _, c := range []struct {
		name string
		plan Plan
		r    Request
		want string // addresses, or words of the error
		err  error
	}{
		{name: "static", plan: Plan{Static: pfx("10.0.0.0/24")}, r: one, want: "10.0.0.0"},
		{name: "static, other family", plan: Plan{Static: pfx("fd00::/64")}, r: one, err: ErrExhausted, want: "no pool and no podCIDR of IPv4"},
		{name: "all or nothing", plan: Plan{Static: pfx("10.0.0.0/24", "fd00::/128"), Reserved: pfx("fd00::/128")}, r: Request{Handle: "h", V4: 1, V6: 1}, err: ErrExhausted, want: "IPv6"},
		{name: "several", plan: Plan{Static: pfx("10.0.0.0/24", "fd00::/64")}, r: Request{Handle: "h", V4: 2, V6: 3}, want: "10.0.0.0 10.0.0.1 fd00:: fd00::1 fd00::2"},
		{name: "several of small ranges", plan: Plan{Static: pfx("10.0.0.0/31", "10.0.0.8/31")}, r: Request{Handle: "h", V4: 3}, want: "10.0.0.0 10.0.0.1 10.0.0.8"},
		{name: "nothing", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h"}, want: "asks for no address"},
		{name: "no handle", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{V4: 1}, want: "handle"},
		{name: "by address", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.0.0.77")}}, want: "10.0.0.77"},
		{name: "by address, and one more", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h", V4: 2, Addrs: []netip.Addr{addr("10.0.0.77")}}, want: "10.0.0.64 10.0.0.77"},
		{name: "by address, and IPv6", plan: Plan{Static: pfx("10.0.0.0/24", "fd00::/64")}, r: Request{Handle: "h", V6: 1, Addrs: []netip.Addr{addr("10.0.0.77")}}, want: "10.0.0.77 fd00::"},
		{name: "reserved", plan: Plan{Static: pfx("10.0.0.0/30"), Reserved: pfx("10.0.0.0/30")}, r: one, err: ErrExhausted, want: "0 of 4 addresses on this node are in use, 4 reserved"},
		{name: "reserved, by address", plan: Plan{Static: pfx("10.0.0.0/30"), Reserved: pfx("10.0.0.0/30")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.0.0.2")}}, want: "10.0.0.2"},
		{name: "a large reserved range", plan: Plan{Static: pfx("10.0.0.0/8"), Reserved: pfx("10.0.0.0/9")}, r: one, want: "10.128.0.0"},
		{name: "outside, by address", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.9.0.1")}}, err: ErrUnavailable, want: "10.9.0.1 is in no block of node a"},
		{name: "twice the same", plan: Plan{Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.0.0.1"), addr("10.0.0.1")}}, err: ErrUnavailable, want: "twice"},
		{name: "with a zone", plan: Plan{Static: pfx("fd00::/64")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("fd00::1%eth0")}}, err: ErrUnavailable, want: "no address that can be given"},
		{name: "static in a disabled pool", plan: Plan{Static: pfx("10.1.0.0/24"), Pools: []caracal.Pool{disabled(pools[0])}}, r: one, err: ErrExhausted, want: "pool big (10.1.0.0/16) is disabled"},
		{name: "static in a disabled pool, by address", plan: Plan{Static: pfx("10.1.0.0/24"), Pools: []caracal.Pool{disabled(pools[0])}}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.1.0.1")}}, err: ErrUnavailable, want: "not in the pools that give addresses"},
		{name: "static around a disabled pool", plan: Plan{Static: pfx("10.0.0.0/8"), Pools: []caracal.Pool{disabled(pool("x", "10.0.0.0/16", 26))}}, r: one, want: "10.1.0.0"},
		{name: "podCIDR claims nothing", plan: Plan{Pools: pools}, r: one, err: ErrExhausted, want: "this node has no block of it"},
		{name: "podCIDR, by address", plan: Plan{Pools: pools}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.1.0.1")}}, err: ErrUnavailable, want: "in no block of node a"},
		{name: "static before pools", plan: Plan{Mode: ModeBlocks, Pools: pools, Static: pfx("10.0.0.0/24")}, r: one, want: "10.0.0.0"},
		{name: "of a pool by name", plan: Plan{Mode: ModeBlocks, Pools: pools, Static: pfx("10.0.0.0/24")}, r: Request{Handle: "h", V4: 1, Pools: []string{"small"}}, want: "10.2.0.0"},
		{name: "of a pool by prefix", plan: Plan{Mode: ModeBlocks, Pools: pools}, r: Request{Handle: "h", V4: 1, Pools: []string{"10.2.0.0/30"}}, want: "10.2.0.0"},
		{name: "of an unknown pool", plan: Plan{Mode: ModeBlocks, Pools: pools}, r: Request{Handle: "h", V4: 1, Pools: []string{"x"}}, err: ErrUnavailable, want: "pool x does not exist, or its nodeSelector does not match node a"},
		{name: "of a disabled pool", plan: Plan{Mode: ModeBlocks, Pools: []caracal.Pool{disabled(pools[2])}}, r: Request{Handle: "h", V4: 1, Pools: []string{"small"}}, err: ErrUnavailable, want: "pool small is disabled"},
		{name: "of a pool of the other family", plan: Plan{Mode: ModeBlocks, Pools: pools}, r: Request{Handle: "h", V4: 1, Pools: []string{"six"}}, err: ErrExhausted, want: "no pool and no podCIDR of IPv4"},
		{name: "of a pool, an address of another", plan: Plan{Mode: ModeBlocks, Pools: pools}, r: Request{Handle: "h", Pools: []string{"small"}, Addrs: []netip.Addr{addr("10.1.0.1")}}, err: ErrUnavailable, want: "not in one that was asked for"},
		{name: "by address of a pool", plan: Plan{Mode: ModeBlocks, Pools: pools}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.1.200.3"), addr("fd00::99")}}, want: "10.1.200.3 fd00::99"},
		{name: "another's by the configuration", plan: Plan{Mode: ModeBlocks, Pools: pools[2:], Others: pfx("10.2.0.2/31")}, r: one, err: ErrExhausted, want: "every block of pool small has a node"},
		{name: "another's by the configuration, by address", plan: Plan{Mode: ModeBlocks, Pools: pools, Others: pfx("10.1.0.0/24")}, r: Request{Handle: "h", Addrs: []netip.Addr{addr("10.1.0.1")}}, err: ErrUnavailable, want: "10.1.0.0/30, which another node has"},
		{name: "a reserved pool", plan: Plan{Mode: ModeBlocks, Pools: pools[2:], Reserved: pfx("10.0.0.0/8")}, r: one, err: ErrExhausted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewMemory()
			a := newAllocator(t, s, newClock(), c.plan)
			got, err := a.Assign(context.Background(), c.r)
			switch {
			case err == nil && text(got) != c.want:
				t.Errorf("got %s; want %s", text(got), c.want)
			case err != nil && (!strings.Contains(err.Error(), c.want) || c.err != nil && !errors.Is(err, c.err)):
				t.Errorf("got the error %q; want %q", err, c.want)
			case err != nil && len(allocations(t, a)) > 0:
				t.Errorf("an error, and %s", text(allocations(t, a)))
			}
		})
	}
}

func TestTaken(t *testing.T) {
	c := newClock()
	a := newAllocator(t, NewMemory(), c, Plan{Static: pfx("10.0.0.0/24"), Cooldown: time.Minute})
	r := Request{Handle: "first", Addrs: []netip.Addr{addr("10.0.0.5")}}
	assign(t, a, r)
	second := Request{Handle: "second", Addrs: r.Addrs}
	assignError(t, a, second, ErrTaken, "10.0.0.5 belongs to first on node a since 2026-01-01 00:00:00 UTC")
	release(t, a, "first")
	if got := assign(t, a, second); got != "10.0.0.5" { // by name, so without a rest
		t.Errorf("got %s", got)
	}
}

// TestCooldown: whatever the clock does, and whatever is configured meanwhile.
func TestCooldown(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/32"), Cooldown: time.Minute}
	one := Request{Handle: "h", V4: 1}
	a := newAllocator(t, s, c, plan)
	again := func() { t.Helper(); assign(t, a, one); release(t, a, "h") }
	again()
	assignError(t, a, one, ErrExhausted, "0 of 1 addresses", "1 rest after their release (the next is free in 1m0s)")
	c.advance(59 * time.Second)
	a = newAllocator(t, s, c, plan)
	assignError(t, a, one, ErrExhausted, "free in 1s")
	c.advance(time.Second)
	again()
	c.advance(-24 * time.Hour) // set back: not a day and a minute
	assignError(t, a, one, ErrExhausted, "free in 1m0s")
	c.advance(time.Minute)
	again()
	plan.Cooldown = time.Second
	a.Configure(plan)
	assignError(t, a, one, ErrExhausted)
	c.advance(time.Second)
	again()
	plan.Cooldown = 0
	a.Configure(plan)
	again()
	again()
}

// TestLateReuse: an address that was freed is the last to be given again.
func TestLateReuse(t *testing.T) {
	a := newAllocator(t, NewMemory(), newClock(), Plan{Static: pfx("10.0.0.0/26")})
	seen := map[string]bool{}
	for i := range 64 {
		h := fmt.Sprint(i)
		got := assign(t, a, Request{Handle: h, V4: 1})
		if seen[got] {
			t.Fatalf("%s again after %d others", got, i)
		}
		seen[got] = true
		release(t, a, h)
	}
}

func TestMaxBlocks(t *testing.T) {
	plan := Plan{Node: "a", Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/24", 30), pool("q", "fd00::/120", 126)}, MaxBlocks: 2}
	a := newAllocator(t, NewMemory(), newClock(), plan)
	for i := range 8 {
		assign(t, a, Request{Handle: fmt.Sprint(i), V4: 1, V6: 1})
	}
	assignError(t, a, Request{Handle: "more", V4: 1}, ErrExhausted, "this node has 2 claimed blocks, and maxBlocksPerHost is 2", "8 of 8")
	plan.MaxBlocks = 3
	a.Configure(plan)
	assign(t, a, Request{Handle: "more", V4: 1})
}

// TestTidy: empty blocks go back, but for one; those of a pool that is no longer
// the node's go all, as soon as they are empty.
func TestTidy(t *testing.T) {
	c, s := newClock(), NewMemory()
	plan := Plan{Node: "a", Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/24", 31)}, Cooldown: time.Minute}
	a := newAllocator(t, s, c, plan, WithShared())
	count := func() int {
		t.Helper()
		if err := a.Tidy(context.Background()); err != nil {
			t.Fatal(err)
		}
		affinities, _, err := Affinities(context.Background(), s)
		records, _, _ := s.List(context.Background(), blockKeys)
		if err != nil || len(affinities) != len(records) {
			t.Fatalf("%v and %d blocks, %v", affinities, len(records), err)
		}
		return len(records)
	}
	for i := range 6 {
		assign(t, a, Request{Handle: fmt.Sprint(i), V4: 1})
	}
	for i := range 6 {
		release(t, a, fmt.Sprint(i))
	}
	if n := count(); n != 3 {
		t.Errorf("%d blocks while all addresses rest; want 3", n)
	}
	c.advance(time.Minute)
	if n := count(); n != 1 {
		t.Errorf("%d empty blocks are kept; want 1", n)
	}
	assign(t, a, Request{Handle: "h", V4: 1})
	plan.Pools = nil
	a.Configure(plan)
	if n := count(); n != 1 {
		t.Errorf("%d blocks; want the one in use", n)
	}
	assignError(t, a, Request{Handle: "more", V4: 1}, ErrExhausted)
	release(t, a, "h")
	c.advance(time.Minute)
	if n := count(); n != 0 {
		t.Errorf("%d blocks of a pool that is gone", n)
	}
}

// TestBorrow: the last addresses are those of other nodes, as long as that is
// allowed, and everybody can see which.
func TestBorrow(t *testing.T) {
	ctx := context.Background()
	c, s := newClock(), NewMemory()
	plan := func(node string) Plan {
		return Plan{Node: node, Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/29", 30)}, Cooldown: time.Minute}
	}
	a, b := newAllocator(t, s, c, plan("a"), WithShared()), newAllocator(t, s, c, plan("b"), WithShared())
	assign(t, b, Request{Handle: "b0", V4: 1})
	for i := range 4 {
		assign(t, a, Request{Handle: fmt.Sprint("a", i), V4: 1})
	}
	strict := plan("a")
	strict.StrictAffinity = true
	a.Configure(strict)
	assignError(t, a, Request{Handle: "more", V4: 1}, ErrExhausted, "strictAffinity forbids")
	a.Configure(plan("a"))
	got, err := a.Assign(ctx, Request{Handle: "more", V4: 1})
	lent := text(got)
	if err != nil {
		t.Fatal(err)
	}
	uses, _, err := a.Blocks(ctx)
	if err != nil || len(uses) != 2 {
		t.Fatalf("%+v %v", uses, err)
	}
	for _, u := range uses {
		if u.CIDR == got[0].Block && (u.Node != "b" || u.Borrowed != 1 || u.Affinity != AffinityNone) {
			t.Errorf("%+v", u)
		}
	}
	// The owner sees it too, and does not give it.
	for i := range 2 {
		assign(t, b, Request{Handle: fmt.Sprint("more", i), V4: 1})
	}
	if _, err := b.Assign(ctx, Request{Handle: "last", V4: 1}); !errors.Is(err, ErrExhausted) {
		t.Fatal(err)
	}
	if l := lookup(t, b, got[0].Addr.String()); l.State != StateAllocated || l.Allocation.Node != "a" {
		t.Errorf("%+v", l)
	}
	if l := lookup(t, a, allocations(t, b)[0].Addr.String()); l.State != StateAllocated || !strings.Contains(l.Note, "of node b") {
		t.Errorf("%+v", l)
	}
	release(t, a, "more")
	if loans, _, _ := ListBorrowed(ctx, s); len(loans) > 0 {
		t.Errorf("still borrowed: %v", loans)
	}
	c.advance(time.Minute)
	if got := assign(t, b, Request{Handle: "last", V4: 1}); got != lent {
		t.Errorf("got %s, not what was given back", got)
	}
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		plan   Plan
		v4, v6 bool
	}{
		{Plan{}, false, false},
		{Plan{Static: pfx("10.0.0.0/24")}, true, false},
		{Plan{Static: pfx("10.0.0.0/24", "fd00::/64")}, true, true},
		{Plan{Mode: ModePodCIDR, Pools: []caracal.Pool{pool("p", "10.0.0.0/24", 26)}}, false, false},
		{Plan{Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/24", 26)}}, true, false},
		{Plan{Mode: ModeBlocks, Pools: []caracal.Pool{disabled(pool("p", "10.0.0.0/24", 26)), pool("q", "fd00::/64", 122)}}, false, true},
		{Plan{Static: pfx("10.0.0.0/24"), Pools: []caracal.Pool{disabled(pool("p", "10.0.0.0/16", 26))}}, false, false},
	} {
		if v4, v6 := c.plan.Families(); v4 != c.v4 || v6 != c.v6 {
			t.Errorf("%+v: %v %v", c.plan, v4, v6)
		}
	}
}

func TestExhaustedMessage(t *testing.T) {
	plan := Plan{
		Mode: ModeBlocks, Pools: []caracal.Pool{pool("web", "10.0.0.0/28", 29), disabled(pool("old", "10.9.0.0/24", 26))},
		Static: pfx("10.1.0.0/31"), Reserved: pfx("10.0.0.0/32"), Cooldown: time.Minute,
	}
	a := newAllocator(t, NewMemory(), newClock(), plan)
	for i := range 17 {
		ns := []string{"shop", "shop", "mail", ""}[i%4]
		assign(t, a, Request{Handle: fmt.Sprintf("cni/net/c%d/eth0", i), V4: 1, Owner: Owner{Namespace: ns}})
	}
	release(t, a, "cni/net/c0/eth0")
	_, err := a.Assign(context.Background(), Request{Handle: "h", V4: 1})
	const want = "ipam: assign addresses to h: IPv4 on node a: pool web (10.0.0.0/28): 15 of 16 addresses on this node are in use, 1 reserved; " +
		"pool old (10.9.0.0/24) is disabled; 10.1.0.0/31 of the node's own: 1 of 2 addresses on this node are in use, " +
		"1 rest after their release (the next is free in 1m0s); every block of pool web has a node; " +
		"the most have namespace shop (8), namespace mail (4), handle cni/net/c11/eth0 (1): no address is left"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestReservedNoLonger: what was passed over as reserved, or as of a disabled pool,
// is given once it is neither.
func TestReservedNoLonger(t *testing.T) {
	plan := Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/24"), Reserved: pfx("10.0.0.0/25"), Pools: []caracal.Pool{disabled(pool("x", "10.0.0.128/26", 26))}}
	a := newAllocator(t, NewMemory(), newClock(), plan)
	for i := range 64 {
		assign(t, a, Request{Handle: fmt.Sprint(i), V4: 1})
	}
	assignError(t, a, Request{Handle: "more", V4: 1}, ErrExhausted, "64 of 256")
	plan.Reserved, plan.Pools = nil, nil
	a.Configure(plan)
	for i := range 192 {
		assign(t, a, Request{Handle: fmt.Sprint("more", i), V4: 1})
	}
}
