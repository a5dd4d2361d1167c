package felix

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

func sameNode(a, b caracal.Node) bool {
	return a.IPv4 == b.IPv4 && a.IPv6 == b.IPv6 && a.Port == b.Port && a.Tunnel == b.Tunnel &&
		slices.Equal(a.PodCIDRs, b.PodCIDRs)
}

func samePool(a, b caracal.Pool) bool { return a.CIDR == b.CIDR && a.NATOutgoing == b.NATOutgoing }

func sameBlock(a, b caracal.Block) bool { return a.CIDR == b.CIDR }

// updateNode brings the sets of nodes, pools and neighbors from those of the last
// Input to those of this one.
func (c *Compiler) updateNode(was *caracal.Snapshot, neighbors []netip.Addr) {
	now := c.in.Snapshot
	now.Nodes.Diff(was.Nodes, sameNode, func(_ string, was, is *caracal.Node) {
		c.countNode(was, -1)
		c.countNode(is, 1)
	})
	now.Pools.Diff(was.Pools, samePool, func(_ string, was, is *caracal.Pool) {
		c.countPool(was, -1)
		c.countPool(is, 1)
	})
	now.Blocks.Diff(was.Blocks, sameBlock, func(_ netip.Prefix, was, is *caracal.Block) {
		c.countBlock(was, -1)
		c.countBlock(is, 1)
	})
	if !slices.Equal(neighbors, c.in.Neighbors) {
		c.countNeighbors(neighbors, -1)
		c.countNeighbors(c.in.Neighbors, 1)
	}
	if selfPort(was) != selfPort(now) || !slices.Equal(serviceRanges(was), serviceRanges(now)) {
		c.tx.fixed = true
	}
}

func selfPort(s *caracal.Snapshot) uint16 {
	self, _ := s.SelfNode()
	return self.Port
}

func (c *Compiler) countNode(node *caracal.Node, n int) {
	if node == nil {
		return
	}
	for _, p := range []netip.Prefix{node.IPv4, node.IPv6} {
		if a := plainAddr(p.Addr()); a.IsValid() {
			c.countAddr(setNodes, a, n)
			c.countAddr(setBGP, a, n)
			c.countNet(setNoNAT, caracal.HostPrefix(a), n)
		}
	}
	if a := plainAddr(node.Tunnel); a.IsValid() {
		c.countNet(setNoNAT, caracal.HostPrefix(a), n)
	}
	for _, p := range node.PodCIDRs {
		c.countNet(setNoNAT, p, n)
	}
	if node.Port == 0 {
		return
	}
	was := c.bgpPorts[node.Port]
	if c.bgpPorts[node.Port] = was + n; was+n == 0 {
		delete(c.bgpPorts, node.Port)
	}
	if was == 0 || was+n == 0 {
		c.tx.fixed = true
	}
}

func (c *Compiler) countPool(pool *caracal.Pool, n int) {
	if pool == nil {
		return
	}
	c.countNet(setNoNAT, pool.CIDR, n)
	if pool.NATOutgoing {
		c.countNet(setNAT, pool.CIDR, n)
	}
}

func (c *Compiler) countBlock(block *caracal.Block, n int) {
	if block != nil {
		c.countNet(setNoNAT, block.CIDR, n)
	}
}

func (c *Compiler) countNeighbors(addrs []netip.Addr, n int) {
	for _, a := range addrs {
		switch {
		case a.Zone() != "":
			c.tx.fixed = true // one of a link, in rules of its own
		case a.IsValid():
			c.countAddr(setBGP, a.Unmap(), n)
		}
	}
}

func (c *Compiler) countAddr(set fixedSet, a netip.Addr, n int) {
	c.count(familyOf(a), set, Member{Net: caracal.HostPrefix(a)}, n)
}

func (c *Compiler) countNet(set fixedSet, p netip.Prefix, n int) {
	for _, m := range netMembers(p) {
		c.count(familyOf(m.Net.Addr()), set, m, n)
	}
}
