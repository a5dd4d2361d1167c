package main

import (
	"fmt"
	"syscall"
	"time"
)

// cost is what something took of time and of the processors.
type cost struct{ Wall, CPU time.Duration }

func (c cost) plus(o cost) cost { return cost{c.Wall + o.Wall, c.CPU + o.CPU} }

// String returns both in a unit that fits.
func (c cost) String() string {
	if c.Wall < time.Second {
		return fmt.Sprintf("%.1f ms (%.1f)", milli(c.Wall), milli(c.CPU))
	}
	return fmt.Sprintf("%.2f s (%.2f)", c.Wall.Seconds(), c.CPU.Seconds())
}

// meter measures one thing after another.
type meter struct {
	begin time.Time
	cpu   time.Duration
}

func start() meter { return meter{time.Now(), used()} }

// stop returns what happened since start.
func (m meter) stop() cost { return cost{time.Since(m.begin), used() - m.cpu} }

// used returns what this process and its ended children have used of the processors,
// in user mode and in the kernel.
func used() (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil { // it cannot fail with these
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
