package ipam

import (
	"context"
	"errors"
	"sync"
)

var errInjected = errors.New("injected by the test")

// flaky is a process' view of a store: it fails at a certain write, before or
// after that took effect; and if it is to crash, at everything from then on.
type flaky struct {
	*Memory
	mu            sync.Mutex
	left          int // writes until it fails; 0: none does
	after, crash  bool
	dead, stumble bool // stumble: it failed
}

func (f *flaky) fails() (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errInjected, nil
	}
	if f.left == 0 {
		return nil, nil
	}
	if f.left--; f.left > 0 {
		return nil, nil
	}
	f.dead, f.stumble = f.crash, true
	if f.after {
		return nil, errInjected
	}
	return errInjected, nil
}

func (f *flaky) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *flaky) Get(ctx context.Context, key string) (Record, error) {
	if f.isDead() {
		return Record{}, errInjected
	}
	return f.Memory.Get(ctx, key)
}

func (f *flaky) List(ctx context.Context, prefix string) ([]Record, []Damaged, error) {
	if f.isDead() {
		return nil, nil, errInjected
	}
	return f.Memory.List(ctx, prefix)
}

func (f *flaky) Put(ctx context.Context, r Record) (string, error) {
	before, after := f.fails()
	if before != nil {
		return "", before
	}
	revision, err := f.Memory.Put(ctx, r)
	if after != nil {
		return "", after
	}
	return revision, err
}

func (f *flaky) Delete(ctx context.Context, key, revision string) error {
	before, after := f.fails()
	if before != nil {
		return before
	}
	return errors.Join(f.Memory.Delete(ctx, key, revision), after)
}
