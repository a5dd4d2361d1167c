package api

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
)

// Feed passes events from the daemon to whoever monitors it. Publishing costs
// next to nothing while nobody does. The zero value is ready for use.
type Feed struct {
	mu   sync.Mutex
	subs atomic.Pointer[map[*subscription]struct{}] // copied on write
}

type subscription struct {
	fn   func(MonitorEvent) error
	done chan error // capacity 1: the error that fn returned
}

// Active reports whether anybody listens, for events that cost something to
// make.
func (f *Feed) Active() bool {
	subs := f.subs.Load()
	return subs != nil && len(*subs) > 0
}

// Publish hands ev to everybody who monitors, on the caller's goroutine. Calls
// from several goroutines reach a listener one at a time only if the callers
// see to it, or the listener does; the server's does.
func (f *Feed) Publish(ev MonitorEvent) {
	subs := f.subs.Load()
	if subs == nil {
		return
	}
	for s := range *subs {
		if err := s.fn(ev); err != nil {
			select {
			case s.done <- err:
			default:
			}
		}
	}
}

// Monitor implements the method of [Source].
func (f *Feed) Monitor(ctx context.Context, fn func(MonitorEvent) error) error {
	s := &subscription{fn: fn, done: make(chan error, 1)}
	f.change(func(m map[*subscription]struct{}) { m[s] = struct{}{} })
	defer f.change(func(m map[*subscription]struct{}) { delete(m, s) })
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.done:
		return err
	}
}

func (f *Feed) change(do func(map[*subscription]struct{})) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := map[*subscription]struct{}{}
	if subs := f.subs.Load(); subs != nil {
		next = maps.Clone(*subs)
	}
	do(next)
	f.subs.Store(&next)
}
