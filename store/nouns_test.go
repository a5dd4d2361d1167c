package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

func decoded(t testing.TB, words *Words, text string) *Object {
	t.Helper()
	value, _, err := v1.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewObject(value, "a.yaml", text, words)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestRebuild holds a Snapshot that follows changes to one that is made at once.
func TestRebuild(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := NewWords()
	random := func(i int) *Object {
		space, name := []string{"a", "a-b", "b"}[rng.IntN(3)], i%7
		switch rng.IntN(3) {
		case 0:
			return decoded(t, words, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {v: x%d}}", space, rng.IntN(2)))
		case 1:
			return decoded(t, words, fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p%d, namespace: %s}\nspec: {podSelector: {matchLabels: {v: x%d}}}", name, space, rng.IntN(2)))
		}
		return decoded(t, words, fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: Workload\nmetadata: {name: w%d, namespace: %s, labels: {v: x%d}}\nspec: {node: a, interfaceName: x, ipNetworks: [10.0.0.%d]}",
			name, space, rng.IntN(2), 1+rng.IntN(3)))
	}
	objects := map[Key]*Object{}
	snap, was := caracal.NewSnapshot("n"), []*Object(nil)
	for i := range 400 {
		for range rng.IntN(3) {
			o := random(i)
			if rng.IntN(3) == 0 {
				delete(objects, o.Key)
			} else {
				objects[o.Key] = o
			}
		}
		now := slices.SortedFunc(maps.Values(objects), compareKeys)
		next, _, changed := Rebuild(snap, was, now, nil)
		whole, _, _ := Build(caracal.NewSnapshot("n"), now, nil)
		again, _, differs := Build(snap, now, nil)
		for what, same := range map[string]bool{
			"workloads":  equalTables(next.Workloads, whole.Workloads) && equalTables(again.Workloads, whole.Workloads),
			"policies":   equalTables(next.Policies, whole.Policies) && equalTables(again.Policies, whole.Policies),
			"namespaces": equalTables(next.Namespaces, whole.Namespaces) && equalTables(again.Namespaces, whole.Namespaces),
			"changed":    changed == differs,
		} {
			if !same {
				t.Fatalf("step %d: %s are not those of the objects", i, what)
			}
		}
		if _, _, changed := Rebuild(next, now, now, nil); changed {
			t.Fatalf("step %d: the same again is a change", i)
		}
		for _, w := range next.Workloads.All() {
			if n, ok := next.Namespaces.Get(w.Namespace); !ok || n.Labels[caracal.NamespaceNameLabel] != w.Namespace {
				t.Fatalf("step %d: no namespace for %s", i, w.Key())
			}
		}
		snap, was = next, now
	}
}

func equalTables[V any](a, b caracal.Table[string, V]) bool {
	return reflect.DeepEqual(maps.Collect(a.All()), maps.Collect(b.All()))
}

// TestWords: equal labels are one map, and too many words are forgotten.
func TestWords(t *testing.T) {
	w := NewWords()
	text := func(i int) string {
		return fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: Workload\nmetadata: {name: w%d, labels: {app: web, tier: x}}\nspec: {node: a, interfaceName: x, ipNetworks: [10.0.0.%d], ports: [{name: a, port: 1}]}", i, i)
	}
	one, two := decoded(t, w, text(1)).Value.(*caracal.Workload), decoded(t, w, text(2)).Value.(*caracal.Workload)
	if reflect.ValueOf(one.Labels).Pointer() != reflect.ValueOf(two.Labels).Pointer() || &one.Ports[0] != &two.Ports[0] {
		t.Error("labels and ports are not shared")
	}
	if one.Key() != "default/w1" || !reflect.DeepEqual(two.Labels, map[string]string{"app": "web", "tier": "x"}) {
		t.Errorf("%+v %+v", one, two)
	}
	for i := range 3 * maxWords {
		if s := fmt.Sprint("word", i); w.word(s) != s {
			t.Fatal(s)
		}
	}
	if n := len(w.words) + len(w.oldWords); n > 2*maxWords {
		t.Errorf("%d words are remembered", n)
	}
	if plain := decoded(t, nil, text(1)).Value.(*caracal.Workload); !reflect.DeepEqual(plain, one) {
		t.Errorf("%+v", plain)
	}
}

// TestCompact: what is moved says the same.
func TestCompact(t *testing.T) {
	var list, want []*Object
	for i := range 5 {
		more := []string{"interfaceName: x, ipNetworks: [10.0.0.1, 10.0.1.1]", "hostNetwork: true"}[i%2]
		text := fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: Workload\nmetadata: {name: w%d, namespace: s}\nspec: {node: a, %s}", i, more)
		list, want = append(list, decoded(t, nil, text)), append(want, decoded(t, nil, text))
	}
	text := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}"
	list, want = append(list, decoded(t, nil, text)), append(want, decoded(t, nil, text))
	Compact(list)
	if !reflect.DeepEqual(list, want) {
		t.Errorf("%+v", list)
	}
}
