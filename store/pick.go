package store

import (
	"maps"
	"math/bits"
	"slices"

	v1 "caracal.dev/caracal/api/v1"
)

// set is a set of nodes, by their numbers in a picker.
type set []uint64

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return i >= 0 && s[i/64]&(1<<(i%64)) != 0 }

// first returns the lowest member; -1 if there is none.
func (s set) first() int {
	for i, w := range s {
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// each calls fn with every member, in order.
func (s set) each(fn func(int)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			fn(i*64 + bits.TrailingZeros64(w))
		}
	}
}

// join adds the members of o.
func (s set) join(o set) {
	for i := range s {
		s[i] |= o[i]
	}
}

// and returns what is in both.
func (s set) and(o set) set {
	r := make(set, len(s))
	for i := range s {
		r[i] = s[i] & o[i]
	}
	return r
}

// picker answers which nodes are selected. Selectors are asked once for each
// node, whoever uses them: a cluster of a thousand nodes has a few.
type picker struct {
	names  []string // sorted: the number of a node is its place
	number map[string]int
	labels []map[string]string // with that of the name
	known  map[string]set
}

func newPicker(nodes map[string]map[string]string) *picker {
	p := &picker{names: slices.Sorted(maps.Keys(nodes)), number: make(map[string]int, len(nodes)), known: map[string]set{}}
	for i, name := range p.names {
		p.number[name] = i
		labels := nodes[name]
		if _, ok := labels[v1.HostnameLabel]; !ok {
			labels = maps.Clone(labels)
			if labels == nil {
				labels = map[string]string{}
			}
			labels[v1.HostnameLabel] = name
		}
		p.labels = append(p.labels, labels)
	}
	return p
}

// pickerOf returns a picker of the nodes among entries.
func pickerOf(nodes []*entry) *picker {
	labels := make(map[string]map[string]string, len(nodes))
	for _, n := range nodes {
		labels[n.Name] = n.Value.(*v1.NodeConfig).Labels
	}
	return newPicker(labels)
}

func (p *picker) none() set { return make(set, (len(p.names)+63)/64) }

// find returns the number of a node; -1 if there is no such node.
func (p *picker) find(name string) int {
	if i, ok := p.number[name]; ok {
		return i
	}
	return -1
}

// of returns the nodes that are selected. It must not be changed.
func (p *picker) of(sel v1.Selection) set {
	key := sel.String()
	if s, ok := p.known[key]; ok {
		return s
	}
	s := p.none()
	if name := sel.Node(); name != "" {
		if i := p.find(name); i >= 0 {
			s.add(i)
		}
	} else {
		for i, name := range p.names {
			if sel.Selects(name, p.labels[i]) {
				s.add(i)
			}
		}
	}
	p.known[key] = s
	return s
}
