package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// oneTor is [twoTors] in which node a has one peer only, with this spec, and
// node b none by t2; t1 is BIRD, and has the loopback addresses before it starts.
func oneTor(t *testing.T, spec, bird string, loopback ...netip.Prefix) *lab.Lab {
	t.Helper()
	top := twoTors(tors{daemon: "BIRD"})
	top.Nodes[0].Loopback = loopback
	var objects []string
	for _, o := range top.Objects {
		if strings.Contains(o, "name: t1-b") {
			objects = append(objects, o)
		}
	}
	top.Objects = append(objects, "apiVersion: caracal.dev/v1\nkind: BGPPeer\nmetadata: {name: t1-a}\nspec:\n  node: a\n"+
		"  numAllowedLocalASNumbers: 1\n  acceptPools: true\n"+spec)
	for i := range top.Nodes {
		top.Nodes[i].Sessions = 1
	}
	l := start(t, top)
	must(l.Node("t1").StartBIRD(bird))(t)
	for _, n := range []string{"a", "b"} {
		must(l.Node(n).StartCaracald())(t)
	}
	return l
}

// TestReachableBy has a session with a switch's loopback, to which nothing but
// the gateway that the peer names leads. Its paths go by it as well.
func TestReachableBy(t *testing.T) {
	t.Parallel()
	bird := strings.Replace(birdTor(1, ""), "local "+torAddr(1, 0).Addr().String(), "multihop; local 192.0.2.1", 1)
	l := oneTor(t, fmt.Sprintf("  peerIP: 192.0.2.1\n  asNumber: %d\n  ebgpMultihop: true\n  reachableBy: %s\n", torASN, torAddr(1, 0).Addr()), bird, netip.MustParsePrefix("192.0.2.1/32"))
	a := l.Node("a")
	sessionsUp(t, l)
	want := []string{"192.0.2.1 via 192.168.10.254 dev eth0 proto 67 metric 427", "10.244.2.0/26 via 192.168.10.254 dev eth0 proto 67 metric 427"}
	eventually(t, 10*time.Second, func() string {
		routes := run(t, a, "ip", "route")
		for _, w := range want {
			if !strings.Contains(routes, w) {
				return "no " + w + " in\n" + routes
			}
		}
		return ""
	})
	if _, err := l.WaitPing(t.Context(), lab.IPv4); err != nil {
		t.Fatal(err)
	}
	if out := must(a.CLI(t.Context(), "show", "fib"))(t); !strings.Contains(out, "192.0.2.1") {
		t.Errorf("show fib:\n%s", out)
	}
}

// TestDefaultGateway has the neighbor be whoever the default route leads to, once
// there is one; that it is gone for a while changes nothing.
func TestDefaultGateway(t *testing.T) {
	t.Parallel()
	l := oneTor(t, fmt.Sprintf("  peerIP: defaultGateway\n  asNumber: %d\n", torASN), birdTor(1, ""))
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string {
		n, err := a.Neighbors(t.Context())
		if err != nil {
			return err.Error()
		}
		if len(n) != 0 {
			t.Errorf("without a default route there are sessions: %v", n)
		}
		return ""
	})
	run(t, a, "ip", "route", "add", "default", "via", torAddr(1, 0).Addr().String())
	added := time.Now()
	sessionsUp(t, l)
	t.Logf("the session is up %v after there is a default route", time.Since(added).Round(time.Millisecond))
	before := neighborOf(t, a, 1)
	run(t, a, "ip", "route", "del", "default")
	if _, err := l.WaitPing(t.Context(), lab.IPv4); err != nil {
		t.Fatal(err)
	}
	run(t, a, "ip", "route", "add", "default", "via", torAddr(1, 0).Addr().String())
	if after := neighborOf(t, a, 1); after.State != "Established" || after.Flaps != before.Flaps {
		t.Errorf("the session is %s: %s", after.State, after.LastError)
	}
}
