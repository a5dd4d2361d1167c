package felix

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

type indexed struct {
	sel caracal.LabelSelector
	at  int
}

func (i *indexed) matches(labels map[string]string) bool { return i.sel.Matches(labels) }

// TestIndex asks an index and every selector the same, as selectors come and go.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	value := func() string { return fmt.Sprint(r.IntN(4)) }
	var x index[*indexed]
	var all []*indexed
	for range 3000 {
		if r.IntN(3) == 0 && len(all) > 0 {
			i := r.IntN(len(all))
			x.remove(all[i].sel, all[i].at, all[i])
			all = slices.Delete(all, i, i+1)
		} else {
			it := &indexed{}
			for _, key := range []string{"a", "b", "c"}[:r.IntN(4)] {
				req := caracal.LabelRequirement{Key: key, Op: []caracal.LabelOperator{"In", "In", "NotIn", "Exists", "DoesNotExist", "Like"}[r.IntN(6)]}
				if req.Op == "In" || req.Op == "NotIn" {
					for range r.IntN(anchorValues + 3) {
						req.Values = append(req.Values, value())
					}
				}
				slices.Sort(req.Values)
				if r.IntN(4) > 0 {
					req.Values = slices.Compact(req.Values)
				}
				it.sel.Requirements = append(it.sel.Requirements, req)
			}
			it.at = x.add(it.sel, it)
			all = append(all, it)
		}
		labels := map[string]string{}
		for _, key := range []string{"a", "b", "c", "d"} {
			if r.IntN(2) == 0 {
				labels[key] = value()
			}
		}
		found := map[*indexed]int{}
		x.each(labels, func(it *indexed) { found[it]++ })
		n := 0
		for _, it := range all {
			if it.matches(labels) {
				n++
				if found[it] != 1 {
					t.Fatalf("labels %v: %+v was found %d times", labels, it.sel, found[it])
				}
			}
		}
		if n != len(found) {
			t.Fatalf("labels %v: %d found, want %d", labels, len(found), n)
		}
	}
	for _, it := range all {
		x.remove(it.sel, it.at, it)
	}
	if len(x.values)+len(x.keys)+len(x.rest) > 0 {
		t.Errorf("an index that everything was taken out of still holds %+v", x)
	}
}

// TestIndexAnchors looks that what everybody asks for hides nothing.
func TestIndexAnchors(t *testing.T) {
	in := func(key string, values ...string) caracal.LabelRequirement {
		return caracal.LabelRequirement{Key: key, Op: caracal.LabelIn, Values: values}
	}
	var x index[*indexed]
	for i := range 1000 {
		sel := caracal.LabelSelector{Requirements: []caracal.LabelRequirement{in("app", fmt.Sprint(i)), in("env", "prod")}}
		if i%2 == 0 {
			slices.Reverse(sel.Requirements)
		}
		x.add(sel, &indexed{sel: sel})
	}
	if n := len(x.values[label{"env", "prod"}]); n > 1 {
		t.Errorf("%d of 1,000 selectors stand under the value that all have", n)
	}
	many := caracal.LabelSelector{Requirements: []caracal.LabelRequirement{in("x", "1", "2", "3", "4", "5", "6", "7", "8", "9")}}
	x.add(many, &indexed{sel: many})
	if len(x.keys["x"]) != 1 {
		t.Error("an In with many values does not stand under its key")
	}
}

func TestIDs(t *testing.T) {
	var ids []uint32
	for _, id := range []uint32{5, 1, 9, 5, 7, 1} {
		ids = insertID(ids, id)
	}
	if want := []uint32{1, 5, 7, 9}; !slices.Equal(ids, want) {
		t.Errorf("ids are %v, want %v", ids, want)
	}
	ids = removeID(removeID(ids, 5), 6)
	if want := []uint32{1, 7, 9}; !slices.Equal(ids, want) || hasID(ids, 5) || !hasID(ids, 9) {
		t.Errorf("ids are %v, want %v", ids, want)
	}
}
