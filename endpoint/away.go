package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// Where the nodes share their address records, those can be out of reach while all
// else is well. Then no container gets an address; but those that have one keep it,
// also over a start of the daemon, and a container is deleted at once: that its
// addresses are to be released is on record, and is made up for.

// errAway: the address records, which the nodes share, could not be reached.
var errAway = errors.New("the address records of the cluster cannot be reached")

const (
	// awayWait is how long they are waited for when a container is deleted, or the
	// daemon starts.
	awayWait = 2 * time.Second
	// slowWait is how long they have in all: what is not waited for any longer goes on
	// beside, since an API that takes 3 s for each answer would else never do anything
	// that takes it two.
	slowWait = 30 * time.Second
	// assignWait is how long a container that comes waits for its addresses. Its plugin
	// waits 50 s for all, and is to be told why.
	assignWait = 35 * time.Second
	// hearInterval is the time between two looks for them after a start without.
	hearInterval = time.Second
)

// isAway reports whether an error of the allocator is for want of its store, and not
// an answer.
func (r *Registry) isAway(err error) bool {
	if !r.o.Shared || err == nil {
		return false
	}
	return !slices.ContainsFunc([]error{ipam.ErrExhausted, ipam.ErrTaken, ipam.ErrUnavailable, ipam.ErrDamaged, ipam.ErrNotFound},
		func(answer error) bool { return errors.Is(err, answer) })
}

// asked is what the allocator answered.
type asked[T any] struct {
	value T
	err   error
}

// ask asks the allocator. Where its store may be out of reach, it is not waited for
// longer than patience: an allocator serves one after the other, and those before may
// wait for an API that never answers. What was asked may still be done then.
func ask[T any](ctx context.Context, r *Registry, patience time.Duration, f func(context.Context) (T, error)) (T, error) {
	if !r.o.Shared {
		return f(ctx)
	}
	// Whoever asks may end before the answer.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowWait)
	answer := make(chan asked[T], 1)
	go func() {
		defer cancel()
		value, err := f(within)
		answer <- asked[T]{value, err}
	}()
	late := time.NewTimer(patience) // and not within, which ends with the answer as well
	defer late.Stop()
	select {
	case a := <-answer:
		if r.isAway(a.err) {
			r.away.Store(true)
			a.err = fmt.Errorf("%w: %w", errAway, a.err)
		}
		return a.value, a.err
	case <-late.C:
		r.away.Store(true)
		var none T
		return none, fmt.Errorf("%w: no answer within %s", errAway, patience)
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: %w", errAway, ctx.Err())
	}
}

// allocations lists what this node has in use.
func (r *Registry) allocations(ctx context.Context, patience time.Duration) ([]ipam.Allocation, error) {
	return ask(ctx, r, patience, r.o.IPAM.Allocations)
}

// giveBack frees the addresses of a handle. One who was not waited for any longer may
// free them later; that is before the handle is given others, since the allocator
// keeps the order.
func (r *Registry) giveBack(ctx context.Context, handle string) ([]netip.Addr, error) {
	if r.away.Load() {
		return nil, errAway
	}
	return ask(ctx, r, awayWait, func(ctx context.Context) ([]netip.Addr, error) { return r.o.IPAM.Release(ctx, handle) })
}

// take has the allocator give addresses.
func (r *Registry) take(ctx context.Context, req ipam.Request) ([]ipam.Allocation, error) {
	req.InUse = r.inUse(req.Handle)
	within := ctx
	if r.o.Shared {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, assignWait)
		defer cancel()
	}
	got, err := r.o.IPAM.Assign(within, req)
	if r.isAway(err) && within.Err() != nil && ctx.Err() == nil {
		return got, fmt.Errorf("%w: %w: they are slow: no address within %s; the next try goes on with what this one has done: %w", ErrNotReady, errAway, assignWait, err)
	}
	if r.isAway(err) {
		return got, fmt.Errorf("%w: %w: %w", ErrNotReady, errAway, err)
	}
	return got, err
}

// owe notes that an endpoint is gone but for the release of its addresses.
func (r *Registry) owe(e *Endpoint, err error) {
	r.mu.Lock()
	_, before := r.owed[e.key()]
	r.owed[e.key()] = err.Error()
	r.mu.Unlock()
	if !before {
		r.o.Log.Warn("endpoint removed; its addresses are released once the address records can be reached",
			"workload", e.Key(), "container", e.ContainerID, "addresses", e.Addrs, "err", err)
	}
}

func (r *Registry) owes(e *Endpoint) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, owed := r.owed[e.key()]
	return owed
}

// noteOwed publishes how many releases are to be made up for.
func (r *Registry) noteOwed() {
	r.mu.Lock()
	n, why := len(r.owed), ""
	for _, w := range r.owed {
		why = w
	}
	r.mu.Unlock()
	var found []caracal.Problem
	if n > 0 {
		found = append(found, trouble("", fmt.Sprintf("the addresses of %d containers that were deleted are yet to be released, which is tried again by itself: %s", n, why)))
	}
	r.overlay.report("owed", found)
}

// deaf notes that the address records could not be read at the start.
func (r *Registry) deaf(err error) {
	why := err.Error()
	if r.unheard.Swap(&why) == nil {
		r.o.Log.Warn("endpoint: started without the address records; the containers that there are keep their addresses, and no other gets one until they can be read", "err", err)
	}
	r.overlay.report("unheard", []caracal.Problem{trouble("", why+": containers keep their addresses, and no other gets one until then")})
}

// hear does what a start without the address records could not: it brings them
// together with the endpoints that there are. Until that is done no address is given,
// for it could be one that a container here has. It reports whether it is done.
func (r *Registry) hear(ctx context.Context) bool {
	f := found{now: r.o.Now(), addrsOf: r.o.AddrsOf, bootID: r.bootID, records: r.List(), damaged: r.damaged}
	var err error
	if f.allocations, err = r.allocations(ctx, slowWait); err == nil {
		f.links, err = r.o.Ground.Links()
	}
	if err != nil {
		r.deaf(err)
		return false
	}
	r.away.Store(false)
	b := planBegin(f)
	r.kept = b.kept
	b.free, b.promoted = nil, nil // done, or for those who are at it
	b.release = nil               // for freeOrphans, which is patient
	r.tell(append(append(r.lasting, b.problems...), r.carryOut(ctx, b)...))
	r.reassert(ctx, r.kept)
	r.unheard.Store(nil)
	r.overlay.report("unheard", nil)
	r.claim(ctx)
	r.o.Log.Info("endpoint: the address records can be read", "endpoints", len(r.List()), "rebuilt", len(b.rebuilt))
	return true
}
