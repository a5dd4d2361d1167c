package bgp

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

func nextHopAttr(t *testing.T, a string) gobgp.PathAttributeInterface {
	t.Helper()
	hop, err := gobgp.NewPathAttributeNextHop(netip.MustParseAddr(a))
	if err != nil {
		t.Fatal(err)
	}
	return hop
}

func asPathAttr(kind uint8, as ...uint32) gobgp.PathAttributeInterface {
	return gobgp.NewPathAttributeAsPath([]gobgp.AsPathParamInterface{gobgp.NewAs4PathParam(kind, as)})
}

func TestGuard(t *testing.T) {
	const seq, set = gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, gobgp.BGP_ASPATH_ATTR_TYPE_SET
	origin, hop := gobgp.NewPathAttributeOrigin(0), nextHopAttr(t, "192.0.2.9")
	right := []gobgp.PathAttributeInterface{origin, asPathAttr(seq, 65001), hop}
	with := func(a ...gobgp.PathAttributeInterface) []gobgp.PathAttributeInterface { return append(a, right...) }
	for _, tc := range []struct {
		name     string
		external bool
		attrs    []gobgp.PathAttributeInterface
		why      string // empty: accepted
	}{
		{"right", true, right, ""},
		{"right, internal", false, []gobgp.PathAttributeInterface{origin, gobgp.NewPathAttributeAsPath(nil), hop}, ""},
		{"empty AS_PATH", true, []gobgp.PathAttributeInterface{origin, gobgp.NewPathAttributeAsPath(nil), hop}, "empty AS_PATH"},
		{"another AS first", true, with(asPathAttr(seq, 65002, 65001)), `"65002 65001" does not begin with the neighbor's AS 65001`},
		{"a set first", true, with(asPathAttr(set, 65001)), "does not begin"},
		{"another AS first, internal", false, with(asPathAttr(seq, 65002)), ""},
		{"AS 0", false, with(asPathAttr(seq, 65001, 0)), "AS 0"},
		{"no AS_PATH", false, []gobgp.PathAttributeInterface{origin, hop}, "no AS_PATH"},
		{"no NEXT_HOP", false, right[:2], "no next hop"},
		{"IPv6 NEXT_HOP", false, with(nextHopAttr(t, "2001:db8::9")), "16 octets"},
		{"multicast", false, with(nextHopAttr(t, "224.0.0.1")), "no host's address"},
		{"ORIGIN 7", false, with(gobgp.NewPathAttributeOrigin(7)), "ORIGIN 7"},
		{"no communities", false, with(gobgp.NewPathAttributeCommunities(nil)), "COMMUNITIES without a value"},
		{"a community", false, with(gobgp.NewPathAttributeCommunities([]uint32{1})), ""},
		{"no large communities", false, with(gobgp.NewPathAttributeLargeCommunities(nil)), "without a value"},
		{"unknown optional", false, with(gobgp.NewPathAttributeUnknown(0xc0, 99, nil)), ""},
		{"unknown well-known", false, with(gobgp.NewPathAttributeUnknown(0x40, 99, nil)), "unknown well-known attribute 99"},
	} {
		said := ""
		g := guard{neighbor: Neighbor{Name: "mesh/b", ASN: 65001, IPv4: true}, external: tc.external,
			report: func(_ netip.Prefix, why string) { said = why }}
		path := received(t, "10.0.0.0/26", false, tc.attrs...)
		events := fromPaths(g, []*apiutil.Path{path}, time.Time{})
		taken := len(events) == 1 && len(events[0].Update.Announced) == 1
		gone := len(events) == 1 && len(events[0].Update.Withdrawn) == 1
		if taken != (tc.why == "") || gone == taken || !strings.Contains(said, tc.why) || said != "" && taken {
			t.Errorf("%s: taken %v, withdrawn %v, because %q", tc.name, taken, gone, said)
		}
	}
}

// TestGuardOfAnotherAS: what means something only within an AS does not count.
func TestGuardOfAnotherAS(t *testing.T) {
	id, err := gobgp.NewPathAttributeOriginatorId(netip.MustParseAddr("10.9.9.9"))
	if err != nil {
		t.Fatal(err)
	}
	attrs := []gobgp.PathAttributeInterface{
		gobgp.NewPathAttributeOrigin(0), asPathAttr(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, 65001),
		nextHopAttr(t, "192.0.2.9"), gobgp.NewPathAttributeLocalPref(900), gobgp.NewPathAttributeLocalPref(7), id,
	}
	for _, external := range []bool{true, false} {
		g := guard{neighbor: Neighbor{ASN: 65001}, external: external}
		a := g.attrs(attrs, netip.MustParsePrefix("10.0.0.0/26"))
		if external && (a.LocalPref != defaultLocalPref || a.OriginatorID.IsValid()) {
			t.Errorf("external: %+v", a)
		}
		if !external && (a.LocalPref != 900 || !a.OriginatorID.IsValid()) { // the first of two
			t.Errorf("internal: %+v", a)
		}
	}
}

// TestGuardFamily: a family that the session does not carry comes to nothing.
func TestGuardFamily(t *testing.T) {
	g := guard{neighbor: Neighbor{Name: "mesh/b", IPv4: true}}
	path := received(t, "fd00::/64", false, gobgp.NewPathAttributeOrigin(0), gobgp.NewPathAttributeAsPath(nil))
	if events := fromPaths(g, []*apiutil.Path{path}, time.Time{}); len(events) != 0 {
		t.Errorf("events %s", describe(events))
	}
}

// TestFaults: the lines of GoBGP's log by which it tells that it lost prefixes.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		message, err string
		lost, unsure bool
	}{
		{treatedAsWithdraw, "path attribute length exceeds path attributes boundary", true, false},
		{treatedAsWithdraw, "attribute value length is short", true, false},
		{treatedAsWithdraw, "flags are invalid. attribute type: BGP_ATTR_TYPE_MP_REACH_NLRI, expect: 1, actual: 2", true, false},
		{treatedAsWithdraw, "communities length isn't correct", false, true},
		{treatedAsWithdraw, "invalid nexthop address", false, false},
		{"Some attributes were discarded", "attribute value length is short", false, false},
	} {
		var lost, unsure netip.Addr
		h := newLogAdapter(slog.DiscardHandler, netip.Addr.String, faults{
			lost:   func(a netip.Addr, _ string) { lost = a },
			unsure: func(a netip.Addr, _ string, _ time.Time) { unsure = a },
		})
		slog.New(h).With("Key", "192.0.2.9").Warn(tc.message, "Error", tc.err)
		if lost.IsValid() != tc.lost || unsure.IsValid() != tc.unsure {
			t.Errorf("%s: %s: lost %v, unsure %v", tc.message, tc.err, lost, unsure)
		}
	}
}
