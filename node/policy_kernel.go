package node

import (
	"context"
	"errors"
	"fmt"

	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/node/api"
)

// OpenRules opens the kernel's rules of the network namespace of the calling thread
// for [Options.OpenRules].
func OpenRules(backend string) (Rules, error) {
	f, err := felix.Open(felix.FilterOptions{Backend: backend})
	if err != nil {
		return nil, err // not a nil *Filter, which would be a Rules
	}
	return f, nil
}

// OpenFlusher opens the table of connections for [Options.OpenFlusher].
func OpenFlusher() (Flusher, error) {
	f, err := felix.OpenFlusher()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// RemoveRules takes away all rules and sets of felix, of both variants of iptables.
// Without the programs of iptables there is nothing that could be.
func RemoveRules(ctx context.Context) error {
	_, err := felix.Remove(ctx, felix.FilterOptions{})
	if err != nil && !noPrograms(err) {
		return fmt.Errorf("node: remove the rules of policies: %w", err)
	}
	return nil
}

func noPrograms(err error) bool { return errors.Is(err, felix.ErrNoProgram) }

// CleanupPolicy lists what of felix is in the kernel, and with yes removes it. It is
// [Cleanup] for rules.
func CleanupPolicy(ctx context.Context, yes bool) (res api.CleanupResult, err error) {
	res.Items, err = felix.Remains(ctx, felix.FilterOptions{})
	res.Total = len(res.Items)
	switch {
	case noPrograms(err):
		return res, nil
	case err != nil:
		return res, fmt.Errorf("node: clean up the rules of policies: %w", err)
	case !yes || res.Total == 0:
		return res, nil
	}
	if err := RemoveRules(ctx); err != nil {
		res.Failed = append(res.Failed, err.Error())
		return res, nil
	}
	res.Deleted = res.Total
	return res, nil
}
