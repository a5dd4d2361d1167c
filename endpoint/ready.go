package endpoint

import (
	"context"
	"fmt"
	"time"
)

// Ready returns once packets can flow to and from an endpoint that was added and
// wired. The error says which route is missing, and why.
func (r *Registry) Ready(ctx context.Context, id ID) error {
	began := time.Now()
	if err := r.makeReady(ctx, id); err != nil {
		return fmt.Errorf("endpoint: make %s ready: %w", id, err)
	}
	r.observe("ready", began)
	return nil
}

func (r *Registry) makeReady(ctx context.Context, id ID) error {
	if err := r.soon(ctx, r.ready); err != nil {
		return err
	}
	unlock, err := r.lock(ctx, id.key())
	if err != nil {
		return err
	}
	saving := false
	defer func() { // whatever happens, a panic too: else nobody could remove it
		if !saving {
			unlock()
		}
	}()
	e := r.get(id.key())
	switch {
	case e == nil || id.Network != "" && id.Network != e.Network:
		err = fmt.Errorf("%w: it must be added first", ErrNotFound)
	case e.State == Deleting:
		err = fmt.Errorf("%w: it is being removed", ErrNotFound)
	case e.State == Ready:
		err = r.open(ctx, e)
	default:
		next := *e
		next.State, next.ReadyAt = Ready, r.o.Now()
		r.overlay.set(&next)
		if err = r.open(ctx, &next); err != nil {
			r.overlay.unset(&next)
			break
		}
		r.put(&next)
		r.o.Log.Info("endpoint ready", "workload", e.Key(), "container", e.ContainerID, "link", e.HostInterface(), "addresses", e.Addrs)
		saving = true
		r.writing.Go(func() { // nobody waits for that: a start that finds its link knows as much
			defer unlock()
			if err := r.save(&next); err != nil {
				r.o.Log.Warn("endpoint: that it is ready is not on record", "err", err)
			}
		})
	}
	return err
}

// open waits for the gate of an endpoint that is published.
func (r *Registry) open(ctx context.Context, e *Endpoint) error {
	plane := r.plane.Load()
	err := r.soon(ctx, func() error {
		if why := (*plane).Waiting(); why != "" {
			return fmt.Errorf("%w: %s", ErrNotReady, why)
		}
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.ReadyWait)
	defer cancel()
	if err := (*plane).Open(ctx, e.workload(r.self())); err != nil {
		return err
	}
	return r.step("opened")
}
