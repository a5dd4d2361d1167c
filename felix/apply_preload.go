package felix

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// chainsAtOnce is how many new chains one transaction of iptables-nft makes. The
// time that it takes grows with the square of their number: 0.16 s for 2,500 of
// two rules, 2.8 s for 10,000.
const chainsAtOnce = 1500

// preload makes the chains that a table lacks, if they are many, in several
// transactions, and reports whether it made any. No rule leads to them before the last one, which the caller
// writes: it changes what is there already and the kernel's own chains, and so
// everything at one instant.
func (f *Filter) preload(ctx context.Context, ref TableRef, have *tableState, want *tableWant, res *Result) (some bool, err error) {
	var missing []string
	for name := range want.chains {
		if _, ok := have.chains[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) <= chainsAtOnce || ref.Backend != BackendNFT {
		return false, nil
	}
	for batch := range slices.Chunk(calleesFirst(want.chains, missing), chainsAtOnce) {
		var changes []ChainChange
		for _, name := range batch {
			changes = append(changes, ChainChange{ChainKey: ChainKey{ref.Family, ref.Table, name}, Rules: want.chains[name]})
		}
		if err := f.restore(ctx, ref, have, planRestore(ref.Table, have, changes, nil), res); err != nil {
			return true, err
		}
	}
	return true, nil
}

// calleesFirst sorts chains so that each comes after those that its rules lead to.
func calleesFirst(chains map[string][]Rule, names []string) []string {
	left := make(map[string]bool, len(names))
	for _, name := range names {
		left[name] = true
	}
	var sorted []string
	var visit func(name string)
	visit = func(name string) {
		if !left[name] {
			return
		}
		delete(left, name)
		for _, r := range chains[name] {
			if target := targetOf(r.Spec); target != "" {
				visit(target)
			}
		}
		sorted = append(sorted, name)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		visit(name)
	}
	return sorted
}

// targetOf returns the chain of ours that a rule leads to.
func targetOf(spec string) string {
	words := strings.Fields(spec)
	for i, w := range words[:max(0, len(words)-1)] {
		if (w == "-j" || w == "-g") && strings.HasPrefix(words[i+1], Prefix) {
			return words[i+1]
		}
	}
	return ""
}
