package node

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
)

// local is this node's own part of the Snapshot, as routes: a device route for
// each address of a local workload, a discard route for each block, so that an
// unassigned address does not loop back to the default route, and a host route
// for each peer that is reached by a gateway of its own.
type local struct {
	workloads map[string]caracal.Workload
	reached   map[string]caracal.Peer // with ReachableBy, by key
	blocks    map[netip.Prefix]struct{}
	wants     map[netip.Prefix]fib.Want
	// networks asks the kernel for those that this host is directly on; inside are
	// the blocks that lie within one of them.
	networks func() []netip.Prefix
	inside   []netip.Prefix
	// owing says that removals were held back because the Snapshot was not
	// complete; they are due once it is.
	owing bool
}

func newLocal(networks func() []netip.Prefix) *local {
	return &local{
		networks:  networks,
		workloads: map[string]caracal.Workload{},
		reached:   map[string]caracal.Peer{},
		blocks:    map[netip.Prefix]struct{}{},
		wants:     map[netip.Prefix]fib.Want{},
	}
}

// update takes the difference of two Snapshots and returns what is wanted now
// and what no longer is, both in the order of the prefixes. owner says which
// node a prefix belongs to now. It costs time
// proportional to the change in the cluster and, if this node's own part
// changed, to that part.
func (l *local) update(old, cur *caracal.Snapshot, owner func(netip.Prefix) string) (set []fib.Want, unset []netip.Prefix) {
	changed := l.owing
	ended := map[netip.Prefix]bool{} // of endpoints, which are gone for good
	sameWorkload := func(a, b caracal.Workload) bool {
		return a.Node == b.Node && a.Interface == b.Interface && slices.Equal(a.Addrs, b.Addrs)
	}
	cur.Workloads.Diff(old.Workloads, sameWorkload, func(key string, was, is *caracal.Workload) {
		_, had := l.workloads[key]
		if had {
			endpointAddrs(was, ended)
		}
		mine := is != nil && is.Node == cur.Self
		changed = changed || had || mine
		delete(l.workloads, key)
		if mine {
			l.workloads[key] = *is
		}
	})
	cur.Blocks.Diff(old.Blocks, func(a, b caracal.Block) bool { return a == b }, func(p netip.Prefix, _, is *caracal.Block) {
		_, had := l.blocks[p]
		mine := is != nil && is.Node == cur.Self
		changed = changed || had || mine
		delete(l.blocks, p)
		if mine {
			l.blocks[p] = struct{}{}
		}
	})
	samePeer := func(a, b caracal.Peer) bool { return a.Addr == b.Addr && a.ReachableBy == b.ReachableBy }
	cur.Peers.Diff(old.Peers, samePeer, func(key string, _, is *caracal.Peer) {
		_, had := l.reached[key]
		pinned := is != nil && is.ReachableBy.IsValid() && is.Addr.IsValid()
		changed = changed || had || pinned
		delete(l.reached, key)
		if pinned {
			l.reached[key] = *is
		}
	})
	if !changed {
		return nil, nil
	}
	return l.diff(func(p netip.Prefix) bool {
		node := owner(p)
		return cur.Complete() || ended[p] || node != "" && node != cur.Self
	})
}

// diff compares what is wanted now with what was. What is no longer wanted goes
// only if gone says that it is not merely out of sight: the Snapshot is
// complete, or names another owner.
func (l *local) diff(gone func(netip.Prefix) bool) (set []fib.Want, unset []netip.Prefix) {
	next := l.routes()
	for p, w := range next {
		if old, ok := l.wants[p]; !ok || !sameWant(old, w) {
			set = append(set, w)
			l.wants[p] = w
		}
	}
	l.owing = false
	for p := range l.wants {
		if _, ok := next[p]; ok {
			continue
		}
		if !gone(p) {
			l.owing = true
			continue
		}
		unset = append(unset, p)
		delete(l.wants, p)
	}
	slices.SortFunc(set, func(a, b fib.Want) int { return a.Dst.Compare(b.Dst) })
	slices.SortFunc(unset, netip.Prefix.Compare)
	return set, unset
}

// sameWant compares what this room sets of a want.
func sameWant(a, b fib.Want) bool {
	return a.Dst == b.Dst && a.Kind == b.Kind && a.Link == b.Link && a.Source == b.Source && slices.Equal(a.NextHops, b.NextHops)
}

func (l *local) routes() map[netip.Prefix]fib.Want {
	next := make(map[netip.Prefix]fib.Want, len(l.wants))
	l.inside = nil
	networks := l.networks()
	for p := range l.blocks {
		// A discard route inside a network that the host is on would cut it off
		// from its neighbors there, and so from whoever could mend it.
		if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() < p.Bits() && n.Contains(p.Addr()) }) {
			l.inside = append(l.inside, p)
			continue
		}
		next[p] = fib.Want{Dst: p, Kind: fib.Discard, Source: "block"}
	}
	for key, w := range l.workloads {
		for _, a := range w.Addrs {
			p := caracal.HostPrefix(a)
			next[p] = fib.Want{Dst: p, Kind: fib.Local, Link: w.Interface, Source: "workload " + key}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(l.reached)) {
		peer := l.reached[key]
		p := caracal.HostPrefix(peer.Addr.Unmap())
		if _, taken := next[p]; !taken {
			next[p] = fib.Want{Dst: p, Kind: fib.Pinned, NextHops: []netip.Addr{peer.ReachableBy.Unmap()}, Source: "reachableBy of peer " + key}
		}
	}
	return next
}

// links returns the devices of the local workloads, in order.
func (l *local) links() []string {
	var names []string
	for _, w := range l.workloads {
		names = append(names, w.Interface)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// problems says which blocks get no route.
func (l *local) problems() []caracal.Problem {
	var out []caracal.Problem
	for _, p := range l.inside {
		out = append(out, *problem("Block", p.String(), fmt.Sprintf(
			"block %s of this node lies inside a network that the host itself is on, so it is neither routed nor announced: take another pool", p)))
	}
	return out
}
