package felix

import (
	"context"
	"time"
)

// bell rings no more often than every bellEvery, and for fights over the first
// place in a chain no more often than every fightEvery, after a few times.
type bell struct {
	out  chan struct{}
	in   chan bool // whether it is a fight
	left int       // rings for fights that are left
}

func newBell() *bell {
	return &bell{out: make(chan struct{}, 1), in: make(chan bool, 64), left: fightBurst}
}

// ring asks for a ring. It never waits.
func (b *bell) ring(fight bool) {
	select {
	case b.in <- fight:
	default: // it is about to ring anyway
	}
}

// run rings until ctx ends.
func (b *bell) run(ctx context.Context) {
	refill := time.NewTicker(fightEvery)
	defer refill.Stop()
	late := false // a fight that was not told of yet
	for {
		select {
		case <-ctx.Done():
			return
		case <-refill.C:
			b.left = min(b.left+1, fightBurst)
			if !late {
				continue
			}
			b.left, late = b.left-1, false
		case fight := <-b.in:
			if fight && b.left == 0 {
				late = true
				continue
			}
			if fight {
				b.left--
			}
		}
		select {
		case b.out <- struct{}{}:
		default: // it has not been heard yet
		}
		b.rest(ctx)
	}
}

// rest waits a little; what comes meanwhile is in the queue.
func (b *bell) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(bellEvery):
	}
}
