package kube

import (
	"context"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"
)

// A Reflector that gets no answer tries again later and later, up to a minute apart,
// so that an API that comes back finds few of 5,000 nodes at its door at a time. But
// then the kinds of one node would come back a minute apart. So while the API is away
// one small question is asked more often, and once it is answered all kinds try again
// within returnTime.
const (
	retryFirst = 800 * time.Millisecond
	retryMost  = 30 * time.Second
	retryReset = 2 * time.Minute // what went well for that long is well
	askFirst   = time.Second
	askMost    = 8 * time.Second
	returnTime = 2 * time.Second
)

// patience is the clock of a Reflector, whose waits end early when the API is back.
type patience struct {
	clock.RealClock
	back func() <-chan struct{} // is closed when the API is back
}

// After implements clock.Clock; a Reflector waits by it between two tries.
func (p patience) After(d time.Duration) <-chan time.Time {
	out := make(chan time.Time, 1)
	back := p.back()
	go func() {
		until := time.NewTimer(d)
		defer until.Stop()
		select {
		case <-until.C:
		case <-back:
			select {
			case <-until.C:
			case <-time.After(rand.N(returnTime)):
			}
		}
		out <- time.Now()
	}()
	return out
}

// keepTrying calls do again and again until ctx ends.
func (p patience) keepTrying(ctx context.Context, do func(context.Context) error) {
	for tries := 0; ctx.Err() == nil; tries++ {
		began := time.Now()
		_ = do(ctx) // whoever asks the API notes what it says
		if time.Since(began) > retryReset {
			tries = 0
		}
		wait := min(retryFirst<<min(tries, 6), retryMost)
		select {
		case <-p.After(wait + rand.N(wait)):
		case <-ctx.Done():
		}
	}
}

// returned returns a channel that is closed when the API answers again.
func (s *Store) returned() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.back
}

// askWhileAway finds out when the API is back.
func (s *Store) askWhileAway(ctx context.Context) {
	for failures := 0; ; {
		wait := askFirst
		if s.isAway() {
			wait = min(askFirst<<min(failures, 3), askMost)
			failures++
		} else {
			failures = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(wait)):
		}
		if failures == 0 || !s.answers(ctx) {
			continue
		}
		s.mu.Lock()
		close(s.back)
		s.back = make(chan struct{})
		s.mu.Unlock()
		failures = 0
	}
}

// isAway reports whether some kind gets no answer.
func (s *Store) isAway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.health {
		if h.away {
			return true
		}
	}
	return false
}

// answers reports whether the API says that it is ready. It says so to everybody who
// has credentials (the ClusterRole system:public-info-viewer).
func (s *Store) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	return s.opts.Client.Core.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil
}
