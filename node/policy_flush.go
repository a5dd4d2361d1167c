package node

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
)

// Flusher ends established connections that policies forbid: [felix.Flusher].
type Flusher interface {
	// End does so for the policies of a Snapshot, which it asks for once it has read
	// the connections, and returns how many it ended. Without one it ends none.
	End(newest func() *caracal.Snapshot) (int, error)
	Close()
}

// flushTask ends what was allowed once. Reading the kernel's connections takes time
// in proportion to their number, so it is a task of its own, and rests in between.
type flushTask struct {
	open  func() (Flusher, error)
	log   *slog.Logger
	bell  <-chan struct{}
	ring  func()
	snap  atomic.Pointer[caracal.Snapshot] // the newest; nil if no policies are in force
	ended atomic.Uint64
	rest  time.Duration
}

// flushRest is the least time between two readings of the connections. As long after
// some were ended it is looked once more: a packet that was on its way may have begun
// one anew.
const flushRest = time.Second

func newFlush(open func() (Flusher, error), log *slog.Logger) *flushTask {
	bell, ring := bell()
	return &flushTask{open: open, log: log, bell: bell, ring: ring, rest: flushRest}
}

// judgeBy says whose policies are in force, or are about to be. What was begun goes on
// by them: what was forbidden a moment ago may be allowed, and the kernel lets it in
// before anybody here hears of that.
func (t *flushTask) judgeBy(snap *caracal.Snapshot) { t.snap.Store(snap) }

// ask has the connections judged, soon.
func (t *flushTask) ask() { t.ring() }

// newest is the Snapshot to judge by, nil if no connection is to be ended.
func (t *flushTask) newest() *caracal.Snapshot {
	snap := t.snap.Load()
	if snap == nil || !snap.Dataplane.Policy.FlushConntrack {
		return nil
	}
	return snap
}

func (t *flushTask) run(ctx context.Context) error {
	var kernel Flusher
	defer func() {
		if kernel != nil {
			kernel.Close()
		}
	}()
	said := ""
	for again := (<-chan time.Time)(nil); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.bell:
		case <-again:
		}
		again = nil
		n, err := 0, error(nil)
		if kernel == nil {
			if kernel, err = t.open(); err != nil {
				kernel = nil
			}
		}
		if err == nil {
			n, err = kernel.End(t.newest)
		}
		t.ended.Add(uint64(n))
		switch {
		case err != nil:
			if text := err.Error(); text != said {
				said = text
				t.log.Error("policy: established connections that are forbidden now may go on; tried again", "err", err)
			}
			again = time.After(10 * t.rest)
		case n > 0:
			t.log.Info("policy: connections that are forbidden now were ended", "count", n)
			again = time.After(t.rest)
		default:
			said = ""
		}
		select { // the bell may ring meanwhile: it is one reading for all of that
		case <-ctx.Done():
			return nil
		case <-time.After(t.rest):
		}
	}
}
