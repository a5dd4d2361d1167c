package felix

import (
	"slices"

	"caracal.dev/caracal"
)

// anchorValues is how many values an In may have to be looked up by each of them.
const anchorValues = 8

// selected is what an index holds: something with a selector.
type selected interface {
	comparable
	matches(labels map[string]string) bool
}

// index finds what selects a set of labels without asking everything that there
// is. Each item stands under one requirement of its selector, its anchor: under
// the values of an In, under the key of an In with many values or of an Exists, or
// with the rest, which is always asked. The zero index is empty.
type index[T selected] struct {
	values map[label][]T
	keys   map[string][]T
	rest   []T
}

type label struct{ key, value string }

// noAnchor is the anchor of what stands with the rest.
const noAnchor = -1

// add puts an item with the selector s in, and returns its anchor: the place of the
// requirement that it stands under. It is the one with the fewest others under it,
// so that "env=prod" that everybody asks for does not hide "app=web".
func (x *index[T]) add(s caracal.LabelSelector, t T) int {
	at := x.choose(s)
	if at == noAnchor {
		x.rest = append(x.rest, t)
		return at
	}
	r := s.Requirements[at]
	if byValue(r) {
		if x.values == nil {
			x.values = map[label][]T{}
		}
		for _, v := range r.Values {
			x.values[label{r.Key, v}] = append(x.values[label{r.Key, v}], t)
		}
		return at
	}
	if x.keys == nil {
		x.keys = map[string][]T{}
	}
	x.keys[r.Key] = append(x.keys[r.Key], t)
	return at
}

// remove takes out what add put in with the same selector and returned at for.
func (x *index[T]) remove(s caracal.LabelSelector, at int, t T) {
	if at == noAnchor {
		x.rest = without(x.rest, t)
		return
	}
	r := s.Requirements[at]
	if byValue(r) {
		for _, v := range r.Values {
			removeFrom(x.values, label{r.Key, v}, t)
		}
		return
	}
	removeFrom(x.keys, r.Key, t)
}

// each calls fn once for each item whose selector the labels meet.
func (x *index[T]) each(labels map[string]string, fn func(T)) {
	if len(x.values) > 0 || len(x.keys) > 0 {
		for k, v := range labels {
			ask(x.values[label{k, v}], labels, fn)
			if len(x.keys) > 0 {
				ask(x.keys[k], labels, fn)
			}
		}
	}
	ask(x.rest, labels, fn)
}

func (x *index[T]) choose(s caracal.LabelSelector) int {
	best, others, exact := noAnchor, 0, false
	for i, r := range s.Requirements {
		n := 0
		switch {
		case byValue(r):
			for _, v := range r.Values {
				n += len(x.values[label{r.Key, v}])
			}
			if !exact || n < others {
				best, others, exact = i, n, true
			}
		case r.Op == caracal.LabelExists || r.Op == caracal.LabelIn:
			n = len(x.keys[r.Key])
			if !exact && (best == noAnchor || n < others) {
				best, others = i, n
			}
		}
	}
	return best
}

// byValue reports whether what is anchored at r stands under its values. Values are
// distinct: one that stood twice would be found twice.
func byValue(r caracal.LabelRequirement) bool {
	return r.Op == caracal.LabelIn && len(r.Values) <= anchorValues && distinct(r.Values)
}

func distinct(sorted []string) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return false
		}
	}
	return true
}

func ask[T selected](items []T, labels map[string]string, fn func(T)) {
	for _, t := range items {
		if t.matches(labels) {
			fn(t)
		}
	}
}

func removeFrom[K comparable, T comparable](m map[K][]T, key K, t T) {
	if rest := without(m[key], t); len(rest) > 0 {
		m[key] = rest
	} else {
		delete(m, key)
	}
}

// without takes t out of items, whose order does not matter, in place.
func without[T comparable](items []T, t T) []T {
	i := slices.Index(items, t)
	if i < 0 {
		return items
	}
	last := len(items) - 1
	items[i] = items[last]
	clear(items[last:])
	return items[:last]
}

// insertID puts id into the sorted ids, if it is not there. What comes in order is
// appended, which is how all come at the start.
func insertID(ids []uint32, id uint32) []uint32 {
	if n := len(ids); n == 0 || ids[n-1] < id {
		return append(ids, id)
	}
	if i, there := slices.BinarySearch(ids, id); !there {
		return slices.Insert(ids, i, id)
	}
	return ids
}

// removeID takes id out of the sorted ids.
func removeID(ids []uint32, id uint32) []uint32 {
	if i, there := slices.BinarySearch(ids, id); there {
		return slices.Delete(ids, i, i+1)
	}
	return ids
}

func hasID(ids []uint32, id uint32) bool {
	_, there := slices.BinarySearch(ids, id)
	return there
}
