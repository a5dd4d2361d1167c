package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// stuckAfter is how long a task may take for one turn before /healthz says that
// the daemon hangs. A whole table of 100,000 routes is written in under a
// second, and every kernel call has its deadline.
const stuckAfter = 30 * time.Second

// pulse knows when each task last turned.
type pulse struct {
	epoch time.Time
	// beats are times since epoch, and not of the wall clock: one that is set must not
	// make tasks look stuck, nor hide those that are.
	beats map[string]*atomic.Int64
}

func newPulse(tasks ...string) *pulse {
	p := &pulse{epoch: time.Now(), beats: map[string]*atomic.Int64{}}
	for _, t := range tasks {
		p.beats[t] = &atomic.Int64{}
	}
	return p
}

// beat returns the function with which a task says that it turns.
func (p *pulse) beat(task string) func() {
	b := p.beats[task]
	return func() { b.Store(max(1, int64(time.Since(p.epoch)))) }
}

// stuck names the tasks that have not turned for too long; empty if all do. A
// task that has not begun is not stuck.
func (p *pulse) stuck(now time.Time) string {
	var words []string
	for _, t := range slices.Sorted(maps.Keys(p.beats)) {
		last := p.beats[t].Load()
		if age := now.Sub(p.epoch) - time.Duration(last); last != 0 && age > stuckAfter {
			words = append(words, fmt.Sprintf("the %s task has not turned for %s", t, age.Round(time.Second)))
		}
	}
	return strings.Join(words, "; ")
}
