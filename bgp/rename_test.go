package bgp_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal/bgp"
)

// TestRename gives a neighbor another name and role: the session is not touched,
// an operator's word to it still holds, and what it announces next comes under
// the new name.
func TestRename(t *testing.T) {
	a := newStation(t, "a", "127.0.41.1", bgp.Options{})
	b := newStation(t, "b", "127.0.41.2", bgp.Options{})
	b.conf.Originate = []netip.Prefix{prefix("10.0.2.0/26")}
	link(a, b)
	a.apply()
	b.apply()
	a.eventually("b's prefix", a.has("mesh/b", "10.0.2.0/26"))

	const name = "peer/rr@127.0.41.2"
	n := &a.conf.Neighbors[0]
	n.Name, n.Client, n.Filters, n.HoldTime = name, true, "none", 2*n.HoldTime
	if res := a.apply(); len(res.Added)+len(res.Removed)+len(res.Reset) != 0 {
		t.Errorf("a new name: %+v", res)
	}
	a.eventually("the new name", func() bool {
		return slices.ContainsFunc(a.all, func(e bgp.Event) bool {
			return e.Session != nil && e.Session.Renamed == "mesh/b" && e.Session.Neighbor == name && e.Session.State == bgp.Established
		})
	})
	b.conf.Originate = append(b.conf.Originate, prefix("10.0.2.64/26"))
	b.apply()
	a.eventually("b's next prefix", a.has(name, "10.0.2.64/26"))
	if n := b.downs("mesh/a"); n != 0 {
		t.Errorf("the neighbor saw its session end %d times", n)
	}

	if err := a.Disable(context.Background(), name, "rack move"); err != nil {
		t.Fatal(err)
	}
	a.eventually("disabled", a.in(name, bgp.Disabled))
	n.Name = "mesh/b"
	a.apply()
	a.eventually("still disabled", a.in("mesh/b", bgp.Disabled))
	if err := a.Enable(context.Background(), name); err != nil { // as it was called when it was disabled
		t.Fatal(err)
	}
	a.eventually("up again", a.in("mesh/b", bgp.Established))

	// One that is away is not disabled when it comes again.
	if err := a.Disable(context.Background(), "mesh/b", "rack move"); err != nil {
		t.Fatal(err)
	}
	a.eventually("disabled again", a.in("mesh/b", bgp.Disabled))
	all := a.conf.Neighbors
	a.conf.Neighbors = nil
	a.apply()
	if err := a.Enable(context.Background(), "mesh/b"); !errors.Is(err, bgp.ErrUnknown) {
		t.Errorf("enabled one that is away: %v", err)
	}
	a.conf.Neighbors = all
	a.apply()
	a.eventually("there again", a.in("mesh/b", bgp.Established))
}
