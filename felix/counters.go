package felix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Counter is what one rule of ours has seen.
type Counter struct {
	ChainKey
	Index          int    // of the rule in its chain, from 0
	About          string // as the rule has it, cut if it was long
	Packets, Bytes uint64
}

// Counters reads what our rules have counted, in the order of tables and chains.
// It may be called at any time and by any goroutine.
func (f *Filter) Counters(ctx context.Context) ([]Counter, error) {
	var all []Counter
	present := map[TableRef]bool{}
	for _, family := range []Family{IPv4, IPv6} {
		tables, err := f.host.Tables.Present(ctx, f.backend, family)
		if err != nil && !(family == IPv6 && errors.Is(err, ErrNoFamily)) {
			return nil, fmt.Errorf("felix: read counters: look for the %s tables: %w", family, err)
		}
		for _, t := range tables {
			present[TableRef{f.backend, family, t}] = true
		}
	}
	for _, ref := range tablesOf(f.backend) {
		if !present[ref] {
			continue
		}
		err := f.host.Tables.Save(ctx, ref, func(line []byte) {
			counters, rule := cutCounters(line)
			rest, ok := bytes.CutPrefix(rule, []byte("-A "))
			if !ok {
				return
			}
			name, spec, _ := bytes.Cut(rest, []byte(" "))
			_, about, marked := readMark(spec)
			if !marked {
				return
			}
			c := Counter{ChainKey: ChainKey{ref.Family, ref.Table, string(name)}, About: string(about)}
			c.Packets, c.Bytes = parseCounters(counters)
			if n := len(all); n > 0 && all[n-1].ChainKey == c.ChainKey {
				c.Index = all[n-1].Index + 1
			}
			all = append(all, c)
		})
		if err != nil {
			return all, fmt.Errorf("felix: read the counters of the %s rules of table %s: %w", ref.Family, ref.Table, err)
		}
	}
	return all, nil
}

// Watch rings when somebody else changed the rules, so that the caller may audit
// them at once. It rings in vain at times, and not for all changes; it is nil
// where that cannot be told. It may be called before the first Audit.
func (f *Filter) Watch(ctx context.Context) <-chan struct{} {
	bell, err := f.host.Tables.Watch(ctx, f.backend)
	if err != nil {
		return nil // audits see it, a little later
	}
	return bell
}
