package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// kernel is a felix.Filter in the namespace of the thread that opened it.
type kernel struct{ filter *felix.Filter }

func openKernel(backend string) (kernel, error) {
	f, err := felix.Open(felix.FilterOptions{Backend: backend})
	return kernel{f}, err
}

// audit compares the kernel with a Ruleset, repairs it, and returns how many objects
// that changed.
func (k kernel) audit(ctx context.Context, r felix.Ruleset) (int, error) {
	res, err := k.filter.Audit(ctx, r)
	if err == nil && len(res.Repairs) > 0 {
		err = errors.New("the audit repaired what nobody changed: " + strings.Join(res.Repairs, "; "))
	}
	return res.Chains + res.Hooks + res.Sets + res.Added + res.Removed, err
}

// apply writes what differs.
func (k kernel) apply(ctx context.Context, r felix.Ruleset, d felix.Delta) error {
	_, err := k.filter.Apply(ctx, r, d)
	return err
}

// tidy destroys the sets that changes have left unused: the kernel takes its time for
// each, so no Apply does it.
func (k kernel) tidy(ctx context.Context) error {
	for {
		left, err := k.filter.Tidy(ctx)
		if err != nil || left == 0 {
			return err
		}
	}
}

func (k kernel) close() { k.filter.Close() }

// program puts the policies of a Snapshot into force in the namespace of the calling
// thread.
func program(ctx context.Context, backend string, s *caracal.Snapshot) error {
	c := felix.NewCompiler()
	if _, problems := c.Update(felix.Input{Snapshot: s}); len(problems) > 0 {
		return fmt.Errorf("%d problems: %s", len(problems), problems[0].Message)
	}
	k, err := openKernel(backend)
	if err != nil {
		return err
	}
	defer k.close()
	_, err = k.audit(ctx, c)
	return err
}
