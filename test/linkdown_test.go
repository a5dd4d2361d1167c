package test

import (
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// noticeTime is long for what takes milliseconds, and far below the hold time of 90 s.
const noticeTime = 20 * time.Second

// TestLinkDown takes the link to one of two switches down, at our end and at the
// far end, and its address away: the session ends at once, without BFD and long
// before its hold time, its routes go the other way, and all is as before soon
// after the link is.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	l := startTors(t, tors{daemon: "BIRD"})
	a, t1 := l.Node("a"), l.Node("t1")
	for _, c := range []struct {
		name, reason string
		at           *lab.Node
		down, up     []string
	}{
		{"our end", "link eth0 is down", a, []string{"ip", "link", "set", "eth0", "down"}, []string{"ip", "link", "set", "eth0", "up"}},
		{"the far end", "link eth0 has no carrier", t1, []string{"ip", "link", "set", "to-a", "down"}, []string{"ip", "link", "set", "to-a", "up"}},
		{
			"the address", "this node has no address any more on link eth0 that 192.168.10.254 is a neighbor of", a,
			[]string{"ip", "addr", "del", nodeAddr(1, 0).String(), "dev", "eth0"}, []string{"ip", "addr", "add", nodeAddr(1, 0).String(), "dev", "eth0"},
		},
	} {
		before := neighborOf(t, a, 1)
		other := neighborOf(t, a, 2)
		if before.State != "Established" {
			t.Fatalf("%s: the session is %s: %s", c.name, before.State, before.LastError)
		}
		said := len(a.Process("caracald").Log())
		down := time.Now()
		run(t, c.at, c.down...)
		within(t, noticeTime, func() string {
			if wrong := downWith(t, a, said, c.reason); wrong != "" {
				return c.name + ": " + wrong
			}
			return ""
		})
		t.Logf("%s: the session is down after %v", c.name, time.Since(down).Round(time.Millisecond))
		within(t, noticeTime, func() string { return throughOnly(t, a, "eth1") })
		t.Logf("%s: the routes lead the other way after %v", c.name, time.Since(down).Round(time.Millisecond))
		run(t, c.at, c.up...)
		back := eventually(t, 15*time.Second, func() string { return neighborUp(neighborOf(t, a, 1)) })
		t.Logf("%s: the session is up again after %v", c.name, back.Round(time.Millisecond))
		twoWays(t, l)
		if nb := neighborOf(t, a, 2); nb.Flaps != other.Flaps {
			t.Errorf("%s: the session on the other link went down too: %s", c.name, nb.LastError)
		}
	}
	// A flap that is over before anybody could look counts.
	before := neighborOf(t, a, 1)
	run(t, a, "sh", "-c", "ip link set eth0 down; ip link set eth0 up")
	eventually(t, 15*time.Second, func() string {
		nb := neighborOf(t, a, 1)
		if nb.Flaps == before.Flaps {
			return "the session survived: " + nb.LastError
		}
		return neighborUp(nb)
	})
	twoWays(t, l)
}

func neighborUp(nb lab.Neighbor) string {
	if nb.State != "Established" {
		return "the session is " + nb.State + ": " + nb.LastError
	}
	return ""
}
