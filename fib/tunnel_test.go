package fib

import (
	"testing"
	"time"
)

func tunneled(dst, far string) Want {
	w := learned(dst, far)
	w.Tunnel = "tunl0"
	return w
}

// TestTunnel leads what goes to another node into a tunnel, and follows the
// device and the way that the packets around them take.
func TestTunnel(t *testing.T) {
	s := newStand(t)
	s.Foreign(Route{Dst: pfx("0.0.0.0/0"), Kind: Unicast, Hops: []Hop{{Gateway: addrs("10.0.0.254")[0], Link: 1}}}, 3, 0)
	s.f.Set(tunneled("100.64.0.0/26", "192.0.2.9"))
	s.apply()
	s.holds()
	s.reason("100.64.0.0/26", "tunnel device tunl0 does not exist")
	s.AddLink("tunl0", "10.244.0.1/32")
	s.apply()
	s.holds("100.64.0.0/26 via 192.0.2.9 dev tunl0 onlink")

	// From the tunnel to a direct route and back, each in one write.
	for _, w := range []Want{learned("100.64.0.0/26", "192.0.2.9"), tunneled("100.64.0.0/26", "192.0.2.9"), tunneled("100.64.0.0/26", "192.0.2.10")} {
		s.f.Set(w)
		if r := s.apply(); r.Written != 1 || r.Deleted != 0 {
			t.Errorf("%+v: %+v", w, r)
		}
	}
	s.holds("100.64.0.0/26 via 192.0.2.10 dev tunl0 onlink")

	// Set down by hand, and up again: the kernel drops the routes without a word.
	s.SetLink("tunl0", false, false)
	s.apply()
	s.reason("100.64.0.0/26", "tunnel device tunl0 is down")
	s.SetLink("tunl0", true, true)
	s.apply()
	s.holds("100.64.0.0/26 via 192.0.2.10 dev tunl0 onlink")
}

// TestTunnelOverOwnRoute has the way to the other node be a route of ours, which
// is written in the same Apply.
func TestTunnelOverOwnRoute(t *testing.T) {
	s := newStand(t)
	s.AddLink("tunl0")
	s.f.Set(tunneled("100.64.0.0/26", "192.0.2.9"))
	s.f.Set(learned("192.0.2.9/32", "10.0.0.2"))
	settle := func() {
		s.apply()
		s.now = s.now.Add(time.Second) // looks come at most so often
		s.apply()
	}
	settle()
	s.holds("100.64.0.0/26 via 192.0.2.9 dev tunl0 onlink", "192.0.2.9/32 via 10.0.0.2 dev eth0")
	s.f.Unset(pfx("192.0.2.9/32"))
	settle()
	s.holds()
	s.reason("100.64.0.0/26", "no route to it")
}
