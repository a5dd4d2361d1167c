package rib

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/filter"
)

// Policy is what the Snapshot and the machine say about what neighbors may
// announce to us, and what of that is passed on.
type Policy struct {
	// Peers and Filters are those of the Snapshot.
	Peers   caracal.Table[string, caracal.Peer]
	Filters caracal.Table[string, caracal.Filter]
	// RouterID and ClusterID are this node's; ClusterID makes it a reflector.
	RouterID, ClusterID netip.Addr
	// Networks are those that this node is directly on.
	Networks []netip.Prefix
}

// PolicyOf returns the Policy of a Snapshot on a machine with these networks.
func PolicyOf(s *caracal.Snapshot, networks []netip.Prefix) Policy {
	self, _ := s.SelfNode()
	return Policy{Peers: s.Peers, Filters: s.Filters, RouterID: self.RouterID, ClusterID: self.ClusterID, Networks: networks}
}

// rules are what one neighbor may announce, and what it is passed on. The zero
// value is that of a neighbor of the mesh.
type rules struct {
	peer         string // the BGPPeer's name; empty for the mesh
	filters      *filter.Chain
	ranges       []netip.Prefix
	pools, deflt bool
}

// SetPolicy takes a changed Policy. Only paths of neighbors that it changes
// something for are judged anew, which costs nothing to find out beyond what
// differs.
func (m *Mirror) SetPolicy(p Policy) {
	old := m.policy
	m.policy = p
	changed := changedKeys(old.Peers, p.Peers, samePolicy)
	filters := changedKeys(old.Filters, p.Filters, func(a, b caracal.Filter) bool { return reflect.DeepEqual(a, b) })
	loops := old.RouterID != p.RouterID || old.ClusterID != p.ClusterID
	networks := !slices.Equal(old.Networks, p.Networks)
	for _, nb := range m.neighbors {
		peer, named := p.Peers.Get(nb.peer)
		named = named && nb.peer != ""
		filtered := slices.ContainsFunc(peer.Filters, func(f string) bool { return filters[f] })
		if named && (changed[nb.peer] || filtered) {
			nb.rules = m.rulesOf(peer)
			m.dirtyAll(nb)
		} else if loops || networks && nb.rules.peer != "" {
			m.dirtyAll(nb)
		}
	}
	m.relaysChanged(loops)
}

// samePolicy compares what is used here of two Peers.
func samePolicy(a, b caracal.Peer) bool {
	return a.Name == b.Name && a.AcceptPools == b.AcceptPools && a.AcceptDefault == b.AcceptDefault &&
		slices.Equal(a.Filters, b.Filters) && slices.Equal(a.AcceptRanges, b.AcceptRanges)
}

func changedKeys[V any](old, cur caracal.Table[string, V], same func(a, b V) bool) map[string]bool {
	changed := map[string]bool{}
	cur.Diff(old, same, func(key string, _, _ *V) { changed[key] = true })
	return changed
}

func (m *Mirror) rulesOf(p caracal.Peer) rules {
	return rules{
		peer: p.Name, filters: filter.Compile(p.Filters, m.policy.Filters.Get),
		ranges: p.AcceptRanges, pools: p.AcceptPools, deflt: p.AcceptDefault,
	}
}

// SetNeighbors tells which neighbors are configured. What an unconfigured one
// announced is refused until its removal is reported. One that changes its name
// keeps its paths.
func (m *Mirror) SetNeighbors(asn uint32, neighbors []bgp.Neighbor) {
	m.asn = asn
	m.rename(neighbors)
	known := make(map[string]bool, len(neighbors))
	for _, n := range neighbors {
		known[n.Name] = true
		m.configure(n)
	}
	for name, nb := range m.neighbors {
		if known[name] {
			continue
		}
		if nb.known {
			nb.known = false
			m.dirtyAll(nb)
		}
		if nb.paths == nil && !nb.up {
			delete(m.neighbors, name)
		}
	}
	m.relaysChanged(false)
}

// configure takes a neighbor as it is configured now.
func (m *Mirror) configure(n bgp.Neighbor) {
	nb := m.named(n.Name)
	local := n.LocalASN
	if local == 0 {
		local = m.asn
	}
	is := identity{
		known: true, addr: n.Addr, local: n.Local, localASN: local, allowLocalAS: int(n.AllowLocalAS), peer: n.Peer,
		external: n.External || n.ASN != m.asn && n.Node == "", ebgp: n.ASN != local, client: n.Client,
	}
	nb.families = [2]bool{n.IPv4, n.IPv6}
	nb.exports, nb.sendsMore = n.Filters, n.AddPathSend > 1
	if nb.identity == is {
		return
	}
	moved := nb.peer != is.peer
	nb.identity = is
	// A neighbor that lingers is configured no more; what was said of it stays.
	if p, ok := m.policy.Peers.Get(is.peer); ok && is.peer != "" {
		nb.rules = m.rulesOf(p)
	} else if moved {
		nb.rules = rules{peer: strings.Split(is.peer, "@")[0]}
	}
	m.dirtyAll(nb)
}
