package soak

import (
	"fmt"
	"net/netip"
	"strings"

	"caracal.dev/caracal/bench/sender"
)

// version is one set of attributes.
type version struct {
	hop    int    // the node whose address is the next hop
	pref   uint32 // LOCAL_PREF
	length int    // of AS_PATH
}

func (v version) path(addrs []netip.Addr) sender.Path {
	p := sender.Path{NextHop: addrs[v.hop], LocalPref: v.pref}
	for i := range v.length {
		p.ASPath = append(p.ASPath, 65000+uint32(i))
	}
	return p
}

// held is what the daemon should have of one neighbor's prefix: the path as it
// was announced, and the accepted one before it if this one is refused.
type held struct {
	now  version
	kept *version
}

// station is one peer.
type station struct {
	up       bool
	graceful bool // it announces graceful restart
	// says is what it announces, or will once it is back; has is what the daemon
	// should have of it. Both by the index of the prefix.
	says map[int]version
	has  map[int]held
}

// model is what should be, kept without looking at the daemon.
type model struct {
	addrs    []netip.Addr // of the nodes
	prefixes []netip.Prefix
	each     int   // prefixes in a block
	owner    []int // of a block
	stations []*station
}

func (m *model) ownerOf(prefix int) int { return m.owner[prefix/m.each] }

// announce is an UPDATE of a station, seen by the daemon if its session is up.
func (m *model) announce(s *station, prefix int, v version) {
	s.says[prefix] = v
	if s.up {
		m.receive(s, prefix, v)
	}
}

func (m *model) receive(s *station, prefix int, v version) {
	owner := m.ownerOf(prefix)
	h, ok := s.has[prefix]
	if ok && h.now.hop == owner {
		h.kept = &h.now
	}
	if v.hop == owner {
		h.kept = nil
	}
	s.has[prefix] = held{v, h.kept}
}

func (m *model) withdraw(s *station, prefix int) {
	delete(s.says, prefix)
	if s.up {
		delete(s.has, prefix)
	}
}

// drop ends a session. With keep the daemon waits for the station to return.
func (m *model) drop(s *station, keep bool) {
	s.up = false
	if !keep {
		clear(s.has)
	}
}

// back begins it again: the station announces all it has, then End-of-RIB.
func (m *model) back(s *station) {
	s.up = true
	for prefix, v := range s.says {
		m.receive(s, prefix, v)
	}
	for prefix := range s.has {
		if _, ok := s.says[prefix]; !ok {
			delete(s.has, prefix)
		}
	}
}

// swap has two blocks change their owners.
func (m *model) swap(a, b int) {
	m.owner[a], m.owner[b] = m.owner[b], m.owner[a]
	for _, s := range m.stations {
		for prefix, h := range s.has {
			owner := m.ownerOf(prefix)
			if h.kept != nil && (h.now.hop == owner || h.kept.hop != owner) {
				s.has[prefix] = held{now: h.now}
			}
		}
	}
}

// usable returns the attributes of h that count; false if none do.
func (h held) usable(owner int) (version, bool) {
	switch {
	case h.now.hop == owner:
		return h.now, true
	case h.kept != nil:
		return *h.kept, true
	}
	return version{}, false
}

// less reports whether a is preferred to b (RFC 4271 section 9.1.2.2).
func less(a, b version) bool {
	return a.pref > b.pref || a.pref == b.pref && a.length < b.length
}

// want returns what the mirror should show, by neighbor and prefix, and the
// gateways that the kernel should have.
func (m *model) want() (mirror map[string]string, kernel map[netip.Prefix]netip.Addr) {
	mirror, kernel = map[string]string{}, map[netip.Prefix]netip.Addr{}
	best := map[int]version{}
	for _, s := range m.stations {
		for prefix, h := range s.has {
			v, ok := h.usable(m.ownerOf(prefix))
			if !ok {
				continue
			}
			if b, some := best[prefix]; !some || less(v, b) {
				best[prefix] = v
			}
			kernel[m.prefixes[prefix]] = m.addrs[v.hop]
		}
	}
	for i, s := range m.stations {
		for prefix, h := range s.has {
			owner := m.ownerOf(prefix)
			v, ok := h.usable(owner)
			chosen := ok && !less(best[prefix], v)
			p := h.now.path(m.addrs)
			mirror[key(fmt.Sprintf("mesh/peer%d", i), m.prefixes[prefix].String())] = show(
				p.NextHop.String(), strings.Trim(fmt.Sprint(p.ASPath), "[]"), p.LocalPref, chosen, h.now.hop != owner, !s.up)
		}
	}
	return mirror, kernel
}

func key(neighbor, prefix string) string { return neighbor + " " + prefix }

// show is one path as a line.
func show(hop, asPath string, pref uint32, chosen, refused, stale bool) string {
	return fmt.Sprintf("next hop %s, AS path [%s], preference %d, chosen %t, refused %t, stale %t", hop, asPath, pref, chosen, refused, stale)
}
