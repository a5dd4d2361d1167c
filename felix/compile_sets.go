package felix

import (
	"net/netip"
	"slices"
)

// fixedSet names a set that there always is, whatever the policies are.
type fixedSet string

// The sets that there always are, of each family; the family's number ends the name.
const (
	setLocal   fixedSet = "local"    // local workloads: address and interface
	setFreeIn  fixedSet = "free-in"  // those that are not isolated for ingress
	setFreeOut fixedSet = "free-out" // those that are not isolated for egress
	setNodes   fixedSet = "nodes"    // nodes' addresses
	setBGP     fixedSet = "bgp"      // who may connect to the node's BGP port
	setNAT     fixedSet = "nat"      // sources that are translated
	setNoNAT   fixedSet = "nonat"    // destinations for which nothing is
)

var fixedSets = []struct {
	set   fixedSet
	kind  SetType
	about string
}{
	{setLocal, HashNetIface, "workloads of this node"},
	{setFreeIn, HashNetIface, "workloads of this node that are not isolated for ingress"},
	{setFreeOut, HashNetIface, "workloads of this node that are not isolated for egress"},
	{setNodes, HashIP, "nodes"},
	{setBGP, HashIP, "nodes and BGP peers"},
	{setNAT, HashNet, "pools with natOutgoing"},
	{setNoNAT, HashNet, "pools, blocks, podCIDRs and nodes: never translated to"},
}

// name returns the name of the family's set.
func (s fixedSet) name(f Family) string { return Prefix + string(s) + f.digit() }

// digit returns "4" or "6".
func (f Family) digit() string { return [...]string{"4", "6"}[f] }

// addFixedSets makes the sets that there always are.
func (c *Compiler) addFixedSets() {
	for _, f := range families {
		for _, x := range fixedSets {
			c.addSet(&liveSet{Set: Set{Name: x.set.name(f), Type: x.kind, Family: f}, about: x.about, refs: 1, counts: map[Member]int{}})
		}
	}
}

func (c *Compiler) addSet(s *liveSet) *liveSet {
	s.born = true
	c.sets[s.Name] = s
	c.tx.born = append(c.tx.born, s)
	return s
}

// count puts a reason (1) for a member into a fixed set, or takes it away (-1).
func (c *Compiler) count(f Family, set fixedSet, m Member, n int) {
	s := c.sets[set.name(f)]
	was := s.counts[m]
	is := was + n
	if is == 0 {
		delete(s.counts, m)
	} else {
		s.counts[m] = is
	}
	if (was == 0) != (is == 0) && !s.born {
		c.noteMember(s, m, n)
	}
}

// peerSet returns the set of a peer's addresses in a family, or of its ports of a
// name and protocol, with one more reference.
func (c *Compiler) peerSet(f Family, p *peer, port string, proto uint8) *liveSet {
	for _, s := range p.views {
		if s.Family == f && s.port == port && s.proto == proto {
			s.refs++
			return s
		}
	}
	s := &liveSet{Set: Set{Type: HashIP, Family: f}, refs: 1, peer: p, port: port, proto: proto}
	kind := "p"
	if port != "" {
		s.Type, kind = HashIPPort, "n"
	}
	s.Name = hashName(kind+f.digit(), p.key, port, protocolName(proto))
	p.views = append(p.views, s)
	return c.addSet(s)
}

// netSet returns the set of some prefixes of a family, which are sorted and none of
// which covers another, with one more reference.
func (c *Compiler) netSet(f Family, nets []netip.Prefix) *liveSet {
	split := make([]netip.Prefix, 0, len(nets))
	text := make([]string, 0, len(nets))
	for _, n := range nets {
		for _, half := range splitDefault(n) {
			split = append(split, half)
			text = append(text, half.String())
		}
	}
	name := hashName("c"+f.digit(), text...)
	if s := c.sets[name]; s != nil {
		s.refs++
		return s
	}
	return c.addSet(&liveSet{Set: Set{Name: name, Type: HashNet, Family: f}, refs: 1, nets: split})
}

