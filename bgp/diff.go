package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// delta is what leads from what is applied to what is wanted.
type delta struct {
	// announce has new prefixes and those whose next hop changed.
	announce, withdraw []netip.Prefix
	remove             []Neighbor // as they are applied
	reset, update, add []Neighbor // as they are wanted
}

// applied is what the speaker was told and took.
type applied struct {
	neighbors map[string]Neighbor // by name
	paths     map[netip.Prefix]netip.Addr
}

func (c Config) nextHop(p netip.Prefix) netip.Addr {
	if p.Addr().Is6() {
		return c.NextHop6
	}
	return c.NextHop4
}

// diff is pure. All its lists are in the order of want.
func diff(have applied, want Config) delta {
	var d delta
	wanted := make(map[netip.Prefix]bool, len(want.Originate))
	for _, p := range want.Originate {
		wanted[p] = true
		if hop, ok := have.paths[p]; !ok || hop != want.nextHop(p) {
			d.announce = append(d.announce, p)
		}
	}
	for p := range have.paths {
		if !wanted[p] {
			d.withdraw = append(d.withdraw, p)
		}
	}
	slices.SortFunc(d.withdraw, netip.Prefix.Compare)

	names := make(map[string]bool, len(want.Neighbors))
	for _, n := range want.Neighbors {
		names[n.Name] = true
		old, ok := have.neighbors[n.Name]
		switch {
		case !ok:
			d.add = append(d.add, n)
		case old == n:
		case needsReset(old, n):
			d.reset = append(d.reset, n)
		default:
			d.update = append(d.update, n)
		}
	}
	for name, n := range have.neighbors {
		if !names[name] {
			d.remove = append(d.remove, n)
		}
	}
	slices.SortFunc(d.remove, func(a, b Neighbor) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// needsReset reports whether a session must end to take the change. The timers
// and the limit need not: timers count from the next session on, the limit at
// once.
func needsReset(a, b Neighbor) bool {
	for _, n := range []*Neighbor{&a, &b} {
		n.HoldTime, n.KeepaliveTime, n.ConnectRetry, n.MaxPrefixes, n.Node = 0, 0, 0, 0, ""
	}
	return a != b
}

// whyRestart says in words what differs between two Globals; empty if nothing.
func whyRestart(old, wanted Global) string {
	var why []string
	if old.ASN != wanted.ASN {
		why = append(why, fmt.Sprintf("AS number %d -> %d", old.ASN, wanted.ASN))
	}
	if old.RouterID != wanted.RouterID {
		why = append(why, fmt.Sprintf("router ID %s -> %s", old.RouterID, wanted.RouterID))
	}
	if old.Port != wanted.Port {
		why = append(why, fmt.Sprintf("port %d -> %d", old.Port, wanted.Port))
	}
	if old.ListenAddrs != wanted.ListenAddrs {
		why = append(why, fmt.Sprintf("listen addresses %s -> %s", old.ListenAddrs, wanted.ListenAddrs))
	}
	return strings.Join(why, ", ")
}
