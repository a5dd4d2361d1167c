package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"caracal.dev/caracal"
)

// maxWords is how many words and sets of labels a Words remembers at least.
const maxWords = 1 << 16

// Words lets objects share the strings and the labels that they have in common: a
// hundred thousand pods have a few hundred sets of labels. It forgets what was not
// asked for in a while. A nil one shares nothing. All methods may be called from any
// goroutine.
type Words struct {
	mu              sync.Mutex
	words, oldWords map[string]string
	sets, oldSets   map[string]map[string]string
	ports           map[string][]caracal.Port
	line            []byte
}

// NewWords returns an empty one.
func NewWords() *Words {
	return &Words{words: map[string]string{}, sets: map[string]map[string]string{}, ports: map[string][]caracal.Port{}}
}

func (w *Words) lock() (unlock func()) {
	if w == nil {
		return func() {}
	}
	w.mu.Lock()
	return w.mu.Unlock
}

func (w *Words) word(s string) string {
	if w == nil || s == "" {
		return s
	}
	known, ok := w.words[s]
	if ok {
		return known
	}
	if known, ok = w.oldWords[s]; !ok {
		known = strings.Clone(s) // s may be a part of something large
	}
	if len(w.words) >= maxWords {
		w.words, w.oldWords = map[string]string{}, w.words
	}
	w.words[known] = known
	return known
}

// labels returns a map with the same labels, which must not be changed.
func (w *Words) labels(m map[string]string) map[string]string {
	if w == nil || len(m) == 0 {
		return m
	}
	w.line = w.line[:0]
	for _, k := range slices.Sorted(maps.Keys(m)) {
		// Neither keys nor values of labels have a line feed.
		w.line = append(append(append(append(w.line, k...), '\n'), m[k]...), '\n')
	}
	known, ok := w.sets[string(w.line)]
	if ok {
		return known
	}
	key := string(w.line)
	if known, ok = w.oldSets[key]; !ok {
		known = make(map[string]string, len(m))
		for k, v := range m {
			known[w.word(k)] = w.word(v)
		}
	}
	if len(w.sets) >= maxWords {
		w.sets, w.oldSets = map[string]map[string]string{}, w.sets
	}
	w.sets[key] = known
	return known
}

// Word returns the same text, shared with those who asked for it before.
func (w *Words) Word(s string) string {
	defer w.lock()()
	return w.word(s)
}

// Labels returns a map with the same labels, which must not be changed.
func (w *Words) Labels(m map[string]string) map[string]string {
	defer w.lock()()
	return w.labels(m)
}

// Workload makes a workload share what it can; key is "namespace/name".
func (w *Words) Workload(o *caracal.Workload, key string) {
	defer w.lock()()
	o.Namespace, o.Name, _ = strings.Cut(key, "/")
	o.Namespace, o.Node, o.Source = w.word(o.Namespace), w.word(o.Node), w.word(o.Source)
	o.Labels = w.labels(o.Labels)
	o.Ports = w.portList(o.Ports)
}

// portList returns a list of the same ports, which must not be changed.
func (w *Words) portList(ports []caracal.Port) []caracal.Port {
	if w == nil || len(ports) == 0 {
		return ports
	}
	w.line = w.line[:0]
	for _, p := range ports {
		w.line = fmt.Appendf(w.line, "%s\n%s\n%d\n", p.Name, p.Protocol, p.Port)
	}
	if known, ok := w.ports[string(w.line)]; ok {
		return known
	}
	for i := range ports {
		p := &ports[i]
		p.Name, p.Protocol = w.word(p.Name), w.word(p.Protocol)
	}
	if len(w.ports) >= maxWords {
		w.ports = map[string][]caracal.Port{}
	}
	w.ports[string(w.line)] = ports
	return ports
}

// Policy does the same for a policy.
func (w *Words) Policy(o *caracal.Policy, key string) {
	defer w.lock()()
	o.Namespace, o.Name, _ = strings.Cut(key, "/")
	o.Namespace, o.Source = w.word(o.Namespace), w.word(o.Source)
	w.selector(&o.Pods)
	for _, rules := range [][]caracal.PolicyRule{o.IngressRules, o.EgressRules} {
		for _, r := range rules {
			for i := range r.Peers {
				w.selector(r.Peers[i].Pods)
				w.selector(r.Peers[i].Namespaces)
			}
			for i := range r.Ports {
				p := &r.Ports[i]
				p.Name, p.Protocol = w.word(p.Name), w.word(p.Protocol)
			}
		}
	}
}

func (w *Words) selector(s *caracal.LabelSelector) {
	if s == nil {
		return
	}
	for i := range s.Requirements {
		r := &s.Requirements[i]
		r.Key, r.Op = w.word(r.Key), caracal.LabelOperator(w.word(string(r.Op)))
		for j := range r.Values {
			r.Values[j] = w.word(r.Values[j])
		}
	}
}
