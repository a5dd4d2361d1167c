package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestNeighborCommands disables, enables and restarts a session from the
// command line.
func TestNeighborCommands(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	state := func(want string) func() string {
		return func() string {
			if nb := session(t, a, "b"); nb.State != want {
				return "the session a-b is " + nb.State + ", not " + want
			}
			return ""
		}
	}

	// A reset that we cause keeps our routes until the session is back. The
	// neighbor is told a Cease, which ends graceful restart (RFC 4724 section 4),
	// so it drops its own.
	changes, stop := watchRoutes(t, l), flows(t, l, "a1", "b1")
	before := session(t, a, "b")
	must(a.CLI(t.Context(), "restart", "mesh/b"))(t)
	eventually(t, 20*time.Second, func() string {
		if nb := session(t, a, "b"); nb.State != "Established" || nb.Since.Equal(before.Since) {
			return "the session is not back: " + nb.State
		}
		return ""
	})
	settle(t, l)
	if r := stop(); r.AB.Lost != 0 {
		t.Errorf("packets lost on the way that leads over our own routes: %s", r)
	}
	for _, c := range changes() {
		if !strings.HasPrefix(c, "b: ") {
			t.Errorf("a route changed by restart: %s", c)
		}
	}

	must(a.CLI(t.Context(), "disable", "mesh/b"))(t)
	eventually(t, 5*time.Second, state("Disabled"))
	must(a.CLI(t.Context(), "enable", "mesh/b"))(t)
	eventually(t, 20*time.Second, state("Established"))
	settle(t, l)
	if nb := session(t, a, "c"); nb.Flaps != 0 {
		t.Errorf("the session a-c was touched: %+v", nb)
	}
	if _, err := a.CLI(t.Context(), "restart", "mesh/nosuch"); err == nil || !strings.Contains(err.Error(), "mesh/nosuch") {
		t.Errorf("restart of a neighbor that is none: %v", err)
	}
}

// get asks a node's daemon over HTTP.
func get(t *testing.T, n *lab.Node, path string) (int, string) {
	t.Helper()
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = n.Do(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://127.0.0.1:9179" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, string(must(io.ReadAll(resp.Body))(t))
}

// TestHTTP looks at what monitoring sees.
func TestHTTP(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	for _, path := range []string{"/healthz", "/readyz"} {
		eventually(t, 5*time.Second, func() string {
			if code, body := get(t, a, path); code != http.StatusOK {
				return path + ": " + body
			}
			return ""
		})
	}
	eventually(t, 5*time.Second, func() string {
		_, metrics := get(t, a, "/metrics")
		for _, want := range []string{"caracal_", "# HELP", "mesh/b"} {
			if !strings.Contains(metrics, want) {
				return fmt.Sprintf("/metrics has no %q:\n%s", want, metrics)
			}
		}
		return ""
	})
}

// TestStoreVanishes takes all nodes away at once: nobody means that, so it is
// held, and said so.
func TestStoreVanishes(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 6, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	changes, stop := watchRoutes(t, l), flows(t, l, "a1", "b1")
	cluster := filepath.Join(l.ConfigDir(), "cluster")
	if err := os.Rename(cluster, cluster+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() string {
		if st := must(a.Status(t.Context()))(t); len(st.Problems) == 0 {
			return "status reports nothing"
		}
		return ""
	})
	for _, p := range must(a.Status(t.Context()))(t).Problems {
		t.Logf("%s %s: %s", p.Severity, p.Source, p.Message)
	}
	// Also over a restart in that state.
	must(a.Restart(syscall.SIGKILL))(t)
	settle(t, l)
	time.Sleep(6 * time.Second)
	if err := os.Rename(cluster+".away", cluster); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() string {
		if st := must(a.Status(t.Context()))(t); len(st.Problems) != 0 {
			return "status still reports:\n" + lines(st.Problems)
		}
		return ""
	})
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost: %s", r)
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("routes changed:\n%s", lines(got))
	}
}

// TestAdvertiseHosts has a pool announced as /32s, one for each workload, and then as
// blocks and as /32s again: without a gap.
func TestAdvertiseHosts(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{Nodes: 2}))
	config := must(os.ReadFile(filepath.Join(l.ConfigDir(), "cluster", "cluster.yaml")))(t)
	text := strings.ReplaceAll(string(config), "ipipMode: Never", "advertise: hosts")
	if err := l.WriteConfig("cluster.yaml", text); err != nil {
		t.Fatal(err)
	}
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	got := own(t, l.Node("a"))
	for _, want := range []string{
		"10.244.2.2/32 via 192.168.77.2 dev eth0 proto 67 metric 427",
		"fd00:244:0:2::3/128 via fd00:77::2 dev eth0 proto 67 metric 427",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("a has no route %s:\n%s", want, lines(got))
		}
	}
	if strings.Contains(strings.Join(got, "\n"), "10.244.2.0/26") {
		t.Errorf("b announces its block as well:\n%s", lines(got))
	}
	// A workload more is an announcement more.
	if err := l.WriteConfig("extra.yaml", workload("extra", "b", lab.PodInterface("b2"), "10.244.2.40")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() string {
		if !slices.Contains(own(t, l.Node("a")), "10.244.2.40/32 via 192.168.77.2 dev eth0 proto 67 metric 427") {
			return "no route to the new workload"
		}
		return ""
	})
	// From hosts to blocks and back, under traffic.
	stop := flows(t, l, "a1", "b1")
	for i := range 6 {
		now, route, gone := string(config), "10.244.2.0/26 via 192.168.77.2 dev eth0 proto 67 metric 427", "10.244.2.2/32 via"
		if i%2 == 1 {
			now, route, gone = text, "10.244.2.2/32 via 192.168.77.2 dev eth0 proto 67 metric 427", "10.244.2.0/26 via"
		}
		if err := l.WriteConfig("cluster.yaml", now); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() string {
			got := own(t, l.Node("a"))
			if !slices.Contains(got, route) || strings.Contains(lines(got), gone) {
				return fmt.Sprintf("want %s, and nothing with %s:\n%s", route, gone, lines(got))
			}
			return ""
		})
	}
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost between hosts and blocks: %s", r)
	}
}

// TestUnassignedAddress pings an address of another node's block that no pod
// has: the block's node says so, and nothing loops.
func TestUnassignedAddress(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	for _, f := range lab.Families() {
		unassigned := l.Pod("b1").Addr(f).Next()
		eventually(t, 5*time.Second, func() string {
			c := must(l.Pod("a1").Ping(t.Context(), unassigned))(t)
			if want := "unreachable, says " + l.Node("b").Addr(f).String(); c.OK || c.Why != want {
				return fmt.Sprintf("ping of %s: %+v, want %q", unassigned, c, want)
			}
			return ""
		})
	}
}

// TestPodMadeAnew deletes a pod with its link and makes it again, as a container
// that restarts does.
func TestPodMadeAnew(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2}, lab.BGPSettings{})
	stop := flows(t, l, "a2", "b2")
	for range 3 {
		if err := l.RemakePod(t.Context(), "a1"); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, 10*time.Second, func() string { return same(own(t, l.Node("a")), wantRoutes(l, l.Node("a"))) })
		t.Logf("routes to the new link after %v", took)
		settle(t, l)
	}
	if r := stop(); r.Lost() != 0 {
		t.Errorf("the other pod lost packets: %s", r)
	}
}
