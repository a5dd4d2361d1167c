package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// peers adds the configured ones. They come before the mesh: what an operator
// wrote for an address wins over what is derived.
func (p *planner) peers() {
	nodes := map[netip.Addr]string{}
	if p.s.Peers.Len() > 0 {
		for name, node := range p.s.Nodes.All() {
			for _, a := range []netip.Addr{node.IPv4.Addr(), node.IPv6.Addr()} {
				if a.IsValid() {
					nodes[a] = name
				}
			}
		}
	}
	for key, peer := range p.s.Peers.All() {
		addr, ok := p.where(key, peer)
		if !ok {
			continue
		}
		name := nodes[addr]
		if peer.Selected {
			name = peer.Node
		}
		if n, ok := p.session(key, peer, addr, name); ok {
			p.secret(n)
			p.add("BGPPeer", key, n)
		}
	}
}

// where finds the address of a peer. While a router or a gateway is out of
// sight, the session that it has stays.
func (p *planner) where(key string, peer caracal.Peer) (netip.Addr, bool) {
	var now netip.Addr
	var missing string
	switch {
	case peer.Interface != "":
		now = p.facts.Routers[peer.Interface]
		missing = fmt.Sprintf("no router advertises itself on the interface %s, so BGPPeer %s has no session; check the link, and that the neighbor sends router advertisements", peer.Interface, key)
	case peer.DefaultGateway && p.self.IPv4.IsValid():
		now = p.facts.Gateway4
		missing = fmt.Sprintf("this node has no IPv4 default route, so BGPPeer %s, which is for its gateway, has no session; give the node one, or the peer an address", key)
	case peer.DefaultGateway:
		now = p.facts.Gateway6
		missing = fmt.Sprintf("this node has no IPv6 default route, so BGPPeer %s, which is for its gateway, has no session; give the node one, or the peer an address", key)
	default:
		return peer.Addr.Unmap(), true
	}
	if last := p.facts.Last.Found[key]; !now.IsValid() && (peer.Interface == "" || last.Zone() == peer.Interface) {
		now = last
	}
	if !now.IsValid() {
		p.warn("BGPPeer", key, "%s", missing)
		return netip.Addr{}, false
	}
	if p.found == nil {
		p.found = map[string]netip.Addr{}
	}
	p.found[key] = now.Unmap()
	return now.Unmap(), true
}

// session derives the neighbor of a peer at an address, which is the node's of
// that name, if any. The session of two nodes at the addresses that the mesh
// would use is the mesh's, with another role: it has its name, and the same end
// dials.
func (p *planner) session(key string, peer caracal.Peer, addr netip.Addr, name string) (Neighbor, bool) {
	node, isNode := p.s.Nodes.Get(name)
	n, ok := p.between(node)
	if !isNode || !ok || !peer.Selected && (addr != n.Addr || peer.SourceAddr.IsValid() && peer.SourceAddr.Unmap() != n.Local) {
		n = p.base(addr.Is6())
		n.Name, n.Node = fmt.Sprintf("peer/%s@%s", peer.Name, cmp.Or(peer.Interface, addr.String())), name
		n.Addr, n.Passive, n.ConnectRetry = addr, peer.Passive, connectRetry
		if isNode {
			n.Port, n.ASN = node.Port, node.ASN
			n.IPv4, n.IPv6 = p.common(node)
		}
	}
	n.Peer = key
	n.Port, n.ASN = cmp.Or(peer.Port, n.Port), cmp.Or(peer.ASN, n.ASN)
	p.ends(&n, peer)
	if !addr.IsValid() && !n.Addr.IsValid() {
		p.warn("BGPPeer", key, "BGPPeer %s has no address that this node could reach, so there is no session; correct its peerIP, or give both nodes addresses of one family", key)
		return n, false
	}
	if !n.Local.IsValid() && n.Interface == "" {
		p.warn("BGPPeer", key, "BGPPeer %s has the address %s, but this node has no address of that family, so there is no session; give the node one, or the peer a sourceAddress", key, addr)
		return n, false
	}
	p.role(&n, node)
	p.settings(&n, peer)
	p.limit(&n, peer)
	return n, true
}

