package v1

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"caracal.dev/caracal"
)

func TestServiceRanges(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"{cidr: 10.96.0.0/12}, {cidr: \"2001:db8:96::/112\"}, {cidr: 203.0.113.9/32}", ""},
		{"{cidr: 10.96.0.0/12}, {cidr: 10.96.7.0/24}", ""},
		{"{cidr: \"2001:0DB8::/64\"}", ""},
		{"{cidr: 0.0.0.0/0}", "spec.%s[0].cidr: 0.0.0.0/0 is the default route, which every node would announce; list the ranges that Services have their addresses from"},
		{"{cidr: \"::/0\"}", "spec.%s[0].cidr: ::/0 is the default route, which every node would announce; list the ranges that Services have their addresses from"},
		{"{cidr: 10.96.0.1/12}", "spec.%s[0].cidr: 10.96.0.1/12 has bits set beyond its length; did you mean 10.96.0.0/12?"},
		{"{cidr: 224.0.0.0/4}", "spec.%s[0].cidr: 224.0.0.0 is a multicast address"},
		{"{cidr: \"fe80::/64\"}", "spec.%s[0].cidr: fe80:: is a link-local address; use one that is reachable from everywhere in the cluster"},
		{"{cidr: 10.96.0.0/12}, {cidr: 10.96.0.0/12}", "spec.%s[1].cidr: 10.96.0.0/12 is listed twice"},
		{"{}", "spec.%s[0].cidr: is missing"},
	} {
		for _, field := range []string{"serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs"} {
			want := c.want
			if want != "" {
				want = fmt.Sprintf(want, field)
			}
			_, _, err := Decode([]byte("apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec:\n  " + field + ": [" + c.list + "]\n"))
			if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
				t.Errorf("%s: [%s]: %v, want %s", field, c.list, err, want)
			}
		}
	}
}

// Each list is overridden as a whole, and two that disagree about one are found.
func TestServiceRangesOverridden(t *testing.T) {
	config := func(name, spec string) *BGPConfiguration {
		o, _, err := Decode([]byte("apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: " + name + "}\nspec:\n" + spec))
		if err != nil {
			t.Fatal(err)
		}
		return o.(*BGPConfiguration)
	}
	base := config("default", "  serviceClusterIPs: [{cidr: 10.96.0.0/16}]\n  serviceExternalIPs: [{cidr: 198.51.100.0/24}, {cidr: 192.0.2.0/24}]\n")
	rack := config("rack", "  nodeSelector: has(rack)\n  serviceExternalIPs: [{cidr: 203.0.113.0/24}]\n  serviceLoadBalancerIPs: [{cidr: \"2001:db8::/64\"}]\n")
	p := netip.MustParsePrefix
	for _, c := range []struct {
		of   []*BGPConfiguration
		want caracal.ServiceRanges
	}{
		{nil, caracal.ServiceRanges{}},
		{[]*BGPConfiguration{base}, caracal.ServiceRanges{ClusterIPs: []netip.Prefix{p("10.96.0.0/16")}, ExternalIPs: []netip.Prefix{p("192.0.2.0/24"), p("198.51.100.0/24")}}},
		{[]*BGPConfiguration{rack, base}, caracal.ServiceRanges{ClusterIPs: []netip.Prefix{p("10.96.0.0/16")}, ExternalIPs: []netip.Prefix{p("203.0.113.0/24")}, LoadBalancerIPs: []netip.Prefix{p("2001:db8::/64")}}},
	} {
		if got := ResolveBGP(c.of).BGP.Services; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
	same := config("same", "  nodeSelector: all()\n  serviceExternalIPs: [{cidr: 203.0.113.0/24}]\n")
	other := config("other", "  nodeSelector: all()\n  serviceExternalIPs: [{cidr: 203.0.112.0/24}]\n")
	if got := Disagreement(rack, same); got != "" {
		t.Errorf("those that say the same disagree about %s", got)
	}
	if got := Disagreement(rack, other); got != "spec.serviceExternalIPs" {
		t.Errorf("disagreement about %q", got)
	}
}
