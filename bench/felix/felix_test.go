package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the child process that is measured.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The small cluster on the real kernel: that a second start writes nothing, that what
// changes is taken back whole, and that the audit finds nothing, the child itself
// requires.
func TestRules(t *testing.T) {
	for _, backend := range []string{"nft", "legacy"} {
		got, err := try(t.Context(), ruleOptions{changes: 2}, "a", backend)
		if err != nil {
			t.Fatalf("%s: %v", backend, err)
		}
		f := got.first
		if f.Rules.Rules < f.Size.Policies || f.Rules.Sets == 0 || f.Wrote == 0 || len(f.Changes) < 4 {
			t.Errorf("%s: %+v", backend, f)
		}
		// On an idle machine 0.3 s at most; one that pauses adds some seconds.
		if took := f.Compile.plus(f.Program).Wall; took > 15*time.Second {
			t.Errorf("%s: the start took %s", backend, took)
		}
		for _, c := range f.Changes {
			wall, _, _ := split(c.Costs, c.Compile)
			if m := quantile(wall, 50); m > 3000 {
				t.Errorf("%s: %s takes %.1f ms", backend, c.Name, m)
			}
		}
		if f.PeakRSS > 300<<20 {
			t.Errorf("%s: %d MB", backend, f.PeakRSS>>20)
		}
	}
}

// Packets pass between the pods, whatever is in force.
func TestPackets(t *testing.T) {
	var b strings.Builder
	o := packetOptions{backends: []string{"nft", "legacy"}, pods: []int{2, 20}, rounds: 1, roundTrips: 20, connects: 5, bytes: 1 << 20}
	if err := packets(t.Context(), &b, o); err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(b.String(), "Gbit/s |"); rows != 9 {
		t.Errorf("%d rows:\n%s", rows, &b)
	}
}

func TestQuantile(t *testing.T) {
	var list []float64
	for i := range 100 {
		list = append(list, float64(100-i))
	}
	for _, c := range []struct {
		q    int
		want float64
	}{{50, 50}, {99, 99}, {100, 100}, {0, 1}} {
		if got := quantile(list, c.q); got != c.want {
			t.Errorf("quantile %d of 1…100 is %v, want %v", c.q, got, c.want)
		}
	}
	if quantile(nil, 50) != 0 || median[float64](nil) != 0 {
		t.Error("of nothing")
	}
}
