package store

import (
	"net/netip"
	"reflect"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// Build returns the Snapshot of the objects for the node prev.Self, and whether
// its tables or settings differ from those of prev. What is equal is shared with
// prev. Generation, Synced, Incomplete, Digest and Problems are left as in prev:
// they are the store's to say.
func Build(prev *caracal.Snapshot, objects []*Object) (*caracal.Snapshot, bool) {
	next := *prev
	b := builder{self: prev.Self, configs: newSettings(ofKind(objects, v1.KindBGPConfiguration))}
	b.collect(objects)

	changed := update(&next.Nodes, b.nodes)
	changed = update(&next.Pools, b.pools) || changed
	changed = update(&next.Blocks, b.blocks) || changed
	changed = update(&next.Peers, b.peers) || changed
	changed = update(&next.Workloads, b.workloads) || changed
	if !reflect.DeepEqual(next.BGP, b.bgp) {
		next.BGP, changed = b.bgp, true
	}
	if next.Dataplane != b.dataplane {
		next.Dataplane, changed = b.dataplane, true
	}
	return &next, changed
}

func ofKind(objects []*Object, kind string) []*entry {
	var list []*entry
	for i, o := range objects {
		if o.Kind == kind {
			list = append(list, &entry{Object: o, order: i})
		}
	}
	return list
}

// builder holds the nouns while a Snapshot is made.
type builder struct {
	self    string
	configs *settings

	nodes     map[string]caracal.Node
	pools     map[string]caracal.Pool
	blocks    map[netip.Prefix]caracal.Block
	peers     map[string]caracal.Peer
	workloads map[string]caracal.Workload
	bgp       caracal.BGP
	dataplane caracal.Dataplane
}

func (b *builder) collect(objects []*Object) {
	b.nodes, b.pools = map[string]caracal.Node{}, map[string]caracal.Pool{}
	b.blocks, b.peers = map[netip.Prefix]caracal.Block{}, map[string]caracal.Peer{}
	b.workloads = map[string]caracal.Workload{}
	b.dataplane = v1.DefaultDataplane()
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *v1.NodeConfig:
			s, _ := b.configs.of(v)
			n := v.Node(s)
			b.nodes[o.Name] = n
			for _, p := range n.PodCIDRs {
				b.blocks[p] = caracal.Block{CIDR: p, Node: n.Name}
			}
		case *v1.IPPool:
			b.pools[o.Name] = v.Pool()
		case *v1.Workload:
			b.workloads[o.Name] = v.Workload(o.Source)
		case *v1.DataplaneConfiguration:
			b.dataplane = v.Dataplane()
		}
	}
	self := b.nodes[b.self]
	s, _ := b.configs.named(b.self, self.Labels)
	b.bgp = s.BGP
	for _, o := range objects {
		v, ok := o.Value.(*v1.BGPPeer)
		if !ok || !v.Selection().Selects(b.self, self.Labels) {
			continue
		}
		// A peer for all nodes may be one of the nodes: not with itself.
		if p := v.Peer(); p.Addr != self.IPv4.Addr() && p.Addr != self.IPv6.Addr() {
			b.peers[o.Name] = p
		}
	}
}

// update makes t hold exactly want, and reports whether anything differed.
func update[K comparable, V any](t *caracal.Table[K, V], want map[K]V) bool {
	changed := false
	for k := range t.All() {
		if _, ok := want[k]; !ok {
			*t, changed = t.Delete(k), true
		}
	}
	for k, v := range want {
		if old, ok := t.Get(k); !ok || !reflect.DeepEqual(old, v) {
			*t, changed = t.Put(k, v), true
		}
	}
	return changed
}
