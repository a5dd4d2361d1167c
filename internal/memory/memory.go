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
	// floor is what the heap may grow to before it is collected at all: a burst of
	// some thousand routes does not wake the collector. At rest little is
	// allocated, and the runtime collects every two minutes anyway.
	floor = 78 * mib
	// share is the part of a larger live heap that may be allocated on top of it.
	// It has no bound: to collect is work in proportion to the live heap. Of what is
	// beyond huge it is hugeShare.
	share     = 0.35
	huge      = 512 * mib
	hugeShare = 0.8
	// Beyond large, steep MiB of headroom come with each MiB of live heap, up to
	// steepHeadroom: a table from many neighbors makes each collection longer and
	// fills the headroom sooner, so it is worth more memory than a small one.
	large         = 54 * mib
	steep         = 2
	steepHeadroom = 90 * mib
)

// Tune keeps the collector's target at the live heap and a headroom, for as long
// as the process runs. It leaves the collector alone if GOGC or GOMEMLIMIT are set.
func Tune() {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	adjust()
	afterEachCollection()
}

// afterEachCollection runs adjust when the collector finds an object that
// nobody holds, and then makes another such object. Until adjust has run, the
// percentage of the heap before holds, which lets a heap that grew from nothing
// to 60 MiB grow to a gigabyte: it must run soon. So the object is of those that
// are swept first, the large ones; and it has a finalizer, for which the runtime
// wakes a goroutine at once, where cleanups wait until many have come together.
func afterEachCollection() {
	type canary struct{ _ [64 << 10]byte }
	runtime.SetFinalizer(&canary{}, func(*canary) {
		adjust()
		afterEachCollection()
	})
}

func adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percent(live[0].Value.Uint64()))
}

// percent is GOGC for a live heap of that many bytes.
func percent(live uint64) int {
	// The runtime's own least target is 4 MiB × GOGC / 100.
	l := float64(max(live, 4*mib))
	headroom := max(share*l, share*huge+hugeShare*(l-huge), min(steep*(l-large), steepHeadroom), floor-l)
	return max(int(100*headroom/l), 10)
}
