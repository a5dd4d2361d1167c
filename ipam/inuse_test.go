package ipam

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"caracal.dev/caracal"
)

// TestInUse gives addresses from records that know nothing of what is in use: neither
// the next that would be free, nor one by name.
func TestInUse(t *testing.T) {
	a := New(NewMemory(), WithShared())
	a.Configure(Plan{Node: "a", Mode: ModeBlocks, Pools: []caracal.Pool{pool("p", "10.0.0.0/28", 28)}})
	used := map[netip.Addr]bool{}
	for i, addr := 0, netip.MustParseAddr("10.0.0.0"); i < 15; i, addr = i+1, addr.Next() {
		used[addr] = i != 7
	}
	inUse := func(addr netip.Addr) bool { return used[addr] }
	if _, err := a.Assign(context.Background(), Request{Handle: "named", V4: 1, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.3")}, InUse: inUse}); !errors.Is(err, ErrTaken) {
		t.Errorf("an address in use was asked for by name: %v", err)
	}
	var got []string
	for _, h := range []string{"x", "y"} {
		list, err := a.Assign(context.Background(), Request{Handle: h, V4: 1, InUse: inUse})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, list[0].Addr.String())
	}
	if got[0] != "10.0.0.7" || got[1] != "10.0.0.15" {
		t.Errorf("given %v, want what nobody has: 10.0.0.7 and 10.0.0.15", got)
	}
	if _, err := a.Assign(context.Background(), Request{Handle: "z", V4: 1, InUse: inUse}); !errors.Is(err, ErrExhausted) {
		t.Errorf("all are in use: %v", err)
	}
}
