package store

import (
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// updateNouns brings the tables of what there is a lot of up to date, and reports
// whether anything differed.
func updateNouns(next *caracal.Snapshot, was, objects []*Object) (changed bool) {
	Changes(was, objects, func(old, cur *Object) {
		switch o := either(cur, old); o.Kind {
		case v1.KindWorkload:
			changed = put[caracal.Workload](&next.Workloads, o.Name, cur) || changed
		case v1.KindNetworkPolicy:
			changed = put[caracal.Policy](&next.Policies, o.Name, cur) || changed
		}
	})
	return changed
}

func either(a, b *Object) *Object {
	if a != nil {
		return a
	}
	return b
}

// put writes the noun of an object into a table; a nil object has none.
func put[V any](t *caracal.Table[string, V], key string, o *Object) bool {
	old, had := t.Get(key)
	if o == nil {
		*t = t.Delete(key)
		return had
	}
	noun := o.Value.(*V)
	if had && reflect.DeepEqual(old, *noun) {
		return false
	}
	*t = t.Put(key, *noun)
	return true
}

// Changes calls fn for each object that is not the very same in two lists that are
// sorted by kind and name; old or cur is nil where there is none.
func Changes(was, is []*Object, fn func(old, cur *Object)) {
	for len(was) > 0 || len(is) > 0 {
		c := 0
		switch {
		case len(was) == 0:
			c = 1
		case len(is) == 0:
			c = -1
		case was[0] == is[0]:
			was, is = was[1:], is[1:]
			continue
		default:
			c = compareKeys(was[0], is[0])
		}
		switch {
		case c < 0:
			fn(was[0], nil)
			was = was[1:]
		case c > 0:
			fn(nil, is[0])
			is = is[1:]
		default:
			fn(was[0], is[0])
			was, is = was[1:], is[1:]
		}
	}
}

// empty takes out of a table what is not among the objects.
func empty[V any](t caracal.Table[string, V], objects []*Object, kind string) caracal.Table[string, V] {
	for name := range t.All() {
		if _, found := slices.BinarySearchFunc(objects, &Object{Key: Key{kind, name}}, compareKeys); !found {
			t = t.Delete(name)
		}
	}
	return t
}

// mentioned returns the namespaces that have an object of their own, and those
// that only a workload or a policy names. Objects are in the order of their names,
// which begin with the namespace.
func (b *builder) mentioned(objects []*Object) map[string]caracal.Namespace {
	last := ""
	for _, o := range objects {
		if o.Kind != v1.KindWorkload && o.Kind != v1.KindNetworkPolicy || last != "" && strings.HasPrefix(o.Name, last) {
			continue
		}
		name, _, _ := strings.Cut(o.Name, "/")
		last = name + "/"
		if _, known := b.namespaces[name]; !known {
			b.namespaces[name] = v1.NamespaceOf(name, nil)
		}
	}
	return b.namespaces
}
