package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/stand"
)

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
	b.WriteString(what([]stand.Share{{Routes: make([]netip.Prefix, 10)}}) + "\n")
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
	shares, err := stand.Split(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), stand.BIRD{}, shares, 20)
	if err != nil {
		t.Fatal(err)
	}
	if r.announce.wall <= 0 || r.withdraw.wall <= 0 || r.peakRSS < 1<<20 || r.single.median <= 0 {
		t.Errorf("result %+v", r)
	}
}
