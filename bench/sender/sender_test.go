package sender_test

import (
	"net/netip"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"caracal.dev/caracal/bench/sender"
)

func hosts(base string, n int) []netip.Prefix {
	a := netip.MustParseAddr(base)
	list := make([]netip.Prefix, n)
	for i := range list {
		list[i] = netip.PrefixFrom(a, a.BitLen())
		a = a.Next()
	}
	return list
}

// TestEncode holds our encoding against another implementation's decoder.
func TestEncode(t *testing.T) {
	for _, tc := range []struct {
		name, first, hop string
		n, messages      int
	}{
		{"IPv4", "10.0.0.0", "192.0.2.1", 100000, 124},
		{"IPv6", "fd00::", "2001:db8::1", 5000, 22},
		{"one", "10.0.0.0", "192.0.2.1", 1, 1},
		{"none", "10.0.0.0", "192.0.2.1", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			prefixes := hosts(tc.first, tc.n)
			announce := sender.Encode(prefixes, sender.Path{NextHop: netip.MustParseAddr(tc.hop), ASPath: []uint32{4200000000}, LocalPref: 100})
			if len(announce) != tc.messages {
				t.Errorf("%d messages, want %d", len(announce), tc.messages)
			}
			compare(t, prefixes, decode(t, announce, netip.MustParseAddr(tc.hop)))
			compare(t, prefixes, decode(t, sender.EncodeWithdraw(prefixes), netip.Addr{}))
		})
	}
}

func compare(t *testing.T, want, got []netip.Prefix) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d prefixes, want %d", len(got), len(want))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("prefix %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// decode returns the prefixes that are announced with hop, or withdrawn.
func decode(t *testing.T, messages [][]byte, hop netip.Addr) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	add := func(nlri []gobgp.PathNLRI) {
		for _, n := range nlri {
			list = append(list, n.NLRI.(*gobgp.IPAddrPrefix).Prefix)
		}
	}
	for _, m := range messages {
		if len(m) > 4096 {
			t.Errorf("message of %d octets", len(m))
		}
		parsed, err := gobgp.ParseBGPMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		u := parsed.Body.(*gobgp.BGPUpdate)
		if hop.IsValid() {
			add(u.NLRI)
		} else {
			add(u.WithdrawnRoutes)
		}
		for _, a := range u.PathAttributes {
			switch v := a.(type) {
			case *gobgp.PathAttributeMpReachNLRI:
				if v.Nexthop != hop {
					t.Fatalf("next hop %s", v.Nexthop)
				}
				add(v.Value)
			case *gobgp.PathAttributeMpUnreachNLRI:
				add(v.Value)
			case *gobgp.PathAttributeNextHop:
				if v.Value != hop {
					t.Fatalf("next hop %s", v.Value)
				}
			}
		}
	}
	return list
}

func TestEndOfRIB(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		m, err := gobgp.ParseBGPMessage(sender.EncodeEndOfRIB(v6))
		if err != nil {
			t.Fatal(err)
		}
		want := gobgp.RF_IPv4_UC
		if v6 {
			want = gobgp.RF_IPv6_UC
		}
		if ok, family := m.Body.(*gobgp.BGPUpdate).IsEndOfRib(); !ok || family != want {
			t.Errorf("v6=%v: %v %v", v6, ok, family)
		}
	}
}
