package store

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// owned is a range and the object it belongs to.
type owned struct {
	netip.Prefix
	by *entry
}

// overlaps finds ranges of different objects that overlap, and calls fn with
// each such range and the innermost one around it. Two ranges overlap only if
// one holds the other, so in the order of address and length a stack of the
// ranges around the present one finds them all in a single walk.
func overlaps(ranges []owned, fn func(a, b owned)) {
	slices.SortFunc(ranges, func(a, b owned) int {
		if c := a.Compare(b.Prefix); c != 0 {
			return c
		}
		return cmp.Compare(a.by.order, b.by.order)
	})
	var around []owned
	for _, r := range ranges {
		for len(around) > 0 && !caracal.Covers(around[len(around)-1].Prefix, r.Prefix) {
			around = around[:len(around)-1]
		}
		for i := len(around) - 1; i >= 0; i-- {
			if around[i].by != r.by {
				fn(around[i], r)
				break
			}
		}
		around = append(around, r)
	}
}

func poolConflicts(all map[string][]*entry) []conflict {
	var ranges []owned
	for _, e := range all[v1.KindIPPool] {
		ranges = append(ranges, owned{e.Value.(*v1.IPPool).Pool().CIDR, e})
	}
	var found []conflict
	overlaps(ranges, func(a, b owned) {
		blame, with := later(a.by, b.by)
		own, other := a.Prefix, b.Prefix
		if blame == b.by {
			own, other = other, own
		}
		found = append(found, conflict{blame, with,
			fmt.Sprintf("spec.cidr: %s overlaps %s of %s", own, other, with.from())})
	})
	return found
}

// rangeConflicts finds blocks and podCIDRs of one node in those of another.
func rangeConflicts(all map[string][]*entry) []conflict {
	var ranges []owned
	for _, e := range all[v1.KindNodeConfig] {
		for _, p := range e.site().ranges {
			ranges = append(ranges, owned{p, e})
		}
	}
	var found []conflict
	overlaps(ranges, func(a, b owned) {
		blame, with := later(a.by, b.by)
		own, other := a.Prefix, b.Prefix
		if blame == b.by {
			own, other = other, own
		}
		reason := fmt.Sprintf("%s: %s overlaps %s of %s; a block belongs to one node", rangeField(blame, own), own, other, with.from())
		if own == other {
			reason = fmt.Sprintf("%s: %s belongs to %s already; a block belongs to one node", rangeField(blame, own), own, with.from())
		}
		found = append(found, conflict{blame, with, reason})
	})
	return found
}

func rangeField(e *entry, p netip.Prefix) string {
	if slices.Contains(e.Value.(*v1.NodeConfig).Spec.Blocks, p.String()) {
		return "spec.blocks"
	}
	return "spec.podCIDRs"
}

// holder is an object that has an address, and the words for it.
type holder struct {
	by    *entry
	field string
	what  string // "the address", "the tunnel address", "an address"
}

// addressConflicts finds addresses that two objects claim: nodes, their tunnels
// and workloads.
func addressConflicts(all map[string][]*entry) []conflict {
	first := make(map[netip.Addr]holder, len(all[v1.KindWorkload])+len(all[v1.KindNodeConfig]))
	var found []conflict
	claim := func(a netip.Addr, h holder) {
		was, taken := first[a]
		switch {
		case !a.IsValid() || taken && was.by == h.by:
		case !taken:
			first[a] = h
		default:
			// The map keeps the one that wins, whatever order the kinds come in.
			win, lose := was, h
			if was.by.order > h.by.order {
				win, lose = h, was
			}
			first[a] = win
			found = append(found, conflict{lose.by, win.by,
				fmt.Sprintf("%s: %s is %s of %s already", lose.field, a, win.what, win.by.from())})
		}
	}
	for _, e := range all[v1.KindNodeConfig] {
		n := e.Value.(*v1.NodeConfig)
		at := e.site()
		claim(at.v4.Addr(), holder{e, "spec.addresses", "the address"})
		claim(at.v6.Addr(), holder{e, "spec.addresses", "the address"})
		if n.Spec.TunnelAddress != "" {
			a, _ := netip.ParseAddr(n.Spec.TunnelAddress)
			claim(a, holder{e, "spec.tunnelAddress", "the tunnel address"})
		}
	}
	for _, e := range all[v1.KindWorkload] {
		for _, a := range e.Value.(*caracal.Workload).Addrs {
			claim(a, holder{e, "spec.ipNetworks", "an address"})
		}
	}
	return found
}

