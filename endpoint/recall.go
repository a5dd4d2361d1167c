package endpoint

import (
	"context"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// The address records may be lost, or older than the containers: somebody deleted
// their definition, or restored a backup of the API. What containers have is the truth
// then. It is not given to others, and is recorded again.

// inUse reports which addresses others than a handle have here.
func (r *Registry) inUse(handle string) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range r.endpoints {
			if slices.Contains(e.Addrs, a) && e.Handle() != handle {
				r.refused.Store(true)
				return true
			}
		}
		return false
	}
}

// recall compares what containers have with the records as the allocator has them.
// What is missing there is recorded again with the next audit.
func (r *Registry) recall(ctx context.Context) {
	if !r.o.Shared || !r.begun.Load() || r.unheard.Load() != nil {
		return
	}
	before := r.List() // as who comes meanwhile is not in older records
	list, err := r.o.IPAM.Allocations(ctx)
	if err != nil {
		return // Tidy said so
	}
	if without(before, list) {
		r.refused.Store(true)
	}
}

// kindClaim is the kind of the objects that say which node has a block.
const kindClaim = "BlockAffinity"

// doubt has the records looked at soon where the source says that claims of blocks are
// missing: this node's may be among them.
func (r *Registry) doubt(ctx context.Context) {
	if !r.o.Shared || !slices.ContainsFunc(r.o.Source.Snapshot().Problems, func(p caracal.Problem) bool {
		return p.Severity == caracal.Held && p.Kind == kindClaim
	}) {
		return
	}
	if now := r.o.Now(); now.Sub(r.doubted) >= reassertInterval || now.Before(r.doubted) {
		if r.aside(ctx, r.tidy) {
			r.doubted = now
		}
	}
}
