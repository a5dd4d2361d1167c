package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/ndp"
)

func TestSingleHop(t *testing.T) {
	got := singleHop([]bgp.Neighbor{
		{Name: "mesh/b", Addr: ip("192.0.2.2"), Node: "b"},
		{Name: "peer/far", Addr: ip("198.51.100.1"), External: true, Multihop: true},
		{Name: "peer/reflector", Addr: ip("192.0.2.8")},
		{Name: "peer/tor", Addr: ip("192.0.2.9"), External: true},
		{Name: "peer/un", Addr: ip("fe80::1%eth0"), External: true, Interface: "eth0"},
	})
	want := map[string]netip.Addr{"peer/tor": ip("192.0.2.9"), "peer/un": ip("fe80::1%eth0")}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestLostLinks(t *testing.T) {
	on := func(dev string, index int, up, carrier bool) map[string]place {
		return map[string]place{"tor": {dev, index, up, carrier}}
	}
	good := on("eth0", 7, true, true)
	link := func(index int, up, carrier, gone bool) fib.LinkEvent {
		return fib.LinkEvent{Link: fib.Link{Index: index, Name: "eth0", Up: up, Carrier: carrier}, Gone: gone}
	}
	for _, c := range []struct {
		name    string
		was, is map[string]place
		events  []fib.LinkEvent
		want    string
	}{
		{"nothing", good, good, nil, ""},
		{"appears", nil, good, nil, ""},
		{"another link flaps", good, good, []fib.LinkEvent{link(8, false, false, false)}, ""},
		{"speed changes", good, good, []fib.LinkEvent{link(7, true, true, false)}, ""},
		{"down", good, on("eth0", 7, false, false), nil, "link eth0 is down"},
		{"no carrier", good, on("eth0", 7, true, false), nil, "link eth0 has no carrier"},
		{"still down", on("eth0", 7, false, false), on("eth0", 7, false, false), nil, ""},
		{"comes up", on("eth0", 7, true, false), good, []fib.LinkEvent{link(7, false, false, false), link(7, true, true, false)}, ""},
		{"a flap that was over before we looked", good, good, []fib.LinkEvent{link(7, true, false, false), link(7, true, true, false)}, "link eth0 was down for a moment"},
		{"gone", good, nil, []fib.LinkEvent{link(7, false, false, false), link(7, false, false, true)}, "link eth0 was removed"},
		{"made anew", good, on("eth0", 9, true, true), nil, "link eth0 was removed and made anew"},
		{"down, with its addresses", good, nil, []fib.LinkEvent{link(7, false, false, false)}, "link eth0 is down"},
		{"address taken away", good, nil, []fib.LinkEvent{link(7, true, true, false)}, "this node has no address any more on link eth0 that 192.0.2.9 is a neighbor of"},
		{"another link takes over", good, on("eth1", 8, true, true), nil, ""},
		{"another link takes over, and is down", good, on("eth1", 8, true, false), nil, "link eth1 has no carrier"},
	} {
		lost := lostLinks(c.was, c.is, map[string]netip.Addr{"tor": ip("192.0.2.9")}, c.events)
		got := ""
		for _, l := range lost {
			got += l.reason
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if lost := lostLinks(c.was, c.is, nil, c.events); len(lost) != 0 {
			t.Errorf("%s: a neighbor that is no longer watched: %v", c.name, lost)
		}
	}
}

func TestRouterProblems(t *testing.T) {
	then, now := time.Unix(1000, 0), time.Unix(2000, 0)
	devices := []ndp.Device{
		{Name: "eth0", Router: ip("fe80::a%eth0")},
		{Name: "eth1", Router: ip("fe80::a%eth1"), Others: []netip.Addr{ip("fe80::b"), ip("fe80::c")}},
		{Name: "eth2"},
		{Name: "eth3", Reason: "device eth3 does not exist"},
	}
	first := routerProblems(devices, nil, then)
	var got []string
	for _, p := range first {
		got = append(got, p.Name+": "+p.Message)
	}
	want := []string{
		"eth1: several routers advertise themselves on eth1, and an unnumbered session can be with one only: it is with fe80::a, not with fe80::b, fe80::c; give each a link of its own",
		"eth2: the unnumbered session on eth2 has to wait: no router advertises itself there; let the other end send router advertisements (RFC 4861)",
		"eth3: the unnumbered session on eth3 has to wait: device eth3 does not exist",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	devices[2].Router = ip("fe80::d%eth2")
	for _, p := range routerProblems(devices, first, now) {
		if p.Since != then {
			t.Errorf("%s is as old as before, not new", p.Message)
		}
	}
}

// fakeGround is where the test says.
type fakeGround struct {
	mu     sync.Mutex
	places map[netip.Addr]place
	v4, v6 []gatewayHop
	asked  int
}

func (g *fakeGround) Places(addrs []netip.Addr) (map[netip.Addr]place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.places), nil
}

func (g *fakeGround) Gateways(context.Context) (v4, v6 []gatewayHop, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	return g.v4, g.v6, nil
}

func (g *fakeGround) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

type failures chan string

func (f failures) Fail(_ context.Context, name, reason string, graceful bool) error {
	f <- fmt.Sprintf("%s: %s, graceful %v", name, reason, graceful)
	return nil
}

func (f failures) Reachable(name string) { f <- name + " is back" }

// TestLinksTask leads the task through events of a fake machine.
func TestLinksTask(t *testing.T) {
	store := &fakeStore{}
	store.snap.Store(caracal.NewSnapshot("a"))
	hop := func(a string, link int) []gatewayHop { return []gatewayHop{{ip(a), link}} }
	g := &fakeGround{places: map[netip.Addr]place{ip("192.0.2.9"): {"eth0", 7, true, true}}, v4: hop("192.0.2.254", 7)}
	failed := make(failures, 10)
	task := newLinks(store, g, ndp.NewServer(), failed, slog.New(slog.DiscardHandler), func() {})
	events := make(chan fib.Events)
	task.events = events
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); task.run(ctx) }()
	defer func() { cancel(); <-done }()

	gateway := func(want string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			v4, _ := task.Gateways()
			if v4.String() == want {
				return
			}
			select {
			case <-task.Bell():
			case <-time.After(time.Until(deadline)):
				t.Fatalf("gateway %v, want %v", v4, want)
			}
		}
	}
	if g.asked != 0 {
		t.Error("the table was read though nobody needs the gateway")
	}
	store.put(func(s *caracal.Snapshot) {
		p := caracal.Peer{Name: "tor", DefaultGateway: true}
		s.Peers = s.Peers.Put(p.Key(), p)
	})
	gateway("192.0.2.254")
	// The default route is gone with its link: the gateway is still who it is.
	g.set(func() { g.v4 = nil })
	events <- fib.Events{Links: []fib.LinkEvent{{Link: fib.Link{Index: 7}}}}
	events <- fib.Events{Foreign: []netip.Prefix{pfx("10.0.0.0/8")}}
	gateway("192.0.2.254")
	g.set(func() { g.v4 = append(hop("192.0.2.253", 7), hop("192.0.2.252", 8)...) })
	events <- fib.Events{Foreign: []netip.Prefix{pfx("0.0.0.0/0")}}
	gateway("192.0.2.252")
	before := g.asked
	events <- fib.Events{Links: []fib.LinkEvent{{Link: fib.Link{Index: 99}}}}
	events <- fib.Events{Foreign: []netip.Prefix{pfx("10.0.0.0/8")}}
	if g.asked != before {
		t.Error("the table was read for what has nothing to do with the gateway")
	}

	task.planned(bgp.Config{Neighbors: []bgp.Neighbor{{Name: "peer/tor", Addr: ip("192.0.2.9"), External: true}, {Name: "mesh/b", Node: "b", Addr: ip("192.0.2.2")}}})
	told := func(want string) {
		t.Helper()
		select {
		case got := <-failed:
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("not told: %s", want)
		}
	}
	events <- fib.Events{}
	told("peer/tor is back") // it was not there before
	down, up := fib.LinkEvent{Link: fib.Link{Index: 7}}, fib.LinkEvent{Link: fib.Link{Index: 7, Up: true, Carrier: true}}
	events <- fib.Events{Links: []fib.LinkEvent{down, up}}
	told("peer/tor: link eth0 was down for a moment, graceful false")
	g.set(func() { g.places[ip("192.0.2.9")] = place{"eth0", 7, true, false} })
	events <- fib.Events{Links: []fib.LinkEvent{down}}
	told("peer/tor: link eth0 has no carrier, graceful false")
	g.set(func() { g.places[ip("192.0.2.9")] = place{"eth0", 7, true, true} })
	events <- fib.Events{Links: []fib.LinkEvent{up}}
	told("peer/tor is back")
	events <- fib.Events{}
	if len(failed) != 0 {
		t.Errorf("failed again: %s", <-failed)
	}
}

