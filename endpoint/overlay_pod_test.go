package endpoint

import (
	"testing"

	"caracal.dev/caracal"
)

// TestPodGoneBeforeContainer deletes a Pod by force while its container runs, and makes
// it anew on another node: what isolates the container by its labels must not go first.
func TestPodGoneBeforeContainer(t *testing.T) {
	src := newSource()
	o := newOverlay(src)
	o.load()
	old := endpointOf("c1", "web-0", "10.1.0.1")
	car := old.HostInterface()
	second := endpointOf("c1", "web-0", "10.1.0.2")
	second.Interface, second.Added = "eth1", old.Added.Add(1)
	pod := func(node, label string) {
		src.put(func(s *caracal.Snapshot) {
			configured(s, caracal.Workload{Name: "web-0", Node: node, Labels: map[string]string{label: "1"}, Source: podSource})
		})
	}
	here := "default/web-0 a " + car + " [10.1.0.1] [app]\n"
	beside := "default/web-0@" + car + " a " + car + " [10.1.0.1] [app]\n"
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"a Pod", func() { pod("a", "app"); o.take(); o.set(old) }, here},
		{"it is deleted by force", func() {
			src.put(func(s *caracal.Snapshot) { s.Workloads = s.Workloads.Delete("default/web-0") })
		}, here},
		{"it has two interfaces", func() { o.set(second) },
			here + "default/web-0@" + second.HostInterface() + " a " + second.HostInterface() + " [10.1.0.2] [app]\n"},
		{"one of them goes", func() { o.unset(second) }, here},
		{"and made anew elsewhere", func() { pod("b", "new") }, "default/web-0 b  [] [new]\n" + beside},
		{"the container goes", func() { o.unset(old) }, "default/web-0 b  [] [new]\n"},
		{"the Pod comes back, with other labels", func() { pod("a", "new") }, "default/web-0 a  [] [new]\n"},
		{"and its container", func() { o.set(old) }, "default/web-0 a " + car + " [10.1.0.1] [new]\n"},
	} {
		step.do()
		o.take()
		if got := lines(o.Snapshot()); got != step.want {
			t.Fatalf("%s:\n%swant\n%s", step.name, got, step.want)
		}
	}
}