// ends fills in where a session begins, and how it gets to the other end.
func (p *planner) ends(n *Neighbor, peer caracal.Peer) {
	if peer.SourceAddr.IsValid() {
		n.Local = peer.SourceAddr.Unmap()
	}
	if n.Addr.Is6() && n.Addr.IsLinkLocalUnicast() {
		n.Interface = cmp.Or(peer.Interface, n.Addr.Zone())
		if !peer.SourceAddr.IsValid() {
			n.Local = netip.Addr{} // the device's own
		}
	}
	n.LocalASN = peer.LocalASN
	if n.LocalASN == p.self.ASN {
		n.LocalASN = 0
	}
	n.Multihop = !p.internal(*n) && (peer.Multihop || n.Node != "")
}

// internal reports whether a neighbor is in our own AS, and takes us to be.
func (p *planner) internal(n Neighbor) bool { return n.ASN == p.self.ASN && n.LocalASN == 0 }

// role says what we are to each other. A reflector takes every internal
// neighbor that it has by a BGPPeer for a client, other reflectors among the
// nodes aside: those have clients of their own.
func (p *planner) role(n *Neighbor, node caracal.Node) {
	n.External = !p.internal(*n) && n.Node == ""
	if !p.internal(*n) {
		return
	}
	reflector := n.Node != "" && node.ClusterID.IsValid()
	n.Client = p.self.ClusterID.IsValid() && !reflector
	n.Reflector = reflector || n.Node == "" && !n.Client
}

// settings copies what the peer says, which for a node's may be what the mesh
// says.
func (p *planner) settings(n *Neighbor, peer caracal.Peer) {
	n.HoldTime, n.KeepaliveTime = cmp.Or(peer.HoldTime, n.HoldTime), cmp.Or(peer.KeepaliveTime, n.KeepaliveTime)
	n.GracefulRestart = peer.GracefulRestart
	n.RestartTime = cmp.Or(peer.RestartTime, n.RestartTime)
	n.LongLived = peer.LongLived
	if peer.Password != (caracal.Password{}) {
		n.Password = peer.Password
	}
	if peer.BFD.Enabled {
		n.BFD = peer.BFD
	}
	n.AllowLocalAS, n.TTLSecurity = peer.AllowLocalAS, peer.TTLSecurity
	n.NextHop = cmp.Or(peer.NextHop, n.NextHop)
	n.ExtendedNextHop = peer.ExtendedNextHop || n.Interface != "" && n.IPv4
	n.AddPathReceive, n.AddPathSend = peer.AddPathReceive, peer.AddPathSend
	n.Filters = strings.Join(peer.Filters, ",")
}

// limit is how many prefixes a peer may announce. The default is meant for a
// router; a node, or a reflector, may have to announce what the nodes own.
func (p *planner) limit(n *Neighbor, peer caracal.Peer) {
	n.MaxPrefixes, n.WarnPrefixes = cmp.Or(peer.MaxPrefixes, peerPrefixes), peer.WarnPrefixes
	n.MaxPrefixesRetry = peer.MaxPrefixesRetry
	least := uint32(0)
	switch {
	case n.Reflector:
		least = reflectorLimit(p.owned(), p.serviceRoutes())
	case n.Node != "":
		least = nodeLimit(p.owned()[n.Node] + p.serviceRoutes())
	}
	if n.MaxPrefixes == peerPrefixes && n.MaxPrefixes < least {
		n.MaxPrefixes = least
		if n.WarnPrefixes != 0 {
			n.WarnPrefixes = least / 4 * 3
		}
	}
}

// secret says once for each secret that cannot be read that its sessions stay
// down. They are neighbors all the same, which the speaker refuses and shows.
func (p *planner) secret(n Neighbor) {
	if !unreadable(n.Password) {
		return
	}
	kind, name := "BGPPeer", n.Peer
	if n.Password == p.s.BGP.MeshPassword {
		kind, name = "BGPConfiguration", "default"
	}
	if slices.ContainsFunc(p.s.Problems, func(known caracal.Problem) bool {
		return known.Kind == kind && (known.Name == name || known.Name == "") && strings.Contains(known.Message, n.Password.From+": ")
	}) {
		return // the store has said it, with what to do
	}
	message := fmt.Sprintf("the password in %s cannot be read: %s; sessions that need it stay down, since without it they would not be protected", n.Password.From, cmp.Or(n.Password.Err, "it is empty"))
	for _, known := range p.problems {
		if known.Kind == kind && known.Name == name && known.Message == message {
			return
		}
	}
	p.warn(kind, name, "%s", message)
}
