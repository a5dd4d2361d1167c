package ipam

import (
	"context"
	"fmt"
	"testing"
	"time"

	"caracal.dev/caracal/internal/cputime"
	"caracal.dev/caracal/internal/memory"
)

// handles makes the names in advance, so that a benchmark does not measure that.
func handles(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("cni/net/%08x/eth0", i)
	}
	return out
}

// cycle makes n allocations and as many releases: all of the names have one each
// before they are released.
func cycle(a *Allocator, names []string, n int) error {
	ctx := context.Background()
	for ; n > 0; n -= len(names) {
		for _, h := range names {
			if _, err := a.Assign(ctx, Request{Handle: h, V4: 1}); err != nil {
				return err
			}
		}
		for _, h := range names {
			if _, err := a.Release(ctx, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// million is how many the benchmark and the test are about.
const million = 1_000_000

// BenchmarkMillion is a million allocations and as many releases, in memory, of a
// node's own range: with 250 addresses in use at a time, as on a full node, and
// with all at once.
func BenchmarkMillion(b *testing.B) {
	memory.Tune(memory.Tables()) // as the daemon does
	for _, together := range []int{250, million} {
		names := handles(together)
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a := New(NewMemory())
				a.Configure(Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/12")})
				if err := cycle(a, names, million); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestMillion: two seconds are the aim for BenchmarkMillion on a quiet machine;
// this one has ten times as long, of the processor's time, since others may want
// the machine as well. The race detector makes all of it some twenty times slower.
func TestMillion(t *testing.T) {
	n := million
	if raced {
		n /= 20
	}
	a := New(NewMemory())
	a.Configure(Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/12")})
	start := cputime.Used()
	if err := cycle(a, handles(250), n); err != nil {
		t.Fatal(err)
	}
	if took := cputime.Used() - start; took > 20*time.Second {
		t.Errorf("%d allocations and releases took %s of the processor's time", n, took)
	}
}
