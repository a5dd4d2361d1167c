package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKubernetesAddresses tells where addresses come from, and where they go: a pod
// that ends while the API is away ends, its addresses are free once the API is back,
// also if the daemon was killed in between; and the commands say how things are.
func TestKubernetesAddresses(t *testing.T) {
	c := newCluster(t, kubeTopology(2), apiAddr)
	c.join("a")
	c.join("b")
	c.sessions("a", "b")
	c.ready()
	_, podA := c.run("a", "pa", nil)
	ends, _ := c.run("a", "ends", nil)
	_, podB := c.run("b", "pb", nil)
	c.ping(podA, podB)
	addr := ends.Addr(false).String()
	a := c.l.Node("a")
	for _, q := range []struct{ words, want string }{
		{"show ipam", "pods-v4"}, {"show ipam blocks", "confirmed"}, {"show ipam address " + addr, ends.ID}, {"check ipam", ""},
	} {
		eventually(t, 20*time.Second, func() string { return c.shows("a", q.words, q.want) })
	}
	if n := c.allocated(); n != 6 {
		t.Fatalf("%d addresses are given, want 6", n)
	}
	// Another node says whose an address is.
	eventually(t, 20*time.Second, func() string { return c.shows("b", "show ipam address "+addr, ends.ID) })

	c.kept("a", "b")
	c.create("a", "late", nil)
	late := c.container("a", "late")
	c.api.Kill()
	if err := c.hosts["a"].Remove(t.Context(), ends); err != nil {
		t.Errorf("DEL while the API is away: %v", err)
	}
	c.l.Forget(ends.Name)
	if err := c.hosts["a"].Add(t.Context(), late); err == nil || !strings.Contains(err.Error(), "try again later") {
		t.Errorf("ADD while the API is away: %v", err)
	}
	must(a.Restart(syscall.SIGKILL))(t)
	c.ready("a")
	c.ping(podA, podB)
	c.api.Restart(t)
	eventually(t, 60*time.Second, func() string {
		if n := c.allocated(); n != 4 {
			return fmt.Sprintf("%d addresses are given, want 4", n)
		}
		return ""
	})
	eventually(t, 90*time.Second, func() string { return said(c.hosts["a"].Add(t.Context(), late)) })
	c.ping(c.adopt("a", "late", late.NetNS, late.Addrs), podB)
	c.consistent("a", "b")
}

// allocated sums up the addresses that somebody has, as kubectl shows them.
func (c *cluster) allocated() (n int) {
	c.t.Helper()
	for _, f := range strings.Fields(c.api.Kubectl(c.t, "get", "ipamblocks", "-o", "jsonpath={.items[*].spec.allocated}")) {
		var i int
		if _, err := fmt.Sscan(f, &i); err != nil {
			c.t.Fatal(err)
		}
		n += i
	}
	return n
}
