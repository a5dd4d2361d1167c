package felix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Remains lists what there is of ours in the network namespace of the calling
// thread, in both variants of iptables, for people: "12 chains in IPv4 filter
// (nft)". The set and rule of room ipip are not among it.
func Remains(ctx context.Context, o FilterOptions) ([]string, error) {
	f, err := Open(o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	count := func(ref TableRef, have *tableState) error {
		hooks := 0
		for _, h := range have.hooks {
			hooks += len(h)
		}
		if n := len(have.chains); n+hooks > 0 {
			lines = append(lines, fmt.Sprintf("%d chains in %s, with %d rules that lead to them", n, ref, hooks))
		}
		return nil
	}
	other := map[string]string{BackendNFT: BackendLegacy, BackendLegacy: BackendNFT}[f.backend]
	_ = f.eachTable(ctx, other, count) // the kernel may not have it
	if err := f.eachTable(ctx, f.backend, count); err != nil {
		return lines, fmt.Errorf("felix: look for rules: %w", err)
	}
	if err := f.listOurs(ctx); err != nil {
		return lines, fmt.Errorf("felix: look for ipsets: %w", err)
	}
	if n := len(f.sets); n > 0 {
		lines = append(lines, fmt.Sprintf("%d ipsets", n))
	}
	return lines, nil
}

// Remove deletes all rules, chains and sets of ours in the network namespace of
// the calling thread, in both variants of iptables: what was forbidden is allowed
// from then on. A second one does nothing.
func Remove(ctx context.Context, o FilterOptions) (Result, error) {
	var res Result
	f, err := Open(o)
	if err != nil {
		return res, err
	}
	defer f.Close()
	errs := []error{f.clear(ctx, f.backend, &res)}
	f.clearOther(ctx, &res)
	if err := f.listOurs(ctx); err != nil {
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		f.unused = append(f.unused, f.sets[name].Set)
	}
	const atOnce = 16 // so that ctx is looked at
	for range (len(f.unused) + atOnce - 1) / atOnce {
		errs = append(errs, ctx.Err(), f.destroy(ctx, atOnce, &res))
	}
	res.Unused = len(f.unused)
	if err := errors.Join(errs...); err != nil {
		return res, fmt.Errorf("felix: remove: %w", err)
	}
	return res, nil
}

// listOurs reads which sets of ours there are.
func (f *Filter) listOurs(ctx context.Context) error {
	headers, err := f.host.Sets.List(ctx)
	if err != nil {
		return fmt.Errorf("list ipsets: %w", err)
	}
	clear(f.sets)
	for _, h := range headers {
		if ours(h.Name) {
			f.sets[h.Name] = h
		}
	}
	return nil
}
