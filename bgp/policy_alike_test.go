package bgp

import (
	"net/netip"
	"strings"
	"testing"
)

// TestAlike: GoBGP's sets of neighbors know no links, so of two switches with one
// link-local address none gets what is only for the other.
func TestAlike(t *testing.T) {
	tor := func(link, filters string) Neighbor {
		return Neighbor{Name: link, Addr: netip.MustParseAddr("fe80::1%" + link), ASN: 65001, External: true, Filters: filters}
	}
	for _, c := range []struct {
		filters []string
		alike   bool
	}{{[]string{"", ""}, false}, {[]string{"a", ""}, true}, {[]string{"", "a", ""}, true}, {[]string{"a", "a", "a"}, false}} {
		var list []Neighbor
		for i, f := range c.filters {
			list = append(list, tor("eth"+string(rune('0'+i)), f))
		}
		p := exportOf(Config{Global: Global{ASN: 64512}}, list, false)
		for _, n := range list {
			text := p.of(n)
			if p.alike[n.Addr.WithZone("")] != c.alike || (c.alike && (strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, ": 2\n"))) {
				t.Errorf("%q: alike %v, %s is told by\n%s", c.filters, p.alike, n.Name, text)
			}
		}
	}
}
