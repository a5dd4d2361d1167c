package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// closeWait is how long the routes of a removed endpoint are waited for. Their
// interface goes after that, and with it what is left of them.
const closeWait = 3 * time.Second

// Remove takes an endpoint away and returns its addresses, which are free then.
// One that is not known is no error. Without an interface and a network it is what
// was attached by this name, and not a container of a runtime.
func (r *Registry) Remove(ctx context.Context, id ID) ([]netip.Addr, error) {
	began := time.Now()
	if err := r.ready(); err != nil {
		return nil, fmt.Errorf("endpoint: remove %s: %w", id, err)
	}
	var freed []netip.Addr
	var errs []error
	for _, id := range r.meant(id) {
		list, err := r.remove(ctx, id)
		freed = append(freed, list...)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return freed, fmt.Errorf("endpoint: remove %s: %w", id, err)
	}
	r.observe("remove", began)
	return freed, nil
}

// meant are the interfaces that an ID stands for.
func (r *Registry) meant(id ID) []ID {
	if id.Interface != "" {
		return []ID{id}
	}
	var out []ID
	for _, e := range r.List() {
		mine := id.Network == e.Network
		if id.Network == "" {
			mine = e.Kind == KindAttach
		}
		if e.ContainerID == id.ContainerID && mine {
			out = append(out, e.ID)
		}
	}
	return out
}

func (r *Registry) remove(ctx context.Context, id ID) ([]netip.Addr, error) {
	freed, _, err := r.removeIf(ctx, id, func(*Endpoint) bool { return true })
	return freed, err
}

// removeIf is remove for who decided by an earlier look: by the time that the lock
// is had, the container may have been added again. due is asked then; the endpoint
// is nil if there is none. done says that it was due, and is removed.
func (r *Registry) removeIf(ctx context.Context, id ID, due func(*Endpoint) bool) (freed []netip.Addr, done bool, err error) {
	unlock, err := r.lock(ctx, id.key())
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	e := r.get(id.key())
	switch {
	case e != nil && id.Network != "" && id.Network != e.Network:
		return nil, false, nil // of another network: not what is meant
	case !due(e):
		return nil, false, nil
	case e == nil:
		freed, err = r.removeUnknown(ctx, id)
	default:
		freed, err = r.finish(ctx, e)
	}
	if errors.Is(err, errAway) {
		err = nil // it is on record that its addresses are to be released
	}
	return freed, err == nil, err
}

// removeUnknown removes what there may be of an endpoint without a record: its
// interface and its addresses.
func (r *Registry) removeUnknown(ctx context.Context, id ID) ([]netip.Addr, error) {
	link := caracal.HostInterface(id.ContainerID, id.Interface)
	if err := r.o.Ground.DeleteLink(link); err != nil {
		return nil, err
	}
	if id.Network == "" {
		return nil, nil
	}
	handle := handleOf(KindCNI, id)
	freed, err := r.releaseUnknown(context.WithoutCancel(ctx), handle)
	if errors.Is(err, errAway) {
		// If it has any, they are found once the records can be read: see freeOrphans.
		r.o.Log.Info("endpoint: a container that is not known was deleted while the address records cannot be reached", "handle", handle, "err", err)
		return nil, nil
	}
	return freed, err
}

// finish takes an endpoint away whose lock is held: first what carries its
// packets, then what the kernel remembers of them, then the claim on its
// addresses, so that nobody gets them who would get its packets too. What fails
// leaves it on record as one that is to be removed; errAway says that all is done but
// the release.
func (r *Registry) finish(ctx context.Context, e *Endpoint) ([]netip.Addr, error) {
	ctx = context.WithoutCancel(ctx)
	if e.State != Deleting {
		next := *e
		next.State = Deleting
		if e.BootID != r.bootID {
			// Of an earlier boot: the next start comes to the same end.
		} else if err := r.save(&next); err != nil {
			// It goes all the same: a crash before the end makes it one of those that are
			// found gone.
			r.o.Log.Warn("endpoint: the removal is not on disk", "err", err)
		}
		r.put(&next)
		e = &next
	}
	r.overlay.unset(e)
	if err := r.step("unpublished"); err != nil {
		return nil, err
	}
	r.close(ctx, e)
	if err := r.o.Ground.DeleteLink(e.HostInterface()); err != nil {
		return nil, err
	}
	if err := r.step("unlinked"); err != nil {
		return nil, err
	}
	if err := r.o.Ground.Forget(e.Addrs); err != nil {
		return nil, err
	}
	freed, err := r.giveBack(ctx, e.Handle())
	if errors.Is(err, errAway) {
		r.owe(e, err)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if err := r.step("released"); err != nil {
		return freed, err
	}
	if err := r.dir.remove(e); err != nil {
		return freed, fmt.Errorf("remove the record of %s: %w", e.ID, err)
	}
	r.drop(e.key())
	r.o.Log.Info("endpoint removed", "workload", e.Key(), "container", e.ContainerID, "link", e.HostInterface(), "addresses", e.Addrs)
	return freed, nil
}

// close waits until the endpoint's routes are gone, as far as they go by
// themselves.
func (r *Registry) close(ctx context.Context, e *Endpoint) {
	plane := r.plane.Load()
	if plane == nil || (*plane).Waiting() != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	if err := (*plane).Closed(ctx, e.workload(r.self())); err != nil {
		r.o.Log.Warn("endpoint: routes are not gone yet; they go with their interface", "workload", e.Key(), "link", e.HostInterface(), "err", err)
	}
}

// Collect removes the endpoints of a network (of kind cni) that are not among
// those to keep, and returns them. What is just being added is let be.
func (r *Registry) Collect(ctx context.Context, network string, keep []ID) ([]ID, error) {
	if err := r.ready(); err != nil {
		return nil, fmt.Errorf("endpoint: collect %s: %w", network, err)
	}
	var removed []ID
	var errs []error
	due := func(e *Endpoint) bool {
		return e != nil && e.Kind == KindCNI && e.Network == network &&
			(e.State != Pending || pendingSince(e, r.o.Now(), r.started) >= r.o.PendingFor) &&
			!slices.ContainsFunc(keep, func(id ID) bool { return id.key() == e.key() })
	}
	for _, e := range r.List() {
		if !due(e) {
			continue
		}
		_, done, err := r.removeIf(ctx, e.ID, due)
		if errs = append(errs, err); done {
			removed = append(removed, e.ID)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("endpoint: collect %s: %w", network, err)
	}
	return removed, nil
}
