package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
)

const (
	// meshConnectRetry is short since a node that restarts has only its
	// neighbors' restart time to come back; a refused SYN per second costs
	// nothing.
	meshConnectRetry = time.Second
	peerConnectRetry = 3 * time.Second
	// A mesh neighbor may announce four times what it owns, and is never held to
	// less than minPrefixes; the step keeps a growing node from changing the
	// limit with each block.
	minPrefixes  = 1000
	maxOwnedBits = 17
	maxOwned     = 1 << maxOwnedBits
	prefixStep   = 1000
	peerPrefixes = 10000
)

// Plan derives the speaker's configuration for the node s.Self. A prefix is
// originated only when ready reports true for it, which is to be when its route
// is in the kernel; a nil ready stands for all. Without a Node of that name the
// Config is the zero value, which [Speaker.Apply] refuses.
//
// Facts are what the world says at this moment; Plan itself asks nobody.
//
// The problems are sessions and prefixes that were left out, each with what to
// do about it; their Since is not set.
func Plan(s *caracal.Snapshot, ready func(netip.Prefix) bool, facts Facts) (Config, []caracal.Problem) {
	self, ok := s.SelfNode()
	if !ok {
		return Config{}, []caracal.Problem{{Kind: "Node", Name: s.Self, Message: fmt.Sprintf(
			"node %s is not configured, so it has no BGP sessions; add a NodeConfig for it", s.Self)}}
	}
	p := &planner{s: s, self: self, ready: ready, byAddr: map[netip.Addr]Neighbor{}}
	p.peers()
	p.mesh()
	cfg := Config{
		Global: Global{
			ASN:         self.ASN,
			RouterID:    self.RouterID,
			Port:        self.Port,
			ListenAddrs: p.listen(),
		},
		Neighbors: slices.SortedFunc(maps.Values(p.byAddr), func(a, b Neighbor) int { return strings.Compare(a.Name, b.Name) }),
		Originate: p.originate(),
		NextHop4:  self.IPv4.Addr(),
		NextHop6:  self.IPv6.Addr(),
	}
	slices.SortFunc(p.problems, func(a, b caracal.Problem) int { return strings.Compare(a.Message, b.Message) })
	return cfg, p.problems
}

type planner struct {
	s        *caracal.Snapshot
	self     caracal.Node
	ready    func(netip.Prefix) bool
	byAddr   map[netip.Addr]Neighbor
	problems []caracal.Problem
}

func (p *planner) warn(kind, name, format string, args ...any) {
	p.problems = append(p.problems, caracal.Problem{Kind: kind, Name: name, Message: fmt.Sprintf(format, args...)})
}

