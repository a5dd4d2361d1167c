package caracal

import (
	"cmp"
	"hash/maphash"
	"iter"
)

// Table is an immutable map ordered by key. Put and Delete return a new Table
// that shares all but O(log n) of its structure with the old one, so a
// Snapshot of 100,000 objects costs nothing to keep beside its successor, and
// [Table.Diff] finds what two tables differ in by walking only the parts that
// they do not share: time proportional to the change, not to the table.
//
// It is a treap whose priorities are hashes of the keys. Its shape is therefore
// a function of the key set alone, which is what makes the shared walk of Diff
// possible. The zero Table has no order and cannot be written to; make one with
// [NewTable] or [NewTableFunc].
type Table[K comparable, V any] struct {
	root    *tableNode[K, V]
	compare func(K, K) int
	len     int
}

type tableNode[K comparable, V any] struct {
	key         K
	val         V
	prio        uint64
	left, right *tableNode[K, V]
}

// tableSeed is fixed for the life of the process: two tables made anywhere in
// it must agree on the shape for the same keys.
var tableSeed = maphash.MakeSeed()

// NewTable returns an empty Table ordered by the natural order of K.
func NewTable[K cmp.Ordered, V any]() Table[K, V] {
	return NewTableFunc[K, V](cmp.Compare[K])
}

// NewTableFunc returns an empty Table ordered by compare, which must be a
// strict total order in which only equal keys compare as 0.
func NewTableFunc[K comparable, V any](compare func(K, K) int) Table[K, V] {
	return Table[K, V]{compare: compare}
}

// Same reports whether two tables are one: the second came of the first without a
// change. Of two that are not, the keys and values may be equal all the same. It takes
// no time.
func (t Table[K, V]) Same(o Table[K, V]) bool { return t.root == o.root }

// Len returns the number of keys.
func (t Table[K, V]) Len() int { return t.len }

// Get returns the value of key, and whether there is one.
func (t Table[K, V]) Get(key K) (V, bool) {
	for n := t.root; n != nil; {
		switch c := t.compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.val, true
		}
	}
	var zero V
	return zero, false
}

// Put returns a Table in which key has the value val.
func (t Table[K, V]) Put(key K, val V) Table[K, V] {
	_, had := t.Get(key)
	n := &tableNode[K, V]{key: key, val: val, prio: maphash.Comparable(tableSeed, key)}
	t.root = t.insert(t.root, n)
	if !had {
		t.len++
	}
	return t
}

// Delete returns a Table without key; without effect if there is none.
func (t Table[K, V]) Delete(key K) Table[K, V] {
	if _, had := t.Get(key); !had {
		return t
	}
	t.root = t.remove(t.root, key)
	t.len--
	return t
}

// All yields every key and value in the order of the keys.
func (t Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.root.walk(yield) }
}

// Diff calls fn for each key whose value differs between old and t, in the
// order of the keys. was and is point to the values in old and in t; was is nil
// for a key that is new, is is nil for one that is gone. Values that are not
// shared are compared with equal. Diff of a Table with itself costs nothing.
func (t Table[K, V]) Diff(old Table[K, V], equal func(a, b V) bool, fn func(key K, was, is *V)) {
	compare := t.compare
	if compare == nil {
		compare = old.compare
	}
	diffNodes(compare, old.root, t.root, equal, fn)
}

func (n *tableNode[K, V]) walk(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	return n.left.walk(yield) && yield(n.key, n.val) && n.right.walk(yield)
}

// visit calls fn for each node, without a copy of its value.
func (n *tableNode[K, V]) visit(fn func(*tableNode[K, V])) {
	if n != nil {
		n.left.visit(fn)
		fn(n)
		n.right.visit(fn)
	}
}

// above reports whether a belongs above b: by priority, then, as hashes may
// collide, by key.
func (t Table[K, V]) above(a, b *tableNode[K, V]) bool {
	if a.prio != b.prio {
		return a.prio > b.prio
	}
	return t.compare(a.key, b.key) < 0
}

func (t Table[K, V]) insert(root, n *tableNode[K, V]) *tableNode[K, V] {
	if root == nil {
		return n
	}
	c := t.compare(n.key, root.key)
	if c == 0 {
		n.left, n.right = root.left, root.right
		return n
	}
	if t.above(n, root) {
		n.left, n.right, _ = splitNodes(t.compare, root, n.key)
		return n
	}
	cp := *root
	if c < 0 {
		cp.left = t.insert(root.left, n)
	} else {
		cp.right = t.insert(root.right, n)
	}
	return &cp
}

func (t Table[K, V]) remove(root *tableNode[K, V], key K) *tableNode[K, V] {
	c := t.compare(key, root.key)
	if c == 0 {
		return t.merge(root.left, root.right)
	}
	cp := *root
	if c < 0 {
		cp.left = t.remove(root.left, key)
	} else {
		cp.right = t.remove(root.right, key)
	}
	return &cp
}

// merge joins two treaps of which every key of a is before every key of b.
func (t Table[K, V]) merge(a, b *tableNode[K, V]) *tableNode[K, V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case t.above(a, b):
		cp := *a
		cp.right = t.merge(a.right, b)
		return &cp
	default:
		cp := *b
		cp.left = t.merge(a, b.left)
		return &cp
	}
}

// splitNodes cuts a treap at key into what is before it, what is after it, and
// the node of key itself if there is one. A subtree that lies wholly on one
// side is returned as it is, so sharing survives the cut.
func splitNodes[K comparable, V any](compare func(K, K) int, n *tableNode[K, V], key K) (before, after, at *tableNode[K, V]) {
	if n == nil {
		return nil, nil, nil
	}
	switch c := compare(n.key, key); {
	case c == 0:
		return n.left, n.right, n
	case c < 0:
		mid, after, at := splitNodes(compare, n.right, key)
		if mid == n.right {
			return n, after, at
		}
		cp := *n
		cp.right = mid
		return &cp, after, at
	default:
		before, mid, at := splitNodes(compare, n.left, key)
		if mid == n.left {
			return before, n, at
		}
		cp := *n
		cp.left = mid
		return before, &cp, at
	}
}

func diffNodes[K comparable, V any](compare func(K, K) int, old, cur *tableNode[K, V], equal func(a, b V) bool, fn func(K, *V, *V)) {
	switch {
	case old == cur:
	case old == nil:
		cur.visit(func(n *tableNode[K, V]) { fn(n.key, nil, &n.val) })
	case cur == nil:
		old.visit(func(n *tableNode[K, V]) { fn(n.key, &n.val, nil) })
	default:
		before, after, at := splitNodes(compare, old, cur.key)
		diffNodes(compare, before, cur.left, equal, fn)
		switch {
		case at == nil:
			fn(cur.key, nil, &cur.val)
		case at != cur && !equal(at.val, cur.val):
			fn(cur.key, &at.val, &cur.val)
		}
		diffNodes(compare, after, cur.right, equal, fn)
	}
}