// TestHostGround asks the real kernel.
func TestHostGround(t *testing.T) {
	ns := nstest.New(t)
	ns.Device("eth0", "192.0.2.1/24", "2001:db8::1/64")
	ns.Device("eth1", "192.0.2.129/25")
	ns.Device("eth2")
	ns.Run("ip", "addr", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", "eth2")
	ns.Run("ip", "route", "add", "default", "via", "192.0.2.254", "metric", "300")
	ns.Run("ip", "route", "add", "default", "via", "192.0.2.5", "metric", "200")
	ns.Run("ip", "route", "add", "default", "via", "192.0.2.6", "proto", "67", "metric", "427")
	ns.Run("ip", "route", "add", "default", "dev", "eth2", "metric", "100") // has no gateway
	ns.Run("ip", "-6", "route", "add", "default", "via", "fe80::9", "dev", "eth1", "metric", "50")
	ns.Run("ip", "link", "set", "eth1~", "down")
	ns.Do(func() {
		k, err := fib.OpenKernel(fib.DefaultMark)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		g := hostGround{k}
		addrs := []netip.Addr{ip("192.0.2.7"), ip("192.0.2.200"), ip("2001:db8::7"), ip("fe80::1%eth0"), ip("fe80::1%nosuch"), ip("198.51.100.2"), ip("203.0.113.1")}
		want := []string{"192.0.2.7 eth0 true", "192.0.2.200 eth1 false", "2001:db8::7 eth0 true", "fe80::1%eth0 eth0 true", "fe80::1%nosuch  false", "198.51.100.2 eth2 true", "203.0.113.1  false"}
		places := func() (text []string) {
			got, err := g.Places(addrs)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range addrs {
				text = append(text, fmt.Sprintf("%s %s %v", a, got[a].device, got[a].alive()))
			}
			return text
		}
		// A worker of the kernel's notices what became of a carrier.
		text := places()
		for end := time.Now().Add(30 * time.Second); !slices.Equal(text, want) && time.Now().Before(end); text = places() {
			time.Sleep(time.Millisecond)
		}
		if !slices.Equal(text, want) {
			t.Errorf("%q, want %q", text, want)
		}
		v4, v6, err := g.Gateways(t.Context())
		if err != nil || len(v4) != 1 || v4[0].addr != ip("192.0.2.5") {
			t.Errorf("gateway %v, %v", v4, err)
		}
		// It is who it is also while the cable is out.
		if len(v6) != 1 || v6[0].addr != ip("fe80::9%eth1") {
			t.Errorf("gateway %v", v6)
		}
	})
}
