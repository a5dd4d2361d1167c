package felix

import (
	"net/netip"
	"slices"
	"testing"
)

// TestSubtractExhaustive takes up to two of all prefixes in a /28 from each of them,
// and looks at every address.
func TestSubtractExhaustive(t *testing.T) {
	var all []netip.Prefix
	base := netip.MustParseAddr("192.0.2.16").As4()
	for bits := 28; bits <= 32; bits++ {
		for i := 0; i < 16; i += 1 << (32 - bits) {
			a := base
			a[3] += byte(i)
			all = append(all, netip.PrefixFrom(netip.AddrFrom4(a), bits))
		}
	}
	for _, net := range all {
		for i, e := range all {
			for _, f := range all[i:] {
				got := subtract(net, []netip.Prefix{e, f})
				if !slices.IsSortedFunc(got, netip.Prefix.Compare) {
					t.Fatalf("%v - %v - %v = %v is not sorted", net, e, f, got)
				}
				for k := range 18 {
					a := base
					a[3] += byte(k - 1)
					addr := netip.AddrFrom4(a)
					want := net.Contains(addr) && !e.Contains(addr) && !f.Contains(addr)
					n := 0
					for _, g := range got {
						if g.Contains(addr) {
							n++
						}
					}
					if want != (n == 1) || n > 1 {
						t.Fatalf("%v - %v - %v = %v: %v is in it %d times", net, e, f, got, addr, n)
					}
				}
			}
		}
	}
}

func TestSubtract(t *testing.T) {
	for _, c := range []struct {
		net    string
		except []string
		want   []string
	}{
		{"10.0.0.0/8", nil, []string{"10.0.0.0/8"}},
		{"10.1.2.3/8", nil, []string{"10.0.0.0/8"}},
		{"10.0.0.0/8", []string{"10.0.0.0/8"}, nil},
		{"10.0.0.0/8", []string{"0.0.0.0/0"}, nil},
		{"10.0.0.0/8", []string{"192.168.0.0/16"}, []string{"10.0.0.0/8"}},
		{"10.0.0.0/8", []string{"fd00::/8"}, []string{"10.0.0.0/8"}},
		{"10.0.0.0/30", []string{"10.0.0.1/32"}, []string{"10.0.0.0/32", "10.0.0.2/31"}},
		{"10.0.0.0/30", []string{"10.0.0.1/30", "10.0.0.9/32"}, nil},
		{"0.0.0.0/0", []string{"128.0.0.0/1", "0.0.0.0/2"}, []string{"64.0.0.0/2"}},
		{"2001:db8::/32", []string{"2001:db8:8000::/33"}, []string{"2001:db8::/33"}},
		{"::/0", []string{"8000::/1"}, []string{"::/1"}},
	} {
		got := subtract(netip.MustParsePrefix(c.net), nets(c.except...))
		if !slices.Equal(got, nets(c.want...)) {
			t.Errorf("%s - %v = %v, want %v", c.net, c.except, got, c.want)
		}
	}
	if got := subtract(netip.MustParsePrefix("::/0"), nets("2001:db8::1/128")); len(got) != 128 {
		t.Errorf("all of IPv6 but one address is %d prefixes, want 128", len(got))
	}
}

func TestUnion(t *testing.T) {
	for _, c := range [][2][]string{
		{{}, {}},
		{{"10.0.0.0/8", "10.0.0.0/8"}, {"10.0.0.0/8"}},
		{{"10.2.0.0/16", "10.0.0.0/8", "11.0.0.0/8", "10.2.3.0/24"}, {"10.0.0.0/8", "11.0.0.0/8"}},
		{{"10.0.0.0/9", "10.0.0.1/32", "10.128.0.0/9"}, {"10.0.0.0/9", "10.128.0.0/9"}},
	} {
		if got := union(nets(c[0]...)); !slices.Equal(got, nets(c[1]...)) {
			t.Errorf("union of %v is %v, want %v", c[0], got, c[1])
		}
	}
}

func nets(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