// configConflicts finds two BGPConfigurations that disagree about a node. The
// node is to blame if it is later than both: then its labels are what changed.
func configConflicts(all map[string][]*entry) []conflict {
	var configs []*entry
	for _, e := range all[v1.KindBGPConfiguration] {
		if e.Name != v1.DefaultName {
			configs = append(configs, e)
		}
	}
	var found []conflict
	for i, a := range configs {
		for _, b := range configs[i+1:] {
			field := v1.Disagreement(a.Value.(*v1.BGPConfiguration), b.Value.(*v1.BGPConfiguration))
			if field == "" {
				continue
			}
			selA, selB := a.Value.(*v1.BGPConfiguration).Selection(), b.Value.(*v1.BGPConfiguration).Selection()
			for _, n := range all[v1.KindNodeConfig] {
				if labels := n.Value.(*v1.NodeConfig).Labels; selA.Selects(n.Name, labels) && selB.Selects(n.Name, labels) {
					found = append(found, disagreement(a, b, n, field))
				}
			}
		}
	}
	return found
}

func disagreement(a, b, node *entry, field string) conflict {
	blame, with := later(a, b)
	if node.changed && !blame.changed {
		return conflict{node, blame, fmt.Sprintf("metadata.labels: %s and %s both select the node and disagree about %s", with.from(), blame.from(), field)}
	}
	return conflict{blame, with, fmt.Sprintf("%s: disagrees with %s about node %s, which both select", field, with.from(), node.Name)}
}

// identified is a node with the configuration that gave it its router ID word
// for word; nil if none did.
type identified struct{ node, from *entry }

// routerIDConflicts finds nodes with the same router ID. A BGPConfiguration that
// gives a node the one of another is to blame if it is what changed, else the
// later node.
func routerIDConflicts(all map[string][]*entry) []conflict {
	configs := newSettings(all[v1.KindBGPConfiguration])
	first := map[netip.Addr]identified{}
	var found []conflict
	for _, n := range all[v1.KindNodeConfig] { // in the order of judgement
		node := n.Value.(*v1.NodeConfig)
		s, from := configs.of(node)
		id := node.RouterID(s.RouterID)
		if id.String() != s.RouterID {
			from = nil
		}
		with, taken := first[id]
		if !taken {
			first[id] = identified{n, from}
			continue
		}
		for _, config := range []*entry{from, with.from} {
			if config != nil && config.changed {
				from = config
			}
		}
		switch {
		case from != nil && from.changed:
			found = append(found, conflict{from, n, fmt.Sprintf("spec.routerID: %s would be the router ID of both node %s and node %s; a router ID belongs to one node, so its BGPConfiguration needs a nodeSelector that selects only this one", id, with.node.Name, n.Name)})
		case from != nil:
			found = append(found, conflict{n, with.node, fmt.Sprintf("metadata.labels: the node would have the router ID %s from %s, as %s has already", id, from.from(), with.node.from())})
		default:
			found = append(found, conflict{n, with.node, fmt.Sprintf("spec.addresses: the node would have the router ID %s, as %s has already; give one of them another by a BGPConfiguration with routerID", id, with.node.from())})
		}
	}
	return found
}

// peerConflicts finds two peers with the same place for one node: a node has one
// session with an address, on an interface and with its default gateway. Those
// that selectors find are no conflict; see [peering].
func peerConflicts(all map[string][]*entry) []conflict {
	byPlace := map[string][]*entry{}
	for _, e := range all[v1.KindBGPPeer] {
		place := placeOf(e.Value.(*v1.BGPPeer))
		byPlace[place] = append(byPlace[place], e)
	}
	delete(byPlace, "")
	var pick *picker
	var found []conflict
	for _, place := range slices.Sorted(maps.Keys(byPlace)) {
		peers := byPlace[place]
		if len(peers) > 1 && pick == nil {
			pick = pickerOf(all[v1.KindNodeConfig])
		}
		for i, a := range peers {
			for _, b := range peers[i+1:] {
				first := pick.of(a.Value.(*v1.BGPPeer).Selection()).and(pick.of(b.Value.(*v1.BGPPeer).Selection())).first()
				if first < 0 {
					continue
				}
				blame, with := later(a, b)
				found = append(found, conflict{blame, with,
					fmt.Sprintf("spec.peerIP: node %s peers with %s by %s already", pick.names[first], place, with.from())})
			}
		}
	}
	return found
}

// placeOf says where the one neighbor of a BGPPeer is; empty if a selector finds
// them.
func placeOf(p *v1.BGPPeer) string {
	switch ap, _ := p.Address(); {
	case ap.IsValid():
		return ap.Addr().String()
	case p.Spec.Interface != "":
		return "the neighbor on " + p.Spec.Interface
	case p.Spec.PeerIP == v1.DefaultGateway:
		return "its default gateway"
	}
	return ""
}