// release takes a reference to each set back.
func (c *Compiler) release(sets []*liveSet) {
	for _, s := range sets {
		if s.refs--; s.refs == 0 {
			c.tx.idle = append(c.tx.idle, s)
		}
	}
}

// sweepSets drops the sets that nothing refers to. All references of this Update
// have been made, so none of those dropped was made in it.
func (c *Compiler) sweepSets() {
	for _, s := range c.tx.idle {
		if s.refs > 0 || c.sets[s.Name] != s {
			continue
		}
		delete(c.sets, s.Name)
		c.tx.gone = append(c.tx.gone, s)
		if p := s.peer; p != nil {
			p.views = slices.DeleteFunc(p.views, func(v *liveSet) bool { return v == s })
			if len(p.views) == 0 && p != c.here {
				c.dropPeer(p)
			}
		}
	}
}

// owners says which pods have an address. Nearly always it is one.
type owners struct {
	v4   map[[4]byte]uint32
	v6   map[[16]byte]uint32
	more map[netip.Addr][]uint32 // beyond the first
}

func newOwners() owners {
	return owners{v4: map[[4]byte]uint32{}, v6: map[[16]byte]uint32{}, more: map[netip.Addr][]uint32{}}
}

func (o *owners) first(a netip.Addr) (uint32, bool) {
	if a.Is4() {
		id, ok := o.v4[a.As4()]
		return id, ok
	}
	id, ok := o.v6[a.As16()]
	return id, ok
}

func (o *owners) setFirst(a netip.Addr, id uint32) {
	if a.Is4() {
		o.v4[a.As4()] = id
	} else {
		o.v6[a.As16()] = id
	}
}

func (o *owners) add(a netip.Addr, id uint32) {
	if _, taken := o.first(a); taken {
		o.more[a] = append(o.more[a], id)
		return
	}
	o.setFirst(a, id)
}

func (o *owners) remove(a netip.Addr, id uint32) {
	more := o.more[a]
	if first, _ := o.first(a); first != id {
		more = without(more, id)
	} else if len(more) > 0 {
		o.setFirst(a, more[0])
		more = more[1:]
	} else if a.Is4() {
		delete(o.v4, a.As4())
	} else {
		delete(o.v6, a.As16())
	}
	if len(more) == 0 {
		delete(o.more, a)
	} else {
		o.more[a] = more
	}
}

// any reports whether fn is true of one of the owners.
func (o *owners) any(a netip.Addr, fn func(id uint32) bool) bool {
	id, ok := o.first(a)
	if !ok {
		return false
	}
	return fn(id) || len(o.more) > 0 && slices.ContainsFunc(o.more[a], fn)
}

// describe says for people what is in a set.
func (s *liveSet) describe() string {
	switch {
	case s.peer == nil && s.about == "":
		return "ranges of addresses with their exceptions"
	case s.peer == nil:
		return s.about
	case s.port != "":
		return "ports " + s.port + "/" + protocolName(s.proto) + " of " + s.peer.about()
	}
	return s.peer.about()
}

// about says which workloads a peer is.
func (p *peer) about() string {
	if p.scope == nil {
		return "workloads of this node"
	}
	where := "all namespaces"
	switch {
	case p.scope.space != nil:
		where = "namespace " + p.scope.space.name
	case len(p.scope.sel.Requirements) > 0:
		where = "namespaces with " + selectorText(p.scope.sel)
	}
	if len(p.pods.Requirements) == 0 {
		return "workloads of " + where
	}
	return "workloads with " + selectorText(p.pods) + " of " + where
}

// netMembers returns the members of a hash:net set for a prefix; none for an
// invalid one.
func netMembers(p netip.Prefix) []Member {
	if !p.IsValid() {
		return nil
	}
	var out []Member
	for _, n := range splitDefault(p.Masked()) {
		out = append(out, Member{Net: n})
	}
	return out
}
