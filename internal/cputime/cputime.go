// Package cputime says how long a process has computed. Where tests and benchmarks
// bound a cost, it tells more than the clock does on a machine that is busy with other
// things or stands still for a while.
package cputime

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Used is what this process has had of all processors so far, in user mode and in the
// kernel, of all its threads, the garbage collector's too (getrusage(2)).
func Used() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("cputime: getrusage: %v", err)) // it cannot fail with this
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
