package fib

import (
	"net/netip"
	"testing"
)

// TestSplit has one of two readers sleep: it gets everything in one piece later,
// and the other does not wait for it.
func TestSplit(t *testing.T) {
	in := make(chan Events)
	awake, asleep := Split(in)
	const n = 1000
	var saw Events
	for i := range n {
		in <- Events{
			Links:  []LinkEvent{{Link: Link{Index: i + 1}}},
			Routes: []RouteEvent{{Own: true}}, Foreign: []netip.Prefix{pfx("10.0.0.0/8")},
		}
		saw.add(<-awake)
	}
	in <- Events{Routes: []RouteEvent{{Own: true}}} // of no interest to the second
	close(in)
	for ev := range awake {
		saw.add(ev)
	}
	var late Events
	for ev := range asleep {
		late.add(ev)
	}
	if len(saw.Links) != n || len(saw.Routes) != n+1 {
		t.Errorf("the one awake saw %d links, %d routes", len(saw.Links), len(saw.Routes))
	}
	if len(late.Links) != n || len(late.Routes) != 0 || len(late.Foreign) != 1 {
		t.Errorf("the one asleep saw %d links, %d routes, foreign %v", len(late.Links), len(late.Routes), late.Foreign)
	}
	for i, l := range late.Links {
		if l.Link.Index != i+1 {
			t.Fatalf("link %d is number %d", l.Link.Index, i)
		}
	}
}
