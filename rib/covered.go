package rib

// Covered reports whether each accepted path of a neighbor has come another way
// as well, from another neighbor and with the same next hop, so that its session
// can end without a route being lost. What is kept as stale counts for the one
// that is to go, not for the one that is to stay. accepted says whether there
// was any. It takes time in proportion to the neighbor's paths, and is up to
// date after [Mirror.Decide].
func (m *Mirror) Covered(neighbor string) (covered, accepted bool) {
	nb := m.neighbors[neighbor]
	if nb == nil {
		return true, false
	}
	for p := nb.paths; p != nil; p = p.nbNext {
		if m.usable(p) == nil {
			continue
		}
		accepted = true
		if !m.doubled(p) {
			return false, true
		}
	}
	return true, accepted
}

// doubled reports whether another neighbor's path leads where p does.
func (m *Mirror) doubled(p *path) bool {
	for q := p.entry.paths; q != nil; q = q.next {
		if q.from != p.from && q.from.up && !q.stale() && m.usable(q) != nil && m.usable(q).NextHop == m.usable(p).NextHop {
			return true
		}
	}
	return false
}
