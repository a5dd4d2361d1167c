package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// Secrets looks up the password that a reference names. If it cannot be read, the
// Password has From and Err, and no Secret.
type Secrets func(ref v1.SecretKeyRef) caracal.Password

// SecretPath is where a store of files keeps the password that a reference
// names, relative to the configuration directory.
func SecretPath(ref v1.SecretKeyRef) string { return "local/secrets/" + ref.Name + "/" + ref.Key }

func (s Secrets) password(ref *v1.SecretKeyRef) caracal.Password {
	switch {
	case ref == nil:
		return caracal.Password{}
	case s == nil:
		return caracal.Password{From: SecretPath(*ref), Err: "secrets are not read here"}
	}
	return s(*ref)
}

// peering makes the Peers of one node.
type peering struct {
	self     caracal.Node
	settings v1.NodeBGP
	nodes    map[string]caracal.Node
	pick     *picker
	secrets  Secrets

	peers map[string]caracal.Peer // by key
	// by has, for each node that is a neighbor, the BGPPeer that it is one by.
	by       map[string]*Object
	problems []caracal.Problem
}

func (b *peering) warn(o *Object, format string, args ...any) {
	b.problems = append(b.problems, caracal.Problem{
		Severity: caracal.Warning, Source: o.Source, Kind: o.Kind, Name: o.Name,
		Message: Sentence(o.Source, o.Key, fmt.Sprintf(format, args...)),
	})
}

// collect makes the Peers of the BGPPeers among objects, which are in the order
// of their names. What stands for one neighbor comes before what a selector
// finds; of two selectors that find the same node the first counts, at both ends.
func (b *peering) collect(objects []*Object) {
	var selectors []*Object
	byAddr := map[netip.Addr]string{}
	for name, n := range b.nodes {
		byAddr[n.IPv4.Addr()], byAddr[n.IPv6.Addr()] = name, name
	}
	delete(byAddr, netip.Addr{})
	for _, o := range objects {
		v, ok := o.Value.(*v1.BGPPeer)
		switch {
		case !ok:
		case v.Spec.PeerSelector != "":
			selectors = append(selectors, o)
		case b.pick.of(v.Selection()).has(b.pick.find(b.self.Name)):
			b.single(o, v, byAddr)
		}
	}
	for _, o := range selectors {
		b.several(o, o.Value.(*v1.BGPPeer))
	}
}

// base is the Peer of a BGPPeer, with its password; false if there is none.
func (b *peering) base(o *Object, v *v1.BGPPeer) (caracal.Peer, bool) {
	p, err := v.Peer(b.self, b.settings)
	if err != nil {
		b.warn(o, "%v", err)
		return p, false
	}
	p.Password = b.secrets.password(v.SecretRef())
	if p.Password.From != "" && p.Password.Secret.IsZero() {
		b.warn(o, "spec.password: %s: %s; sessions that need it stay down until it can be read", p.Password.From, p.Password.Err)
	}
	return p, true
}

// single adds a neighbor that is given by its place.
func (b *peering) single(o *Object, v *v1.BGPPeer, byAddr map[netip.Addr]string) {
	ap, withPort := v.Address()
	name := byAddr[ap.Addr()]
	if name == b.self.Name && name != "" {
		return // a peer for all nodes may be one of the nodes: not with itself
	}
	p, ok := b.base(o, v)
	if !ok {
		return
	}
	if name != "" {
		p.Node = name
		b.by[name] = o
		if !withPort {
			p.Port = b.nodes[name].Port
		}
	}
	b.peers[p.Key()] = p
}

// several adds the nodes that a peerSelector finds, and those that find this one
// by it.
func (b *peering) several(o *Object, v *v1.BGPPeer) {
	sel, _ := v.PeerSelection()
	ours, theirs := b.pick.of(v.Selection()), b.pick.of(sel)
	me := b.pick.find(b.self.Name)
	found := b.pick.none()
	if ours.has(me) {
		found.join(theirs)
	}
	if theirs.has(me) && v.Spec.ReversePeering == v1.ReverseAuto {
		found.join(ours)
	}
	var others []string
	found.each(func(i int) {
		if i != me {
			others = append(others, b.pick.names[i])
		}
	})
	if len(others) == 0 {
		return
	}
	base, ok := b.base(o, v)
	if !ok {
		return
	}
	taken := map[*Object][]string{}
	var strange []string
	for _, name := range others {
		p, common := v1.Towards(base, b.self, b.nodes[name])
		switch {
		case !common:
			strange = append(strange, name)
		case b.by[name] != nil:
			taken[b.by[name]] = append(taken[b.by[name]], name)
		default:
			b.by[name] = o
			b.peers[p.Key()] = p
		}
	}
	for _, by := range slices.SortedFunc(maps.Keys(taken), compareKeys) {
		b.warn(o, "node %s peers with %s by %s already, and that is what counts", b.self.Name, someOf(taken[by]), by.from())
	}
	if len(strange) > 0 {
		b.warn(o, "node %s has no address family in common with %s, so they do not peer; give both ends an IPv4 or both an IPv6 address", b.self.Name, someOf(strange))
	}
}

// someOf names up to three of a list.
func someOf(names []string) string {
	const most = 3
	text := "node "
	for i, n := range names {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(names)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}
