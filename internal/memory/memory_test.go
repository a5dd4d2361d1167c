package memory

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 1850}, {mib, 1850}, {20 * mib, 290}, {60 * mib, 35}, {64 * mib, 35}, {80 * mib, 65}, {100 * mib, 90}, {230 * mib, 39}, {512 * mib, 35}, {1024 * mib, 57}, {8192 * mib, 77}} {
		if got := percent(c.live); got != c.want {
			t.Errorf("percent(%d MiB) = %d, want %d", c.live/mib, got, c.want)
		}
	}
}

var held []byte

// TestTuneFollowsTheHeap holds 60 MiB and expects the percentage to come down.
func TestTuneFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	Tune()
	held = make([]byte, 60*mib)
	defer func() { held = nil }()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		got := debug.SetGCPercent(100)
		debug.SetGCPercent(got)
		if got >= 30 && got <= 41 {
			return
		}
	}
	t.Fatal("the percentage never came down to that of a heap of 60 MiB")
}
