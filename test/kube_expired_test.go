package test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
)

// TestKubernetesExpired breaks the watches of all daemons, has much change meanwhile,
// and has the API forget everything that the daemons know of: a watch from there gets
// 410 Gone. What there is now is in force soon after, and what is gone is gone.
func TestKubernetesExpired(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubeTopology(3), apiAddr)
	c.via = c.api.Proxy(t)
	for _, name := range []string{"a", "b", "c"} {
		c.join(name)
	}
	c.sessions("a", "b", "c")
	c.ready()
	_, podA := c.run("a", "pa", map[string]string{"app": "server"})
	_, podB := c.run("b", "pb", map[string]string{"role": "friend"})
	gone, _ := c.run("b", "again", map[string]string{"role": "friend"})
	_, outsider := c.run("b", "outsider", map[string]string{"role": "friend"})
	ctrC, _ := c.run("c", "pc", nil)
	c.ping(podA, podB)
	c.api.ApplyYAML(t, onlyFrom("guard", "server", "friend")+onlyFrom("old", "server", "nobody"))
	c.api.ApplyYAML(t, kubePeer("before"))
	c.reaches(outsider, podA, true)
	c.neighbor("a", "before", true)

	c.during("pa", "pb", func() {
		began := time.Now()
		c.via.Down()
		// While nobody sees it: a pod is deleted and made anew elsewhere under its name
		// and with other labels, one of two policies changes and the other goes, a
		// peer and a pool come and a peer goes, and a node leaves.
		c.end("b", gone)
		c.create("a", "again", map[string]string{"app": "fresh"})
		again := c.container("a", "again")
		c.api.Kubectl(t, "label", "--overwrite", "pod", "outsider", "role=stranger")
		c.api.ApplyYAML(t, onlyFrom("fresh", "fresh", "friend"))
		c.api.Kubectl(t, "delete", "networkpolicy", "old")
		c.api.Kubectl(t, "delete", "bgppeer", "before")
		c.api.ApplyYAML(t, kubePeer("after")+"---\n"+morePool)
		c.leave("c", ctrC.Name)
		c.api.Compact(t)
		c.api.Restart(t)
		c.via.Up(t)
		back := time.Now()

		c.reaches(outsider, podA, false)
		c.neighbor("a", "after", true)
		c.neighbor("a", "before", false)
		for _, name := range []string{"a", "b"} {
			c.noSession(name, "c")
			eventually(t, 60*time.Second, func() string { return c.shows(name, "show ipam", "more") })
		}
		eventually(t, 60*time.Second, func() string { return said(c.hosts["a"].Add(t.Context(), again)) })
		pod := c.adopt("a", "again", again.NetNS, again.Addrs)
		c.ping(podB, pod)
		c.reaches(outsider, pod, false)
		t.Logf("away for %v, all in force %v after the return; %d watches were expired", back.Sub(began).Round(time.Second), time.Since(back).Round(time.Millisecond), c.via.Expired())
	})
	if c.via.Expired() == 0 {
		t.Error("no watch got 410 Gone")
	}
	c.consistent("a", "b")
	eventually(t, 60*time.Second, func() string {
		if n := c.allocated(); n != 8 && n != 10 { // the collector frees the two of pc when it has seen that twice
			return fmt.Sprintf("%d addresses are given, want 8 or 10", n)
		}
		return ""
	})
}

// TestKubernetesStorm has the API refuse every daemon in another way for a while: the
// daemons ask less and less often, nothing is lost, and what has changed meanwhile is
// in force soon after.
func TestKubernetesStorm(t *testing.T) {
	t.Parallel()
	const storm = 12 * time.Second
	faults := map[string]func(kubetest.Request) kubetest.Fault{
		"a": func(r kubetest.Request) kubetest.Fault { return kubetest.Fault{Expired: r.Watch()} },
		"b": func(r kubetest.Request) kubetest.Fault { return kubetest.Fault{Ends: r.Watch()} },
		"c": func(kubetest.Request) kubetest.Fault {
			return kubetest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 1}
		},
		"d": func(r kubetest.Request) kubetest.Fault {
			if r.Watch() {
				return kubetest.Fault{Status: http.StatusServiceUnavailable}
			}
			return kubetest.Fault{Status: http.StatusInternalServerError}
		},
	}
	c := newCluster(t, kubeTopology(len(faults)), apiAddr)
	c.via = c.api.Proxy(t)
	var names []string
	var servers []*lab.Pod
	for _, name := range []string{"a", "b", "c", "d"} {
		c.join(name)
		_, p := c.run(name, "p"+name, map[string]string{"app": "server"})
		names, servers = append(names, name), append(servers, p)
	}
	c.sessions(names...)
	c.ready()
	_, client := c.run("a", "client", nil)
	c.ping(servers[0], servers[1])
	c.ping(servers[2], servers[3])
	was := c.allocated()

	c.during("pa", "pb", func() {
		c.during("pc", "pd", func() {
			begin := time.Now()
			c.via.Break(func(r kubetest.Request) kubetest.Fault {
				if f := faults[nodeOf(r)]; f != nil {
					return f(r)
				}
				return kubetest.Fault{}
			})
			c.via.Down() // of all watches that there are
			c.via.Up(t)
			c.api.ApplyYAML(t, onlyFrom("fresh", "server", "server"))
			c.api.Kubectl(t, "label", "pod", "client", "late=yes")
			for time.Since(begin) < storm {
				c.ready(names...)
				time.Sleep(time.Second)
			}
			c.calm(begin, names...)
			for _, name := range []string{"a", "b"} {
				eventually(t, 60*time.Second, func() string {
					return saysProblem(t, c.l.Node(name), "ends watches as soon as they begin")
				})
			}
			c.via.Break(nil)
			end := time.Now()
			for i, p := range servers {
				c.reaches(client, p, false)
				t.Logf("%s has the policy %v after the storm", names[i], time.Since(end).Round(time.Millisecond))
			}
		})
	})
	c.consistent(names...)
	if n := c.allocated(); n != was {
		t.Errorf("%d addresses are given, %d were", n, was)
	}
}

