package felix

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

const (
	// leastMaxElem is the room for members that a set is made with. It costs
	// nothing until it is used.
	leastMaxElem = 1 << 18
	// largeChange is from how many members on a set is exchanged as a whole
	// rather than emptied one by one, if it loses more than half of them.
	largeChange = 4096
	// To destroy a set takes 15 µs with Linux 6.8 and newer, and before that 40 ms
	// or so, in which the kernel waits for all readers. So how long it may take is
	// what is bounded, in Audit and in Apply.
	destroyInAudit = 500 * time.Millisecond
	destroyInApply = 2 * time.Millisecond
	// manyUnused is how many unused sets may wait for an Audit where Apply has no
	// time for them.
	manyUnused = 64
)

// tempPrefix begins the names of the sets that are filled to be swapped in.
const tempPrefix = Prefix + "tmp-"

// tempSet returns the set that is filled in place of s.
func tempSet(s Set) Set {
	sum := sha256.Sum256([]byte(s.Name))
	s.Name = tempPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
	return s
}

// maxElemFor returns how many members a set may have that is to have n: room for
// as many again.
func maxElemFor(n int) int { return max(leastMaxElem, 1<<bits.Len(uint(2*n))) }

// hashSizeFor returns the number of buckets a set of n members begins with. The
// kernel doubles it when buckets overflow (mtype_resize, ip_set_hash_gen.h), and
// that takes time once members are there; its least is 64.
func hashSizeFor(n int) int { return max(64, 1<<bits.Len(uint(n)/2)) }

func createOp(s Set, members int) SetOp {
	return SetOp{Verb: CreateSet, Set: s, HashSize: hashSizeFor(members), MaxElem: maxElemFor(members)}
}

// fits reports whether a set can be swapped with one as it is wanted
// (ip_set_swap, ip_set_core.c).
func fits(h SetHeader, s Set) bool { return h.Type == s.Type && h.Family == s.Family }

// setStage is what is written of the sets at one time: first all of fill, then
// the swaps whose temporary set could be filled, then all of remove.
type setStage struct{ fill, swaps, remove []SetOp }

func (st *setStage) add(s Set, members []Member) {
	if len(members) > 0 {
		st.fill = append(st.fill, SetOp{Verb: AddMembers, Set: s, Members: members})
	}
}

func (st *setStage) drop(s Set, members []Member) {
	if len(members) > 0 {
		st.remove = append(st.remove, SetOp{Verb: RemoveMembers, Set: s, Members: members})
	}
}

// exchange replaces s by a new set with these members. temp is the temporary set
// that an earlier exchange left, if it is there.
func (st *setStage) exchange(s Set, members []Member, temp SetHeader, there bool) {
	t := tempSet(s)
	switch {
	case !there:
		st.fill = append(st.fill, createOp(t, len(members)))
	case fits(temp, s) && !temp.Odd && temp.MaxElem >= maxElemFor(len(members)):
		st.fill = append(st.fill, SetOp{Verb: FlushSet, Set: t})
	default:
		st.fill = append(st.fill, SetOp{Verb: DestroySet, Set: t}, createOp(t, len(members)))
	}
	st.add(t, members)
	st.swaps = append(st.swaps, SetOp{Verb: SwapSets, Set: t, Other: s.Name})
}

// writeStage carries out a stage. One set that fails does not stop the others.
func (f *Filter) writeStage(ctx context.Context, st setStage, res *Result) error {
	bad, err := f.writeSets(ctx, st.fill, res)
	swaps := slices.DeleteFunc(st.swaps, func(op SetOp) bool { return bad[op.Set.Name] })
	_, also := f.writeSets(ctx, swaps, res)
	_, too := f.writeSets(ctx, st.remove, res)
	return errors.Join(err, also, too)
}

