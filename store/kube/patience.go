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
// within returnTime, or returnPerNode for each node of a large cluster.
const (
	retryFirst = 800 * time.Millisecond
	retryMost  = 30 * time.Second
	retryReset = 2 * time.Minute // what went well for that long is well
	askFirst   = time.Second
	askMost    = 8 * time.Second
	returnTime = 2 * time.Second
	// Fifteen kinds ask two things each: 5,000 nodes, 7,500 requests a second.
	returnPerNode = 4 * time.Millisecond
)

// patience is the clock of a Reflector, whose waits end early when the API is back.
type patience struct {
	clock.RealClock
	back func() <-chan struct{} // is closed when the API is back
	end  <-chan struct{}        // is closed when there is nothing to wait for any more
	// nodes says how many come back with this one.
	nodes func() int
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
		case <-p.end:
		case <-back:
			select {
			case <-until.C:
			case <-p.end:
			case <-time.After(rand.N(returnWithin(p.nodes()))):
			}
		}
		out <- time.Now()
	}()
	return out
}

// returnWithin is how long the kinds of a node take to come back, of so many nodes.
func returnWithin(nodes int) time.Duration {
	return max(returnTime, time.Duration(nodes)*returnPerNode)
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
	var a absence
	for {
		away := s.isAway()
		wait := a.wait(away)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(wait)):
		}
		if away && a.answered(s.answers(ctx)) {
			s.wakeAll()
		}
	}
}

// absence is what is known of an API that is away.
type absence struct {
	asked int
	deaf  bool // it did not answer
}

// wait returns how long it is until it is asked.
func (a *absence) wait(away bool) time.Duration {
	if !away {
		*a = absence{}
		return askFirst
	}
	return min(askFirst<<min(a.asked, 3), askMost)
}

// answered takes what became of asking, and reports whether the API is back. One that
// was there all the time but refuses what we want, since it is overloaded, is not: to
// try again at once is what it suffers from.
func (a *absence) answered(ok bool) (back bool) {
	back = ok && a.deaf
	a.asked, a.deaf = a.asked+1, !ok
	if back {
		a.asked = 0
	}
	return back
}

// wakeAll ends the waits between two tries.
func (s *Store) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.back)
	s.back = make(chan struct{})
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
