package endpoint

import (
	"maps"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

// TestOverlayNamespaces holds the namespaces to those of the store and those that
// endpoints are in, each with the label that it always has.
func TestOverlayNamespaces(t *testing.T) {
	src := newSource()
	o := newOverlay(src)
	o.load()
	in := func(space, container, name, addr string) *Endpoint {
		e := endpointOf(container, name, addr)
		e.Namespace = space
		return e
	}
	put := func(name string, labels map[string]string) {
		src.put(func(s *caracal.Snapshot) {
			s.Namespaces = s.Namespaces.Put(name, caracal.Namespace{Name: name, Labels: labels})
		})
	}
	one, two := in("shop", "c1", "web", "10.1.0.1"), in("shop", "c2", "db", "10.1.0.2")
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"the store's", func() { put("lab", nil) }, []string{"lab"}},
		{"an endpoint's", func() { o.set(one) }, []string{"lab", "shop"}},
		{"another in it", func() { o.set(two) }, []string{"lab", "shop"}},
		{"one goes", func() { o.unset(one) }, []string{"lab", "shop"}},
		{"the same comes twice", func() { o.set(two); o.set(two) }, []string{"lab", "shop"}},
		{"the store knows it", func() { put("shop", map[string]string{"team": "a"}) }, []string{"lab", "shop"}},
		{"the last goes", func() { o.unset(two) }, []string{"lab", "shop"}},
		{"and from the store", func() {
			src.put(func(s *caracal.Snapshot) { s.Namespaces = s.Namespaces.Delete("shop") })
		}, []string{"lab"}},
		{"again", func() { o.set(one) }, []string{"lab", "shop"}},
		{"and away", func() { o.unset(one) }, []string{"lab"}},
	} {
		step.do()
		o.take()
		got := map[string]map[string]string{}
		for name, n := range o.Snapshot().Namespaces.All() {
			got[name] = n.Labels
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
		shop := got["shop"]
		if shop != nil && shop[caracal.NamespaceNameLabel] != "shop" && shop["team"] != "a" {
			t.Errorf("%s: shop has the labels %v", step.name, shop)
		}
	}
	if len(o.spaces.groups) != 0 {
		t.Errorf("something is left: %v", o.spaces.groups)
	}
}
