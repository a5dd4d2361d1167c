package endpoint

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal"
)

// Blocks that a node claimed while it was alone are announced for as long as
// containers have addresses of them, when it is alone no more; but not what the
// configuration gives to the other node.
func TestClaimedBlocksOfOneOfTwo(t *testing.T) {
	w := newWorld(t)
	w.source.put(func(s *caracal.Snapshot) {
		s.IPAM.Mode = "blocks"
		n, _ := s.SelfNode()
		n.PodCIDRs = nil
		s.Nodes = s.Nodes.Put("a", n)
		s.Blocks = caracal.NewSnapshot("a").Blocks
		s.Pools = s.Pools.Put("pods", caracal.Pool{Name: "pods", CIDR: pfx("10.8.0.0/16"), BlockSize: 26})
	})
	w.start()
	req := request("c1")
	got := w.addReady(req)
	mine := netip.PrefixFrom(got.Addrs[0], 26).Masked()
	owner := func() string { b, _ := w.Snapshot().Blocks.Get(mine); return b.Node }
	w.until("the block is announced", func() bool { return owner() == "a" })
	w.source.put(func(s *caracal.Snapshot) { s.Nodes = s.Nodes.Put("b", caracal.Node{Name: "b"}) })
	w.until("there are two", func() bool {
		return w.plan.Load().Mode == "podCIDR" && !w.claimDue.Load() && w.Snapshot().Nodes.Len() == 2
	})
	if owner() != "a" {
		t.Error("the block of a container is not announced any more")
	}
	w.start()
	if owner() != "a" {
		t.Error("nor after a restart")
	}
	if draft, err := w.Overlay().with(w.source.Snapshot(), nil); err != nil {
		t.Error(err)
	} else if b, _ := draft.Blocks.Get(mine); b.Node != "a" {
		t.Error("a check of the configuration says that it goes")
	}
	wider := netip.PrefixFrom(mine.Addr(), 24).Masked()
	w.source.put(func(s *caracal.Snapshot) { s.Blocks = s.Blocks.Put(wider, caracal.Block{CIDR: wider, Node: "b"}) })
	w.until("the block is left to the other node", func() bool { return owner() == "" })
}
