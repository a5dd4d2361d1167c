package rib

import (
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// TestCovered holds when the session of the mesh may go: once its paths came by
// a reflector, too, with the same next hop.
func TestCovered(t *testing.T) {
	w := newWorld(t, cluster())
	announce := func(neighbor, prefix, nextHop string) {
		w.event(bgp.Event{Update: &bgp.Update{Neighbor: neighbor, Announced: []bgp.NLRI{{Prefix: pfx(prefix)}},
			Attrs: &caracal.Attrs{NextHop: ip(nextHop), LocalPref: 100}}})
		for w.m.Decide(100, func(Choice) {}) {
		}
	}
	is := func(when string, covered, accepted bool) {
		t.Helper()
		if c, a := w.m.Covered("mesh/b"); c != covered || a != accepted {
			t.Errorf("%s: covered %v, accepted %v", when, c, a)
		}
	}
	is("unknown", true, false)
	w.up("mesh/b")
	w.up("mesh/c")
	announce("mesh/b", "10.1.0.0/26", "192.0.2.2")
	is("alone", true, false) // in no block of b's: refused
	announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	is("accepted", false, true)
	announce("mesh/c", "10.1.2.0/26", "192.0.2.3")
	is("by another next hop", false, true)
	announce("mesh/c", "10.1.2.0/26", "192.0.2.2")
	is("reflected", true, true)
	w.event(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/c", State: bgp.Idle, Was: bgp.Established, Graceful: true, Kept4: true, Kept6: true}})
	is("the reflector is down", false, true)
}

// TestRename holds that a neighbor with a new name keeps its paths, and that
// what the speaker still says under the old one reaches it.
func TestRename(t *testing.T) {
	w := newWorld(t, cluster())
	as := func(name string) []bgp.Neighbor {
		return []bgp.Neighbor{{Name: name, Node: "b", Addr: ip("192.0.2.2"), ASN: 64512, IPv4: true}}
	}
	w.m.SetNeighbors(64512, as("mesh/b"))
	w.m.Apply(bgp.Event{Session: &bgp.Session{Neighbor: "mesh/b", State: bgp.Established}})
	update := func(name, prefix string) {
		w.m.Apply(bgp.Event{Update: &bgp.Update{Neighbor: name, Announced: []bgp.NLRI{{Prefix: pfx(prefix)}},
			Attrs: &caracal.Attrs{NextHop: ip("192.0.2.2"), LocalPref: 100}}})
	}
	decide := func() (changes []Choice) {
		for w.m.Decide(100, func(c Choice) { changes = append(changes, c) }) {
		}
		return changes
	}
	update("mesh/b", "10.1.2.0/26")
	if got := decide(); len(got) != 1 || len(got[0].NextHops) != 1 {
		t.Fatal(got)
	}
	w.m.SetNeighbors(64512, as("peer/rr@192.0.2.2"))
	w.m.SetNeighbors(64512, as("peer/gw@192.0.2.2")) // before the speaker has taken the first
	for _, to := range []string{"peer/rr@192.0.2.2", "peer/gw@192.0.2.2"} {
		if got := decide(); len(got) != 0 {
			t.Fatalf("%+v changed with the name", got)
		}
		from := "mesh/b"
		if to != "peer/rr@192.0.2.2" {
			from = "peer/rr@192.0.2.2"
		}
		update(from, "10.1.2.0/26")
		w.m.Apply(bgp.Event{Session: &bgp.Session{Neighbor: to, State: bgp.Established, Was: bgp.Established, Renamed: from}})
	}
	update("peer/gw@192.0.2.2", "10.1.2.0/26")
	if got := decide(); len(got) != 0 || len(w.m.neighbors) != 1 || len(w.m.former) != 0 || w.m.Counts("peer/gw@192.0.2.2").Accepted != 1 {
		t.Fatalf("%+v %v %v", got, w.m.neighbors, w.m.former)
	}
	w.m.SetNeighbors(64512, nil)
	w.m.Apply(bgp.Event{Session: &bgp.Session{Neighbor: "peer/gw@192.0.2.2", Was: bgp.Established, Removed: true}})
	if got := decide(); len(got) != 1 || len(got[0].NextHops) != 0 || len(w.m.neighbors) != 0 {
		t.Fatalf("%+v, %d neighbors", got, len(w.m.neighbors))
	}
}
