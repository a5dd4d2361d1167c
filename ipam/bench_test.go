package ipam

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handles makes the names in advance, so that a benchmark does not measure that.
func handles(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("cni/net/%08x/eth0", i)
	}
	return out
}

// cycle assigns an address to each handle, of a node's own range that is just large
// enough for a million, and releases it, so many at a time.
func cycle(a *Allocator, names []string, together int) error {
	ctx := context.Background()
	for len(names) > 0 {
		some := names[:min(len(names), together)]
		names = names[len(some):]
		for _, h := range some {
			if _, err := a.Assign(ctx, Request{Handle: h, V4: 1}); err != nil {
				return err
			}
		}
		for _, h := range some {
			if _, err := a.Release(ctx, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// BenchmarkMillion is a million allocations and as many releases, in memory: with
// 250 addresses in use at a time, as on a full node, and all at once.
func BenchmarkMillion(b *testing.B) {
	names := handles(1_000_000)
	for _, together := range []int{250, len(names)} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			for b.Loop() {
				a := New(NewMemory())
				a.Configure(Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/12")})
				if err := cycle(a, names, together); err != nil {
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
	n := 1_000_000
	if raced {
		n /= 20
	}
	names := handles(n)
	a := New(NewMemory())
	a.Configure(Plan{Node: "a", Mode: ModePodCIDR, Static: pfx("10.0.0.0/12")})
	start := processorTime(t)
	if err := cycle(a, names, 250); err != nil {
		t.Fatal(err)
	}
	if took := processorTime(t) - start; took > 20*time.Second {
		t.Errorf("%d allocations and releases took %s of the processor's time", n, took)
	}
}

// processorTime is what this process has had of all processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
