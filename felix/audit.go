package felix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Audit reads back all that is ours in the kernel, and makes it what rs has: sets
// and members, chains and rules, and that ours come first in the kernel's chains.
// What is left of ours in the other variant of iptables goes after that, and a
// few of the sets that are not used any more.
//
// What fails does not stop the rest. It is the first call in a process, it
// follows each failed Apply, and it is made from time to time.
func (f *Filter) Audit(ctx context.Context, rs Ruleset) (Result, error) {
	var res Result
	known := f.known
	f.known = false
	err := f.audit(ctx, rs, known, &res)
	f.known = err == nil
	res.Unused = len(f.unused)
	if !known { // what we had left undone ourselves is among it
		res.Repairs = nil
	}
	if err != nil {
		return res, fmt.Errorf("felix: audit: %w", err)
	}
	return res, nil
}

func (f *Filter) audit(ctx context.Context, rs Ruleset, known bool, res *Result) error {
	want := wantedTables(rs)
	present, err := f.families(ctx, rs, res)
	errs := []error{err}
	// Chains that were in need no set that was not there: if somebody flushed
	// them, they are back before large sets are read.
	var tables error
	early := known && f.wrote(want)
	if early {
		tables = f.auditTables(ctx, want, present, res)
		early = tables == nil || errors.Is(tables, ErrStuck)
	}
	before, after, wrong, err := f.readSets(ctx, rs, res)
	if !early {
		before.putOff(&after)
	}
	errs = append(errs, err, f.replaceWrong(ctx, wrong, present))
	errs = append(errs, f.writeStage(ctx, before, res))
	if !early || len(wrong) > 0 {
		tables = f.auditTables(ctx, want, present, res)
	}
	// Whatever became of the chains: a member that is too much may open something.
	errs = append(errs, tables, f.writeStage(ctx, after, res))
	if tables == nil && len(present) > 0 {
		f.clearOther(ctx, res)
		errs = append(errs, f.destroySome(ctx, destroyInAudit, res))
	}
	return errors.Join(errs...)
}

// wrote reports whether the chains that are wanted are those that we knew to be in.
func (f *Filter) wrote(want map[Family]map[Table]*tableWant) bool {
	for family, tables := range want {
		for t, w := range tables {
			have := f.table(TableRef{f.backend, family, t}).chains
			for name, rules := range w.chains {
				if c, ok := have[name]; !ok || c.digest != digestOf(name, rules) {
					return false
				}
			}
		}
	}
	return true
}

// families asks which families and tables there are: the tables of those that can
// be written, and whether they hold anything. Without IPv6 it is an error if a
// workload has an address of it.
func (f *Filter) families(ctx context.Context, rs Ruleset, res *Result) (map[TableRef]bool, error) {
	present := map[TableRef]bool{}
	clear(f.without)
	var errs []error
	for _, family := range []Family{IPv4, IPv6} {
		tables, err := f.host.Tables.Present(ctx, f.backend, family)
		switch {
		case err == nil:
			for _, t := range []Table{RawTable, FilterTable, NATTable} {
				present[TableRef{f.backend, family, t}] = slices.Contains(tables, t)
			}
		case !errors.Is(err, ErrNoFamily) || family == IPv4:
			errs = append(errs, fmt.Errorf("look for the %s tables: %w", family, err))
		case needsFamily(rs, family):
			errs = append(errs, fmt.Errorf("a workload has %s addresses: %w", family, err))
		default:
			f.without[family] = err
			if !errors.Is(err, errNoIPv6) {
				res.Unfiltered = append(res.Unfiltered, fmt.Sprintf("%s is not filtered, neither for workloads that give themselves addresses nor for the node's BGP port: %v", family, err))
			}
		}
	}
	return present, errors.Join(errs...)
}

// needsFamily reports whether a local workload has an address of the family: its
// interface is then in a set beside it.
func needsFamily(rs Ruleset, family Family) bool {
	for s := range rs.Sets() {
		if s.Family != family || s.Type != HashNetIface {
			continue
		}
		for range rs.Members(s.Name) {
			return true
		}
	}
	return false
}

// readSets lists the kernel's sets and plans what makes them right: before the
// chains what is missing, after them what is too much. wrong are those that have
// our names and cannot be swapped.
func (f *Filter) readSets(ctx context.Context, rs Ruleset, res *Result) (before, after setStage, wrong []SetHeader, err error) {
	was := maps.Clone(f.sets)
	if err := f.listOurs(ctx); err != nil {
		return before, after, nil, err
	}
	f.noteSets(was, res)
	wanted := map[string]bool{}
	for s := range rs.Sets() {
		if f.without[s.Family] != nil {
			continue
		}
		wanted[s.Name] = true
		h, there := f.sets[s.Name]
		switch {
		case !there:
			f.planMissing(&before, rs, s)
		case !fits(h, s):
			wrong = append(wrong, h)
			f.planMissing(&before, rs, s)
		default:
			if err := f.readSet(ctx, rs, s, h, &before, &after, res); err != nil {
				return before, after, nil, err
			}
		}
	}
	f.unused = f.unused[:0]
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		if !wanted[name] && !before.uses(name) && !after.uses(name) {
			f.unused = append(f.unused, f.sets[name].Set)
		}
	}
	return before, after, wrong, nil
}

