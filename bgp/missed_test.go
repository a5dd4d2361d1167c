package bgp_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// TestMissed has a neighbor told again what it may have missed while its session
// came up; another hears of the withdrawals alone.
func TestMissed(t *testing.T) {
	x := newStation(t, "x", "127.0.24.1", bgp.Options{})
	x.conf.ClusterID = addr("10.9.9.1")
	x.conf.Originate = []netip.Prefix{prefix("10.1.0.0/26"), prefix("10.1.1.0/26")}
	var configs []sender.Config
	for _, ip := range []string{"127.0.24.11", "127.0.24.12", "127.0.24.13"} {
		n, c := neighborOf(x, ip)
		n.Client = true
		x.conf.Neighbors, configs = append(x.conf.Neighbors, n), append(configs, c)
	}
	x.apply()
	counters := make([]counter, len(configs))
	for i, c := range configs {
		c.OnMessage = counters[i].message
		s := dial(t, c)
		t.Cleanup(func() { _ = s.Close() })
		x.eventually("a client is up", x.in(x.conf.Neighbors[i].Name, bgp.Established))
	}
	late, other := &counters[1], &counters[2]
	relay := func(list ...bgp.Relay) {
		t.Helper()
		if err := x.Relay(context.Background(), list, nil); err != nil {
			t.Fatal(err)
		}
	}
	attrs := &caracal.Attrs{NextHop: addr("192.0.2.9"), LocalPref: 100}
	r1 := bgp.Relay{NLRI: prefix("10.2.0.0/26"), Attrs: attrs, From: x.conf.Neighbors[0].Name, Internal: true, Client: true}
	r2 := r1
	r2.NLRI = prefix("10.2.1.0/26")
	relay(r1, r2)
	// steady waits until nothing more comes, and returns what has come so far.
	steady := func(c *counter) (prefixes, withdrawn int64) {
		for quiet := 0; quiet < 20; time.Sleep(10 * time.Millisecond) {
			if p, w := c.prefixes.Load(), c.withdrawn.Load(); p != prefixes || w != withdrawn {
				prefixes, withdrawn, quiet = p, w, 0
			} else {
				quiet++
			}
		}
		return prefixes, withdrawn
	}
	base := map[*counter][2]int64{}
	begin := func() {
		for _, c := range []*counter{late, other} {
			p, w := steady(c)
			base[c] = [2]int64{p, w}
		}
	}
	told := func(who string, c *counter, prefixes, withdrawn int64) {
		t.Helper()
		prefixes, withdrawn = base[c][0]+prefixes, base[c][1]+withdrawn
		for end := time.Now().Add(patient); (c.prefixes.Load() < prefixes || c.withdrawn.Load() < withdrawn) && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if p, w := steady(c); p != prefixes || w != withdrawn {
			t.Fatalf("%s was told %d prefixes and %d withdrawals, want %d and %d", who, p, w, prefixes, withdrawn)
		}
	}
	for _, c := range []*counter{late, other} {
		for end := time.Now().Add(patient); c.prefixes.Load() < 4 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	begin()
	since := time.Now()
	x.conf.Originate = x.conf.Originate[:1]
	x.apply()
	relay(bgp.Relay{NLRI: r2.NLRI})
	told("the neighbor", late, 0, 2)
	told("the other", other, 0, 2)
	begin()
	if !x.TellAgain(x.conf.Neighbors[1], since) {
		t.Fatal("it waits for a burst that there is not")
	}
	told("the neighbor", late, 2, 2)
	told("the other", other, 0, 2)
	begin()

	// What was withdrawn before counts no more, and everything flows as ever.
	if !x.TellAgain(x.conf.Neighbors[1], time.Now()) {
		t.Fatal("it waits for a burst that there is not")
	}
	relay(r2)
	told("the neighbor", late, 3, 0)
	told("the other", other, 1, 0)
}
