package bgp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// received makes paths as GoBGP hands them out: a slice of attributes for each,
// with elements shared, but for an MP_REACH_NLRI of its own.
func received(t *testing.T, prefix string, withdrawn bool, shared ...gobgp.PathAttributeInterface) *apiutil.Path {
	t.Helper()
	p, err := toPath(netip.MustParsePrefix(prefix), own{nextHop: netip.MustParseAddr("2001:db8::9")})
	if netip.MustParsePrefix(prefix).Addr().Is4() {
		p, err = toPath(netip.MustParsePrefix(prefix), own{nextHop: netip.MustParseAddr("192.0.2.9")})
		p.Attrs = p.Attrs[:0]
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Attrs) > 0 {
		p.Attrs = p.Attrs[1:] // the ORIGIN is among the shared
	}
	p.Attrs = append(slices.Clone(shared), p.Attrs...)
	p.Withdrawal = withdrawn
	return p
}

func TestOneUpdate(t *testing.T) {
	hop, err := gobgp.NewPathAttributeNextHop(netip.MustParseAddr("192.0.2.9"))
	if err != nil {
		t.Fatal(err)
	}
	shared := []gobgp.PathAttributeInterface{
		gobgp.NewPathAttributeOrigin(0), hop, gobgp.NewPathAttributeMultiExitDisc(7),
		gobgp.NewPathAttributeAsPath([]gobgp.AsPathParamInterface{
			gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, []uint32{65001, 65002}),
			gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SET, []uint32{1, 2, 3}),
		}),
	}
	at := time.Unix(1, 0)
	events := fromPaths(guard{neighbor: Neighbor{Name: "mesh/b", IPv4: true, IPv6: true}}, []*apiutil.Path{
		received(t, "10.0.0.0/26", false, shared...),
		received(t, "10.0.0.64/26", false, shared...),
		received(t, "fd00::/122", false, shared...),
		received(t, "fd00::40/122", false, shared...),
		received(t, "10.0.0.0/26", true),
		received(t, "10.9.0.0/26", true),
	}, at)
	// RFC 4271 section 4.3: a prefix both withdrawn and announced is announced.
	if len(events) != 3 || len(events[0].Update.Withdrawn) != 2 || len(events[1].Update.Announced) != 2 || len(events[2].Update.Announced) != 2 {
		t.Fatalf("events: %s", describe(events))
	}
	four, six := events[1].Update, events[2].Update
	if four.Attrs.NextHop != netip.MustParseAddr("192.0.2.9") || six.Attrs.NextHop != netip.MustParseAddr("2001:db8::9") {
		t.Errorf("next hops %s %s", four.Attrs.NextHop, six.Attrs.NextHop)
	}
	a := four.Attrs
	if a.ASPathText != "65001 65002 {1 2 3}" || a.ASPathLen != 3 || !slices.Equal(a.ASPath, []uint32{65001, 65002, 1, 2, 3}) ||
		!a.HasMED || a.MED != 7 || a.LocalPref != 100 {
		t.Errorf("attributes: %+v", a)
	}
	if four.Neighbor != "mesh/b" || four.Received != at {
		t.Errorf("update: %+v", four)
	}
}

func describe(events []Event) (lines []string) {
	for _, e := range events {
		lines = append(lines, e.Update.Neighbor, netipList(e.Update.Announced), netipList(e.Update.Withdrawn))
	}
	return lines
}

func netipList(list []NLRI) (text string) {
	for _, n := range list {
		text += n.Prefix.String() + " "
	}
	return text
}
