package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// TestPredict: which sessions end, start and drop before a Snapshot is taken.
func TestPredict(t *testing.T) {
	node := func(name, addr string, asn uint32) caracal.Node {
		return caracal.Node{Name: name, IPv4: netip.MustParsePrefix(addr), ASN: asn, RouterID: netip.MustParsePrefix(addr).Addr(), Port: 179, MeshEnabled: true}
	}
	with := func(nodes ...caracal.Node) *caracal.Snapshot {
		s := caracal.NewSnapshot("a")
		s.Synced, s.BGP.MeshEnabled, s.BGP.HoldTime = true, true, 90*time.Second
		for _, n := range nodes {
			s.Nodes = s.Nodes.Put(n.Name, n)
		}
		return s
	}
	a, b := node("a", "192.0.2.1/24", 64512), node("b", "192.0.2.2/24", 64512)
	moved := node("b", "192.0.2.9/24", 64512)
	c, d := node("c", "192.0.2.3/24", 64512), node("d", "192.0.2.4/24", 64512)
	have, problems := bgp.Plan(with(a, b, c), nil, bgp.Facts{})
	if len(have.Neighbors) != 2 {
		t.Fatalf("planned %v, %v", have.Neighbors, problems)
	}
	for _, tc := range []struct {
		name                 string
		next                 *caracal.Snapshot
		resets, ends, starts []string
	}{
		{"the same", with(a, b, c), nil, nil, nil},
		{"one instead of another", with(a, b, d), nil, []string{"mesh/c"}, []string{"mesh/d"}},
		{"another address", with(a, moved, c), []string{"mesh/b"}, nil, nil},
		{"alone", with(a), nil, []string{"mesh/b", "mesh/c"}, nil},
	} {
		var res api.ConfigureResult
		predict(&res, have, tc.next, bgp.Facts{})
		var resets []string
		for _, r := range res.Resets {
			resets = append(resets, r.Neighbor)
		}
		if !slices.Equal(resets, tc.resets) || !slices.Equal(res.Ends, tc.ends) || !slices.Equal(res.Starts, tc.starts) || res.Restart != "" {
			t.Errorf("%s: %+v", tc.name, res)
		}
	}
}

// TestChangesOfIPAM: what a configuration says of addresses is a change as any
// other.
func TestChangesOfIPAM(t *testing.T) {
	old, next := caracal.NewSnapshot("a"), caracal.NewSnapshot("a")
	if got := changes(old, next); len(got) != 0 {
		t.Errorf("the same: %q", got)
	}
	next.IPAM = caracal.IPAM{Mode: "podCIDR", Reserved: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29")}}
	if got, want := changes(old, next), []string{"IPReservation: changed", "IPAMConfiguration: changed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
