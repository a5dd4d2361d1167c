package rib

import (
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal/bgp"
)

func TestReissueBelow(t *testing.T) {
	w := newWorld(t, cluster())
	w.up("mesh/b")
	w.up("mesh/c")
	w.announce("mesh/b", "10.1.2.0/26", "192.0.2.2")
	w.announce("mesh/c", "10.1.3.0/26", "192.0.2.3")
	w.announce("mesh/c", "10.1.2.128/26", "192.0.2.3") // refused
	decide := func() (out []string) {
		for w.m.Decide(3, func(c Choice) {
			text := c.NLRI.String() + " gone"
			if len(c.NextHops) > 0 {
				text = c.NLRI.String() + " " + c.NextHops[0].String()
			}
			if !c.Received.IsZero() {
				t.Errorf("%s: nothing arrived, but it says at %v", text, c.Received)
			}
			out = append(out, text)
		}) {
		}
		slices.Sort(out)
		return out
	}
	for _, c := range []struct {
		below string
		want  []string
	}{
		{"10.1.2.0/26", []string{"10.1.2.0/26 192.0.2.2"}},
		{"10.1.0.0/16", []string{"10.1.2.0/26 192.0.2.2", "10.1.3.0/26 192.0.2.3"}},
		{"10.1.2.0/32", nil},
		{"10.2.0.0/16", nil},
	} {
		w.m.ReissueBelow([]netip.Prefix{pfx(c.below)})
		if got := decide(); !slices.Equal(got, c.want) {
			t.Errorf("below %s: %q, want %q", c.below, got, c.want)
		}
	}
	// A path that goes at the same time takes its route with it.
	w.m.ReissueBelow([]netip.Prefix{pfx("10.1.0.0/16")})
	w.m.Apply(bgp.Event{Update: &bgp.Update{Neighbor: "mesh/b", Withdrawn: []bgp.NLRI{{Prefix: pfx("10.1.2.0/26")}}}})
	if got, want := decide(), []string{"10.1.2.0/26 gone", "10.1.3.0/26 192.0.2.3"}; !slices.Equal(got, want) {
		t.Errorf("with a withdrawal: %q, want %q", got, want)
	}
}
