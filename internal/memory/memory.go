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

// Load is what the heap of a daemon is used for.
type Load struct {
	// floor is what the heap may grow to before it is collected at all.
	floor float64
	// share is the part of a larger live heap that may be allocated on top of it.
	// It has no bound: to collect is work in proportion to the live heap.
	share float64
	// steep is how many MiB of headroom come beyond that with each MiB of a live heap
	// larger than large, up to steepHeadroom.
	steep float64
}

// Tables is a daemon that gets BGP tables in bursts: some thousand routes do not wake
// the collector. At rest little is allocated, and the runtime collects every two
// minutes anyway. A table from many neighbors makes each collection longer and fills
// the headroom sooner, so it is worth more memory than a small one.
func Tables() Load { return Load{78 * mib, 0.35, 2} }

// Objects is a daemon that also follows the objects of a cluster: each is some
// kilobytes when it is decoded, and a hundred bytes are kept of it. What is kept lies
// scattered over all that the heap had grown to while they came, so that little of
// that is given back.
func Objects() Load { return Load{40 * mib, 0.25, 0} }

const (
	mib = 1 << 20
	// Of what is beyond huge the share is hugeShare.
	huge          = 512 * mib
	hugeShare     = 0.8
	large         = 54 * mib
	steepHeadroom = 90 * mib
)

// Tune keeps the collector's target at the live heap and a headroom, for as long as
// the process runs. It leaves the collector alone if GOGC or GOMEMLIMIT are set. It may
// be called once.
func Tune(l Load) {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	adjust(l)
	afterEachCollection(l)
}

// afterEachCollection runs adjust when the collector finds an object that
// nobody holds, and then makes another such object. Until adjust has run, the
// percentage of the heap before holds, which lets a heap that grew from nothing
// to 60 MiB grow to a gigabyte: it must run soon. So the object is of those that
// are swept first, the large ones; and it has a finalizer, for which the runtime
// wakes a goroutine at once, where cleanups wait until many have come together.
func afterEachCollection(l Load) {
	type canary struct{ _ [64 << 10]byte }
	runtime.SetFinalizer(&canary{}, func(*canary) {
		adjust(l)
		afterEachCollection(l)
	})
}

func adjust(l Load) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(l.percent(live[0].Value.Uint64()))
}

// percent is GOGC for a live heap of that many bytes.
func (l Load) percent(live uint64) int {
	// The runtime's own least target is 4 MiB × GOGC / 100.
	heap := float64(max(live, 4*mib))
	headroom := max(l.share*heap, l.share*huge+hugeShare*(heap-huge), min(l.steep*(heap-large), steepHeadroom), l.floor-heap)
	return max(int(100*headroom/heap), 10)
}
