package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"caracal.dev/caracal/ipam"
)

// freeOrphans frees addresses of containers without an endpoint, once they have
// been so for a while: what an ADD left that failed in the middle and was never
// tried again. Where there is a link the container may live, and the next start
// makes its record anew.
func (r *Registry) freeOrphans(ctx context.Context, links map[string]bool) {
	if r.away.Load() {
		return
	}
	before := r.List()
	list, err := r.allocations(ctx, awayWait)
	if err != nil {
		if !errors.Is(err, errAway) {
			r.o.Log.Warn("endpoint: addresses without an endpoint are not looked for; tried again", "err", err)
		}
		return
	}
	if r.o.Shared && without(before, list) {
		// This node was taken for gone, and what it had was given back: reassert.
		r.refused.Store(true)
	}
	owned := map[string]bool{}
	for _, e := range r.List() {
		owned[e.Handle()] = true
	}
	now, next := r.o.Now(), map[string]watch{}
	for handle, e := range unowned(found{allocations: list}, owned) {
		if _, there := links[e.HostInterface()]; there {
			continue
		}
		was, before := r.orphans[handle]
		if !before {
			was.since = now
		}
		if now.Sub(was.since) < r.o.Grace || !r.freeOrphan(ctx, handle, e) {
			next[handle] = was
		}
	}
	r.orphans = next
}

// without reports whether an endpoint has an address that is not allocated to it. It
// is pure.
func without(all []*Endpoint, list []ipam.Allocation) bool {
	has := map[netip.Addr]string{}
	for _, a := range list {
		has[a.Addr] = a.Handle
	}
	for _, e := range all {
		for _, a := range e.Addrs {
			if e.State != Deleting && has[a] != e.Handle() {
				return true
			}
		}
	}
	return false
}

// freeOrphan reports whether nothing is left to be done.
func (r *Registry) freeOrphan(ctx context.Context, handle string, e *Endpoint) bool {
	unlock, ok := r.tryLock(e.key())
	if !ok {
		return false // an ADD is under way, and has them now
	}
	defer unlock()
	if e.Kind == KindAttach { // whose addresses go by the name alone
		unlock, ok := r.tryLock(key{e.ContainerID, ""})
		if !ok {
			return false
		}
		defer unlock()
	}
	for _, is := range r.List() {
		if is.Handle() == handle {
			return true
		}
	}
	if err := r.o.Ground.Forget(e.Addrs); err != nil {
		r.o.Log.Warn("endpoint: addresses without an endpoint cannot be freed; tried again", "handle", handle, "err", err)
		return false
	}
	freed, err := r.giveBack(ctx, handle)
	if err != nil {
		r.o.Log.Warn("endpoint: addresses without an endpoint cannot be freed; tried again", "handle", handle, "err", err)
		return false
	}
	r.o.Log.Warn("endpoint: addresses without an endpoint are free again", "handle", handle, "addresses", freed)
	return true
}

// releaseUnknown frees the addresses of a handle without an endpoint.
func (r *Registry) releaseUnknown(ctx context.Context, handle string) ([]netip.Addr, error) {
	freed, err := r.giveBack(ctx, handle)
	if err != nil || len(freed) == 0 {
		return freed, err
	}
	return freed, r.o.Ground.Forget(freed)
}

// releaseOrphan frees one address without an endpoint by hand, unless it turns out
// to be that of a container that is just being added.
func (r *Registry) releaseOrphan(ctx context.Context, was Address) error {
	o := was.Allocation.Owner
	unlock, err := r.lock(ctx, key{o.ContainerID, o.Interface})
	if err != nil {
		return fmt.Errorf("endpoint: release %s: %w", was.Addr, err)
	}
	defer unlock()
	is, err := r.Lookup(ctx, was.Addr)
	switch {
	case err != nil:
		return err
	case is.Endpoint != nil || is.State != ipam.StateAllocated || is.Allocation.Handle != was.Allocation.Handle:
		return fmt.Errorf("endpoint: release %s: %w: it was given or taken just now; look at it again", was.Addr, ErrInUse)
	}
	if err := r.o.Ground.Forget([]netip.Addr{is.Addr}); err != nil {
		return fmt.Errorf("endpoint: release %s: %w", was.Addr, err)
	}
	if _, err := r.o.IPAM.ReleaseAddr(context.WithoutCancel(ctx), is.Addr); err != nil {
		return fmt.Errorf("endpoint: release %s: %w", was.Addr, err)
	}
	r.o.Log.Warn("endpoint: address released by hand", "handle", is.Allocation.Handle, "address", is.Addr)
	return nil
}
