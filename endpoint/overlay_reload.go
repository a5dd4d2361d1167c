package endpoint

import (
	"context"
	"errors"

	"caracal.dev/caracal"
)

// reloader is a Source that reads what it reads when it is told to.
type reloader interface {
	Reload(ctx context.Context) ([]caracal.Problem, error)
	Check(ctx context.Context) (*caracal.Snapshot, error)
	Confirm(ctx context.Context) ([]caracal.Problem, error)
}

var errNoReload = errors.New("endpoint: this store is watched and cannot be reread")

// Reload has the inner store read its source now; the Snapshot is published when
// it returns.
func (o *Overlay) Reload(ctx context.Context) ([]caracal.Problem, error) {
	r, ok := o.inner.(reloader)
	if !ok {
		return nil, errNoReload
	}
	problems, err := r.Reload(ctx)
	o.take()
	return problems, err
}

// Confirm releases a removal that the inner store holds, like Reload.
func (o *Overlay) Confirm(ctx context.Context) ([]caracal.Problem, error) {
	r, ok := o.inner.(reloader)
	if !ok {
		return nil, errNoReload
	}
	problems, err := r.Confirm(ctx)
	o.take()
	return problems, err
}

// Check returns the Snapshot that reading the source would give, with the
// endpoints of now.
func (o *Overlay) Check(ctx context.Context) (*caracal.Snapshot, error) {
	r, ok := o.inner.(reloader)
	if !ok {
		return nil, errNoReload
	}
	next, err := r.Check(ctx)
	return o.with(next, err)
}

// CheckDir is Check for another directory than the source's own.
func (o *Overlay) CheckDir(ctx context.Context, dir string) (*caracal.Snapshot, error) {
	r, ok := o.inner.(interface {
		CheckDir(ctx context.Context, dir string) (*caracal.Snapshot, error)
	})
	if !ok {
		return nil, errors.New("endpoint: this store does not read directories")
	}
	next, err := r.CheckDir(ctx, dir)
	return o.with(next, err)
}

// with returns a Snapshot of the source with the endpoints of now.
func (o *Overlay) with(next *caracal.Snapshot, err error) (*caracal.Snapshot, error) {
	if err != nil {
		return nil, err
	}
	draft := newOverlay(fixed{next})
	o.mu.Lock()
	var all []*Endpoint
	for _, g := range o.groups {
		all = append(all, g.members...)
	}
	draft.claimed = o.claimed
	o.mu.Unlock()
	draft.mergeBlocks()
	draft.loaded = true
	draft.set(all...)
	out := *draft.Snapshot()
	out.Generation = next.Generation
	return &out, nil
}

// fixed is a Source of one Snapshot.
type fixed struct{ snap *caracal.Snapshot }

func (f fixed) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (f fixed) Snapshot() *caracal.Snapshot { return f.snap }

func (f fixed) Subscribe() <-chan struct{} { return nil }
