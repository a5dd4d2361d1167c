package selector

import (
	"slices"
	"strings"
)

// Selector is a parsed selector. It is immutable and may be used by several
// goroutines at once. The zero value selects everything.
type Selector struct {
	root node
}

// Matches reports whether a thing with these labels is selected. A label that
// is absent makes ==, in, contains, starts with and ends with false, and !=
// and not in true.
func (s *Selector) Matches(labels map[string]string) bool {
	return s.root == nil || s.root.matches(labels)
}

// String returns the canonical form: two selectors that differ only in blanks,
// quotes, needless parentheses or the order of a set have the same one. Parsing
// it gives an equal Selector.
func (s *Selector) String() string {
	if s.root == nil {
		return "all()"
	}
	var b strings.Builder
	s.root.write(&b, bindOr)
	return b.String()
}

// How tightly an operator binds, for the parentheses of String.
const (
	bindOr = iota
	bindAnd
	bindNot
)

// node is one operation of a selector.
type node interface {
	matches(labels map[string]string) bool
	// write appends the canonical form as an operand of an operator that binds
	// as tightly as outer.
	write(b *strings.Builder, outer int)
}

type allNode struct{}

func (allNode) matches(map[string]string) bool  { return true }
func (allNode) write(b *strings.Builder, _ int) { b.WriteString("all()") }

type hasNode struct{ key string }

func (n hasNode) matches(l map[string]string) bool { _, ok := l[n.key]; return ok }
func (n hasNode) write(b *strings.Builder, _ int)  { b.WriteString("has(" + n.key + ")") }

type notNode struct{ of node }

func (n notNode) matches(l map[string]string) bool { return !n.of.matches(l) }
func (n notNode) write(b *strings.Builder, _ int) {
	b.WriteString("!")
	// A comparison is not a single word, so "!a == 'b'" would read badly.
	if _, ok := n.of.(compareNode); ok {
		b.WriteString("(")
		n.of.write(b, bindOr)
		b.WriteString(")")
		return
	}
	if _, ok := n.of.(setNode); ok {
		b.WriteString("(")
		n.of.write(b, bindOr)
		b.WriteString(")")
		return
	}
	n.of.write(b, bindNot)
}

// joinNode is a chain of && or of ||.
type joinNode struct {
	and bool
	of  []node
}

func (n joinNode) matches(l map[string]string) bool {
	for _, o := range n.of {
		if o.matches(l) != n.and {
			return !n.and
		}
	}
	return n.and
}

func (n joinNode) write(b *strings.Builder, outer int) {
	bind, op := bindOr, " || "
	if n.and {
		bind, op = bindAnd, " && "
	}
	if outer > bind {
		b.WriteString("(")
		defer b.WriteString(")")
	}
	for i, o := range n.of {
		if i > 0 {
			b.WriteString(op)
		}
		o.write(b, bind+1)
	}
}

// compareNode compares the value of a label with one value. op is as written:
// "==", "!=", "contains", "starts with", "ends with".
type compareNode struct{ key, op, value string }

func (n compareNode) matches(l map[string]string) bool {
	v, ok := l[n.key]
	switch n.op {
	case "==":
		return ok && v == n.value
	case "!=":
		return !ok || v != n.value
	case "contains":
		return ok && strings.Contains(v, n.value)
	case "starts with":
		return ok && strings.HasPrefix(v, n.value)
	default:
		return ok && strings.HasSuffix(v, n.value)
	}
}

func (n compareNode) write(b *strings.Builder, _ int) {
	b.WriteString(n.key + " " + n.op + " " + quote(n.value))
}

// setNode is "in" or, with not set, "not in". values are sorted and unique.
type setNode struct {
	key    string
	not    bool
	values []string
}

func (n setNode) matches(l map[string]string) bool {
	v, ok := l[n.key]
	if !ok {
		return n.not
	}
	_, in := slices.BinarySearch(n.values, v)
	return in != n.not
}

func (n setNode) write(b *strings.Builder, _ int) {
	b.WriteString(n.key)
	if n.not {
		b.WriteString(" not")
	}
	b.WriteString(" in {")
	for i, v := range n.values {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(v))
	}
	b.WriteString("}")
}

// quote writes a value so that it can be parsed again. The grammar has no
// escapes; a value never contains both quotes, as it could not have been
// written.
func quote(v string) string {
	if strings.Contains(v, "'") {
		return `"` + v + `"`
	}
	return "'" + v + "'"
}
