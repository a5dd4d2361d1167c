package felix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// FilterOptions are what [Open] may be told; the zero value is good.
type FilterOptions struct {
	// Backend is BackendNFT or BackendLegacy; empty takes that of the host's other
	// programs.
	Backend string
	// Patience is the longest that one program may run; 0 means 30 s. A part of
	// it goes into waiting for the lock that programs of iptables share.
	Patience time.Duration
	// Programs is the directory with iptables and its friends; empty means PATH,
	// and then /usr/sbin and /sbin.
	Programs string
	// Host is the machine; nil means the real one. With another, Backend must be
	// set.
	Host *Host
}

// Result says what an Apply or Audit wrote.
type Result struct {
	// Chains were rewritten or deleted, Rules are those in them; Hooks are chains
	// of the kernel in which our first rules were put right.
	Chains, Rules, Hooks int
	// Sets were created, exchanged or destroyed; members were added and removed.
	Sets, Added, Removed int
	// Repairs says what others had changed, as far as it can be told from changes
	// of the Ruleset; empty at the first Audit and after a failure.
	Repairs []string
	// Notes says what was left out, and why.
	Notes []string
	// Unfiltered says what no rule looks at, for want of a program, and why.
	Unfiltered []string
	// Unused sets are still to be destroyed, by later calls.
	Unused int
}

// Wrote reports whether anything was written.
func (r Result) Wrote() bool {
	return r.Chains+r.Hooks+r.Sets+r.Added+r.Removed > 0
}

// maxRepairs bounds the list of repairs: a flush may undo thousands of chains.
const maxRepairs = 20

func (r *Result) repaired(format string, args ...any) {
	if len(r.Repairs) < maxRepairs {
		r.Repairs = append(r.Repairs, fmt.Sprintf(format, args...))
	}
}

// Filter keeps sets and chains in the kernel as a [Ruleset] has them. It belongs
// to one goroutine, except for Watch, Counters and Backend.
type Filter struct {
	host    Host
	backend string
	why     string // this backend
	close   func()

	// known says that what follows is what the kernel has, as far as nobody else
	// changed it. It is not so before the first Audit and after any failure.
	known  bool
	tables map[TableRef]*tableState
	sets   map[string]SetHeader // ours
	unused []Set                // to be destroyed
	// destroyCost is how long it took to destroy one, 0 before the first.
	destroyCost time.Duration
	without     map[Family]error // families that this host does not have
}

func newFilter(host Host, backend string) *Filter {
	return &Filter{
		host: host, backend: backend, close: func() {},
		tables: map[TableRef]*tableState{}, sets: map[string]SetHeader{}, without: map[Family]error{},
	}
}

// Close releases sockets and files. Rules and sets stay.
func (f *Filter) Close() { f.close() }

// Backend returns the variant of iptables in use, BackendNFT or BackendLegacy.
func (f *Filter) Backend() string { return f.backend }

// Why says in words why it is that variant: "kubelet uses it".
func (f *Filter) Why() string { return f.why }

// Apply writes a Delta, which leads to rs, and nothing else; what it has written
// before is not written again. After an error the caller calls Audit, later and
// later. Without a successful Audit before it, it is one.
//
// Its order keeps what is forbidden before and after forbidden between: members
// are added before others are removed, both before the chains change, and then
// the members go that only the new chains contain. In a table the chains change
// at one instant.
func (f *Filter) Apply(ctx context.Context, rs Ruleset, d Delta) (Result, error) {
	if !f.known {
		return f.Audit(ctx, rs)
	}
	var res Result
	f.known = false
	if err := f.apply(ctx, rs, d, &res); err != nil {
		return res, fmt.Errorf("felix: apply: %w", err)
	}
	f.known = true
	res.Unused = len(f.unused)
	return res, nil
}

func (f *Filter) apply(ctx context.Context, rs Ruleset, d Delta, res *Result) error {
	if err := f.neededFamilies(d); err != nil {
		return err
	}
	before, after, gone := f.planDelta(rs, d)
	errs := []error{f.writeStage(ctx, before, res)}
	chains := f.applyChains(ctx, rs, d, res)
	errs = append(errs, chains)
	if chains == nil {
		errs = append(errs, f.writeStage(ctx, after, res))
		f.unused = append(f.unused, gone...)
		errs = append(errs, f.destroyQuickly(ctx, res))
	}
	return errors.Join(errs...)
}

// neededFamilies fails if the delta brings a workload an address of a family that
// the host does not have.
func (f *Filter) neededFamilies(d Delta) error {
	for _, c := range d.Sets {
		if err := f.without[c.Family]; err != nil && c.Type == HashNetIface && len(c.Add)+len(c.AddLate) > 0 {
			return fmt.Errorf("a workload has %s addresses: %w", c.Family, err)
		}
	}
	return nil
}

// planDelta sorts what a delta does to sets into what is written before the
// chains, what after them, and the sets that are not wanted afterwards.
func (f *Filter) planDelta(rs Ruleset, d Delta) (before, after setStage, gone []Set) {
	for _, c := range d.Sets {
		h, there := f.sets[c.Name]
		switch {
		case f.without[c.Family] != nil:
		case c.Gone:
			if there {
				gone = append(gone, h.Set)
			}
		case c.New || !there:
			f.planNew(&before, c, h, there)
		case h.Elements+len(c.Add)+len(c.AddLate) > h.MaxElem:
			f.planBigger(rs, &before, &after, c)
		case isLarge(c, h):
			before.add(c.Set, c.Add)
			f.planExchange(&before, c.Set, append(earlyMembers(rs, c), c.RemoveLate...))
			after.add(c.Set, c.AddLate)
			after.drop(c.Set, c.RemoveLate)
		default:
			before.add(c.Set, c.Add)
			before.drop(c.Set, c.Remove)
			after.add(c.Set, c.AddLate)
			after.drop(c.Set, c.RemoveLate)
		}
	}
	return before, after, gone
}

