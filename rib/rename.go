package rib

import (
	"net/netip"

	"caracal.dev/caracal/bgp"
)

// rename lets neighbors that are configured under another name keep what they
// announced. The speaker has yet to take the configuration: what it says of them
// under the old name until its [bgp.Session.Renamed] is meant for the same.
func (m *Mirror) rename(neighbors []bgp.Neighbor) {
	names, fresh := make(map[string]bool, len(neighbors)), false
	for _, n := range neighbors {
		names[n.Name] = true
		fresh = fresh || m.neighbors[n.Name] == nil
	}
	if !fresh {
		return
	}
	gone := map[netip.Addr]*neighbor{}
	for name, nb := range m.neighbors {
		if nb.known && nb.addr.IsValid() && !names[name] {
			gone[nb.addr] = nb
		}
	}
	for _, n := range neighbors {
		if nb := gone[n.Addr]; nb != nil && m.neighbors[n.Name] == nil {
			delete(gone, n.Addr)
			delete(m.neighbors, nb.name)
			delete(m.former, n.Name)
			m.former[nb.name], m.neighbors[n.Name] = nb, nb
			nb.name = n.Name
		}
	}
}

// renamed takes the speaker's word for a new name. By then the configuration may
// know the neighbor under yet another.
func (m *Mirror) renamed(s *bgp.Session) {
	nb, ok := m.former[s.Renamed]
	if !ok {
		if nb = m.neighbors[s.Renamed]; nb == nil || m.neighbors[s.Neighbor] != nil {
			return
		}
		delete(m.neighbors, s.Renamed)
		nb.name, m.neighbors[s.Neighbor] = s.Neighbor, nb
		return
	}
	delete(m.former, s.Renamed)
	if nb.name != s.Neighbor {
		m.former[s.Neighbor] = nb
	}
}
