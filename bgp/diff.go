package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// delta is what leads from what is applied to what is wanted.
type delta struct {
	// announce has new prefixes, and those whose next hop or communities changed.
	announce, withdraw []netip.Prefix
	rename             []renaming // before anything else
	remove             []Neighbor // as they are applied
	reset, update, add []Neighbor // as they are wanted
}

// renaming is a neighbor as it is applied, and the name that it gets.
type renaming struct {
	was Neighbor
	to  string
}

// applied is what the speaker was told and took.
type applied struct {
	neighbors map[string]Neighbor // by name
	paths     map[netip.Prefix]own
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
		if is, ok := have.paths[p]; !ok || !is.equal(want.own(p)) {
			d.announce = append(d.announce, p)
		}
	}
	for p := range have.paths {
		if !wanted[p] {
			d.withdraw = append(d.withdraw, p)
		}
	}
	slices.SortFunc(d.withdraw, netip.Prefix.Compare)

	d.neighbors(have.neighbors, want.Neighbors)
	return d
}

// neighbors compares by name; one whose name is new and whose address is that of
// one whose name is gone is the same under another name.
func (d *delta) neighbors(have map[string]Neighbor, want []Neighbor) {
	names := make(map[string]bool, len(want))
	for _, n := range want {
		names[n.Name] = true
	}
	gone, at := map[string]Neighbor{}, map[netip.Addr]string{}
	for name, n := range have {
		if !names[name] {
			gone[name], at[n.Addr] = n, name
		}
	}
	for _, n := range want {
		old, ok := have[n.Name]
		if was, left := gone[at[n.Addr]]; !ok && left && n.Addr.IsValid() {
			delete(gone, was.Name)
			d.rename = append(d.rename, renaming{was, n.Name})
			old, ok = was, true
			old.Name = n.Name
		}
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
	d.remove = slices.SortedFunc(maps.Values(gone), func(a, b Neighbor) int { return strings.Compare(a.Name, b.Name) })
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