// earlyMembers returns what a set is to hold, without what is added late.
func earlyMembers(rs Ruleset, c SetChange) []Member {
	members := slices.Collect(rs.Members(c.Name))
	if len(c.AddLate) == 0 {
		return members
	}
	late := make(map[Member]bool, len(c.AddLate))
	for _, m := range c.AddLate {
		late[m] = true
	}
	return slices.DeleteFunc(members, func(m Member) bool { return late[m] })
}

// planNew makes a set. One of the name may be left from when it was wanted last.
func (f *Filter) planNew(st *setStage, c SetChange, h SetHeader, there bool) {
	f.unused = slices.DeleteFunc(f.unused, func(s Set) bool { return s.Name == c.Name })
	switch {
	case !there:
		st.fill = append(st.fill, createOp(c.Set, len(c.Add)))
	case h.References > 0 || h.Odd || !fits(h, c.Set) || h.MaxElem < len(c.Add):
		// Not seen by the last Audit: whoever calls the next has it replaced.
		st.fill = append(st.fill, SetOp{Verb: DestroySet, Set: c.Set}, createOp(c.Set, len(c.Add)))
	default:
		st.fill = append(st.fill, SetOp{Verb: FlushSet, Set: c.Set})
	}
	st.add(c.Set, c.Add)
}

// planBigger exchanges a set that is full for a bigger one. What only goes later
// is in the bigger one as well.
func (f *Filter) planBigger(rs Ruleset, before, after *setStage, c SetChange) {
	members := append(append(earlyMembers(rs, c), c.Remove...), c.RemoveLate...)
	f.planExchange(before, c.Set, members)
	before.drop(c.Set, c.Remove)
	after.add(c.Set, c.AddLate)
	after.drop(c.Set, c.RemoveLate)
}

func (f *Filter) planExchange(st *setStage, s Set, members []Member) {
	h, there := f.sets[tempSet(s).Name]
	f.unused = slices.DeleteFunc(f.unused, func(u Set) bool { return u.Name == h.Name })
	st.exchange(s, members, h, there)
}

func isLarge(c SetChange, h SetHeader) bool {
	return len(c.Remove) > largeChange && len(c.Remove) > h.Elements/2
}

// applyChains writes the chains of a delta, table by table, and the hooks that
// are new.
func (f *Filter) applyChains(ctx context.Context, rs Ruleset, d Delta, res *Result) error {
	changes := map[TableRef][]ChainChange{}
	for _, c := range d.Chains {
		ref := TableRef{f.backend, c.Family, c.Table}
		have := f.table(ref).chains
		old, there := have[c.Name]
		if c.Gone && !there || !c.Gone && there && old.digest == digestOf(c.Name, c.Rules) {
			continue
		}
		changes[ref] = append(changes[ref], c)
	}
	hooks := map[TableRef]map[string][]Rule{}
	for k, r := range rs.Hooks() {
		ref := TableRef{f.backend, k.Family, k.Table}
		if hooks[ref] == nil {
			hooks[ref] = map[string][]Rule{}
		}
		hooks[ref][k.Name] = append(hooks[ref][k.Name], r)
	}
	var errs []error
	for _, ref := range tablesOf(f.backend) {
		if f.without[ref.Family] != nil {
			continue
		}
		have := f.table(ref)
		p := planRestore(ref.Table, have, changes[ref], wrongHooks(have, have, hooks[ref]))
		err := f.restore(ctx, ref, have, p, res)
		errs = append(errs, err)
		if errors.Is(err, ErrStuck) {
			break
		}
	}
	return errors.Join(errs...)
}

// table returns what is known of a table.
func (f *Filter) table(ref TableRef) *tableState {
	if f.tables[ref] == nil {
		f.tables[ref] = newTableState()
	}
	return f.tables[ref]
}

// restore carries out a plan, and notes what the table holds now.
func (f *Filter) restore(ctx context.Context, ref TableRef, have *tableState, p restorePlan, res *Result) error {
	if p.empty() {
		return nil
	}
	if err := f.host.Tables.Restore(ctx, ref, p.text); err != nil {
		return fmt.Errorf("write the %s rules of table %s: %w", ref.Family, ref.Table, err)
	}
	have.written(p)
	res.Chains += len(p.chains) + len(p.gone)
	res.Rules += p.rules
	res.Hooks += len(p.hooks)
	return nil
}

// tablesOf lists the tables of a variant, in the order that they are written in:
// sources are checked before policies count on it.
func tablesOf(backend string) []TableRef {
	var refs []TableRef
	for _, t := range []Table{RawTable, FilterTable, NATTable} {
		refs = append(refs, TableRef{backend, IPv4, t}, TableRef{backend, IPv6, t})
	}
	return refs
}

// ours reports whether a set's name is one of this room.
func ours(name string) bool {
	return strings.HasPrefix(name, Prefix) && name != guardSet
}

// guardSet is the set of room ipip, which begins with our prefix.
const guardSet = "caracal-ipip"
