package caracal

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTableAgainstMap holds Table against Go's own map through random
// operations, and Diff against a from-scratch comparison.
func TestTableAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tab, model := NewTable[int, int](), map[int]int{}
	old, oldModel := tab, maps.Clone(model)
	for i := range 20_000 {
		k := rng.IntN(300)
		if rng.IntN(3) == 0 {
			tab = tab.Delete(k)
			delete(model, k)
		} else {
			v := rng.IntN(5)
			tab = tab.Put(k, v)
			model[k] = v
		}
		if i%97 == 0 {
			checkTable(t, tab, model)
			checkTable(t, old, oldModel)
			checkDiff(t, old, oldModel, tab, model)
			old, oldModel = tab, maps.Clone(model)
		}
	}
}

func checkTable(t *testing.T, tab Table[int, int], model map[int]int) {
	t.Helper()
	if got := maps.Collect(tab.All()); !maps.Equal(got, model) {
		t.Fatalf("table %v, model %v", got, model)
	}
	if tab.Len() != len(model) {
		t.Fatalf("Len %d, model %d", tab.Len(), len(model))
	}
	var keys []int
	for k := range tab.All() {
		keys = append(keys, k)
		if v, ok := tab.Get(k); !ok || v != model[k] {
			t.Fatalf("Get(%d) = %d, %v; model %d", k, v, ok, model[k])
		}
	}
	if !slices.IsSorted(keys) {
		t.Fatalf("keys out of order: %v", keys)
	}
}

func checkDiff(t *testing.T, old Table[int, int], oldModel map[int]int, cur Table[int, int], model map[int]int) {
	t.Helper()
	got := map[int]string{}
	cur.Diff(old, func(a, b int) bool { return a == b }, func(k int, was, is *int) {
		got[k] = fmt.Sprint(deref(was), deref(is))
	})
	want := map[int]string{}
	for k := range 300 {
		a, hadA := oldModel[k]
		b, hadB := model[k]
		if hadA == hadB && a == b {
			continue
		}
		was, is := -1, -1
		if hadA {
			was = a
		}
		if hadB {
			is = b
		}
		want[k] = fmt.Sprint(was, is)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("Diff %v, want %v", got, want)
	}
}

func deref(p *int) int {
	if p == nil {
		return -1
	}
	return *p
}

// TestTableDiffIsProportional counts the comparisons that one change costs in
// a table of 100,000: it must not grow with the table.
func TestTableDiffIsProportional(t *testing.T) {
	tab := NewTable[int, int]()
	for i := range 100_000 {
		tab = tab.Put(i, i)
	}
	changed := tab.Put(4711, -1).Delete(50_000)
	var compared, reported int
	changed.Diff(tab, func(a, b int) bool { compared++; return a == b }, func(int, *int, *int) { reported++ })
	if reported != 2 {
		t.Fatalf("reported %d changes, want 2", reported)
	}
	if compared > 1000 {
		t.Fatalf("Diff compared %d values for two changes", compared)
	}
}

func BenchmarkTablePut(b *testing.B) {
	tab := NewTable[int, int]()
	for i := range 100_000 {
		tab = tab.Put(i, i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tab.Put(i%100_000, -1)
	}
}
