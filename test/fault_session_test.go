package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestPeerFrozen stops a neighbor for longer than the hold time: its host may be
// dead for all anybody knows, so its routes go.
func TestPeerFrozen(t *testing.T) {
	const hold = 6 * time.Second
	for _, c := range []struct{ node, process string }{{"b", "caracald"}, {"c", "bird"}, {"d", "bgpd"}} {
		t.Run(c.process, func(t *testing.T) {
			t.Parallel()
			l := mixed(t, lab.BGPSettings{HoldTime: hold})
			a, p := l.Node("a"), l.Node(c.node).Process(c.process)
			if err := p.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Signal(syscall.SIGCONT) })
			noticed := within(t, hold+10*time.Second, func() string {
				if nb := session(t, a, c.node); nb.State == "Established" {
					return "the session is still up"
				}
				return ""
			})
			gone := noticed + within(t, 10*time.Second, func() string {
				for _, r := range own(t, a) {
					for _, b := range l.Node(c.node).Blocks {
						if strings.HasPrefix(r, b.String()) {
							return "still there: " + r
						}
					}
				}
				return ""
			})
			t.Logf("hold time %v: noticed %v after the stop, routes gone after %v", hold, noticed, gone)
			// The last message came up to hold/3 before the stop, or earlier from a neighbor
			// that had been held up already.
			if noticed < hold/4 {
				t.Errorf("the session ended after %v, long before the hold time", noticed)
			}
			if err := p.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			eventually(t, 30*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
		})
	}
}

// TestPeerKilled kills a neighbor for good. Its routes live as long as the
// restart time that it announced.
func TestPeerKilled(t *testing.T) {
	const restart = 5 * time.Second
	for _, c := range []struct{ node, process string }{{"b", "caracald"}, {"c", "bird"}, {"d", "bgpd"}} {
		t.Run(c.process, func(t *testing.T) {
			t.Parallel()
			l := mixedWith(t, lab.BGPSettings{RestartTime: restart}, restart)
			a := l.Node("a")
			whole := own(t, a)
			killed := time.Now()
			if err := l.Node(c.node).Process(c.process).Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for time.Since(killed) < restart-time.Second {
				// A look may take long: only what it saw before that time is too early.
				if diff := same(own(t, a), whole); diff != "" && time.Since(killed) < restart {
					t.Fatalf("%v after the kill: %s", time.Since(killed), diff)
				}
				time.Sleep(20 * time.Millisecond)
			}
			eventually(t, 10*time.Second, func() string {
				for _, r := range own(t, a) {
					for _, b := range l.Node(c.node).Blocks {
						if strings.HasPrefix(r, b.String()) {
							return "still there: " + r
						}
					}
				}
				return ""
			})
			t.Logf("restart time %v: routes gone %v after the kill", restart, time.Since(killed))
		})
	}
}

// TestConnectionLost resets the TCP connections of a daemon that lives on, as a
// firewall that forgets its state does. Both ends kept forwarding all the time.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	l := mixed(t, lab.BGPSettings{HoldTime: 9 * time.Second})
	a := l.Node("a")
	undisturbed(t, l, func() {
		for range 2 {
			since := session(t, a, "b").Since
			// All but resets are answered with one, so that both ends get theirs.
			reset := []string{"INPUT", "-p", "tcp", "-m", "multiport", "--ports", "179", "--tcp-flags", "RST", "NONE",
				"-j", "REJECT", "--reject-with", "tcp-reset"}
			run(t, a, append([]string{"iptables", "-w", "-I"}, reset...)...)
			eventually(t, 20*time.Second, func() string {
				for _, nb := range must(a.Neighbors(t.Context()))(t) {
					if nb.State == "Established" {
						return "still up: " + nb.Name
					}
				}
				return ""
			})
			run(t, a, append([]string{"iptables", "-w", "-D"}, reset...)...)
			eventually(t, 20*time.Second, func() string {
				if nb := session(t, a, "b"); nb.State != "Established" || nb.Since.Equal(since) {
					return "the session is not back"
				}
				return ""
			})
			settle(t, l)
			time.Sleep(sweepTime / 2)
		}
	})
}

// TestPeerGoneWhileAway kills two daemons, and only one comes back: the other
// might be restarting too, so its routes are kept for its restart time from then.
func TestPeerGoneWhileAway(t *testing.T) {
	t.Parallel()
	const restart = 8 * time.Second
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{RestartTime: restart})
	a, b := l.Node("a"), l.Node("b")
	whole := own(t, a)
	for _, n := range []*lab.Node{a, b} {
		if err := n.Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	started := time.Now()
	must(a.StartCaracald())(t)
	for time.Since(started) < restart-time.Second {
		// A look may take long: only what it saw before that time is too early.
		if diff := same(own(t, a), whole); diff != "" && time.Since(started) < restart {
			t.Fatalf("%v after the start: %s", time.Since(started), diff)
		}
		time.Sleep(20 * time.Millisecond)
	}
	eventually(t, 20*time.Second, func() string {
		if strings.Contains(strings.Join(own(t, a), "\n"), b.Block(lab.IPv4).String()) {
			return "still there:\n" + lines(own(t, a))
		}
		return ""
	})
	t.Logf("restart time %v: routes gone %v after the start", restart, time.Since(started))
}
