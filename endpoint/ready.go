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

// openWithin publishes the endpoint and waits for its gate, while the record is
// written: the answer says both.
func (r *Registry) openWithin(ctx context.Context, e *Endpoint) error {
	plane := r.plane.Load()
	if why := (*plane).Waiting(); why != "" {
		return fmt.Errorf("%w: %s", ErrNotReady, why)
	}
	next := *e
	next.State, next.ReadyAt = Ready, r.o.Now()
	saved := make(chan error, 1)
	again := e.State == Ready
	if again {
		saved <- nil
	} else {
		r.overlay.set(&next)
		go func() { saved <- r.save(&next) }()
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.ReadyWait)
	defer cancel()
	opened := (*plane).Open(ctx, next.workload(r.self()))
	err := errors.Join(opened, <-saved)
	if err == nil {
		err = r.step("opened")
	}
	if err == nil {
		r.put(&next)
		return nil
	}
	if !again {
		r.overlay.unset(&next)
		err = errors.Join(err, r.save(e)) // pending, as before
	}
	return err
}
