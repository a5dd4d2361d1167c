package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestRestart ends a daemon in several ways and starts it again while packets
// flow: none is lost and no kernel changes a route.
func TestRestart(t *testing.T) {
	cases := []struct {
		name string
		sig  os.Signal
		away time.Duration
	}{
		{"killed, back at once", syscall.SIGKILL, 0},
		{"killed, back after 2 s", syscall.SIGKILL, 2 * time.Second},
		{"terminated, back after 1 s", syscall.SIGTERM, time.Second},
	}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.name, ",", ""), func(t *testing.T) {
			t.Parallel()
			l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
			b := l.Node("b")
			before := own(t, b)
			changes, stop := watchRoutes(t, l), flows(t, l, "a1", "b1")
			time.Sleep(300 * time.Millisecond)
			if err := b.Kill(c.sig); err != nil {
				t.Fatal(err)
			}
			if diff := same(own(t, b), before); diff != "" {
				t.Errorf("the daemon's end changed its routes:\n%s", diff)
			}
			time.Sleep(c.away)
			must(b.Restart(syscall.SIGKILL))(t)
			settle(t, l)
			// Longer than the deferral: what would be swept wrongly is gone by then.
			time.Sleep(6 * time.Second)
			if r := stop(); r.Lost() != 0 {
				t.Errorf("packets lost: %s", r)
			}
			if got := changes(); len(got) != 0 {
				t.Errorf("routes changed:\n%s", lines(got))
			}
			if nb := session(t, l.Node("a"), "c"); nb.Flaps != 0 {
				t.Errorf("the session a-c went down too: %+v", nb)
			}
		})
	}
}

// TestTermSendsNoCease looks at what the neighbors of a daemon that was
// terminated say: it is restarting, not gone.
func TestTermSendsNoCease(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	b := l.Node("b").Process("caracald")
	if err := l.Node("b").Kill(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(t.Context()); err != nil {
		t.Errorf("after SIGTERM: %v, want exit code 0", err)
	}
	eventually(t, 5*time.Second, func() string {
		if nb := session(t, l.Node("a"), "b"); nb.State == "Established" {
			return "a has not noticed"
		}
		return ""
	})
	if nb := session(t, l.Node("a"), "b"); strings.Contains(strings.ToLower(nb.LastError), "cease") {
		t.Errorf("a was told a Cease: %q", nb.LastError)
	}
	eventually(t, 5*time.Second, func() string {
		paths := must(l.Node("a").Paths(t.Context(), l.Node("b").Block(lab.IPv4).String()))(t)
		if !slices.ContainsFunc(paths, func(p lab.Path) bool { return p.Stale && p.Installed }) {
			return fmt.Sprintf("a does not keep b's path as stale and installed: %+v", paths)
		}
		return ""
	})
}

// TestBlockMovesWhileAway moves a block from c to b while a's daemon is down:
// after its start the new route is in and the old one gone.
func TestBlockMovesWhileAway(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	if err := a.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	moved := l.Node("c").Blocks
	if err := l.RemoveNode(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	must(a.Restart(syscall.SIGKILL))(t)
	settle(t, l)
	took := eventually(t, 15*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	t.Logf("routes to %v swept %v after the sessions were up", moved, took)
}

// TestASNumberChange re-execs every daemon: the process stays, and so does every
// route.
func TestASNumberChange(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 2, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	changes, stop := watchRoutes(t, l), flows(t, l, "a1", "b1")
	pid := a.Process("caracald").PID()
	config := must(os.ReadFile(l.ConfigDir() + "/cluster/cluster.yaml"))(t)
	if err := l.WriteConfig("cluster.yaml", strings.Replace(string(config), "asNumber: 64512", "asNumber: 65010", 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() string {
		out, err := a.CLI(t.Context(), "show", "protocols", "all", "-o", "json")
		if err != nil || !strings.Contains(out, "65010") || !strings.Contains(out, `"Established"`) {
			return "no session with the new AS number: " + out
		}
		return ""
	})
	settle(t, l)
	if now := a.Process("caracald"); now.PID() != pid || !now.Running() {
		t.Errorf("process %d is not the one that was started, %d", now.PID(), pid)
	}
	time.Sleep(6 * time.Second)
	if r := stop(); r.Lost() != 0 {
		t.Errorf("packets lost: %s", r)
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("routes changed:\n%s", lines(got))
	}
	if log := a.Process("caracald").Log(); !strings.Contains(log, "64512") || !strings.Contains(log, "65010") {
		t.Errorf("the log does not say why the daemon started anew")
	}
}
