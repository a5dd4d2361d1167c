package store

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// Build is [Rebuild] for a Snapshot of which it is not known what it was built of.
func Build(prev *caracal.Snapshot, objects []*Object, secrets Secrets) (*caracal.Snapshot, []caracal.Problem, bool) {
	next := *prev
	next.Workloads, next.Policies = empty(next.Workloads, objects, v1.KindWorkload), empty(next.Policies, objects, v1.KindNetworkPolicy)
	built, problems, changed := Rebuild(&next, nil, objects, secrets)
	return built, problems, changed || next.Workloads.Len() != prev.Workloads.Len() || next.Policies.Len() != prev.Policies.Len()
}

// Rebuild returns the Snapshot of the objects, sorted by kind and name, for the
// node prev.Self, and whether its tables or settings differ from those of prev.
// What is equal is shared with prev. Generation, Synced, Incomplete, Digest and
// Problems are left as in prev: they are the store's to say, and the Problems
// that are returned are those of this node alone: passwords that cannot be read,
// labels that are missing. A nil secrets finds none.
//
// Was are the objects that prev was built of, in the same order: of the Workloads
// and the policies, only those that are other objects now are looked at.
func Rebuild(prev *caracal.Snapshot, was, objects []*Object, secrets Secrets) (*caracal.Snapshot, []caracal.Problem, bool) {
	return RebuildClaimed(prev, nil, was, objects, secrets)
}

// RebuildClaimed is [Rebuild] for a store that knows which blocks nodes have claimed
// by themselves. One that a NodeConfig has as that node's is [caracal.Block] Claimed
// then; a single address that no NodeConfig has is a loan of another node's block, and
// a Block of its own.
func RebuildClaimed(prev *caracal.Snapshot, claimed map[netip.Prefix]string, was, objects []*Object, secrets Secrets) (*caracal.Snapshot, []caracal.Problem, bool) {
	next := *prev
	b := builder{self: prev.Self, secrets: secrets, claimed: claimed, configs: newSettings(ofKind(objects, v1.KindBGPConfiguration))}
	b.keep(prev, was, objects)
	b.collect(objects)

	changed := update(&next.Nodes, b.nodes, sameNode)
	changed = update(&next.Pools, b.pools, equal) || changed
	changed = update(&next.Blocks, b.blocks, func(x, y caracal.Block) bool { return x == y }) || changed
	changed = update(&next.Peers, b.peers, equal) || changed
	changed = update(&next.Filters, b.filters, equal) || changed
	changed = updateNouns(&next, was, objects) || changed
	changed = update(&next.Namespaces, b.mentioned(objects), equal) || changed
	if !reflect.DeepEqual(next.BGP, b.bgp) {
		next.BGP, changed = b.bgp, true
	}
	if next.Dataplane != b.dataplane {
		next.Dataplane, changed = b.dataplane, true
	}
	if !reflect.DeepEqual(next.IPAM, b.ipam) {
		next.IPAM, changed = b.ipam, true
	}
	return &next, b.problems, changed
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
	secrets Secrets
	claimed map[netip.Prefix]string // to the node
	kept    map[*Object]caracal.Node

	nodes   map[string]caracal.Node
	pools   map[string]caracal.Pool
	blocks  map[netip.Prefix]caracal.Block
	peers   map[string]caracal.Peer
	filters map[string]caracal.Filter

	namespaces map[string]caracal.Namespace

	bgp       caracal.BGP
	dataplane caracal.Dataplane
	ipam      caracal.IPAM
	problems  []caracal.Problem
}

