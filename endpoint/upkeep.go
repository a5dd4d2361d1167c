package endpoint

import (
	"context"
	"time"
)

// keepUp looks after the endpoints until ctx ends. It may wait for the address records
// for a moment (see ask), and nothing else waits for it.
func (r *Registry) keepUp(ctx context.Context) {
	tick := time.NewTicker(r.o.Interval)
	defer tick.Stop()
	tidy := time.NewTicker(r.tidyEvery)
	defer tidy.Stop()
	var listen <-chan time.Time
	if r.unheard.Load() != nil {
		t := time.NewTicker(hearInterval)
		defer t.Stop()
		listen = t.C
	}
	untidy := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-listen:
			if r.hear(ctx) {
				listen = nil
				r.audit(ctx)
			}
		case <-tick.C:
			r.audit(ctx)
		case <-tidy.C:
			untidy = true
		}
		if untidy && listen == nil {
			untidy = !r.aside(ctx, r.tidy)
		}
	}
}

// tidy clears up the address records.
func (r *Registry) tidy(ctx context.Context) {
	if err := r.o.IPAM.Tidy(ctx); err != nil && !r.away.Load() && ctx.Err() == nil {
		r.o.Log.Warn("endpoint: the address records are not tidy; tried again", "err", err)
	}
	r.recall(ctx)
	r.claim(ctx)
}

// aside does what asks the address records for much. Where the nodes share them that
// may take long, and an API that is frozen lets each request wait to its end: so it is
// done beside the caller then, one thing at a time. It reports whether that has begun;
// if not, something else is under way, and the caller comes again.
func (r *Registry) aside(ctx context.Context, do func(context.Context)) bool {
	if !r.o.Shared {
		do(ctx)
		return true
	}
	select {
	case r.errand <- struct{}{}:
	default:
		return false
	}
	go func() {
		defer func() { <-r.errand }()
		do(ctx)
	}()
	return true
}
