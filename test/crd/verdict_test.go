package crd

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "caracal.dev/caracal/api/v1"
)

// The file store and the API server say the same of each value of each field, and of
// fields together.
func TestSameVerdict(t *testing.T) {
	for i, c := range cases() {
		t.Run(fmt.Sprint(i, c.kind), func(t *testing.T) { t.Parallel(); sameVerdict(t, c) })
	}
}

func sameVerdict(t *testing.T, c objects) {
	all := slices.Sorted(maps.Keys(c.of))
	for _, field := range all {
		for _, v := range c.of[field] {
			compare(t, c, merge(merge(group{}, c.spec), group{field: v}))
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 15 * len(all) {
		spec := merge(group{}, c.spec)
		for range 2 + random.IntN(2) {
			field := all[random.IntN(len(all))]
			spec[field] = c.of[field][random.IntN(len(c.of[field]))]
		}
		compare(t, c, spec)
	}
}

func compare(t *testing.T, c objects, spec group) {
	t.Helper()
	for field, v := range spec {
		if v == nil {
			delete(spec, field)
		}
	}
	text, err := json.Marshal(group{"apiVersion": v1.APIVersion, "kind": c.kind, "metadata": group{"name": c.name}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	file, _, fileErr := v1.Decode(text)
	served, apiErr := try(t, u)
	switch {
	case fileErr == nil && apiErr == nil:
		o, _, err := v1.FromAPI(served.Object)
		if err != nil {
			t.Errorf("%s\nis taken by both, but not what the API server makes of it: %v", text, err)
			return
		}
		a, _ := v1.Encode(file)
		b, _ := v1.Encode(o)
		if string(a) != string(b) {
			t.Errorf("not the same:\nfile: %s\nAPI:  %s", a, b)
		}
	case (fileErr == nil) != (apiErr == nil):
		t.Errorf("%s\nfile store: %v\nAPI server: %v", text, fileErr, apiErr)
	}
}