// listen returns the addresses to accept sessions on, as [Global] wants them.
func (p *planner) listen() string {
	addrs := slices.Clone(p.s.BGP.ListenAddrs)
	if len(addrs) == 0 {
		for _, a := range []netip.Addr{p.self.IPv4.Addr(), p.self.IPv6.Addr()} {
			if a.IsValid() {
				addrs = append(addrs, a)
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	text := make([]string, 0, len(addrs))
	for _, a := range slices.Compact(addrs) {
		text = append(text, a.String())
	}
	return strings.Join(text, ",")
}

// add takes a neighbor unless its address is taken: GoBGP, as most speakers,
// tells neighbors apart by address.
func (p *planner) add(kind, name string, n Neighbor) {
	if n.Addr == p.self.IPv4.Addr() || n.Addr == p.self.IPv6.Addr() {
		p.warn(kind, name, "%s has this node's own address %s, so there is no session; correct one of the two", n.Name, n.Addr)
		return
	}
	if other, ok := p.byAddr[n.Addr]; ok {
		p.warn(kind, name, "%s and %s have the same address %s; only %s is used, remove one", n.Name, other.Name, n.Addr, other.Name)
		return
	}
	p.byAddr[n.Addr] = n
}

// base is a neighbor with what all neighbors share.
func (p *planner) base(v6 bool) Neighbor {
	b := p.s.BGP
	return Neighbor{
		Local:           p.self.Addr(v6),
		IPv4:            p.self.IPv4.IsValid(),
		IPv6:            p.self.IPv6.IsValid(),
		HoldTime:        b.HoldTime,
		KeepaliveTime:   b.KeepaliveTime,
		GracefulRestart: b.GracefulRestart,
		RestartTime:     b.RestartTime,
	}
}

// peers adds the configured ones. They come before the mesh: what an operator
// wrote for an address wins over what is derived.
func (p *planner) peers() {
	nodes := map[netip.Addr]string{}
	for name, node := range p.s.Nodes.All() {
		for _, a := range []netip.Addr{node.IPv4.Addr(), node.IPv6.Addr()} {
			if a.IsValid() {
				nodes[a] = name
			}
		}
	}
	for name, peer := range p.s.Peers.All() {
		addr := peer.Addr.Unmap()
		n := p.base(addr.Is6())
		n.Name = fmt.Sprintf("peer/%s@%s", name, addr)
		n.Node = nodes[addr]
		n.Addr, n.Port, n.ASN = addr, peer.Port, peer.ASN
		if peer.SourceAddr.IsValid() {
			n.Local = peer.SourceAddr.Unmap()
		}
		if !n.Local.IsValid() {
			p.warn("BGPPeer", name, "BGPPeer %s has the address %s, but this node has no address of that family, so there is no session; give the node one, or the peer a sourceAddress", name, addr)
			continue
		}
		if peer.HoldTime != 0 {
			n.HoldTime = peer.HoldTime
		}
		if peer.KeepaliveTime != 0 {
			n.KeepaliveTime = peer.KeepaliveTime
		}
		n.ConnectRetry = peerConnectRetry
		n.Multihop, n.Passive = peer.Multihop, peer.Passive
		n.MaxPrefixes = peerPrefixes
		p.add("BGPPeer", name, n)
	}
}

// mesh adds the other nodes. Of each pair the end with the lower address dials,
// so that the two never race to connect and close each other's connection.
func (p *planner) mesh() {
	if !p.s.BGP.MeshEnabled || !p.self.MeshEnabled {
		return
	}
	owned := p.owned()
	for name, node := range p.s.Nodes.All() {
		if name == p.self.Name || !node.MeshEnabled {
			continue
		}
		v4 := p.self.IPv4.IsValid() && node.IPv4.IsValid()
		v6 := p.self.IPv6.IsValid() && node.IPv6.IsValid()
		if !v4 && !v6 {
			p.warn("Node", name, "node %s and this node have no address family in common, so there is no session; give both an IPv4 or both an IPv6 address", name)
			continue
		}
		if node.RouterID == p.self.RouterID && node.ASN == p.self.ASN {
			p.warn("Node", name, "node %s has the same router ID %s as this node, so the session cannot come up (RFC 6286); change one", name, node.RouterID)
		}
		n := p.base(!v4)
		n.Name, n.Node = "mesh/"+name, name
		n.Addr, n.Port, n.ASN = node.Addr(!v4), node.Port, node.ASN
		n.Passive = n.Addr.Less(n.Local)
		n.IPv4, n.IPv6 = v4, v6
		n.ConnectRetry = meshConnectRetry
		n.Multihop = node.ASN != p.self.ASN
		n.MaxPrefixes = meshLimit(owned[name])
		p.add("Node", name, n)
	}
}

func meshLimit(owned int) uint32 {
	n := max(4*owned, minPrefixes)
	return uint32((n + prefixStep - 1) / prefixStep * prefixStep)
}

// owned counts the addresses that each node owns, which is what it may have to
// announce as host routes, and those of its workloads, which may be borrowed. A
// node that owns more than maxOwned, as with any IPv6 podCIDR, counts as that.
func (p *planner) owned() map[string]int {
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
	return count
}

// addresses is how many addresses a prefix has, at most maxOwned.
func addresses(p netip.Prefix) int {
	return 1 << min(p.Addr().BitLen()-p.Bits(), maxOwnedBits)
}

// pool returns the most specific pool that covers prefix.
func (p *planner) pool(prefix netip.Prefix) (caracal.Pool, bool) {
	var best caracal.Pool
	found := false
	for _, pool := range p.s.Pools.All() {
		if caracal.Covers(pool.CIDR, prefix) && (!found || pool.CIDR.Bits() > best.CIDR.Bits()) {
			best, found = pool, true
		}
	}
	return best, found
}

// originate lists the prefixes to announce, sorted.
func (p *planner) originate() []netip.Prefix {
	want := map[netip.Prefix]bool{}
	own := p.ownBlocks()
	for _, b := range own {
		pool, ok := p.pool(b)
		if ok && announced(pool) && pool.Advertise != caracal.AdvertiseHosts {
			want[b] = true
		}
	}
	for _, w := range p.s.Workloads.All() {
		if w.Node != p.self.Name {
			continue
		}
		for _, a := range w.Addrs {
			host := caracal.HostPrefix(a)
			pool, ok := p.pool(host)
			if !ok || !announced(pool) {
				continue
			}
			// An address borrowed from another node's block is announced by
			// itself: the longer prefix leads to where the workload is.
			borrowed := !slices.ContainsFunc(own, func(b netip.Prefix) bool { return b.Contains(a) })
			if borrowed || pool.Advertise == caracal.AdvertiseHosts {
				want[host] = true
			}
		}
	}
	list := make([]netip.Prefix, 0, len(want))
	for prefix := range want {
		if !p.self.Addr(prefix.Addr().Is6()).IsValid() {
			p.warn("Node", p.self.Name, "%s cannot be announced: node %s has no address of that family to be its next hop", prefix, p.self.Name)
			continue
		}
		if p.ready == nil || p.ready(prefix) {
			list = append(list, prefix)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

// ownBlocks are this node's blocks and podCIDRs.
func (p *planner) ownBlocks() []netip.Prefix {
	own := slices.Clone(p.self.PodCIDRs)
	for prefix, b := range p.s.Blocks.All() {
		if b.Node == p.self.Name {
			own = append(own, prefix)
		}
	}
	return own
}

// announced does not ask whether the pool is disabled: that stops new addresses,
// and must not cut off the workloads that have some.
func announced(pool caracal.Pool) bool { return !pool.DisableBGPExport }
