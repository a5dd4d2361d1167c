package fib

import (
	"net/netip"
	"syscall"
	"testing"
)

// mapView is a machine as a table.
type mapView struct {
	answers map[string]Answer
	links   []Link
}

func (v mapView) NextHop(a netip.Addr) (Answer, bool) { r, ok := v.answers[a.String()]; return r, ok }

func (v mapView) LinkByName(name string) (Link, bool) {
	for _, l := range v.links {
		if l.Name == name {
			return l, true
		}
	}
	return Link{}, false
}

func (v mapView) LinkByIndex(i int) (Link, bool) {
	for _, l := range v.links {
		if l.Index == i {
			return l, true
		}
	}
	return Link{}, false
}

func TestResolve(t *testing.T) {
	direct := func(dst string, link int) Answer {
		return Answer{Type: typeUnicast, Dst: pfx(dst), Hops: []Hop{{Link: link}}}
	}
	via := func(dst, gw string, link int) Answer {
		return Answer{Type: typeUnicast, Dst: pfx(dst), Hops: []Hop{{Gateway: netip.MustParseAddr(gw), Link: link}}}
	}
	v := mapView{
		links: []Link{
			{1, "lo", true, true}, {2, "eth0", true, true}, {3, "eth1", true, false},
			{4, "eth2", false, false}, {5, "cali1", true, true}, {6, "tunl0", true, true},
		},
		answers: map[string]Answer{
			"10.0.0.2":    direct("10.0.0.0/24", 2),
			"10.0.0.3":    direct("10.0.0.0/24", 2),
			"10.1.0.2":    direct("10.1.0.0/24", 3),
			"10.1.0.3":    direct("10.1.0.0/24", 3),
			"10.2.0.2":    direct("10.2.0.0/24", 4),
			"10.9.0.1":    via("10.9.0.0/16", "10.0.0.254", 2),
			"10.9.0.2":    via("10.9.0.0/16", "10.0.0.254", 2),
			"10.6.0.1":    {Type: typeUnicast, Own: true, Dst: pfx("10.6.0.1/32"), Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.9"), Link: 2}}},
			"10.6.0.2":    {Type: typeUnicast, Own: true, Dst: pfx("10.6.0.2/32"), Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.9"), Link: 6}}},
			"10.8.0.1":    {Type: typeUnicast, Dst: pfx("10.8.0.0/16"), Hops: []Hop{{Gateway: netip.MustParseAddr("10.0.0.2"), Link: 2}, {Gateway: netip.MustParseAddr("10.0.0.9"), Link: 2, Weight: 3}}},
			"10.0.0.1":    {Type: typeLocal, Dst: pfx("10.0.0.1/32"), Hops: []Hop{{Link: 2}}},
			"10.0.0.255":  {Type: typeBroadcast, Dst: pfx("10.0.0.255/32"), Hops: []Hop{{Link: 2}}},
			"192.0.2.1":   {Err: syscall.ENETUNREACH},
			"192.0.2.2":   {Err: syscall.EINVAL},
			"192.0.2.3":   {Own: true, Err: syscall.EHOSTUNREACH},
			"192.0.2.4":   {Type: typeUnicast, Dst: pfx("192.0.2.0/24")},
			"192.0.2.5":   {Err: syscall.EIO},
			"2001:db8::1": {Type: typeUnreachable, Dst: pfx("2001:db8::/32")},
			"fd00::2":     direct("fd00::/64", 2),
		},
	}
	tunneled := func(w Want, device string) Want {
		w.Tunnel = device
		return w
	}
	for _, tc := range []struct {
		name string
		want Want
		is   string // the route, or the reason after an exclamation mark
	}{
		{"connected", learned("100.64.0.0/26", "10.0.0.2"), "100.64.0.0/26 via 10.0.0.2 dev eth0"},
		{"through a foreign route", learned("100.64.0.0/26", "10.9.0.1"), "100.64.0.0/26 via 10.0.0.254 dev eth0"},
		{"two that meet", learned("100.64.0.0/26", "10.9.0.1", "10.9.0.2"), "100.64.0.0/26 via 10.0.0.254 dev eth0"},
		{"two", learned("100.64.0.0/26", "10.0.0.3", "10.0.0.2"), "100.64.0.0/26 nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.3 dev eth0"},
		{"one of two resolves", learned("100.64.0.0/26", "10.0.0.3", "192.0.2.1"), "100.64.0.0/26 via 10.0.0.3 dev eth0"},
		{"a foreign multipath route", learned("100.64.0.0/26", "10.8.0.1"), "100.64.0.0/26 nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.9 dev eth0 weight 3"},
		{"carrier is preferred", learned("100.64.0.0/26", "10.0.0.2", "10.1.0.2"), "100.64.0.0/26 via 10.0.0.2 dev eth0"},
		{"no carrier anywhere", learned("100.64.0.0/26", "10.1.0.2", "10.1.0.3"), "100.64.0.0/26 nexthop via 10.1.0.2 dev eth1 nexthop via 10.1.0.3 dev eth1"},
		{"IPv6", learned("fd01::/64", "fd00::2"), "fd01::/64 via fd00::2 dev eth0"},
		{"IPv4 over IPv6", learned("100.64.0.0/26", "fd00::2"), "100.64.0.0/26 via fd00::2 dev eth0"},
		{"link-local", learned("fd01::/64", "fe80::1%eth0"), "fd01::/64 via fe80::1 dev eth0"},
		{"tunnel", tunneled(learned("100.64.0.0/26", "10.9.0.1"), "tunl0"), "100.64.0.0/26 via 10.9.0.1 dev tunl0 onlink"},
		{"tunnel, in the subnet", tunneled(learned("100.64.0.0/26", "10.0.0.2"), "tunl0"), "100.64.0.0/26 via 10.0.0.2 dev tunl0 onlink"},
		{"tunnel, over a route of ours", tunneled(learned("100.64.0.0/26", "10.6.0.1"), "tunl0"), "100.64.0.0/26 via 10.6.0.1 dev tunl0 onlink"},
		{"local", Want{Dst: pfx("100.64.0.5/32"), Kind: Local, Link: "cali1"}, "100.64.0.5/32 dev cali1"},
		{"discard", Want{Dst: pfx("100.64.0.0/26"), Kind: Discard}, "unreachable 100.64.0.0/26"},

		{"no route", learned("100.64.0.0/26", "192.0.2.1"), "!next hop 192.0.2.1: no route to it"},
		{"own address", learned("100.64.0.0/26", "10.0.0.1"), "!next hop 10.0.0.1: it is an address of this machine"},
		{"broadcast", learned("100.64.0.0/26", "10.0.0.255"), "!next hop 10.0.0.255: it is not the address of a single machine"},
		{"blackhole", learned("100.64.0.0/26", "192.0.2.2"), "!next hop 192.0.2.2: the route to it discards packets (blackhole or prohibit)"},
		{"own route", learned("100.64.0.0/26", "192.0.2.3"), "!next hop 192.0.2.3: the only route to it is one of our own"},
		{"tunnel that there is not", tunneled(learned("100.64.0.0/26", "10.9.0.1"), "tunl9"), "!next hop 10.9.0.1: tunnel device tunl9 does not exist"},
		{"tunnel that is down", tunneled(learned("100.64.0.0/26", "10.9.0.1"), "eth2"), "!next hop 10.9.0.1: tunnel device eth2 is down"},
		{"tunnel to nowhere", tunneled(learned("100.64.0.0/26", "192.0.2.1"), "tunl0"), "!next hop 192.0.2.1: no route to it"},
		{"tunnel into a route of ours that discards", tunneled(learned("100.64.0.0/26", "192.0.2.3"), "tunl0"), "!next hop 192.0.2.3: the only route to it is one of our own"},
		{"tunnel into itself", tunneled(learned("100.64.0.0/26", "10.6.0.2"), "tunl0"), "!next hop 10.6.0.2: the route to it (10.6.0.2/32) leads into tunl0 itself"},
		{"dead route", learned("100.64.0.0/26", "192.0.2.4"), "!next hop 192.0.2.4: the route to it (192.0.2.0/24) has no way that is alive"},
		{"odd error", learned("100.64.0.0/26", "192.0.2.5"), "!next hop 192.0.2.5: the kernel cannot say how to reach it (input/output error)"},
		{"unreachable IPv6", learned("fd01::/64", "2001:db8::1"), "!next hop 2001:db8::1: the route to it (2001:db8::/32) discards packets"},
		{"link down", learned("100.64.0.0/26", "10.2.0.2"), "!next hop 10.2.0.2: device eth2 is down"},
		{"all reasons", learned("100.64.0.0/26", "10.2.0.2", "10.0.0.1"), "!next hop 10.2.0.2: device eth2 is down; next hop 10.0.0.1: it is an address of this machine"},
		{"not asked yet", learned("100.64.0.0/26", "10.7.7.7"), "!next hop 10.7.7.7: not resolved yet"},
		{"IPv6 over IPv4", learned("fd01::/64", "10.0.0.2"), "!next hop 10.0.0.2: an IPv4 next hop cannot carry an IPv6 route"},
		{"link-local without device", learned("fd01::/64", "fe80::1"), "!next hop fe80::1: a link-local next hop needs a device"},
		{"link-local, device down", learned("fd01::/64", "fe80::1%eth2"), "!next hop fe80::1%eth2: device eth2 is down"},
		{"no next hop", learned("100.64.0.0/26"), "!the path has no next hop"},
		{"local, no device", Want{Dst: pfx("100.64.0.5/32"), Kind: Local, Link: "cali9"}, "!device cali9 does not exist"},
		{"local, down", Want{Dst: pfx("100.64.0.5/32"), Kind: Local, Link: "eth2"}, "!device eth2 is down"},
		{"nothing", Want{Dst: pfx("100.64.0.5/32")}, "!nothing is wanted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, reason := Resolve(tc.want, v)
			got := "!" + reason
			if reason == "" {
				got = r.String()
			}
			if got != tc.is {
				t.Errorf("got  %s\nwant %s", got, tc.is)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	const is, shall = 1, 2
	for _, tc := range []struct {
		name string
		s    standing
		want decision
	}{
		{"new", standing{wanted: true, shall: shall}, create},
		{"as it should be", standing{wanted: true, have: shall, shall: shall}, leave},
		{"different", standing{wanted: true, have: is, shall: shall}, replace},
		{"unresolved, and not there", standing{wanted: true}, leave},
		{"unresolved, and there", standing{wanted: true, have: is}, remove},
		{"in doubt", standing{wanted: true, have: shall, shall: shall, verify: true}, confirm},
		{"in doubt and different", standing{wanted: true, have: is, shall: shall, verify: true}, confirm},
		{"foreign route in the way", standing{wanted: true, shall: shall, foreign: true}, create},
		{"foreign route beside a different one", standing{wanted: true, have: is, shall: shall, foreign: true}, remove},
		{"foreign route beside the right one", standing{wanted: true, have: shall, shall: shall, foreign: true}, leave},
		{"adopted", standing{adopted: true, have: is}, leave},
		{"adopted and gone", standing{adopted: true}, leave},
		{"no longer wanted", standing{have: is}, remove},
		{"no longer wanted, in doubt", standing{have: is, verify: true}, remove},
		{"no longer wanted, gone", standing{}, leave},
	} {
		if got := decide(tc.s); got != tc.want {
			t.Errorf("%s: decision %d, want %d", tc.name, got, tc.want)
		}
	}
}
