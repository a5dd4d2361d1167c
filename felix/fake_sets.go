package felix

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// List implements [SetHost].
func (k *Fake) List(ctx context.Context) ([]SetHeader, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var headers []SetHeader
	for _, name := range slices.Sorted(maps.Keys(k.sets)) {
		s := k.sets[name]
		h := SetHeader{Set: s.Set, Elements: len(s.members), MaxElem: s.maxElem}
		if k.used(name) {
			h.References = 1
		}
		headers = append(headers, h)
	}
	return headers, ctx.Err()
}

// Members implements [SetHost].
func (k *Fake) Members(ctx context.Context, name string, fn func(m Member, plain bool)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sets[name]
	if s == nil {
		return ErrNoSet
	}
	for m := range s.members {
		fn(m, true)
	}
	return ctx.Err()
}

// used reports whether a rule uses a set.
func (k *Fake) used(name string) bool {
	for _, t := range k.tables {
		for _, rules := range t.rules {
			for _, r := range rules {
				if strings.Contains(r, "--match-set "+name+" ") {
					return true
				}
			}
		}
	}
	return false
}

// Write implements [SetHost].
func (k *Fake) Write(ctx context.Context, ops []SetOp) ([]SetFailure, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var failures []SetFailure
	for i, op := range ops {
		if k.fail != nil {
			if err := k.fail(op.Verb.String() + " " + op.Set.Name); err != nil {
				failures = append(failures, SetFailure{i, -1, err})
				continue
			}
		}
		k.writes++
		if member, err := k.write(op); err != nil {
			failures = append(failures, SetFailure{i, member, err})
		}
	}
	return failures, nil
}

// Change has another program write to the sets, and returns the first failure.
func (k *Fake) Change(ops ...SetOp) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, op := range ops {
		if _, err := k.write(op); err != nil {
			return err
		}
	}
	return nil
}

func (k *Fake) write(op SetOp) (member int, err error) {
	s := k.sets[op.Set.Name]
	if op.Verb == CreateSet {
		if s != nil {
			return -1, ErrSetExists
		}
		k.sets[op.Set.Name] = &fakeSet{op.Set, map[Member]bool{}, op.MaxElem}
		return 0, nil
	}
	if s == nil {
		return -1, ErrNoSet
	}
	switch op.Verb {
	case DestroySet:
		if k.used(op.Set.Name) {
			return -1, ErrSetInUse
		}
		delete(k.sets, op.Set.Name)
	case FlushSet:
		clear(s.members)
	case SwapSets:
		return -1, k.swap(s, k.sets[op.Other])
	case AddMembers:
		for i, m := range op.Members {
			if len(s.members) >= s.maxElem && !s.members[m] {
				return i, ErrSetFull
			}
			s.members[m] = true
		}
	case RemoveMembers:
		for _, m := range op.Members {
			delete(s.members, m)
		}
	}
	return 0, nil
}

func (k *Fake) swap(a, b *fakeSet) error {
	switch {
	case b == nil:
		return ErrNoSet
	case a.Type != b.Type || a.Family != b.Family:
		return ErrSetMismatch
	}
	a.members, b.members = b.members, a.members
	a.maxElem, b.maxElem = b.maxElem, a.maxElem
	return nil
}
