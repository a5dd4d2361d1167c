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
			noticed := eventually(t, hold+10*time.Second, func() string {
				if nb := session(t, a, c.node); nb.State == "Established" {
					return "the session is still up"
				}
				return ""
			})
			gone := noticed + eventually(t, 10*time.Second, func() string {
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
			if noticed < hold/2 {
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
				if diff := same(own(t, a), whole); diff != "" {
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
