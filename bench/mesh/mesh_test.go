package main

import (
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/bench/stand"
)

func TestReport(t *testing.T) {
	var b strings.Builder
	s := time.Second
	report(&b, []row{{"Caracal", 1, result{s, 2 * s, s / 2, 0.0025, 20 << 20, 120 << 20, 130 << 20}}}, 100)
	const want = "| Caracal | 1 | 1.00 s | 2.00 s | 0.50 s | 0.25 % | 20 MB | 120 MB | 1024 kB | 130 MB |\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

// A small mesh with the real BIRD on the real kernel.
func TestRunBIRD(t *testing.T) {
	shares, err := stand.Split(60, 6)
	if err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), stand.BIRD{}, shares, times{100 * time.Millisecond, 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	// The pages of its libraries that a BIRD happens to touch make some 200 kB of 5 MB.
	if r.up <= 0 || r.converged <= r.up || r.bare <= 0 || r.resident < r.bare-r.bare/10 || r.peak < r.resident {
		t.Errorf("result %+v", r)
	}
}
