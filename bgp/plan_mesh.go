package bgp

import (
	"net/netip"

	"caracal.dev/caracal"
)

const (
	// A node may announce four times what it owns, and is never held to less than
	// minPrefixes; the step keeps a growing node from changing the limit with each
	// block.
	minPrefixes  = 1000
	maxOwnedBits = 17
	maxOwned     = 1 << maxOwnedBits
	prefixStep   = 1000
	peerPrefixes = 10000
)

// meshOn reports whether the nodes peer with each other directly.
func (p *planner) meshOn() bool { return p.s.BGP.MeshEnabled && p.self.MeshEnabled }

// needed reports whether the mesh has a session of this node with another.
// Reflectors leave it, and so do the sessions between any two nodes that both
// have a reflector.
func (p *planner) needed(node caracal.Node) bool {
	if !node.MeshEnabled || p.self.ClusterID.IsValid() || node.ClusterID.IsValid() {
		return false
	}
	return len(p.self.Reflectors) == 0 || len(node.Reflectors) == 0
}

// mesh adds the other nodes.
func (p *planner) mesh() {
	if !p.meshOn() {
		return
	}
	for name, node := range p.s.Nodes.All() {
		if name == p.self.Name || !node.MeshEnabled {
			continue
		}
		if !p.needed(node) {
			p.unreached(node)
			continue
		}
		n, ok := p.between(node)
		if !ok {
			p.warn("Node", name, "node %s and this node have no address family in common, so there is no session; give both an IPv4 or both an IPv6 address", name)
			continue
		}
		if p.byAddr[n.Addr].Node == name {
			continue // a BGPPeer's
		}
		if node.RouterID == p.self.RouterID && node.ASN == p.self.ASN {
			p.warn("Node", name, "node %s has the same router ID %s as this node, so the session cannot come up (RFC 6286); change one", name, node.RouterID)
		}
		n.MaxPrefixes = nodeLimit(p.owned()[name])
		p.secret(n)
		p.add("Node", name, n)
	}
}

// unreached warns of a reflector that this node hears nothing of: it is not in
// the mesh, and there is no reflector here that could speak for it.
func (p *planner) unreached(node caracal.Node) {
	if !node.ClusterID.IsValid() {
		return
	}
	for _, n := range p.byAddr {
		if n.Node == node.Name || n.Reflector && !p.self.ClusterID.IsValid() {
			return
		}
	}
	p.warn("Node", node.Name, "node %s is a route reflector, so it is not in the mesh, and no BGPPeer joins it and this node: they may not know each other's routes; add one", node.Name)
}

func nodeLimit(owned int) uint32 {
	n := max(4*owned, minPrefixes)
	return uint32((n + prefixStep - 1) / prefixStep * prefixStep)
}

// reflectorLimit is for one that speaks for all.
func reflectorLimit(owned map[string]int, services int) uint32 {
	all := services
	for _, n := range owned {
		all = min(all+n, 8*maxOwned) // a million
	}
	return max(nodeLimit(all), peerPrefixes)
}

// owned counts the addresses that each node owns, which is what it may have to
// announce as host routes, and those of its workloads, which may be borrowed. A
// node that owns more than maxOwned, as with any IPv6 podCIDR, counts as that.
func (p *planner) owned() map[string]int {
	if p.owns != nil {
		return p.owns
	}
	count := map[string]int{}
	add := func(node string, n int) { count[node] = min(count[node]+n, maxOwned) }
	for _, b := range p.s.Blocks.All() {
		add(b.Node, addresses(b.CIDR))
	}
	for name, n := range p.s.Nodes.All() {
		for _, c := range n.PodCIDRs {
			add(name, addresses(c))
		}
	}
	hosts := false
	for _, pool := range p.s.Pools.All() {
		hosts = hosts || pool.Advertise == caracal.AdvertiseHosts
	}
	if hosts {
		for _, w := range p.s.Workloads.All() {
			add(w.Node, len(w.Addrs))
		}
	}
	p.owns = count
	return count
}

// addresses is how many addresses a prefix has, at most maxOwned.
func addresses(p netip.Prefix) int {
	return 1 << min(p.Addr().BitLen()-p.Bits(), maxOwnedBits)
}
