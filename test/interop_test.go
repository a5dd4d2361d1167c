package test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// stranger puts another daemon in the place of the last node of a topology.
type stranger struct {
	name  string
	start func(t *testing.T, l *lab.Lab, node string, announce ...netip.Prefix)
}

func strangers() []stranger {
	return []stranger{
		{"BIRD", func(t *testing.T, l *lab.Lab, node string, announce ...netip.Prefix) {
			must(l.Node(node).StartBIRD(lab.MeshBIRD(l.Topology(), node, announce...)))(t)
		}},
		{"FRR", func(t *testing.T, l *lab.Lab, node string, announce ...netip.Prefix) {
			if err := l.Node(node).StartFRR(lab.MeshFRR(l.Topology(), node, announce...)); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// meshWith is a mesh of three whose node c runs a stranger.
// When it forges routes, its own pods need not reach those of the others.
func meshWith(t *testing.T, s stranger, announce ...netip.Prefix) *lab.Lab {
	t.Helper()
	l := start(t, lab.Mesh(lab.MeshOptions{PodsPerNode: 1}))
	s.start(t, l, "c", announce...)
	for _, name := range []string{"a", "b"} {
		must(l.Node(name).StartCaracald())(t)
	}
	if len(announce) > 0 {
		settle(t, l, "a1", "b1")
	} else {
		settle(t, l)
	}
	return l
}

// TestInterop has BIRD and FRR each take the place of a node, and restarts a
// caracald beside them while packets flow to their pods.
func TestInterop(t *testing.T) {
	for _, s := range strangers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			l := meshWith(t, s)
			a := l.Node("a")
			eventually(t, 5*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
			stop := flows(t, l, "a1", "c1")
			time.Sleep(200 * time.Millisecond)
			must(a.Restart(syscall.SIGKILL))(t)
			settle(t, l)
			time.Sleep(6 * time.Second)
			if r := stop(); r.Lost() != 0 {
				t.Errorf("packets lost while caracald was killed and started beside %s: %s", s.name, r)
			}
		})
	}
}

// TestHijack has a mesh peer announce what it does not own. Each is refused,
// shown with the reason, and not in any kernel; what it does own is.
func TestHijack(t *testing.T) {
	forged := []struct{ name, prefix string }{
		{"another node's block", "10.244.2.0/26"},
		{"more specific of another node's block", "10.244.2.0/27"},
		{"another node's pod", "10.244.2.2/32"},
		{"our own block", "10.244.1.0/26"},
		{"our own pod", "10.244.1.2/32"},
		{"the whole pool", "10.244.0.0/16"},
		{"a block that nobody owns", "10.244.200.0/26"},
		{"a prefix in no pool", "198.51.100.0/24"},
		{"a node's address", "192.168.77.1/32"},
		{"default route", "0.0.0.0/0"},
		{"IPv6: another node's block", "fd00:244:0:2::/122"},
		{"IPv6: prefix in no pool", "2001:db8:1::/48"},
		{"IPv6: default route", "::/0"},
	}
	var announce []netip.Prefix
	for _, f := range forged {
		announce = append(announce, netip.MustParsePrefix(f.prefix))
	}
	for _, s := range strangers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			// The victims' routes must be there before and after the forged ones.
			l := meshWith(t, s, announce...)
			for _, name := range []string{"a", "b"} {
				n := l.Node(name)
				eventually(t, 5*time.Second, func() string { return same(own(t, n), wantRoutes(l, n)) })
				for _, f := range forged {
					checkRefused(t, n, f.name, f.prefix)
				}
				eventually(t, 5*time.Second, func() string {
					if st := must(n.Status(t.Context()))(t); st.Counts.Refused < len(forged) {
						return fmt.Sprintf("%s: status counts %d refused paths, want %d", n.Name, st.Counts.Refused, len(forged))
					}
					return ""
				})
				for _, r := range must(n.Routes())(t) {
					if r.Protocol == lab.Proto && slices.Contains(announce, r.Dst) && slices.ContainsFunc(r.Hops, func(h lab.Hop) bool {
						return h.Via == l.Node("c").Addr(lab.IPv4) || h.Via == l.Node("c").Addr(lab.IPv6)
					}) {
						t.Errorf("%s: the forged %s is in the kernel", n.Name, r)
					}
				}
			}
		})
	}
}

// checkRefused waits for the path as well: it may be of a later UPDATE than c's own.
func checkRefused(t *testing.T, n *lab.Node, name, prefix string) {
	t.Helper()
	eventually(t, 5*time.Second, func() string {
		found := ""
		for _, p := range must(n.Paths(t.Context(), prefix, "all"))(t) {
			if p.Neighbor != "mesh/c" {
				continue
			}
			found += fmt.Sprintf(" %+v", p)
			if p.Refused && !p.Installed && p.Why != "" && p.Prefix == prefix {
				t.Logf("%s: %s (%s): %s", n.Name, prefix, name, p.Why)
				return ""
			}
		}
		return fmt.Sprintf("%s: %s (%s) from c is not shown as refused with a reason:%s", n.Name, prefix, name, found)
	})
}

// TestHijackIsUndone has the forger come first: when the owner's daemon starts
// later, its path is the one that is installed.
func TestHijackIsUndone(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{PodsPerNode: 1}))
	strangers()[0].start(t, l, "c", l.Node("b").Blocks...)
	must(l.Node("a").StartCaracald())(t)
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string {
		if !strings.Contains(strings.Join(own(t, a), "\n"), l.Node("c").Block(lab.IPv6).String()) {
			return "no route from c yet"
		}
		return ""
	})
	for _, b := range l.Node("b").Blocks {
		if got := strings.Join(own(t, a), "\n"); strings.Contains(got, b.String()) {
			t.Errorf("the forged %s is installed: %s", b, got)
		}
	}
	must(l.Node("b").StartCaracald())(t)
	settle(t, l, "a1", "b1")
	eventually(t, 5*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
}
