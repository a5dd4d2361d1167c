package test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestKubernetesDefinitions deletes the definitions of all kinds of caracal.dev, and
// with them every object, while pods send each other packets: somebody applied the
// deletion of a file too many. Nothing of it happens in the network; with the
// definitions and the pools applied again all goes on, and no address is given twice.
func TestKubernetesDefinitions(t *testing.T) {
	t.Parallel()
	const crds = "../manifests/base/crds.yaml"
	c := newCluster(t, kubeTopology(2), apiAddr)
	c.join("a")
	c.join("b")
	c.sessions("a", "b")
	c.ready()
	first, podA := c.run("a", "pa", nil)
	_, podB := c.run("b", "pb", nil)
	c.ping(podA, podB)
	held := func(want bool) {
		t.Helper()
		for _, name := range []string{"a", "b"} {
			eventually(t, 60*time.Second, func() string {
				out, err := c.l.Node(name).CLI(t.Context(), "show", "status")
				if err != nil || strings.Contains(out, "went with their definition") != want {
					return fmt.Sprintf("%s says that objects went with their definition, want %v: %s %v", name, want, out, err)
				}
				return ""
			})
		}
	}
	c.during("pa", "pb", func() {
		c.api.Kubectl(t, "delete", "-f", crds)
		held(true)
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
			c.ping(podA, podB)
		}
		c.api.Apply(t, crds)
		c.api.ApplyYAML(t, kubePools)
		for _, name := range []string{"a", "b"} {
			pod := "late-" + name
			c.create(name, pod, nil)
			ctr := c.container(name, pod)
			eventually(t, 60*time.Second, func() string { return said(c.hosts[name].Add(t.Context(), ctr)) })
			late := c.adopt(name, pod, ctr.NetNS, ctr.Addrs)
			for _, addr := range ctr.Addrs {
				for _, was := range first.Addrs {
					if addr == was {
						t.Errorf("%s got %v, which pa has", pod, addr)
					}
				}
			}
			c.ping(late, podA)
			c.ping(late, podB)
		}
		held(false)
	})
	c.consistent("a", "b")
}
