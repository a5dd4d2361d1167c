package node

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
)

func TestNetworks(t *testing.T) {
	asked := 0
	n := newNetworks(func() []netip.Prefix { asked++; return []netip.Prefix{pfx("192.0.2.0/24")} })
	link := func(index int, name string, gone bool) fib.Events {
		return fib.Events{Links: []fib.LinkEvent{{Link: fib.Link{Index: index, Name: name}, Gone: gone}}}
	}
	addr := func(index int, v4 bool) fib.Events {
		return fib.Events{Addrs: []fib.AddrEvent{{Link: index, IPv4: v4}}}
	}
	ours := caracal.HostInterface("c", "eth0")
	for _, step := range []struct {
		name string
		ev   fib.Events
		want int // asked so far
	}{
		{"at first", fib.Events{}, 1},
		{"nothing happened", fib.Events{}, 1},
		{"a container's link", link(7, ours, false), 1},
		{"its link-local address", addr(7, false), 1},
		{"an IPv4 address on it", addr(7, true), 2},
		{"it goes", link(7, ours, true), 2},
		{"its address after it", addr(7, false), 3},
		{"another link", link(8, "eth1", false), 4},
		{"an address of it", addr(8, false), 5},
		{"lost", fib.Events{Lost: true}, 6},
	} {
		n.notify(step.ev)
		n.list()
		if asked != step.want {
			t.Fatalf("%s: asked %d times, want %d", step.name, asked, step.want)
		}
	}
}