// writeSets carries out ops, and notes what the sets hold now. bad are the sets
// with a failure.
func (f *Filter) writeSets(ctx context.Context, ops []SetOp, res *Result) (bad map[string]bool, err error) {
	if len(ops) == 0 {
		return nil, nil
	}
	bad = map[string]bool{}
	failures, err := f.host.Sets.Write(ctx, ops)
	if err != nil {
		for _, op := range ops {
			bad[op.Set.Name] = true
		}
		return bad, fmt.Errorf("write ipsets: %w", err)
	}
	failed := make(map[int]int, len(failures)) // members, or all of them, by op
	var errs []error
	for _, fail := range failures {
		op := ops[fail.Op]
		bad[op.Set.Name] = true
		failed[fail.Op]++
		if fail.Member < 0 {
			failed[fail.Op] = len(op.Members) + 1
		}
		if len(errs) < maxRepairs {
			errs = append(errs, setError(op, fail))
		}
	}
	for i, op := range ops {
		if failed[i] <= len(op.Members) && (failed[i] == 0 || len(op.Members) > 0) {
			f.wroteSet(op, len(op.Members)-failed[i], res)
		}
	}
	return bad, errors.Join(errs...)
}

// setError says what was refused, and what to do about it.
func setError(op SetOp, fail SetFailure) error {
	what := op.Verb.String() + " ipset " + op.Set.Name
	if op.Verb == SwapSets {
		what += " and " + op.Other
	}
	if fail.Member >= 0 {
		what += ": member " + op.Members[fail.Member].String()
	}
	switch {
	case errors.Is(fail.Err, ErrNoSet):
		return fmt.Errorf("%s: %w; another program destroyed it, and the next audit makes it again", what, fail.Err)
	case errors.Is(fail.Err, ErrSetInUse):
		return fmt.Errorf("%s: %w; `iptables-save | grep %s` shows whose", what, fail.Err, op.Set.Name)
	}
	return fmt.Errorf("%s: %w", what, fail.Err)
}

// wroteSet notes an op that is done, with n of its members.
func (f *Filter) wroteSet(op SetOp, n int, res *Result) {
	h := f.sets[op.Set.Name]
	switch op.Verb {
	case CreateSet:
		res.Sets++
		f.sets[op.Set.Name] = SetHeader{Set: op.Set, MaxElem: op.MaxElem, HashSize: op.HashSize}
		return
	case DestroySet:
		res.Sets++
		delete(f.sets, op.Set.Name)
		return
	case SwapSets:
		res.Sets++
		other := f.sets[op.Other]
		h.Name, other.Name = other.Name, h.Name
		h.References, other.References = other.References, h.References // they stay with the name
		f.sets[h.Name], f.sets[other.Name] = h, other
		f.unused = append(f.unused, other.Set)
		return
	case AddMembers:
		res.Added += n
		h.Elements += n // at most: some may have been there
	case RemoveMembers:
		res.Removed += n
		h.Elements = max(0, h.Elements-n)
	case FlushSet:
		h.Elements = 0
	}
	f.sets[op.Set.Name] = h
}

// destroy destroys up to n unused sets. Those that a rule still uses stay until
// another time.
func (f *Filter) destroy(ctx context.Context, n int, res *Result) error {
	n = min(n, len(f.unused))
	if n == 0 {
		return nil
	}
	batch := slices.Clone(f.unused[:n])
	var ops []SetOp
	for _, s := range batch {
		ops = append(ops, SetOp{Verb: DestroySet, Set: s})
	}
	failures, err := f.host.Sets.Write(ctx, ops)
	if err != nil {
		return fmt.Errorf("destroy unused ipsets: %w", err)
	}
	f.unused = slices.Delete(f.unused, 0, n)
	for _, fail := range failures {
		s := batch[fail.Op]
		if errors.Is(fail.Err, ErrNoSet) {
			continue
		}
		f.unused = append(f.unused, s)
		if errors.Is(fail.Err, ErrSetInUse) {
			res.Notes = append(res.Notes, fmt.Sprintf("ipset %s is no longer wanted, but rules use it: `iptables-save | grep %s` shows whose", s.Name, s.Name))
			continue
		}
		err = errors.Join(err, fmt.Errorf("destroy ipset %s: %w", s.Name, fail.Err))
	}
	for _, s := range batch {
		if !slices.Contains(f.unused, s) {
			delete(f.sets, s.Name)
			res.Sets++
		}
	}
	return err
}

