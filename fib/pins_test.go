package fib

import (
	"net/netip"
	"testing"
	"time"
)

// TestPins leads what goes to a neighbor's address by the gateway that an
// operator named for it, whatever else there is, and follows each of the two.
func TestPins(t *testing.T) {
	s := newStand(t)
	s.AddLink("eth1", "10.0.1.1/24")
	s.Foreign(Route{Dst: pfx("0.0.0.0/0"), Kind: Unicast, Hops: []Hop{{Gateway: addrs("10.0.0.254")[0], Link: 1}}}, 3, 0)
	s.f.Set(learned("100.64.0.0/26", "192.0.2.9"))
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.254 dev eth0")

	s.f.Set(pinned("192.0.2.9/32", "10.0.1.9"))
	if r := s.apply(); r.Written != 2 {
		t.Errorf("a pin and what goes by it are not one Apply: %+v", r)
	}
	s.holds("100.64.0.0/26 via 10.0.1.9 dev eth1", "192.0.2.9/32 via 10.0.1.9 dev eth1")
	if r := s.apply(); r.Written+r.Deleted != 0 {
		t.Errorf("the second Apply wrote: %+v", r)
	}

	// Another neighbor, pinned before anything goes by it.
	s.f.Set(pinned("192.0.2.10/32", "10.0.0.9"))
	s.f.Set(learned("100.64.1.0/26", "192.0.2.10", "192.0.2.9"))
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.1.9 dev eth1",
		"100.64.1.0/26 nexthop via 10.0.0.9 dev eth0 nexthop via 10.0.1.9 dev eth1",
		"192.0.2.10/32 via 10.0.0.9 dev eth0", "192.0.2.9/32 via 10.0.1.9 dev eth1")

	s.SetLink("eth1", false, false)
	s.apply()
	s.now = s.now.Add(time.Second) // looks come at most so often
	s.apply()
	s.holds("100.64.1.0/26 via 10.0.0.9 dev eth0", "192.0.2.10/32 via 10.0.0.9 dev eth0")
	s.reason("192.0.2.9/32", "a gateway must be on a network that this machine is connected to")
	s.reason("100.64.0.0/26", "next hop 192.0.2.9: it is pinned to a gateway, and that is out of reach: next hop 10.0.1.9: a gateway must be")
	s.SetLink("eth1", true, true)
	s.apply()
	s.now = s.now.Add(time.Second)
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.1.9 dev eth1",
		"100.64.1.0/26 nexthop via 10.0.0.9 dev eth0 nexthop via 10.0.1.9 dev eth1",
		"192.0.2.10/32 via 10.0.0.9 dev eth0", "192.0.2.9/32 via 10.0.1.9 dev eth1")

	// A pin moves, and one goes; two that lead to each other lead nowhere else.
	s.f.Set(pinned("192.0.2.9/32", "10.0.0.7"))
	s.f.Unset(pfx("192.0.2.10/32"))
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.7 dev eth0",
		"100.64.1.0/26 nexthop via 10.0.0.7 dev eth0 nexthop via 10.0.0.254 dev eth0", "192.0.2.9/32 via 10.0.0.7 dev eth0")
	s.f.Set(pinned("192.0.2.9/32", "192.0.2.10"))
	s.f.Set(pinned("192.0.2.10/32", "192.0.2.9"))
	s.apply()
	s.holds()
	for i := range s.f.pins {
		s.f.Unset(netip.PrefixFrom(i, 32))
	}
	s.apply()
	s.holds("100.64.0.0/26 via 10.0.0.254 dev eth0", "100.64.1.0/26 via 10.0.0.254 dev eth0")
	if len(s.f.pins) != 0 {
		t.Errorf("pins are left: %v", s.f.pins)
	}
}
