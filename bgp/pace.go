package bgp

import (
	"context"
	"runtime/metrics"
	"time"
)

const (
	// paceSends is after how many paths times neighbors it is waited for GoBGP to
	// have sent them: its queues have no bound, and a path in one takes some
	// hundred bytes.
	paceSends = 1 << 18
	// paceTime is the most that is waited for once; a machine that is busy with
	// other things is not waited for for ever.
	paceTime = 2 * time.Second
	paceTry  = 2 * time.Millisecond
	// paceReady is how many goroutines may be ready to run.
	paceReady = 4
)

// pace keeps what is given to GoBGP near to what its sessions have sent.
type pace struct {
	neighbors int
	count     int // since it was waited
	progress  func()
}

func (s *Speaker) newPace(progress func()) *pace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pace{neighbors: len(s.have.neighbors), progress: progress}
}

// sent is told that GoBGP was given n paths times neighbors.
func (p *pace) sent(ctx context.Context, n int) {
	p.progress()
	if p.count += n; p.count >= paceSends {
		p.count = 0
		waitSent(ctx)
	}
}

// waitSent waits until GoBGP has sent what it has queued. It does not say how much
// that is, but each session that has something to send has a goroutine that is
// ready to run; one whose neighbor does not read is not, and is not waited for.
func waitSent(ctx context.Context) {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	for end := time.Now().Add(paceTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(paceTry) {
		if metrics.Read(ready); ready[0].Value.Kind() != metrics.KindUint64 || ready[0].Value.Uint64() <= paceReady {
			return
		}
	}
}