// putOff moves to the stage after the chains what lets workloads do more that the
// chains which are not in yet may forbid; see [SetChange.AddLate]. It is missing now,
// so nobody loses anything. Sets that are made in this stage need their members.
func (st *setStage) putOff(after *setStage) {
	made := map[string]bool{}
	st.fill = slices.DeleteFunc(st.fill, func(op SetOp) bool {
		if op.Verb != AddMembers {
			made[op.Set.Name] = true
			return false
		}
		peers := op.Set.Type == HashIPPort || op.Set.Type == HashIP && !fixedName(op.Set.Name) || op.Set.Name == setLocal.name(op.Set.Family)
		if !peers || made[op.Set.Name] {
			return false
		}
		after.fill = append(after.fill, op)
		return true
	})
}

// uses reports whether an op of the stage is about a set.
func (st *setStage) uses(name string) bool {
	return slices.ContainsFunc(st.fill, func(op SetOp) bool { return op.Set.Name == name })
}

func (f *Filter) planMissing(st *setStage, rs Ruleset, s Set) {
	members := slices.Collect(rs.Members(s.Name))
	st.fill = append(st.fill, createOp(s, len(members)))
	st.add(s, members)
}

// readSet reads one set and plans what makes it right.
func (f *Filter) readSet(ctx context.Context, rs Ruleset, s Set, h SetHeader, before, after *setStage, res *Result) error {
	r := newSetReader(rs, h)
	n := len(r.missing)
	if !h.Odd && h.MaxElem >= n {
		err := f.host.Sets.Members(ctx, s.Name, r.member)
		if errors.Is(err, ErrNoSet) { // since the listing
			f.planMissing(before, rs, s)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read ipset %s: %w", s.Name, err)
		}
	}
	diff := r.done()
	switch {
	case diff.odd || h.Odd || h.MaxElem < n || h.Elements+len(diff.missing) > h.MaxElem:
		f.planExchange(before, s, slices.Collect(rs.Members(s.Name)))
	case len(diff.extra) > largeChange && len(diff.extra) > h.Elements/2:
		before.add(s, diff.missing)
		f.planExchange(after, s, slices.Collect(rs.Members(s.Name)))
	default:
		before.add(s, diff.missing)
		after.drop(s, diff.extra)
	}
	return nil
}

// auditTables puts the tables right, one after the other, of the families that
// can be written.
func (f *Filter) auditTables(ctx context.Context, want map[Family]map[Table]*tableWant, present map[TableRef]bool, res *Result) error {
	var errs []error
	for _, ref := range tablesOf(f.backend) {
		there, usable := present[ref]
		if !usable {
			continue
		}
		w := want[ref.Family][ref.Table]
		if w == nil {
			w = &tableWant{}
		}
		err := f.auditTable(ctx, ref, w, there, res)
		errs = append(errs, err)
		if errors.Is(err, ErrStuck) {
			break
		}
	}
	return errors.Join(errs...)
}

// auditTable reads a table and writes what is not right in it. If that is
// refused, somebody may have changed the table meanwhile, or uses a chain that is
// to go: so once more with what it holds now, and without deletions.
func (f *Filter) auditTable(ctx context.Context, ref TableRef, want *tableWant, present bool, res *Result) error {
	was := f.table(ref)
	var failed error
	for _, keep := range []bool{false, true} {
		have := newTableState()
		if present || failed != nil {
			var err error
			if have, err = f.read(ctx, ref); err != nil {
				return err
			}
		}
		p := planAudit(ref.Table, was, have, want, keep)
		noteRepairs(res, ref, was, have, want, p)
		some, err := f.preload(ctx, ref, have, want, res)
		if some {
			p = planAudit(ref.Table, was, have, want, keep)
		}
		if err == nil {
			err = f.restore(ctx, ref, have, p, res)
		}
		if err == nil {
			f.tables[ref] = have
			if failed != nil && len(have.chains) > len(want.chains) {
				return fmt.Errorf("delete chains that are not wanted: %w", failed)
			}
			return nil
		}
		failed = err
		if ctx.Err() != nil || errors.Is(err, ErrStuck) {
			break
		}
	}
	delete(f.tables, ref)
	return failed
}

// noteRepairs says what others changed in a table: what was right and is not now,
// and what was not there.
func noteRepairs(res *Result, ref TableRef, was, have *tableState, want *tableWant, p restorePlan) {
	for _, name := range slices.Sorted(maps.Keys(p.chains)) {
		if was.chains[name].digest != p.chains[name].digest {
			continue
		}
		word := "was gone"
		if _, ok := have.chains[name]; ok {
			word = "was changed"
		}
		res.repaired("chain %s of %s %s %s", name, ref.Family, ref.Table, word)
	}
	for _, name := range p.gone {
		if _, ok := was.chains[name]; !ok {
			res.repaired("chain %s of %s %s was not ours", name, ref.Family, ref.Table)
		}
	}
	for _, chain := range slices.Sorted(maps.Keys(p.hooks)) {
		if hooksRight(nil, was.hooks[chain], chain, want.hooks[chain]) {
			res.repaired("our rule was not the first of chain %s of %s %s", chain, ref.Family, ref.Table)
		}
	}
}

