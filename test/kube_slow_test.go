package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// How slow the API is: each answer and each event of a watch comes so much later, and
// so many bytes come through each connection in a second.
const (
	slowLeast = 2 * time.Second
	slowMost  = 5 * time.Second
	slowBytes = 20_000
)

// addTime is how long an ADD may take, done or not: less than the two minutes after
// which a kubelet gives up.
const addTime = 70 * time.Second

// TestKubernetesSlow has the API answer late, over a thin line: what changes is in
// force in the end, a node joins, pods come and go, nobody loses a packet, and the
// daemons answer whoever asks them as ever.
func TestKubernetesSlow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubeTopology(3), apiAddr)
	c.via = c.api.Proxy(t)
	for _, name := range []string{"a", "b"} {
		c.join(name)
	}
	c.sessions("a", "b")
	c.ready("a", "b")
	_, podA := c.run("a", "pa", map[string]string{"app": "server"})
	// A friend from the beginning: events of Pods and of policies come by ways of their
	// own, and until its label is known a policy would rightly keep it out.
	_, podB := c.run("b", "pb", map[string]string{"role": "friend"})
	gone, _ := c.run("b", "again", nil)
	c.ping(podA, podB)

	c.during("pa", "pb", func() {
		c.via.Break(func(kubetest.Request) kubetest.Fault {
			return kubetest.Fault{Late: slowLeast + rand.N(slowMost-slowLeast)}
		})
		c.via.Throttle(slowBytes)
		c.via.Down() // of the watches that there are, which are quick
		c.via.Up(t)
		watched := c.lively("a", "b")
		begin := time.Now()
		step := func(what string) { t.Logf("%v: %s", time.Since(begin).Round(100*time.Millisecond), what) }

		c.register("c")
		c.startDaemon("c")
		c.api.ApplyYAML(t, onlyFrom("fresh", "server", "friend"))
		c.end("b", gone)
		step("a pod is deleted")
		again := c.create("a", "again", map[string]string{"role": "stranger"})
		ctr := c.container("a", "again")
		c.addSlowly("a", ctr)
		c.started(again, ctr.Addrs)
		pod := c.adopt("a", "again", ctr.NetNS, ctr.Addrs)
		step("a pod of its name has its network elsewhere")
		c.reaches(podB, podA, true)
		c.reaches(pod, podA, false)
		step("the policy is in force")

		host := must(runtimes.NewHost(c.l, "c", built.dir))(t)
		c.hosts["c"] = host
		if err := host.Configure(alone, runtimes.CNI11, host.Caracal()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 120*time.Second, func() string { return said(host.Status(t.Context(), alone)) })
		step("a node has joined")
		c.sessions("a", "b", "c")
		pc := c.create("c", "pc", map[string]string{"role": "friend"})
		ctr = c.container("c", "pc")
		c.addSlowly("c", ctr)
		c.started(pc, ctr.Addrs)
		podC := c.adopt("c", "pc", ctr.NetNS, ctr.Addrs)
		step("it has a pod")
		c.reaches(podC, podA, true)
		step("which reaches the others")
		for _, name := range []string{"a", "b", "c"} {
			eventually(t, 120*time.Second, func() string {
				st, err := c.report(name)
				if err != nil || !st.Ready || st.SessionsSummary != "2/2" {
					return fmt.Sprintf("%s reports %+v %v", name, st, err)
				}
				return ""
			})
		}
		step("and all report")
		watched()
		c.via.Break(nil)
		c.via.Throttle(0)
		c.via.Down()
		c.via.Up(t)
	})
	c.consistent("a", "b", "c")
	eventually(t, 60*time.Second, func() string {
		if n := c.allocated(); n != 2*4 {
			return fmt.Sprintf("%d addresses are given, want 8", n)
		}
		return ""
	})
}

// addSlowly wires a container up as a kubelet does, which tries again. Each try ends
// in time, and one that fails says what it waited for.
func (c *cluster) addSlowly(node string, ctr *runtimes.Container) {
	c.t.Helper()
	for end, try := time.Now().Add(4*time.Minute), 1; ; try++ {
		began := time.Now()
		err := c.hosts[node].Add(c.t.Context(), ctr)
		took := time.Since(began).Round(time.Millisecond)
		c.t.Logf("ADD %d of %s on %s: %v: %v", try, ctr.Name, node, took, err)
		if took > addTime {
			c.t.Errorf("ADD of %s took %v: %v", ctr.Name, took, err)
		}
		if err == nil {
			return
		}
		if !slices.ContainsFunc([]string{"API", "is not known to this node yet", "address records", "not listed yet"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			c.t.Errorf("ADD of %s does not say what is slow: %v", ctr.Name, err)
		}
		if time.Now().After(end) {
			c.t.Fatalf("ADD of %s: %v", ctr.Name, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// lively asks the daemons of nodes again and again how they are, until the function
// that it returns is called: they answer at once, and are well.
func (c *cluster) lively(names ...string) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	var wrong []error
	for _, name := range names {
		tasks.Go(func() {
			for n := c.l.Node(name); ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
				began := time.Now()
				_, err := n.CLI(ctx, "show", "status")
				d := time.Since(began)
				err = errors.Join(err, healthy(ctx, n))
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				took = append(took, d)
				if err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
				}
				mu.Unlock()
			}
		})
	}
	return func() {
		c.t.Helper()
		cancel()
		tasks.Wait()
		if err := errors.Join(wrong...); err != nil {
			c.t.Error(err)
		}
		slices.Sort(took)
		c.t.Logf("%d times caracal show status: median %v, at most %v", len(took), took[len(took)/2], took[len(took)-1])
		// The program's start on a busy machine is in it, and its pauses.
		if len(took) < 10 || took[len(took)/2] > time.Second || took[len(took)-1] > 15*time.Second {
			c.t.Errorf("caracal show status takes too long: %v", took)
		}
	}
}

// healthy asks a daemon for /healthz, as a kubelet does.
func healthy(ctx context.Context, n *lab.Node) error {
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = errors.Join(n.Do(func() (e error) { conn, e = new(net.Dialer).DialContext(ctx, network, addr); return e }), err)
			return conn, err
		}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9179/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("/healthz says %s: %s", resp.Status, body)
	}
	return err
}