func (b *builder) collect(objects []*Object) {
	b.nodes, b.pools = map[string]caracal.Node{}, map[string]caracal.Pool{}
	b.blocks, b.filters = map[netip.Prefix]caracal.Block{}, map[string]caracal.Filter{}
	b.namespaces = map[string]caracal.Namespace{}
	b.dataplane = v1.DefaultDataplane()
	b.ipam = ipamOf(objects)
	var peers []*v1.BGPPeer
	labels := map[string]map[string]string{}
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *v1.NodeConfig:
			n, known := b.kept[o]
			if !known {
				s, _ := b.configs.of(v)
				n = v.Node(s)
			}
			b.nodes[o.Name], labels[o.Name] = n, n.Labels
			for _, p := range n.PodCIDRs {
				b.blocks[p] = caracal.Block{CIDR: p, Node: n.Name}
			}
		case *v1.IPPool:
			b.pools[o.Name] = v.Pool()
		case *v1.BGPPeer:
			peers = append(peers, v)
		case *v1.BGPFilter:
			b.filters[o.Name] = v.Filter()
		case *v1.Namespace:
			b.namespaces[o.Name] = v.Namespace()
		case *v1.DataplaneConfiguration:
			b.dataplane = v.Dataplane()
		}
	}
	for p, node := range b.claimed {
		if has, ok := b.blocks[p]; ok && has.Node == node || !ok && p.IsSingleIP() {
			b.blocks[p] = caracal.Block{CIDR: p, Node: node, Claimed: true}
		}
	}
	pick := newPicker(labels)
	setReflectors(b.nodes, peers, pick)
	self := b.nodes[b.self]
	settings, _ := b.configs.named(b.self, self.Labels)
	b.bgp = settings.BGP
	b.bgp.MeshPassword = b.secrets.password(settings.MeshPassword)
	if p := b.bgp.MeshPassword; p.From != "" && p.Secret.IsZero() {
		b.problems = append(b.problems, caracal.Problem{Severity: caracal.Warning, Kind: v1.KindBGPConfiguration,
			Message: Sentence("", Key{Kind: v1.KindBGPConfiguration}, fmt.Sprintf("spec.nodeMeshPassword: %s: %s; the sessions of the mesh stay down until it can be read", p.From, p.Err))})
	}
	p := peering{self: self, settings: settings, nodes: b.nodes, pick: pick, secrets: b.secrets,
		peers: map[string]caracal.Peer{}, by: map[string]*Object{}}
	if self.Name != "" {
		p.collect(objects)
	}
	b.peers = p.peers
	b.problems = append(b.problems, p.problems...)
}

// keep finds the nodes that come out as in prev, but for their Reflectors: those whose
// object is the same, if all BGPConfigurations are.
func (b *builder) keep(prev *caracal.Snapshot, was, objects []*Object) {
	if len(was) == 0 {
		return
	}
	other := map[*Object]bool{}
	same := true
	Changes(was, objects, func(old, cur *Object) {
		same = same && either(old, cur).Kind != v1.KindBGPConfiguration
		if cur != nil {
			other[cur] = true
		}
	})
	if !same {
		return
	}
	b.kept = make(map[*Object]caracal.Node, prev.Nodes.Len())
	for _, o := range objects {
		if o.Kind != v1.KindNodeConfig || other[o] {
			continue
		}
		if n, ok := prev.Nodes.Get(o.Name); ok {
			n.Reflectors = nil
			b.kept[o] = n
		}
	}
}

// update makes t hold exactly want, and reports whether anything differed. Of want
// it leaves what is new.
func update[K comparable, V any](t *caracal.Table[K, V], want map[K]V, same func(a, b V) bool) bool {
	next := *t
	for k, old := range t.All() {
		v, ok := want[k]
		switch {
		case !ok:
			next = next.Delete(k)
		case same(old, v):
			delete(want, k)
		}
	}
	changed := len(want) > 0 || next.Len() != t.Len()
	for k, v := range want {
		next = next.Put(k, v)
	}
	*t = next
	return changed
}

func equal[V any](a, b V) bool { return reflect.DeepEqual(a, b) }

// sameNode is reflect.DeepEqual for nodes, of which there are many.
func sameNode(a, b caracal.Node) bool {
	return a.Name == b.Name && a.IPv4 == b.IPv4 && a.IPv6 == b.IPv6 && a.ASN == b.ASN && a.RouterID == b.RouterID &&
		a.Port == b.Port && a.MeshEnabled == b.MeshEnabled && a.ClusterID == b.ClusterID && a.Tunnel == b.Tunnel &&
		slices.Equal(a.Reflectors, b.Reflectors) && slices.Equal(a.Anycast, b.Anycast) && slices.Equal(a.PodCIDRs, b.PodCIDRs) &&
		maps.Equal(a.Labels, b.Labels)
}
