// Package memory sets the garbage collector for a daemon whose heap is small
// beside the machine's memory: it may run less often, but never past what the
// machine or the cgroup allows.
package memory

import (
	"math"
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to three times what is live before it is
// collected. While a peer sends its whole table the collector otherwise takes
// about half of the processor time.
const gcPercent = 200

// Tune sets the collector's target, unless GOGC or GOMEMLIMIT say otherwise.
func Tune() {
	if os.Getenv("GOGC") == "" && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetGCPercent(gcPercent)
	}
}