// nodeOf returns the node whose daemon asks.
func nodeOf(r kubetest.Request) string {
	_, name, _ := strings.Cut(r.Agent, "(")
	return strings.TrimSuffix(name, ")")
}

// calm fails if a daemon has asked the API too often since a time.
func (c *cluster) calm(since time.Time, names ...string) {
	c.t.Helper()
	took := time.Since(since)
	total, late := map[string]int{}, map[string]int{}
	what := map[string]map[string]int{}
	for _, r := range c.via.Requests(since) {
		name := nodeOf(r)
		total[name]++
		if r.At.Sub(since) > took/2 {
			late[name]++
		}
		if what[name] == nil {
			what[name] = map[string]int{}
		}
		what[name][fmt.Sprintf("%s %s watch=%v", r.Method, r.Path, r.Watch())]++
	}
	for _, name := range names {
		all, second := float64(total[name])/took.Seconds(), float64(late[name])/(took.Seconds()/2)
		c.t.Logf("%s: %.1f requests a second in %v, %.1f in its second half", name, all, took.Round(time.Second), second)
		if all > 30 || second > 20 {
			c.t.Errorf("%s asks too often: %v", name, what[name])
		}
	}
}

// onlyFrom is a NetworkPolicy of pods of an app, for pods of a role alone.
func onlyFrom(name, app, role string) string {
	return fmt.Sprintf(`---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: %s, namespace: default}
spec:
  podSelector: {matchLabels: {app: %s}}
  ingress: [{from: [{podSelector: {matchLabels: {role: %s}}}, {podSelector: {matchLabels: {app: server}}}]}]
`, name, app, role)
}

// kubePeer is a BGPPeer that nobody answers for.
func kubePeer(name string) string {
	return fmt.Sprintf(`---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: %s}
spec: {peerIP: 192.168.77.%d, asNumber: 65010}
`, name, 100+len(name))
}

// morePool is a pool that comes later.
const morePool = `
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: more}
spec: {cidr: 10.245.0.0/16, blockSize: 26}
`

// reaches waits until pings from one pod to another are answered, or are not.
func (c *cluster) reaches(from, to *lab.Pod, want bool) {
	c.t.Helper()
	for _, f := range lab.Families() {
		eventually(c.t, 90*time.Second, func() string {
			ok, err := from.Answers(c.t.Context(), to.Addr(f), 200*time.Millisecond)
			if err != nil {
				return err.Error()
			}
			if ok != want {
				return fmt.Sprintf("%s pings %s: answered %v, not %v", from.Name, to.Name, ok, want)
			}
			return ""
		})
	}
}

// neighbor waits until a node has a neighbor by a BGPPeer, or has none.
func (c *cluster) neighbor(node, peer string, want bool) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, func() string {
		for _, n := range must(c.l.Node(node).Neighbors(c.t.Context()))(c.t) {
			if strings.Contains(n.Name, peer) {
				if want {
					return ""
				}
				return fmt.Sprintf("%s has still the neighbor %s", node, n.Name)
			}
		}
		if want {
			return fmt.Sprintf("%s has no neighbor %s", node, peer)
		}
		return ""
	})
}

// noSession waits until a node wants no session with another.
func (c *cluster) noSession(node, other string) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, func() string {
		for _, n := range must(c.l.Node(node).Neighbors(c.t.Context()))(c.t) {
			if n.Node == other {
				return fmt.Sprintf("%s still wants a session with %s", node, other)
			}
		}
		return ""
	})
}

// shows says what is missing in what a command shows.
func (c *cluster) shows(node, words, want string) string {
	out, err := c.l.Node(node).CLI(c.t.Context(), strings.Fields(words)...)
	if err != nil || !strings.Contains(out, want) {
		return fmt.Sprintf("%s: caracal %s: %s %v; want %q", node, words, out, err, want)
	}
	return ""
}

// leave takes a node and its only pod away for ever.
func (c *cluster) leave(name, pod string) {
	c.t.Helper()
	if err := c.l.Node(name).Kill(os.Kill); err != nil {
		c.t.Fatal(err)
	}
	now := int64(0)
	core := c.api.Core().CoreV1()
	if err := core.Pods("default").Delete(c.t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		c.t.Fatal(err)
	}
	if err := core.Nodes().Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}
