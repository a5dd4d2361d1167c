package bgp

import (
	"maps"
	"reflect"
	"slices"

	"caracal.dev/caracal"
)

// Concerns reports whether [Plan] may come to something else with a Snapshot than with
// one before it. In a cluster most Snapshots differ by the workloads of other nodes
// alone, and there are twenty a second of them: those cost as much as has changed.
func Concerns(was, is *caracal.Snapshot) bool {
	if was.Synced != is.Synced || was.Self != is.Self || !maps.Equal(was.Incomplete, is.Incomplete) || !slices.Equal(was.Problems, is.Problems) {
		return true
	}
	if !was.Nodes.Same(is.Nodes) || !was.Pools.Same(is.Pools) || !was.Blocks.Same(is.Blocks) || !was.Peers.Same(is.Peers) ||
		!was.Filters.Same(is.Filters) || !was.Services.Same(is.Services) {
		return true
	}
	if !reflect.DeepEqual(was.BGP, is.BGP) || !reflect.DeepEqual(was.Dataplane, is.Dataplane) || !reflect.DeepEqual(was.IPAM, is.IPAM) {
		return true
	}
	own := false
	equal := func(a, b caracal.Workload) bool {
		return a.Node != is.Self && b.Node != is.Self || reflect.DeepEqual(a, b)
	}
	is.Workloads.Diff(was.Workloads, equal, func(_ string, old, now *caracal.Workload) {
		own = own || old != nil && old.Node == is.Self || now != nil && now.Node == is.Self
	})
	return own
}
