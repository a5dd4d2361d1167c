package bgp

import (
	"context"
	"runtime/metrics"
	"time"
)

const (
	// paceTime is the most that is waited for once; a machine that is busy with
	// other things is not waited for for ever.
	paceTime = 2 * time.Second
	paceTry  = 2 * time.Millisecond
	// paceReady is how many goroutines may be ready to run.
	paceReady = 4
)

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
