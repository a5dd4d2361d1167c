package bgp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bgp"
)

// counter counts what a neighbor is told, roughly: tables are exact elsewhere.
type counter struct{ updates, prefixes, withdrawn atomic.Int64 }

func (c *counter) message(kind byte, body []byte) {
	if kind != sender.Update {
		return
	}
	n := int(binary.BigEndian.Uint16(body))
	c.withdrawn.Add(int64(len(prefixesIn(body[2 : 2+n]))))
	rest := body[2+n:]
	told := len(prefixesIn(rest[2+int(binary.BigEndian.Uint16(rest)):]))
	if told > 0 {
		c.updates.Add(1)
		c.prefixes.Add(int64(told))
	}
}

// TestBurst passes on so much to so many that it goes out together, and then
// single changes, which do not wait.
func TestBurst(t *testing.T) {
	const clients, routes = 20, 6000
	x := newStation(t, "x", "127.0.23.1", bgp.Options{})
	x.conf.ClusterID = addr("10.9.9.1")
	var configs []sender.Config
	for i := range clients + 1 {
		n, c := neighborOf(x, fmt.Sprintf("127.0.23.%d", 11+i))
		n.Client = true
		x.conf.Neighbors = append(x.conf.Neighbors, n)
		configs = append(configs, c)
	}
	x.apply()
	counters := make([]counter, clients+1)
	up := func(i int) {
		configs[i].OnMessage = counters[i].message
		s := dial(t, configs[i])
		t.Cleanup(func() { _ = s.Close() })
		x.eventually("a client is up", x.in(x.conf.Neighbors[i].Name, bgp.Established))
	}
	for i := range clients {
		up(i)
	}
	attrs := &caracal.Attrs{NextHop: addr("192.0.2.9"), LocalPref: 100}
	var list []bgp.Relay
	for i := range routes {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)
		list = append(list, bgp.Relay{NLRI: p, Attrs: attrs, From: x.conf.Neighbors[0].Name, Internal: true, Client: true})
	}
	turns := 0
	if err := x.Relay(context.Background(), list, func() { turns++ }); err != nil {
		t.Fatal(err)
	}
	told := func(what string, from, to int, value func(*counter) int64, want int64) {
		t.Helper()
		for i := from; i < to; i++ {
			c := &counters[i]
			for end := time.Now().Add(patient); value(c) < want; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("client %d: %s %d, want %d", i, what, value(c), want)
				}
			}
		}
	}
	prefixes := func(c *counter) int64 { return c.prefixes.Load() }
	told("prefixes", 1, clients, prefixes, routes)
	for i := 1; i < clients; i++ {
		if n := counters[i].updates.Load(); n > routes/50 {
			t.Errorf("client %d was told %d prefixes in %d UPDATEs", i, routes, n)
		}
	}
	if n := counters[0].prefixes.Load(); n != 0 {
		t.Errorf("the client they are from was told %d of them", n)
	}
	if turns < 2 {
		t.Errorf("no progress was reported")
	}

	// One that comes up later is told all of them, and single changes go through.
	up(clients)
	told("prefixes", clients, clients+1, prefixes, routes)
	changed := list[:1:1]
	changed[0].Attrs = &caracal.Attrs{NextHop: addr("192.0.2.10"), LocalPref: 100}
	if err := x.Relay(context.Background(), changed, nil); err != nil {
		t.Fatal(err)
	}
	told("prefixes", 1, clients+1, prefixes, routes+1)
	if err := x.Relay(context.Background(), []bgp.Relay{{NLRI: list[1].NLRI}}, nil); err != nil {
		t.Fatal(err)
	}
	told("withdrawals", 1, clients+1, func(c *counter) int64 { return c.withdrawn.Load() }, 1)
}
