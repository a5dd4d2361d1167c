package bgp_test

import (
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// BenchmarkPlan600 is a plan of a node with 600 others in the mesh, all with
// reflectors, so that every session lingers: what costs most.
func BenchmarkPlan600(b *testing.B) {
	s := cluster()
	for i := range 600 {
		id := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		n := caracal.Node{Name: id.String(), ASN: 64512, RouterID: id, Port: 179, MeshEnabled: true, IPv4: netip.PrefixFrom(id, 16)}
		s.Nodes = s.Nodes.Put(n.Name, n)
		s.Blocks = s.Blocks.Put(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 2), byte(i << 6)}), 26), caracal.Block{Node: n.Name})
	}
	last, _ := bgp.Plan(s, nil, bgp.Facts{})
	for name, n := range s.Nodes.All() {
		n.Reflectors = []string{"a"}
		s.Nodes = s.Nodes.Put(name, n)
	}
	facts := bgp.Facts{Now: time.Now(), Last: last}
	b.ReportAllocs()
	for b.Loop() {
		if c, _ := bgp.Plan(s, nil, facts); len(c.Neighbors) < 600 {
			b.Fatal(len(c.Neighbors))
		}
	}
}
