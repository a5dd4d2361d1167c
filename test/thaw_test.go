package test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// These stories take a switch away for as long as an operator takes to notice,
// and bring it back: its sessions are to be up again within returnGoal, at both
// ends, and to stay.

const (
	returnGoal  = 5 * time.Second
	returnLimit = 30 * time.Second // on a busy machine; a switch's own timers are of 60 s and more
)

// A daemon of a busy machine may pause for two seconds, and its sessions are to stay:
// BFD notices a switch that is gone after two and a half.
const patient = "  bfd: {transmitInterval: 500ms, receiveInterval: 500ms, multiplier: 5}\n"

// patiently makes of what [birdTor] and [frrTor] say of BFD the same.
var patiently = strings.NewReplacer("100 ms", "500 ms", "multiplier 3", "multiplier 5", "interval 100", "interval 500")

// TestReturn: one of the two switches runs BIRD and the other FRR, and both are
// frozen, cut off and killed. Their timers are those that they have by default:
// whether a session comes up soon is for the nodes to see to.
func TestReturn(t *testing.T) {
	returnStory(t, 6*time.Second, 5*time.Second, true) // away for so long that the nodes dial
}

// returnStory has switches that are away for a time, and sessions that are then to
// last for another.
func returnStory(t *testing.T, away, steady time.Duration, defaults bool) {
	l := start(t, twoTors(tors{bfd: "on", peer: patient}))
	begin := func(tor int, n *lab.Node) {
		as := func(conf string) string {
			if defaults {
				conf = withoutTimers(conf)
			}
			return patiently.Replace(conf)
		}
		if tor == 1 {
			must(n.StartBIRD(as(birdTor(tor, "on"))))(t)
			return
		}
		conf := frrTor(tor, "on")
		conf.BGP, conf.BFD = as(conf.BGP), as(conf.BFD)
		if err := n.StartFRR(conf); err != nil {
			t.Fatal(err)
		}
	}
	each := func(do func(tor int, n *lab.Node)) {
		for tor := 1; tor <= 2; tor++ {
			do(tor, l.Node(fmt.Sprintf("t%d", tor)))
		}
	}
	each(begin)
	for _, n := range []string{"a", "b"} {
		must(l.Node(n).StartCaracald())(t)
	}
	twoWays(t, l)
	waitBFD(t, l)
	links := func(state string) {
		each(func(_ int, n *lab.Node) {
			run(t, n, "sh", "-c", fmt.Sprintf("ip link set to-a %s; ip link set to-b %[1]s", state))
		})
	}
	for _, c := range []struct {
		name       string
		take, back func()
	}{
		{"frozen", func() { each(func(_ int, n *lab.Node) { freeze(t, n, true) }) }, func() { each(func(_ int, n *lab.Node) { freeze(t, n, false) }) }},
		{"links down", func() { links("down") }, func() { links("up") }},
		{"killed", func() { each(func(_ int, n *lab.Node) { killTor(t, n) }) }, func() { each(begin) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.take()
			time.Sleep(away)
			c.back()
			returned(t, l, steady)
		})
	}
}

// connectTimers are what [birdTor] and [frrTor] say about when to connect.
var connectTimers = regexp.MustCompile(`connect retry time 2; connect delay time 1; error wait time 1,2; | neighbor \S+ timers connect 2\n`)

func withoutTimers(conf string) string { return connectTimers.ReplaceAllString(conf, "") }

// killTor ends the routing daemons of a switch without a word to anyone.
func killTor(t *testing.T, n *lab.Node) {
	t.Helper()
	for _, name := range []string{"bird", "staticd", "bgpd", "bfdd", "zebra"} {
		if p := n.Process(name); p != nil {
			if err := p.Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// returned waits until every session of the two switches is up at both ends, and
// then for the time in which none may end again.
func returned(t *testing.T, l *lab.Lab, steady time.Duration) {
	t.Helper()
	begin := time.Now()
	up := map[string]time.Duration{}
	within(t, 3*returnLimit, func() string {
		var wrong []string
		for who, ok := range sessionsOf(t, l) {
			if _, was := up[who]; ok && !was {
				up[who] = time.Since(begin)
			} else if !ok {
				delete(up, who)
				wrong = append(wrong, who)
			}
		}
		return strings.Join(wrong, ", ")
	})
	before := flapsOf(t, l)
	for who, d := range up {
		t.Logf("%s: up after %v", who, d.Round(10*time.Millisecond))
		if d > returnLimit {
			t.Errorf("%s is up only after %v, should be after %v", who, d, returnGoal)
		}
	}
	time.Sleep(steady)
	if after := flapsOf(t, l); after != before {
		t.Errorf("sessions that were up ended again: flaps %s, before %s", after, before)
	}
	twoWays(t, l)
	waitBFD(t, l)
}

// sessionsOf says of both ends of every session whether it is up.
func sessionsOf(t *testing.T, l *lab.Lab) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, name := range []string{"a", "b"} {
		for tor := 1; tor <= 2; tor++ {
			out[fmt.Sprintf("%s to t%d", name, tor)] = neighborOf(t, l.Node(name), tor).State == "Established"
		}
	}
	bird, _ := l.Node("t1").BIRDC(t.Context(), "show", "protocols")
	frr, _ := l.Node("t2").VTYSH(t.Context(), "show bgp ipv4 unicast summary json")
	var summary struct {
		Peers map[string]struct{ State string }
	}
	_ = json.Unmarshal([]byte(frr), &summary)
	for i, name := range []string{"a", "b"} {
		out["t1 to "+name] = false
		for line := range strings.Lines(bird) {
			if f := strings.Fields(line); len(f) > 5 && f[0] == name {
				out["t1 to "+name] = f[5] == "Established"
			}
		}
		out["t2 to "+name] = summary.Peers[nodeAddr(2, i).Addr().String()].State == "Established"
	}
	return out
}

// flapsOf is how often the nodes' sessions have ended.
func flapsOf(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"a", "b"} {
		for tor := 1; tor <= 2; tor++ {
			fmt.Fprintf(&b, "%s to t%d: %d; ", name, tor, neighborOf(t, l.Node(name), tor).Flaps)
		}
	}
	return b.String()
}
