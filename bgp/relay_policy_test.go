package bgp_test

import (
	"context"
	"net/netip"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// crossing is a node with an internal neighbor that announced crossed, a second
// one, and a switch of another AS.
type crossing struct {
	*station
	tor            int // its index among the neighbors
	relay          bgp.Relay
	internal, tors *listener
}

const crossed = "10.1.0.0/16"

func newCrossing(t *testing.T, ip string, conf func(c *bgp.Config, tor *bgp.Neighbor)) *crossing {
	t.Helper()
	base := ip[:len(ip)-1]
	x := &crossing{station: newStation(t, "x", ip, bgp.Options{}), tor: 2}
	one, c1 := neighborOf(x.station, base+"11")
	two, c2 := neighborOf(x.station, base+"12")
	tor, c3 := neighborOf(x.station, base+"13")
	tor.External, tor.ASN, c3.ASN = true, torASN, torASN
	conf(&x.conf, &tor)
	x.conf.Neighbors = []bgp.Neighbor{one, two, tor}
	for i := range 2 {
		x.conf.Neighbors[i].Client = x.conf.ClusterID.IsValid()
	}
	x.apply()
	listen(t, c1)
	x.internal, x.tors = listen(t, c2), listen(t, c3)
	x.eventually("all are up", func() bool {
		return x.in(one.Name, bgp.Established)() && x.in(two.Name, bgp.Established)() && x.in(tor.Name, bgp.Established)()
	})
	x.relay = bgp.Relay{
		NLRI: prefix(crossed), Attrs: &caracal.Attrs{NextHop: addr(base + "11"), LocalPref: 100},
		From: one.Name, Internal: true, Client: x.conf.ClusterID.IsValid(),
	}
	return x
}

// pass is the relay task's word, which may come before or after Apply.
func (x *crossing) pass() {
	x.t.Helper()
	if err := x.Relay(context.Background(), []bgp.Relay{x.relay}, nil); err != nil {
		x.t.Fatal(err)
	}
}

// untold wants that neither has been announced what is passed on, once both were
// announced something later.
func (x *crossing) untold() {
	x.t.Helper()
	for _, p := range []string{"10.200.0.0/24", "10.201.0.0/24"} {
		x.conf.Originate = append(x.conf.Originate, prefix(p))
		x.apply()
		for _, l := range []*listener{x.tors, x.internal} {
			l.told(x.t, p, map[byte]string{1: "40 00"})
		}
	}
	x.tors.told(x.t, crossed, nil)
	x.internal.told(x.t, crossed, nil)
}

// TestRelayEndsWithReflection: a node that ceases to be a reflector passes nothing
// on from then on, whether or not it was told to take back what it did.
func TestRelayEndsWithReflection(t *testing.T) {
	x := newCrossing(t, "127.0.71.1", func(c *bgp.Config, _ *bgp.Neighbor) { c.ClusterID = addr("10.9.9.1") })
	x.pass()
	x.internal.told(t, crossed, map[byte]string{10: "80 0a090901"})
	x.conf.ClusterID = netip.Addr{}
	for i := range 2 {
		x.conf.Neighbors[i].Client = false
	}
	x.untold()
}

// TestRelayBeforeReflection: what is to be passed on may be known before the
// configuration that says to whom.
func TestRelayBeforeReflection(t *testing.T) {
	x := newCrossing(t, "127.0.72.1", func(*bgp.Config, *bgp.Neighbor) {})
	x.relay.Client = true
	x.pass()
	x.untold()
	x.conf.ClusterID = addr("10.9.9.1")
	for i := range 2 {
		x.conf.Neighbors[i].Client = true
	}
	x.apply()
	x.internal.told(t, crossed, map[byte]string{10: "80 0a090901"})
	x.tors.told(t, crossed, nil)
}

// TestRelayEndsWithItsFilter: without the rule that let paths of others out to a
// switch, none goes there.
func TestRelayEndsWithItsFilter(t *testing.T) {
	x := newCrossing(t, "127.0.73.1", func(c *bgp.Config, tor *bgp.Neighbor) {
		c.Filters = map[string]caracal.Filter{"out": {Name: "out", Export4: []caracal.Rule{{Accept: true, Source: caracal.SourceRemotePeers}}}}
		tor.Filters = "out"
	})
	x.pass()
	x.tors.told(t, crossed, map[byte]string{1: "40 00"})
	x.internal.told(t, crossed, nil)
	x.conf.Filters, x.conf.Neighbors[x.tor].Filters = nil, ""
	x.untold()
}

// TestRelayOfALink: a next hop that only this node can reach is not passed on.
func TestRelayOfALink(t *testing.T) {
	x := newCrossing(t, "127.0.74.1", func(c *bgp.Config, _ *bgp.Neighbor) { c.ClusterID = addr("10.9.9.1") })
	x.relay.Attrs.NextHop = addr("fe80::1%lo")
	x.pass()
	x.internal.told(t, crossed, map[byte]string{3: "40 7f004a01"})
}