// noteSets says what others changed of the sets, as far as that shows in what
// there is to know of them beside their members.
func (f *Filter) noteSets(was map[string]SetHeader, res *Result) {
	for _, name := range slices.Sorted(maps.Keys(was)) {
		old := was[name]
		h, there := f.sets[name]
		switch {
		case !there:
			res.repaired("ipset %s was gone", name)
		case h.Set != old.Set || h.Odd != old.Odd:
			res.repaired("ipset %s was of another type", name)
		case h.Elements != old.Elements:
			res.repaired("ipset %s had %d members instead of %d", name, h.Elements, old.Elements)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.sets)) {
		if _, ok := was[name]; !ok {
			res.repaired("ipset %s was not ours", name)
		}
	}
}

// read reads a table.
func (f *Filter) read(ctx context.Context, ref TableRef) (*tableState, error) {
	r := newTableReader()
	if err := f.host.Tables.Save(ctx, ref, r.line); err != nil {
		return nil, fmt.Errorf("read the %s rules of table %s: %w", ref.Family, ref.Table, err)
	}
	if !r.whole {
		return nil, fmt.Errorf("read the %s rules of table %s: iptables-save ended without COMMIT; if nft(8) wrote to that table, iptables cannot", ref.Family, ref.Table)
	}
	return r.done(), nil
}

// clearOther removes what is left of ours in the other variant of iptables, from
// before it was changed. The kernel may not have that one, so a failure is no more
// than worth a word.
func (f *Filter) clearOther(ctx context.Context, res *Result) {
	other := BackendNFT
	if f.backend == BackendNFT {
		other = BackendLegacy
	}
	if err := f.clear(ctx, other, res); err != nil {
		res.Notes = append(res.Notes, err.Error())
	}
}

// clear removes all that is ours from a variant of iptables. That the variant is
// not to be had is fine: then nothing of ours is there.
func (f *Filter) clear(ctx context.Context, backend string, res *Result) error {
	err := f.eachTable(ctx, backend, func(ref TableRef, have *tableState) error {
		return f.restore(ctx, ref, have, planAudit(ref.Table, have, have, &tableWant{}, false), res)
	})
	if err != nil {
		return fmt.Errorf("look for what is left of ours in iptables-%s: %w", backend, err)
	}
	return nil
}

// eachTable reads each table of a variant.
func (f *Filter) eachTable(ctx context.Context, backend string, fn func(TableRef, *tableState) error) error {
	var errs []error
	for _, family := range []Family{IPv4, IPv6} {
		tables, err := f.host.Tables.Present(ctx, backend, family)
		if errors.Is(err, ErrNoFamily) {
			continue
		}
		errs = append(errs, err)
		for _, t := range tables {
			ref := TableRef{backend, family, t}
			have, err := f.read(ctx, ref)
			if err == nil {
				err = fn(ref, have)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// replaceWrong destroys the sets that have our names and not our types. Rules
// that use them are ours or edited ones of ours: their chains drop everything
// until they are written anew, which the same Audit does.
func (f *Filter) replaceWrong(ctx context.Context, wrong []SetHeader, present map[TableRef]bool) error {
	if len(wrong) == 0 {
		return nil
	}
	var errs []error
	for _, ref := range tablesOf(f.backend) {
		if present[ref] {
			errs = append(errs, f.closeUsers(ctx, ref, wrong))
		}
	}
	var ops []SetOp
	for _, h := range wrong {
		ops = append(ops, SetOp{Verb: DestroySet, Set: h.Set})
	}
	var res Result
	_, err := f.writeSets(ctx, ops, &res)
	return errors.Join(append(errs, err)...)
}

// closeUsers has the chains of a table that use one of the sets drop everything;
// those of nat, which may not drop, do nothing.
func (f *Filter) closeUsers(ctx context.Context, ref TableRef, sets []SetHeader) error {
	var changes []ChainChange
	err := f.host.Tables.Save(ctx, ref, func(line []byte) {
		_, rule := cutCounters(line)
		words := strings.Fields(string(rule))
		if len(words) < 2 || words[0] != "-A" || !strings.HasPrefix(words[1], Prefix) {
			return
		}
		uses := slices.ContainsFunc(sets, func(h SetHeader) bool { return slices.Contains(words, h.Name) })
		if !uses || len(changes) > 0 && changes[len(changes)-1].Name == words[1] {
			return
		}
		c := ChainChange{ChainKey: ChainKey{ref.Family, ref.Table, words[1]}}
		if ref.Table != NATTable {
			c.Rules = []Rule{{Spec: "-j DROP", About: "until a set is made anew"}}
		}
		changes = append(changes, c)
	})
	if err != nil {
		return fmt.Errorf("read the %s rules of table %s: %w", ref.Family, ref.Table, err)
	}
	var res Result
	return f.restore(ctx, ref, newTableState(), planRestore(ref.Table, newTableState(), changes, nil), &res)
}
