package rib

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"caracal.dev/caracal"
)

// Owners knows which node owns which prefix and which next hop, as the
// Snapshot says. It is kept current by [Owners.Update] in time proportional to
// what changed.
type Owners struct {
	self  string
	addrs map[netip.Addr]string // a node's address -> its name
	pools bart.Table[string]    // CIDR -> pool name
	block bart.Table[string]    // block -> node
	// owned counts: a block may be of one address, and a workload have it.
	owned map[string]map[netip.Prefix]int
	hosts map[netip.Prefix]string // workload address -> node
	// rivals has the nodes of all workloads with an address that more than one has: a
	// store that is behind says so for a moment of an address that has moved.
	rivals map[netip.Prefix][]string
	// anycast has the nodes that serve a prefix together, sorted.
	anycast map[netip.Prefix][]string
	// services are the ranges of Services that this node announces.
	services bart.Table[struct{}]
}

// NewOwners returns an Owners that knows nothing: it refuses every path.
func NewOwners() *Owners {
	return &Owners{
		addrs: map[netip.Addr]string{},
		owned: map[string]map[netip.Prefix]int{},
		hosts: map[netip.Prefix]string{},

		rivals:  map[netip.Prefix][]string{},
		anycast: map[netip.Prefix][]string{},
	}
}

// Update takes the difference between two Snapshots and returns the prefixes
// below which paths must be judged anew. old may be nil.
func (o *Owners) Update(old, cur *caracal.Snapshot) []netip.Prefix {
	if old == nil {
		old = caracal.NewSnapshot(cur.Self)
	}
	o.self = cur.Self
	changed := map[netip.Prefix]struct{}{}
	// What is gone goes first: a renamed object is one that is gone and one that
	// is new, of the same prefix, and their names come in any order.
	var then []func()
	o.updatePools(old, cur, changed, &then)
	o.updateBlocks(old, cur, changed)
	o.updateNodes(old, cur, changed, &then)
	o.updateHosts(old, cur, changed, &then)
	o.updateServices(old, cur, changed)
	for _, do := range then {
		do()
	}
	return slices.SortedFunc(maps.Keys(changed), netip.Prefix.Compare)
}

func (o *Owners) updatePools(old, cur *caracal.Snapshot, changed map[netip.Prefix]struct{}, then *[]func()) {
	same := func(a, b caracal.Pool) bool { return a.CIDR == b.CIDR }
	cur.Pools.Diff(old.Pools, same, func(name string, was, is *caracal.Pool) {
		if was != nil {
			o.pools.Delete(was.CIDR)
			changed[was.CIDR] = struct{}{}
		}
		if is != nil {
			cidr := is.CIDR
			*then = append(*then, func() { o.pools.Insert(cidr, name) })
			changed[cidr] = struct{}{}
		}
	})
}

func (o *Owners) updateBlocks(old, cur *caracal.Snapshot, changed map[netip.Prefix]struct{}) {
	cur.Blocks.Diff(old.Blocks, func(a, b caracal.Block) bool { return a == b }, func(p netip.Prefix, was, is *caracal.Block) {
		if was != nil {
			o.block.Delete(p)
			o.disown(was.Node, p)
		}
		if is != nil {
			o.block.Insert(p, is.Node)
			o.own(is.Node, p)
		}
		changed[p] = struct{}{}
	})
}

func (o *Owners) own(node string, p netip.Prefix) {
	if o.owned[node] == nil {
		o.owned[node] = map[netip.Prefix]int{}
	}
	o.owned[node][p]++
}

func (o *Owners) disown(node string, p netip.Prefix) {
	if o.owned[node][p] > 1 {
		o.owned[node][p]--
		return
	}
	delete(o.owned[node], p)
	if len(o.owned[node]) == 0 {
		delete(o.owned, node)
	}
}

