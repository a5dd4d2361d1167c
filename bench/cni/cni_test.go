package main

import (
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	var b strings.Builder
	ms := time.Millisecond
	report(&b, []row{{"caracal-cni", 2, 250, []time.Duration{30 * ms, 10 * ms, 20 * ms}, []time.Duration{5 * ms}, []time.Duration{6 * ms}, []time.Duration{7 * ms}}}, 100)
	const want = "| caracal-cni | 2 | 250 | 20.0 ms | 30.0 ms | 7.0 ms | 5.0 ms | 5.0 ms | 6.0 ms |\n"
	if !strings.HasSuffix(b.String(), want) {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
	b.Reset()
	reportAdoptions(&b, []adoption{{250, 300 * ms, 400 * ms}})
	if want := "| 250 containers | 0.300 s | 0.400 s |\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func TestQuantile(t *testing.T) {
	var list []time.Duration
	for i := range 100 {
		list = append(list, time.Duration(100-i))
	}
	for _, c := range []struct{ q, want int }{{50, 50}, {99, 99}, {100, 100}, {0, 1}} {
		if got := quantile(list, c.q); int(got) != c.want {
			t.Errorf("quantile %d of 1…100 is %d, want %d", c.q, got, c.want)
		}
	}
	if got := quantile(nil, 50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// The reference plugins on the real kernel.
func TestRunReference(t *testing.T) {
	rows, _, err := run(t.Context(), []subject{reference{}},
		options{pods: []int{1, 2}, adds: 2, parallel: 3, bursts: 2, ipv6: true, plugin: "/nowhere/caracal-cni"})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if r.pods != i+1 || len(r.alone) != 2 || r.cpu[0] <= 0 || len(r.together) != 6 || r.done[0] < r.together[0] {
			t.Errorf("row %d: %+v", i, r)
		}
	}
}
