package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestSplit(t *testing.T) {
	shares, err := split(6000, 3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]bool{}
	for i, s := range shares {
		if s.block.Bits() != 21 {
			t.Errorf("share %d has block %v, want a /21 for 2000 routes", i, s.block)
		}
		for _, r := range s.routes {
			if !s.block.Contains(r.Addr()) || r.Bits() != 32 {
				t.Fatalf("share %d: %v is no host of %v", i, r, s.block)
			}
			seen[r] = true
		}
	}
	if len(seen) != 6000 {
		t.Errorf("%d different routes, want 6000", len(seen))
	}
	for _, bad := range []struct{ total, n int }{{100, 3}, {1 << 25, 1}, {1 << 24, 32768 * 4}} {
		if _, err := split(bad.total, bad.n); (err == nil) != (bad.total == 1<<24) {
			t.Errorf("split(%d, %d): %v", bad.total, bad.n, err)
		}
	}
}

func TestMedian(t *testing.T) {
	rs := []result{
		{announce: phase{3 * time.Second, 1}, peakRSS: 10},
		{announce: phase{1 * time.Second, 3}, peakRSS: 30},
		{announce: phase{2 * time.Second, 2}, peakRSS: 20},
	}
	if got := median(rs); got != (result{announce: phase{2 * time.Second, 2}, peakRSS: 20}) {
		t.Errorf("median = %+v", got)
	}
}

func TestReport(t *testing.T) {
	one := func(wall time.Duration) []result {
		p := phase{wall, wall}
		return []result{{p, p, 8 << 20, latency{wall / 1000, wall / 500}}}
	}
	var b strings.Builder
	b.WriteString(what([]share{{routes: make([]netip.Prefix, 10)}}) + "\n")
	report(&b, []string{"BIRD 2", "Caracal"},
		map[string][]result{"BIRD 2": one(time.Second), "Caracal": one(2 * time.Second)})
	for _, want := range []string{
		"10 /32 routes from 1 peer\n",
		"| BIRD 2 | 1 | 1.000 s | 1.00 s | 1.000 s | 1.00 s | 8 MB | 1.0 ms | 2.0 ms |",
		"| Caracal / BIRD 2 | median | 2.00 | 2.00 | 2.00 | 2.00 | 1.0 | 2.00 | 2.00 |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// A small round with the real BIRD on the real kernel.
func TestRunBIRD(t *testing.T) {
	shares, err := split(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), bird{}, shares, 20)
	if err != nil {
		t.Fatal(err)
	}
	if r.announce.wall <= 0 || r.withdraw.wall <= 0 || r.peakRSS < 1<<20 || r.single.median <= 0 {
		t.Errorf("result %+v", r)
	}
}
