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

// relays is the part of a Mirror that tells what is to be passed on.
type relays struct {
	told func(netip.Prefix, []bgp.Relay)
	// reflects says that this node is a reflector, transit that a neighbor is
	// passed on what is learned from outside, several that one takes more than
	// one path for a prefix.
	reflects, transit, several bool
	relayed                    map[*entry][]bgp.Relay
}

// OnRelay sets what is called, out of [Mirror.Decide], with what is to be passed
// on for a prefix from now on: all of it, none if nothing. It is what a
// reflector's internal neighbors announce (RFC 4456 section 6), and everything
// that is used if a neighbor's export filter has a rule about what is learned
// from others. What has NO_ADVERTISE is not among it (RFC 1997).
func (m *Mirror) OnRelay(fn func(nlri netip.Prefix, relays []bgp.Relay)) {
	m.told = fn
	m.relayed = map[*entry][]bgp.Relay{}
	m.relaysChanged(true)
}

// Clean reports whether everything is decided.
func (m *Mirror) Clean() bool { return len(m.dirty) == 0 }

func (m *Mirror) relaying() bool {
	return m.told != nil && (m.reflects || m.transit || len(m.relayed) > 0)
}

// relaysChanged looks whether what is passed on at all is something else now.
func (m *Mirror) relaysChanged(again bool) {
	if m.told == nil {
		return
	}
	reflects, transit, several := m.policy.ClusterID.IsValid(), false, false
	asked := map[string]bool{}
	for _, nb := range m.neighbors {
		if !nb.known {
			continue
		}
		several = several || nb.sendsMore
		if nb.exports != "" && !asked[nb.exports] {
			asked[nb.exports] = true
			transit = transit || passesOn(filter.Compile(strings.Split(nb.exports, ","), m.policy.Filters.Get))
		}
	}
	if !again && reflects == m.reflects && transit == m.transit && several == m.several {
		return
	}
	was := m.reflects || m.transit || len(m.relayed) > 0
	m.reflects, m.transit, m.several = reflects, transit, several
	if was || reflects || transit {
		for _, e := range m.table.All() {
			m.mark(e)
		}
	}
}

// passesOn reports whether the rules let out anything that was not ours.
func passesOn(c *filter.Chain) bool {
	for _, v6 := range []bool{false, true} {
		if slices.ContainsFunc(c.Exports(v6), func(r filter.Rule) bool { return r.Accept && r.Source == caracal.SourceRemotePeers }) {
			return true
		}
	}
	return false
}

// relay tells what is passed on of a prefix, if that changed.
func (m *Mirror) relay(e *entry, equal []*path) {
	var now []bgp.Relay
	for _, p := range equal {
		if !m.passes(p) || slices.ContainsFunc(now, func(r bgp.Relay) bool { return r.From == p.from.name }) {
			continue
		}
		now = append(now, bgp.Relay{
			NLRI: e.nlri, Attrs: m.usable(p), From: p.from.name,
			Internal: !p.from.ebgp, Client: p.from.client, External: p.from.external,
		})
		if !m.several {
			break
		}
	}
	was := m.relayed[e]
	if slices.EqualFunc(was, now, sameRelay) {
		return
	}
	if len(now) == 0 {
		delete(m.relayed, e)
	} else {
		m.relayed[e] = now
	}
	m.told(e.nlri, now)
}

func (m *Mirror) passes(p *path) bool {
	a := m.usable(p)
	return (m.transit || m.reflects && !p.from.external) && !filter.Has(a, caracal.NoAdvertise)
}

// sameRelay compares what neighbors would be told: a neighbor that announces
// the same again, as after a restart, is no news for the others.
func sameRelay(a, b bgp.Relay) bool {
	x, y := a.Attrs, b.Attrs
	a.Attrs, b.Attrs = nil, nil
	return a == b && sameAttrs(x, y)
}

func sameAttrs(a, b *caracal.Attrs) bool { return a == b || reflect.DeepEqual(a, b) }
