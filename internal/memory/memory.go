// Package memory sets the garbage collector for a daemon whose heap is small at
// rest and many times larger for the seconds in which a neighbor sends its whole
// table. A fixed percentage is wrong at one end or the other: too frequent while
// the heap is small, too much memory when it is large.
package memory

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	mib = 1 << 20
	// minHeadroom is how much may be allocated before a collection while the heap
	// is small: a burst of some thousand routes does not wake the collector.
	minHeadroom = 24 * mib
	// maxHeadroom bounds what a large heap may grow by.
	maxHeadroom = 256 * mib
	// share is the part of the live heap that may be allocated on top of it.
	share = 0.4
)

// Tune keeps the collector's target at the live heap and a headroom that grows
// with it, for as long as the process runs. It leaves the collector alone if
// GOGC or GOMEMLIMIT are set.
func Tune() {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	adjust()
	afterEachCollection()
}

// afterEachCollection runs adjust when the collector finds an object that
// nobody holds, and then makes another such object.
func afterEachCollection() {
	type canary struct{ _ [16]byte }
	runtime.AddCleanup(&canary{}, func(struct{}) {
		adjust()
		afterEachCollection()
	}, struct{}{})
}

func adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percent(live[0].Value.Uint64()))
}

// percent is GOGC for a live heap of that many bytes.
func percent(live uint64) int {
	live = max(live, mib)
	headroom := min(max(share*float64(live), minHeadroom), maxHeadroom)
	return max(int(100*headroom/float64(live)), 10)
}
