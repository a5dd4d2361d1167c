package endpoint

import (
	"context"
	"errors"
	"slices"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// TestKnowsIsAskedForPodsOnly has a store that knows no Pod: a container that is one
// must wait for it, and what is attached by hand or made by another runtime is none.
func TestKnowsIsAskedForPodsOnly(t *testing.T) {
	w := newWorld(t)
	var asked []string
	w.change = func(o *Options) {
		o.Knows = func(_ context.Context, namespace, name, _ string) bool {
			asked = append(asked, namespace+"/"+name)
			return false
		}
	}
	w.start()
	pod := request("c1")
	w.ground.Container(pod.NetNS)
	if _, err := w.Add(t.Context(), pod); !errors.Is(err, ErrNotReady) {
		t.Errorf("a Pod that is not known: %v", err)
	}
	if !slices.Equal(asked, []string{"default/pod-c1"}) {
		t.Errorf("asked for %q", asked)
	}
	if use, err := w.Use(t.Context()); err != nil || slices.ContainsFunc(use.Blocks, func(b ipam.BlockUse) bool { return b.Allocated > 0 }) {
		t.Errorf("an address was given: %+v %v", use, err)
	}
	asked = nil
	w.addReady(Request{ID: ID{"box", "eth0", ""}, NetNS: "/run/netns/box", Kind: KindAttach, Labels: map[string]string{"app": "box"}})
	named := Request{ID: ID{"web", "eth0", ""}, NetNS: "/run/netns/web", Kind: KindAttach, Namespace: "shop", WorkloadName: "front"}
	w.addReady(named)
	other := request("c2") // of podman, say, which names no Pod
	other.WorkloadName = ""
	w.addReady(other)
	if len(asked) > 0 {
		t.Errorf("asked for %q, which are no Pods", asked)
	}
	is := func(key string, ok func(caracal.Workload) bool) {
		if wl, found := w.Snapshot().Workloads.Get(key); !found || !ok(wl) {
			t.Errorf("%s: %+v in\n%s", key, wl, w.text())
		}
	}
	is("default/box", func(wl caracal.Workload) bool { return wl.Labels["app"] == "box" && len(wl.Addrs) > 0 })
	is("default/c2", func(wl caracal.Workload) bool { return len(wl.Addrs) > 0 })
}