// updateNodes keeps the next hops. A path can only be accepted for the owner
// of its prefix, so a node that gets or loses an address changes the verdict
// of nothing but the prefixes it owns.
func (o *Owners) updateNodes(old, cur *caracal.Snapshot, changed map[netip.Prefix]struct{}, then *[]func()) {
	same := func(a, b caracal.Node) bool {
		return a.IPv4.Addr() == b.IPv4.Addr() && a.IPv6.Addr() == b.IPv6.Addr() && slices.Equal(a.Anycast, b.Anycast)
	}
	cur.Nodes.Diff(old.Nodes, same, func(name string, was, is *caracal.Node) {
		if was != nil {
			delete(o.addrs, was.IPv4.Addr())
			delete(o.addrs, was.IPv6.Addr())
			for _, p := range was.Anycast {
				o.serves(name, p, false)
				changed[p] = struct{}{}
			}
		}
		if is != nil {
			for _, p := range is.Anycast {
				o.serves(name, p, true)
				changed[p] = struct{}{}
			}
			addrs := []netip.Addr{is.IPv4.Addr(), is.IPv6.Addr()}
			*then = append(*then, func() {
				for _, a := range addrs {
					if a.IsValid() {
						o.addrs[a] = name
					}
				}
			})
		}
		for p := range o.owned[name] {
			changed[p] = struct{}{}
		}
	})
}

// serves notes whether a node serves an anycast prefix. The list is a new one
// each time.
func (o *Owners) serves(node string, p netip.Prefix, yes bool) {
	nodes := slices.DeleteFunc(slices.Clone(o.anycast[p]), func(n string) bool { return n == node })
	if yes {
		nodes = append(nodes, node)
		slices.Sort(nodes)
	}
	if len(nodes) == 0 {
		delete(o.anycast, p)
		return
	}
	o.anycast[p] = nodes
}

func (o *Owners) updateHosts(old, cur *caracal.Snapshot, changed map[netip.Prefix]struct{}, then *[]func()) {
	same := func(a, b caracal.Workload) bool { return a.Node == b.Node && slices.Equal(a.Addrs, b.Addrs) }
	cur.Workloads.Diff(old.Workloads, same, func(_ string, was, is *caracal.Workload) {
		if was != nil {
			for _, a := range was.Addrs {
				p := caracal.HostPrefix(a)
				o.leave(was.Node, p)
				o.disown(was.Node, p)
				changed[p] = struct{}{}
			}
		}
		if is != nil {
			w := *is
			for _, a := range w.Addrs {
				changed[caracal.HostPrefix(a)] = struct{}{}
			}
			*then = append(*then, func() {
				for _, a := range w.Addrs {
					o.enter(w.Node, caracal.HostPrefix(a))
					o.own(w.Node, caracal.HostPrefix(a))
				}
			})
		}
	})
}

// enter notes that a workload of a node has an address.
func (o *Owners) enter(node string, p netip.Prefix) {
	first, taken := o.hosts[p]
	if !taken {
		o.hosts[p] = node
		return
	}
	if len(o.rivals[p]) == 0 {
		o.rivals[p] = []string{first}
	}
	o.contest(p, append(o.rivals[p], node))
}

// leave notes that one has it no more.
func (o *Owners) leave(node string, p netip.Prefix) {
	list := o.rivals[p]
	i := slices.Index(list, node)
	if i < 0 { // nobody else has it
		delete(o.hosts, p)
		return
	}
	o.contest(p, slices.Delete(list, i, i+1))
}

// contest gives an address to one of those who have it, whatever order they came in:
// to this node, which knows its own containers better than any store does, or else to
// the first by name.
func (o *Owners) contest(p netip.Prefix, list []string) {
	o.hosts[p] = slices.Min(list)
	if slices.Contains(list, o.self) {
		o.hosts[p] = o.self
	}
	if o.rivals[p] = list; len(list) == 1 {
		delete(o.rivals, p)
	}
}

