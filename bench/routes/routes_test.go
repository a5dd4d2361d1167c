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
		return []result{{p, p, 8 << 20, latency{wall / 1000, wall / 500, wall / 100}}}
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

func TestReportChanges(t *testing.T) {
	var b strings.Builder
	us := time.Microsecond
	reportChanges(&b, "Caracal", []cost{{100, 10 * us, latency{}}, {9, 30 * us, latency{}}, {100, 30 * us, latency{}}, {9, 50 * us, latency{}}, {100, 20 * us, latency{}}}, []int{100, 9})
	const want = "| Caracal | 100 | 10, 30, 20 µs | 20 µs | – | – | – | 1.00 |\n| Caracal | 9 | 30, 50 µs | 50 µs | – | – | – | 2.50 |\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
	if sizes, err := tableSizes("100,9"); err != nil || len(sizes) != 2 {
		t.Errorf("%v, %v", sizes, err)
	}
	for _, bad := range []string{"", "100,", "0", "x"} {
		if _, err := tableSizes(bad); err == nil {
			t.Errorf("%q is taken for a list of sizes", bad)
		}
	}
}

// Single changes with the real BIRD on the real kernel.
func TestRunChanges(t *testing.T) {
	c, err := runChanges(t.Context(), stand.BIRD{}, 300, 100)
	if err != nil {
		t.Fatal(err)
	}
	if c.table != 300 || c.delay.median <= 0 {
		t.Errorf("cost %+v", c)
	}
}
