package endpoint

import (
	"context"
	"errors"
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
	if err := r.ready(); err != nil {
		return err
	}
	unlock, err := r.lock(ctx, id.key())
	if err != nil {
		return err
	}
	defer unlock()
	e := r.get(id.key())
	switch {
	case e == nil || id.Network != "" && id.Network != e.Network:
		return fmt.Errorf("%w: it must be added first", ErrNotFound)
	case e.State == Deleting:
		return fmt.Errorf("%w: it is being removed", ErrNotFound)
	}
	if err := r.openWithin(ctx, e); err != nil {
		return err
	}
	r.o.Log.Info("endpoint ready", "workload", e.Key(), "container", e.ContainerID, "link", e.HostInterface(), "addresses", e.Addrs)
	return nil
}

// openWithin publishes the endpoint and waits for its gate, and for the disk to
// have what Add recorded. That it was ready need not be there yet: a start finds
// out by its link.
func (r *Registry) openWithin(ctx context.Context, e *Endpoint) error {
	plane := r.plane.Load()
	if why := (*plane).Waiting(); why != "" {
		return fmt.Errorf("%w: %s", ErrNotReady, why)
	}
	next := *e
	again := e.State == Ready
	var err error
	if !again {
		next.State, next.ReadyAt = Ready, r.o.Now()
		r.overlay.set(&next)
		_, err = r.save(&next)
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.ReadyWait)
	defer cancel()
	if err == nil {
		err = (*plane).Open(ctx, next.workload(r.self()))
	}
	if err == nil {
		err = r.onDisk(e.key())
	}
	if err == nil {
		err = r.step("opened")
	}
	if err == nil {
		r.put(&next)
		return nil
	}
	if !again {
		r.overlay.unset(&next)
		err = errors.Join(err, r.saved(e)) // pending, as before
	}
	return err
}
