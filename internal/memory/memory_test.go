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
		load Load
		want int
	}{{0, Tables(), 1850}, {mib, Tables(), 1850}, {20 * mib, Tables(), 290}, {60 * mib, Tables(), 35}, {64 * mib, Tables(), 35}, {80 * mib, Tables(), 65}, {100 * mib, Tables(), 90}, {230 * mib, Tables(), 39}, {512 * mib, Tables(), 35}, {1024 * mib, Tables(), 57}, {8192 * mib, Tables(), 77}, {0, Objects(), 900}, {20 * mib, Objects(), 100}, {38 * mib, Objects(), 25}, {80 * mib, Objects(), 25}, {600 * mib, Objects(), 33}} {
		if got := c.load.percent(c.live); got != c.want {
			t.Errorf("percent(%d MiB) of %v = %d, want %d", c.live/mib, c.load, got, c.want)
		}
	}
}

var held []byte

// TestTuneFollowsTheHeap holds 60 MiB and expects the percentage to come down.
func TestTuneFollowsTheHeap(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	Tune(Tables())
	held = make([]byte, 60*mib)
	defer func() { held = nil }()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		got := debug.SetGCPercent(100)
		debug.SetGCPercent(got)
		if got >= 30 && got <= 41 {
			return
		}
	}
	t.Fatal("the percentage never came down to that of a heap of 60 MiB")
}
