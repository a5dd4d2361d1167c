package test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// outage is how long the API is away in a story of CI.
const outage = 20 * time.Second

// TestKubernetesOutage takes the API away in every way from a cluster whose pods send
// each other packets.
func TestKubernetesOutage(t *testing.T) {
	t.Parallel()
	outageStory(t, outage)
}

func outageStory(t *testing.T, away time.Duration) {
	c := newCluster(t, kubeTopology(2), apiAddr)
	c.join("a")
	c.join("b")
	c.sessions("a", "b")
	c.ready()
	_, podA := c.run("a", "pa", nil)
	_, podB := c.run("b", "pb", nil)
	c.ping(podA, podB)
	c.kept("a", "b")
	parts := []struct {
		name string
		fn   func(t *testing.T)
	}{
		{"killed", func(t *testing.T) { c.killed(t, away) }},
		{"frozen", func(t *testing.T) { c.frozen(t, away) }},
		{"daemon restarts", func(t *testing.T) { c.restarts(t) }},
		{"start without anything", func(t *testing.T) { c.startsOnNothing(t) }},
	}
	for _, p := range parts {
		if t.Failed() {
			return
		}
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			defer func() { c.t = nil }()
			p.fn(t)
		})
	}
	c.t = t
	c.ping(podA, podB)
}

// kept waits until daemons have what they took on disk: the pods, and what is in force of
// what is judged.
func (c *cluster) kept(names ...string) {
	c.t.Helper()
	for _, name := range names {
		dir := filepath.Join(c.l.Node(name).StateDir(), "kube")
		eventually(c.t, 90*time.Second, func() string {
			pods, err1 := os.ReadFile(filepath.Join(dir, "Workload"))
			accepted, err2 := os.ReadFile(filepath.Join(dir, "accepted"))
			if err := errors.Join(err1, err2); err != nil {
				return err.Error()
			}
			if strings.Count(string(pods), `"default/p`) < 2 {
				return "not both pods are kept on " + name
			}
			for _, w := range []string{`"pods-v4"`, `"pods-v6"`, `"a"`, `"b"`} {
				if !strings.Contains(string(accepted), w) {
					return w + " is not kept on " + name
				}
			}
			return ""
		})
	}
}

// works wants that a new pod on each node gets its network.
func (c *cluster) works(t *testing.T, serial string) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		pod := "n" + name + serial
		c.create(name, pod, nil)
		ctr := c.container(name, pod)
		eventually(t, 60*time.Second, func() string { return said(c.hosts[name].Add(t.Context(), ctr)) })
		p := c.adopt(name, pod, ctr.NetNS, ctr.Addrs)
		c.ping(p, c.l.Pod(map[string]string{"a": "pb", "b": "pa"}[name]))
		c.end(name, ctr)
	}
	c.consistent("a", "b")
}

// killed takes the API away for a while: no packet is lost, a daemon stays ready, and
// says what is wrong.
func (c *cluster) killed(t *testing.T, away time.Duration) {
	c.during("pa", "pb", func() {
		c.api.Kill()
		eventually(t, 60*time.Second, func() string {
			out, err := c.l.Node("a").CLI(t.Context(), "show", "status")
			if err != nil || !strings.Contains(out, "API") {
				return fmt.Sprintf("status says nothing of the API: %s %v", out, err)
			}
			return ""
		})
		for end := time.Now().Add(away); time.Now().Before(end); time.Sleep(time.Second) {
			c.ready("a", "b")
		}
		c.api.Restart(t)
		c.works(t, "1")
	})
}

// frozen has the API answer nothing, with its connections open.
func (c *cluster) frozen(t *testing.T, away time.Duration) {
	c.during("pa", "pb", func() {
		c.api.Freeze()
		defer c.api.Thaw()
		for end := time.Now().Add(away); time.Now().Before(end); time.Sleep(time.Second) {
			c.ready("a", "b")
		}
	})
	c.works(t, "2")
}

// restarts kills a daemon while the API is away: it comes back with what it kept.
func (c *cluster) restarts(t *testing.T) {
	c.during("pa", "pb", func() {
		c.api.Kill()
		for _, sig := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			must(c.l.Node("a").Restart(sig))(t)
			c.ready("a")
			c.sessions("a", "b")
		}
		time.Sleep(sweepTime)
		c.api.Restart(t)
		c.works(t, "3")
	})
}

