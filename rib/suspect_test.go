package rib

import (
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// TestSuspect: what is kept of a neighbor that is out of reach gives way to any
// other path, and is better than none.
func TestSuspect(t *testing.T) {
	s := cluster()
	s.Nodes = s.Nodes.Put("b", caracal.Node{Name: "b", IPv4: pfx("192.0.2.2/24"), IPv6: pfx("2001:db8::2/64")})
	w := newWorld(t, s)
	w.neighbors("mesh/b", "mesh/c")
	w.o.addrs[ip("192.0.2.22")] = "b" // a second address of the owner
	w.up("mesh/b")
	w.up("mesh/c")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce("mesh/c", "10.1.2.0/26", "192.0.2.22")
	both := []string{"10.1.2.0/26 [192.0.2.2 192.0.2.22]"}
	w.want(both...)
	down := func(suspect bool) {
		w.event(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Idle, Was: bgp.Established, Graceful: true, Kept4: true, Kept6: true, Suspect: suspect}})
	}
	down(true)
	w.want("10.1.2.0/26 [192.0.2.22]")
	ref := must(w.m.Ref(pfx("10.1.2.0/26")))
	for _, v := range w.m.View(ref) {
		if why := "its neighbor is out of reach, and may only be restarting (RFC 5882)"; v.Neighbor == "mesh/b" && (v.Best || v.Why != why) {
			t.Errorf("view %+v", v)
		}
	}
	w.withdraw("mesh/c", "10.1.2.0/26")
	w.want("10.1.2.0/26 [192.0.2.2]") // better than none
	w.announce("mesh/c", "10.1.2.0/26", "192.0.2.22")
	w.want("10.1.2.0/26 [192.0.2.22]")
	w.up("mesh/b") // it is in reach
	w.want(both...)
	down(false) // the connection was lost, no more
	w.want(both...)
}
