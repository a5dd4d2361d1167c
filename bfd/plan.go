package bfd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// delta is the difference between the sessions there are and those wanted.
type delta struct {
	remove []string  // sorted
	add    []Session // sorted by name; one that replaces another is also in remove
	update []Session // sorted by name; only what does not touch the state differs
}

// plan returns what to do to have the sessions of want, and what of want cannot
// be had, by name.
func plan(have map[string]Session, want []Session) (d delta, failed map[string]error) {
	failed = map[string]error{}
	valid := map[string]Session{}
	ends := map[Session]string{}
	for _, s := range want {
		if !s.BFD.Enabled {
			continue
		}
		s, err := normal(s)
		if err == nil {
			if _, twice := valid[s.Name]; twice {
				err = errors.New("two sessions have this name")
			} else if other, twice := ends[s.ends()]; twice {
				err = fmt.Errorf("%s is between the same addresses", other)
			}
		}
		if err != nil {
			failed[s.Name] = err
			continue
		}
		valid[s.Name] = s
		ends[s.ends()] = s.Name
	}
	for name, s := range have {
		if w, ok := valid[name]; !ok || w.ends() != s.ends() {
			d.remove = append(d.remove, name)
		}
	}
	for name, w := range valid {
		switch s, ok := have[name]; {
		case !ok || s.ends() != w.ends():
			d.add = append(d.add, w)
		case s != w:
			d.update = append(d.update, w)
		}
	}
	byName := func(a, b Session) int { return strings.Compare(a.Name, b.Name) }
	slices.Sort(d.remove)
	slices.SortFunc(d.add, byName)
	slices.SortFunc(d.update, byName)
	return d, failed
}

// ends returns what a session cannot change: where its two ends are.
func (s Session) ends() Session {
	return Session{Local: s.Local, Remote: s.Remote, Interface: s.Interface, Multihop: s.Multihop}
}

// timing returns the part of the configuration that the state machine has.
func (s Session) timing() timing {
	return timing{tx: s.BFD.Transmit, rx: s.BFD.Receive, multiplier: s.BFD.Multiplier}
}

// normal returns the session with its defaults, with the zone of its addresses
// as Interface, or why there cannot be such a session.
func normal(s Session) (Session, error) {
	if zone := s.Remote.Zone(); zone != "" && s.Interface == "" {
		s.Interface = zone
	}
	s.Local, s.Remote = s.Local.Unmap().WithZone(""), s.Remote.Unmap().WithZone("")
	b := &s.BFD
	if b.Transmit == 0 {
		b.Transmit = DefaultInterval
	}
	if b.Receive == 0 {
		b.Receive = DefaultInterval
	}
	if b.Multiplier == 0 {
		b.Multiplier = DefaultMultiplier
	}
	switch {
	case s.Name == "":
		return s, errors.New("the session has no name")
	case !s.Remote.IsValid() || s.Remote.IsUnspecified() || s.Remote.IsMulticast():
		return s, errors.New("the neighbor's address is not known")
	case s.Local.IsValid() && s.Local.Is4() != s.Remote.Is4():
		return s, fmt.Errorf("%s and %s are not of one family", s.Local, s.Remote)
	case s.Remote.Is6() && s.Remote.IsLinkLocalUnicast() && s.Interface == "":
		return s, fmt.Errorf("%s is link-local: it needs a device", s.Remote)
	case s.Multihop && s.Remote.IsLinkLocalUnicast():
		return s, fmt.Errorf("%s is link-local, so it cannot be several hops away", s.Remote)
	case min(b.Transmit, b.Receive) < MinInterval || max(b.Transmit, b.Receive) > maxInterval:
		return s, fmt.Errorf("intervals %s and %s: must be from %s to %s", b.Transmit, b.Receive, MinInterval, maxInterval)
	}
	return s, nil
}

// minTTL is what a packet of the session must still have as TTL or hop limit:
// 255 from a single hop away (RFC 5881 section 5).
func (s Session) minTTL() int {
	switch {
	case !s.Multihop:
		return 255
	case s.MaxHops == 0:
		return 0
	}
	return 256 - int(s.MaxHops)
}

// accepts returns why a packet is not of the session that its discriminator or
// address led to; empty if it is.
func (s Session) accepts(d datagram, l origin, local netip.Addr, ifindex int) string {
	switch {
	case d.from != s.Remote:
		return fmt.Sprintf("it came from %s", d.from)
	case l.multihop != s.Multihop:
		return "it came to the port of the other kind: one end is multihop and the other is not"
	case d.to != local:
		return fmt.Sprintf("it was sent to %s, not %s", d.to, local)
	case ifindex != 0 && d.ifindex != ifindex:
		return fmt.Sprintf("it came in by another device than %s", s.Interface)
	case d.ttl < s.minTTL():
		return fmt.Sprintf("its TTL is %d, must be at least %d", d.ttl, s.minTTL())
	}
	return ""
}

// origin says which socket a packet came by.
type origin struct{ v6, multihop bool }