// destroySome destroys unused sets for about as long as budget.
func (f *Filter) destroySome(ctx context.Context, budget time.Duration, res *Result) error {
	var errs []error
	start := time.Now()
	for left := len(f.unused); left > 0 && time.Since(start) < budget; {
		n := 1
		if f.destroyCost > 0 {
			n = int(min(max((budget-time.Since(start))/f.destroyCost, 1), 256))
		}
		n = min(n, left)
		left -= n
		from := time.Now()
		if err := f.destroy(ctx, n, res); err != nil {
			errs = append(errs, err)
		}
		f.destroyCost = time.Since(from) / time.Duration(n)
	}
	return errors.Join(errs...)
}

// destroyQuickly destroys unused sets where that holds nobody up.
func (f *Filter) destroyQuickly(ctx context.Context, res *Result) error {
	if f.destroyCost > 0 && f.destroyCost < destroyInApply {
		return f.destroySome(ctx, destroyInApply, res)
	}
	if len(f.unused) > manyUnused {
		return f.destroy(ctx, 1, res)
	}
	return nil
}

// Tidy destroys sets that are not used any more for a little while, and returns
// how many are left. Audit does so as well: call it when there is nothing else to
// do, where [Result.Unused] says so.
func (f *Filter) Tidy(ctx context.Context) (left int, err error) {
	var res Result
	if err := f.destroySome(ctx, destroyInAudit/10, &res); err != nil {
		return len(f.unused), fmt.Errorf("felix: %w", err)
	}
	return len(f.unused), nil
}

// setDiff is what one set lacks and has too much.
type setDiff struct {
	missing, extra []Member
	odd            bool // a member is not what it seems: the set must be exchanged
}

// setReader compares the members that the kernel lists with those wanted, of
// which it has one copy.
type setReader struct {
	missing map[Member]struct{}
	diff    setDiff
}

func newSetReader(rs Ruleset, s SetHeader) *setReader {
	r := &setReader{missing: make(map[Member]struct{}, s.Elements)}
	for m := range rs.Members(s.Name) {
		r.missing[m] = struct{}{}
	}
	return r
}

func (r *setReader) member(m Member, plain bool) {
	if !plain {
		r.diff.odd = true
		return
	}
	if _, ok := r.missing[m]; ok {
		delete(r.missing, m)
		return
	}
	r.diff.extra = append(r.diff.extra, m)
}

func (r *setReader) done() setDiff {
	for m := range r.missing {
		r.diff.missing = append(r.diff.missing, m)
	}
	slices.SortFunc(r.diff.missing, compareMembers)
	slices.SortFunc(r.diff.extra, compareMembers)
	return r.diff
}

// compareMembers orders members, so that what is written is the same each time.
func compareMembers(a, b Member) int {
	return cmp.Or(a.Net.Addr().Compare(b.Net.Addr()), cmp.Compare(a.Net.Bits(), b.Net.Bits()),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Iface, b.Iface))
}

// String returns the member as ipset(8) prints it: "10.0.0.1,tcp:80".
func (m Member) String() string {
	s := m.Net.String()
	if m.Net.IsSingleIP() {
		s = m.Net.Addr().String()
	}
	switch {
	case m.Iface != "":
		s += "," + m.Iface
	case m.Protocol != 0:
		s += fmt.Sprintf(",%s:%d", setProtocol(m.Protocol), m.Port)
	}
	return s
}

func setProtocol(p uint8) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return fmt.Sprint(p)
}
