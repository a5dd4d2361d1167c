package stand

import (
	"net/netip"
	"testing"
)

func TestSplit(t *testing.T) {
	shares, err := Split(6000, 3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]bool{}
	for i, s := range shares {
		if s.Block.Bits() != 21 {
			t.Errorf("share %d has block %v, want a /21 for 2000 routes", i, s.Block)
		}
		for _, r := range s.Routes {
			if !s.Block.Contains(r.Addr()) || r.Bits() != 32 {
				t.Fatalf("share %d: %v is no host of %v", i, r, s.Block)
			}
			seen[r] = true
		}
	}
	if len(seen) != 6000 {
		t.Errorf("%d different routes, want 6000", len(seen))
	}
	for _, bad := range []struct{ total, n int }{{100, 3}, {1 << 25, 1}, {1 << 24, 32768 * 4}} {
		if _, err := Split(bad.total, bad.n); (err == nil) != (bad.total == 1<<24) {
			t.Errorf("Split(%d, %d): %v", bad.total, bad.n, err)
		}
	}
}
