package ipam

import "slices"

// lines is the text of a block's record: one line for the block, and one for each
// entry in their order. It is kept with the block, so that a change costs one line
// and not all of them.
type lines struct {
	text  []byte
	first int   // the length of the block's line
	ends  []int // where each entry's line ends, counted from where the block's does
	stale bool  // the lines of the entries have to be made anew
}

// replace puts the line of an entry in the place of those from i up to j; no entry
// is no line. Node is the block's.
func (l *lines) replace(i, j int, e *entry, node string) {
	if l.stale {
		return
	}
	from, to := l.end(i), l.end(j)
	switch {
	case e == nil:
		l.ends = slices.Delete(l.ends, i, j)
		l.text = slices.Delete(l.text, l.first+from, l.first+to)
		l.move(i, from-to)
	case i == len(l.ends):
		l.text = e.encode(l.text, node)
		l.ends = append(l.ends, len(l.text)-l.first)
	default:
		var room [512]byte
		line := e.encode(room[:0], node)
		if i == j {
			l.ends = slices.Insert(l.ends, i, from)
		}
		l.text = slices.Replace(l.text, l.first+from, l.first+to, line...)
		l.move(i, len(line)-(to-from))
	}
}

// end returns where the lines of the first n entries end.
func (l *lines) end(n int) int {
	if n == 0 {
		return 0
	}
	return l.ends[n-1]
}

// move notes that the ends from i on are elsewhere now.
func (l *lines) move(i, by int) {
	for n := i; n < len(l.ends); n++ {
		l.ends[n] += by
	}
}

// remake makes all lines anew.
func (l *lines) remake(first []byte, entries []*entry, node string) {
	l.text = append(l.text[:0], first...)
	l.first, l.ends, l.stale = len(first), l.ends[:0], false
	for _, e := range entries {
		l.text = e.encode(l.text, node)
		l.ends = append(l.ends, len(l.text)-l.first)
	}
}

// begin changes the block's line.
func (l *lines) begin(first []byte) {
	l.text = slices.Replace(l.text, 0, l.first, first...)
	l.first = len(first)
}
