package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
	"caracal.dev/caracal/store/kube/shelf"
)

// record is an accepted object on disk.
type record struct {
	Kind   string          `json:"kind"`
	At     time.Time       `json:"at"`
	Object json.RawMessage `json:"object"`
}

// savable reports whether what is known for a file is all that there is.
func (w *world) savable(file string) bool {
	switch file {
	case fileAccepted:
		return w.listedJudged() && !w.judge
	case fileSecrets:
		return true
	}
	return w.seen[file]
}

// capture returns a function that writes a file as it is to be now. It may run while
// the world goes on.
func (w *world) capture(file string, v *vault) func(*shelf.Writer) error {
	switch file {
	case fileAccepted:
		objects := maps.Clone(w.accepted)
		return func(out *shelf.Writer) error {
			for key, o := range objects {
				text, err := v1.Encode(o.Value.(v1.Object))
				if err != nil {
					return err
				}
				out.Put(key.Name, record{key.Kind, o.AcceptedAt, text})
			}
			return nil
		}
	case fileSecrets:
		words := v.all()
		return func(out *shelf.Writer) error { return putMap(out, words) }
	case kindPods:
		return w.capturePods()
	case v1.KindNamespace:
		table, declared := w.namespaces, maps.Clone(w.declared)
		return func(out *shelf.Writer) error {
			for key, n := range table.All() {
				if declared[key] {
					out.Put(key, n)
				}
			}
			return nil
		}
	case v1.KindNetworkPolicy:
		table := w.policies
		return func(out *shelf.Writer) error {
			for key, p := range table.All() {
				out.Put(key, policy{Policy: p})
			}
			return nil
		}
	case kindService:
		table := w.services
		return func(out *shelf.Writer) error {
			for key, s := range table.All() {
				out.Put(key, s)
			}
			return nil
		}
	}
	return w.captureMaps(file)
}

func (w *world) captureMaps(file string) func(*shelf.Writer) error {
	switch file {
	case kindEndpointSlice:
		m := maps.Clone(w.slices)
		return func(out *shelf.Writer) error { return putMap(out, m) }
	case kindNode:
		m := maps.Clone(w.nodes)
		return func(out *shelf.Writer) error { return putMap(out, m) }
	case v1.KindNodeConfig:
		m := maps.Clone(w.overlays)
		return func(out *shelf.Writer) error { return putMap(out, m) }
	case v1.KindBlockAffinity:
		m := maps.Clone(w.affinities)
		maps.Copy(m, w.gone.affinities)
		return func(out *shelf.Writer) error { return putMap(out, m) }
	}
	return func(*shelf.Writer) error { return fmt.Errorf("nothing is kept in %s", file) }
}

func putMap[V any](out *shelf.Writer, m map[string]V) error {
	for key, value := range m {
		out.Put(key, value)
	}
	return nil
}

func (w *world) capturePods() func(*shelf.Writer) error {
	table, uids := w.workloads, w.uids
	// Few Pods are ending, or have an address that another claims too.
	ending := map[string]bool{}
	created := make(map[string]int64)
	for _, c := range w.claims {
		if c.ending {
			ending[c.key] = true
		}
	}
	for a := range w.losers {
		created[w.claims[a].key] = w.claims[a].created
	}
	return func(out *shelf.Writer) error {
		for key, p := range table.All() {
			known, _ := uids.Get(key)
			out.Put(key, pod{Workload: p, Created: created[key], Ending: ending[key], UIDs: known})
		}
		return nil
	}
}

// loadKind takes a file of one kind.
func loadKind(w *world, v *vault, file string, r *shelf.Reader) error {
	var list []*item
	for key := range r.Keys() {
		value, err := w.decode(file, key, r)
		if err != nil {
			return err
		}
		if value != nil {
			list = append(list, &item{key: key, value: value})
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	if file != fileSecrets {
		w.replace(file, list)
		return nil
	}
	for _, i := range list {
		v.remember(i.key, i.value.(map[string]string))
	}
	return nil
}

func (w *world) decode(file, key string, r *shelf.Reader) (any, error) {
	switch file {
	case fileSecrets:
		var words map[string]string
		err := r.Value(&words)
		if err == nil {
			return words, nil
		}
		return nil, err
	case kindPods:
		p := &pod{}
		if err := r.Value(p); err != nil {
			return nil, err
		}
		w.words.Workload(&p.Workload, key)
		return p, nil
	case v1.KindNamespace:
		n := &caracal.Namespace{}
		err := r.Value(n)
		n.Labels = w.words.Labels(n.Labels)
		return n, err
	case v1.KindNetworkPolicy:
		p := &policy{}
		err := r.Value(p)
		if strings.Contains(key, "/") {
			w.words.Policy(&p.Policy, key)
		}
		return p, err
	case kindService:
		s := &caracal.Service{}
		return s, r.Value(s)
	case kindEndpointSlice:
		s := &slice{}
		return s, r.Value(s)
	case kindNode:
		n := &node{}
		err := r.Value(n)
		n.Labels = w.words.Labels(n.Labels)
		return n, err
	case v1.KindNodeConfig:
		o := &overlay{}
		return o, r.Value(o)
	case v1.KindBlockAffinity:
		a := &affinity{}
		err := r.Value(a)
		a.Node = w.words.Word(a.Node)
		return a, err
	}
	return nil, fmt.Errorf("nothing is kept in %s", file)
}

// loadAccepted takes what was in force, once the kinds that it was made of are there.
func loadAccepted(w *world, r *shelf.Reader) error {
	var list []*store.Object
	for key := range r.Keys() {
		var rec record
		if err := r.Value(&rec); err != nil {
			return err
		}
		value, _, err := v1.DecodeCanonical(rec.Object)
		if err != nil {
			return err
		}
		o, err := store.NewObject(value, "", "", w.words)
		if err != nil {
			return err
		}
		if o.Key != (store.Key{Kind: rec.Kind, Name: key}) {
			return fmt.Errorf("it holds %s in the place of %s %s", o.Key, rec.Kind, key)
		}
		o.Text, o.AcceptedAt = nil, rec.At
		list = append(list, o)
	}
	if err := r.Err(); err != nil {
		return err
	}
	for _, o := range list {
		w.accepted[o.Key] = o
		if o.Kind != v1.KindNodeConfig {
			w.offered[o.Key] = o
		}
	}
	for kind := range resources {
		if fileOf(kind) == fileAccepted {
			w.seen[kind] = true
		}
	}
	w.judge = true
	return nil
}