// startsOnNothing kills a daemon and takes away what the store kept: without the API it
// touches nothing, and with it all is well again.
func (c *cluster) startsOnNothing(t *testing.T) {
	c.during("pa", "pb", func() {
		a := c.l.Node("a")
		c.api.Kill()
		if err := errors.Join(a.Kill(syscall.SIGKILL), os.RemoveAll(a.StateDir()+"/kube")); err != nil {
			t.Fatal(err)
		}
		c.startDaemon("a")
		eventually(t, 30*time.Second, func() string {
			st, err := a.Status(t.Context())
			if err != nil {
				return err.Error()
			}
			if st.Ready.Holds || st.Ready.Reason == "" {
				return fmt.Sprintf("status does not say what it waits for: %+v", st.Ready)
			}
			return ""
		})
		time.Sleep(5 * time.Second) // in which nothing may be touched
		c.api.Restart(t)
		c.ready("a")
		c.sessions("a", "b")
		c.works(t, "4")
	})
}

// TestKubernetesReboot has a node start anew, with nothing in its kernel, while the
// API is away, which it reaches only by a route that another node announces.
func TestKubernetesReboot(t *testing.T) {
	t.Parallel()
	far := netip.MustParsePrefix("203.0.113.6/32")
	top := kubeTopology(2)
	host := &top.Nodes[2]
	// The API's host hangs on node b alone.
	host.Links = []lab.Link{{Name: "eth0", Peer: "b", PeerName: "api0",
		Addrs: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/30")}, PeerAddrs: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/30")}}}
	host.Loopback = []netip.Prefix{far}
	host.Routes = []lab.StaticRoute{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("198.51.100.1")}}
	c := newCluster(t, top, far.Addr())
	a, b := c.l.Node("a"), c.l.Node("b")
	run(t, b, "ip", "route", "add", far.String(), "via", "198.51.100.2")
	// Before the first start an operator reaches the API from a some other way.
	run(t, a, "ip", "route", "add", far.String(), "via", b.Addr(lab.IPv4).String())
	c.api.ApplyYAML(t, fmt.Sprintf("apiVersion: caracal.dev/v1\nkind: NodeConfig\nmetadata: {name: b}\nspec: {anycastPrefixes: [%s]}\n", far))
	c.join("a")
	c.join("b")
	c.sessions("a", "b")
	c.ready()
	ctr, podA := c.run("a", "pa", nil)
	_, podB := c.run("b", "pb", nil)
	c.ping(podA, podB)
	run(t, a, "ip", "route", "del", far.String(), "via", b.Addr(lab.IPv4).String())
	eventually(t, 20*time.Second, func() string {
		out, err := a.Exec(t.Context(), "ip", "route", "get", far.Addr().String())
		if err != nil || !strings.Contains(out, b.Addr(lab.IPv4).String()) {
			return fmt.Sprintf("a does not reach the API by a route of ours: %s %v", out, err)
		}
		return ""
	})
	c.kept("a", "b")

	c.api.Kill()
	c.reboot(t, "a", "pa", ctr.Name)
	if out, err := a.Exec(t.Context(), "ip", "route", "get", far.Addr().String()); err == nil {
		t.Fatalf("a reaches the API without a daemon: %s", out)
	}
	must(a.StartCaracaldAs(c.afterReboot("a"), c.flags("a")...))(t)
	c.ready("a")
	c.sessions("a", "b")
	eventually(t, 20*time.Second, func() string {
		_, err := a.Exec(t.Context(), "ip", "route", "get", far.Addr().String())
		return said(err)
	})
	c.api.Restart(t)
	pod := c.container("a", "pa") // its kubelet starts the container again
	eventually(t, 60*time.Second, func() string { return said(c.hosts["a"].Add(t.Context(), pod)) })
	c.ping(c.adopt("a", "pa", pod.NetNS, pod.Addrs), podB)
	c.consistent("a", "b")
}

// reboot leaves of a node what a restart of the machine leaves: its disk.
func (c *cluster) reboot(t *testing.T, name string, containers ...string) {
	t.Helper()
	n := c.l.Node(name)
	if err := n.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.l.Forget(containers[0])
	if err := c.l.DeleteNamespace(containers[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		if links := must(hostInterfaces(n))(t); len(links) > 0 {
			return fmt.Sprint("the namespaces have gone but not ", links)
		}
		return ""
	})
	flush := "ip -4 route flush proto 67; ip -6 route flush proto 67\n" +
		"for t in raw mangle nat filter; do for c in iptables ip6tables; do $c -t $t -F; $c -t $t -X; done; done; ipset destroy; true"
	run(t, n, "sh", "-c", flush)
	if left := run(t, n, "iptables-save") + run(t, n, "ipset", "list", "-name"); strings.Contains(left, "car") {
		t.Fatalf("not everything has gone:\n%s", left)
	}
	if err := os.RemoveAll(n.Socket()); err != nil {
		t.Fatal(err)
	}
}
