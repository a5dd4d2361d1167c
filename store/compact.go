package store

import (
	"net/netip"
	"strings"

	"caracal.dev/caracal"
)

// Compact moves objects that were read together next to each other. Made one by
// one among what decoding leaves behind, they would hold on to several times the
// memory that they take. The list has the new ones afterwards.
func Compact(list []*Object) {
	if len(list) < 2 {
		return
	}
	var words strings.Builder
	nouns, addrs := 0, 0
	for _, o := range list {
		words.WriteString(o.Name)
		if w, ok := o.Value.(*caracal.Workload); ok {
			words.WriteString(w.Interface)
			nouns, addrs = nouns+1, addrs+len(w.Addrs)
		}
	}
	text := strings.Clone(words.String())
	take := func(n int) (s string) { s, text = text[:n], text[n:]; return s }
	objects, workloads, all := make([]Object, len(list)), make([]caracal.Workload, nouns), make([]netip.Addr, 0, addrs)
	for i, o := range list {
		objects[i] = *o
		o = &objects[i]
		o.Name = take(len(o.Name))
		if was, ok := o.Value.(*caracal.Workload); ok {
			w := &workloads[0]
			workloads, *w = workloads[1:], *was
			w.Interface = take(len(w.Interface))
			_, w.Name, _ = strings.Cut(o.Name, "/")
			from := len(all)
			all = append(all, w.Addrs...)
			w.Addrs = all[from:len(all):len(all)]
			if len(w.Addrs) == 0 {
				w.Addrs = nil
			}
			o.Value = w
		}
		list[i] = o
	}
}
