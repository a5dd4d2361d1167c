package torconfig

import (
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal"
)

// A switch lets in the ranges of Services and what lies in them.
func TestServicesArePermitted(t *testing.T) {
	s := caracal.NewSnapshot("a")
	r := netip.MustParsePrefix
	s.BGP.Services = caracal.ServiceRanges{
		ClusterIPs: []netip.Prefix{r("10.96.0.0/16")}, ExternalIPs: []netip.Prefix{r("203.0.113.7/32")}, LoadBalancerIPs: []netip.Prefix{r("2001:db8:113::/112")},
	}
	want := []Permit{
		{Prefix: r("10.96.0.0/16"), Min: 16, Max: 32},
		{Prefix: r("203.0.113.7/32"), Min: 32, Max: 32},
		{Prefix: r("2001:db8:113::/112"), Min: 112, Max: 128},
	}
	if got := announces(s, caracal.Node{Name: "a"}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