func (o *Owners) updateServices(old, cur *caracal.Snapshot, changed map[netip.Prefix]struct{}) {
	was, is := allRanges(old), allRanges(cur)
	for _, p := range was {
		if !slices.Contains(is, p) {
			o.services.Delete(p)
			changed[p] = struct{}{}
		}
	}
	for _, p := range is {
		if !slices.Contains(was, p) {
			o.services.Insert(p, struct{}{})
			changed[p] = struct{}{}
		}
	}
}

func allRanges(s *caracal.Snapshot) []netip.Prefix {
	r := s.BGP.Services
	return slices.Concat(r.ClusterIPs, r.ExternalIPs, r.LoadBalancerIPs)
}

// Service reports whether a prefix is in a range of Services.
func (o *Owners) Service(p netip.Prefix) bool {
	_, ok := o.services.LookupPrefix(p)
	return ok
}

// OwnerOf returns the node that owns the whole of a prefix; "" if none does.
func (o *Owners) OwnerOf(p netip.Prefix) string {
	if node, ok := o.hosts[p]; ok {
		return node
	}
	node, _ := o.block.LookupPrefix(p)
	return node
}

// NodeOf returns the name of the node that has the address; "" if none has.
func (o *Owners) NodeOf(a netip.Addr) string { return o.addrs[a] }

// Judge applies prefix ownership: from a mesh peer or reflector a prefix
// inside the pools is accepted only if the node that owns the next hop owns
// the prefix. ORIGINATOR_ID is not asked: behind two reflector clusters it
// names the first reflector, and it can be forged.
func (o *Owners) Judge(nlri netip.Prefix, nextHop netip.Addr) Verdict {
	switch {
	case caracal.IsDefault(nlri):
		return Verdict{Code: RefusedDefault}
	case unroutable(nlri):
		return Verdict{Code: RefusedRange}
	}
	v := Verdict{NextHopNode: o.addrs[nextHop]}
	servers := o.anycast[nlri]
	if v.NextHopNode != "" && v.NextHopNode != o.self && slices.Contains(servers, v.NextHopNode) {
		v.Owner = v.NextHopNode
		return v
	}
	var inPool bool
	if v.Pool, inPool = o.pools.LookupPrefix(nlri); !inPool {
		switch {
		case v.NextHopNode == o.self && slices.Contains(servers, o.self):
			v.Code, v.Owner = RefusedSelf, strings.Join(servers, ", ")
		case len(servers) > 0:
			v.Code, v.Owner = RefusedNotTheirs, strings.Join(servers, ", ")
		case o.pools.OverlapsPrefix(nlri):
			v.Code = RefusedTooWide
		default:
			v.Code = RefusedNoPool
		}
		return v
	}
	var owned bool
	if v.Owner, owned = o.hosts[nlri]; !owned {
		v.Owner, owned = o.block.LookupPrefix(nlri)
	}
	switch {
	case !owned && o.block.OverlapsPrefix(nlri):
		v.Code = RefusedTooWide
	case !owned:
		v.Code = RefusedNoOwner
	case v.Owner == o.self:
		v.Code = RefusedLocal
	case v.NextHopNode == "":
		v.Code = RefusedNextHop
	case v.NextHopNode == o.self:
		v.Code = RefusedSelf
	case v.NextHopNode != v.Owner:
		v.Code = RefusedNotTheirs
	}
	return v
}

// Pool returns the pool that the prefix is in, and whether this node owns it:
// by a block, or as the address of a workload.
func (o *Owners) Pool(p netip.Prefix) (pool string, mine bool) {
	pool, _ = o.pools.LookupPrefix(p)
	return pool, o.OwnerOf(p) == o.self
}

// unroutable are the ranges that no unicast packet on a network has as its
// destination (RFC 6890, RFC 5771, RFC 1112).
func unroutable(p netip.Prefix) bool {
	a := p.Addr()
	return a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		p.Bits() >= 8 && a.IsUnspecified() || a.Is4() && (p.Bits() >= 8 && a.As4()[0] == 0 || a.As4()[0] >= 240)
}
