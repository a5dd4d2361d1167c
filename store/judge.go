package store

import (
	"cmp"
	"slices"

	v1 "caracal.dev/caracal/api/v1"
)

// Proposal is what a source offers, sorted by what is to win.
type Proposal struct {
	// InForce are accepted objects that stay as they are. They are never
	// rejected: they were accepted together.
	InForce []*Object
	// Changed are new objects and new versions of accepted ones.
	Changed []*Object
	// Accepted are the versions in force of those in Changed; one that is
	// rejected falls back to it.
	Accepted map[Key]*Object
}

// Rejection says why an object does not fit with the others.
type Rejection struct {
	Object *Object
	// Reason begins with the field: "spec.cidr: overlaps …".
	Reason string
	// InForce is the accepted version that stays; nil if there is none.
	InForce *Object
}

// Verdict is which objects are to be in force.
type Verdict struct {
	Objects  []*Object // sorted by kind and name
	Rejected []Rejection
	// Strained are objects in force that conflict with each other, which takes
	// the removal of a third. Nothing is done about it but to say so.
	Strained []Rejection
}

// Judge decides which of the proposed objects can be in force together. The
// later one of two that conflict is rejected: what is in force wins over what
// is new, and among what is new the file that sorts first. An object that is
// rejected falls back to its accepted version, and all are judged again, since
// that version may be in the way of another.
func Judge(p Proposal) Verdict {
	inForce := slices.Clone(p.InForce)
	changed := slices.Clone(p.Changed)
	slices.SortFunc(inForce, func(a, b *Object) int { return cmp.Or(a.AcceptedAt.Compare(b.AcceptedAt), compareKeys(a, b)) })
	slices.SortFunc(changed, func(a, b *Object) int {
		return cmp.Or(cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Source, b.Source), compareKeys(a, b))
	})
	var v Verdict
	for {
		found := conflicts(inForce, changed)
		rejected := map[*Object]bool{}
		v.Strained = nil
		for _, c := range found {
			if rejected[c.blame.Object] || rejected[c.with.Object] {
				continue
			}
			if !c.blame.changed {
				v.Strained = append(v.Strained, Rejection{Object: c.blame.Object, Reason: c.reason})
				continue
			}
			rejected[c.blame.Object] = true
			old := p.Accepted[c.blame.Key]
			v.Rejected = append(v.Rejected, Rejection{Object: c.blame.Object, Reason: c.reason, InForce: old})
			if old != nil {
				inForce = append(inForce, old)
			}
		}
		changed = slices.DeleteFunc(changed, func(o *Object) bool { return rejected[o] })
		if len(rejected) == 0 {
			break
		}
	}
	v.Objects = append(inForce, changed...)
	slices.SortFunc(v.Objects, compareKeys)
	return v
}

// kindOrder puts what others are judged by first.
func kindOrder(kind string) int {
	switch kind {
	case v1.KindIPPool:
		return 0
	case v1.KindBGPConfiguration:
		return 1
	case v1.KindNodeConfig:
		return 2
	}
	return 3
}

// entry is an object with its place in the order of judgement.
type entry struct {
	*Object
	order   int
	changed bool
}

// conflict says that blame does not fit with another object.
type conflict struct {
	blame, with *entry
	reason      string
}

// later returns the one to blame of two, and the other.
func later(a, b *entry) (blame, with *entry) {
	if a.order > b.order {
		return a, b
	}
	return b, a
}

// conflicts lists what does not fit, so that a walk in its order that skips the
// conflicts of what it has rejected gives the same as adding the objects one by
// one. Not every pair of a larger clash is listed: the caller asks again until
// nothing is found.
func conflicts(inForce, changed []*Object) []conflict {
	all := make(map[string][]*entry)
	n := 0
	for i, list := range [][]*Object{inForce, changed} {
		for _, o := range list {
			all[o.Kind] = append(all[o.Kind], &entry{o, n, i == 1})
			n++
		}
	}
	var found []conflict
	found = append(found, poolConflicts(all)...)
	found = append(found, poolHostConflicts(all)...)
	found = append(found, addressConflicts(all)...)
	found = append(found, rangeConflicts(all)...)
	found = append(found, rangeHostConflicts(all)...)
	found = append(found, anycastConflicts(all)...)
	found = append(found, serviceConflicts(all)...)
	found = append(found, configConflicts(all)...)
	found = append(found, routerIDConflicts(all)...)
	found = append(found, peerConflicts(all)...)
	slices.SortStableFunc(found, func(a, b conflict) int { return cmp.Compare(a.blame.order, b.blame.order) })
	return found
}
