package test

import (
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestUnnumbered has two racks with FRR as their switches, and no address on any
// cable: routers find each other by their advertisements, and IPv4 goes by IPv6
// next hops, over both cables (RFC 8950).
func TestUnnumbered(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Racks(lab.RackOptions{NodesPerRack: 1, PodsPerNode: 1, NoBFD: true}))
	if err := l.StartRouters(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, n := range []string{"a", "b"} {
		must(l.Node(n).StartCaracald())(t)
	}
	settle(t, l)
	t.Logf("sessions and pings after %v", time.Since(began).Round(time.Millisecond))
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string {
		routes := run(t, a, "ip", "route", "show", "proto", "67") + run(t, a, "ip", "-6", "route", "show", "proto", "67")
		for _, want := range []string{
			"10.244.2.0/26 metric 427 \n\tnexthop via inet6 fe80::",
			"fd00:244:0:2::/122 metric 427 pref medium\n\tnexthop via fe80::",
		} {
			_, rest, ok := strings.Cut(routes, want)
			// The kernel lists them by address, which the switches' MACs make.
			if hops := strings.SplitN(rest, "\n", 3); !ok || len(hops) < 2 || !strings.Contains(hops[0]+hops[1], "dev eth0") || !strings.Contains(hops[0]+hops[1], "dev eth1") {
				return "no " + want + " over eth0 and eth1 in\n" + routes
			}
		}
		return ""
	})
	if out := run(t, a, "ip", "-6", "route", "show", "default"); out != "" {
		t.Errorf("the kernel took a switch for its default router: %s", out)
	}
	// A cable that is pulled: the other one carries on, and it comes back.
	stop := flows(t, l, "a1", "b1")
	time.Sleep(200 * time.Millisecond)
	said, pulled := len(a.Process("caracald").Log()), time.Now()
	run(t, a, "ip", "link", "set", "eth0", "down")
	eventually(t, 5*time.Second, func() string { return throughOnly(t, a, "eth1") })
	t.Logf("the other cable carries all after %v", time.Since(pulled))
	eventually(t, 5*time.Second, func() string { return downWith(t, a, said, "link eth0 is down") })
	allReached(t, l)        // a gap ends with a packet
	time.Sleep(time.Second) // as long as packets may be held up
	// Of the hold time, 9 s, two thirds are left at least.
	if r := stop(); r.LongestGap() > 5*time.Second {
		t.Errorf("packets were held up: %s", r)
	}
	run(t, a, "ip", "link", "set", "eth0", "up")
	took := eventually(t, 20*time.Second, func() string {
		if strings.Contains(run(t, a, "ip", "route", "show", "10.244.2.0/26"), "eth0") {
			return ""
		}
		return "eth0 carries nothing"
	})
	t.Logf("both cables carry again after %v", took)
}

// throughOnly says that routes of ours lead through other devices too.
func throughOnly(t *testing.T, n *lab.Node, dev string) string {
	t.Helper()
	routes := must(n.OwnRoutes())(t)
	through := 0
	for _, r := range routes {
		for part := range strings.SplitSeq(r.String(), " dev ") {
			name, _, _ := strings.Cut(part, " ")
			if strings.HasPrefix(name, "eth") && name != dev {
				return "still " + r.String()
			}
			if name == dev {
				through++
			}
		}
	}
	if through == 0 {
		return "nothing by " + dev + ":\n" + lines(routes)
	}
	return ""
}

// downWith wants one session of a node to be down, and to have ended for that reason
// since its log had so many bytes. Of the neighbor itself only the last try to reach it
// again may be told by the time that somebody asks.
func downWith(t *testing.T, n *lab.Node, since int, reason string) string {
	t.Helper()
	var all []string
	down := false
	for _, nb := range must(n.Neighbors(t.Context()))(t) {
		down = down || nb.State != "Established"
		all = append(all, nb.Name+" "+nb.State+" "+nb.LastError)
	}
	for line := range strings.Lines(n.Process("caracald").Log()[since:]) {
		if down && strings.Contains(line, "session down") && strings.Contains(line, reason) {
			return ""
		}
	}
	return "no session is down because " + reason + "; there are\n" + lines(all)
}
