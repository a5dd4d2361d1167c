package felix

import (
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// peer is the workloads that one pair of selectors selects: a scope of namespaces
// and, in them, pods. Policies that name the same pair share it.
type peer struct {
	key   string
	scope *scope // nil for Compiler.here
	pods  caracal.LabelSelector
	// anchor is its place in scope.peers.
	anchor int
	id     uint32
	ids    []uint32 // of the pods it selects, sorted
	views  []*liveSet
}

func (p *peer) matches(labels map[string]string) bool { return p.pods.Matches(labels) }

// scope is one namespace, or those that a selector selects.
type scope struct {
	key   string
	space *namespace // the one; nil for a selector's
	sel   caracal.LabelSelector
	// anchor is its place in Compiler.scopes.
	anchor int
	spaces map[*namespace]struct{} // those that sel selects
	peers  index[*peer]
	count  int // of peers, fresh ones too
	// fresh are the peers of this Update, which are in no index yet.
	fresh []*peer
}

func (s *scope) matches(labels map[string]string) bool { return s.sel.Matches(labels) }

// liveSet is a set that is wanted. It has a peer, or counts, or nets.
type liveSet struct {
	Set
	about string
	refs  int  // rules' references to it
	born  bool // in this Update: all that it holds is new
	// peer's workloads are its members, by their addresses, or, with a port, by
	// their addresses and ports of that name and protocol.
	peer  *peer
	port  string
	proto uint8
	// counts says for how many reasons a member is in.
	counts map[Member]int
	// nets never change.
	nets []netip.Prefix
	// changed has what this Update added (1) and removed (-1), net.
	changed map[Member]int
}

// peerFor returns the peer of a PolicyPeer in a policy of the namespace, and makes
// it if it is new. A nil one selects every workload.
func (c *Compiler) peerFor(space *namespace, pp *caracal.PolicyPeer) *peer {
	var pods, spaces caracal.LabelSelector
	fixed := false
	if pp != nil {
		fixed = pp.Namespaces == nil
		if !fixed {
			spaces = *pp.Namespaces
		}
		if pp.Pods != nil {
			pods = *pp.Pods
		}
	}
	scopeKey := "of " + selectorKey(spaces)
	if fixed {
		scopeKey = "in " + space.name
	}
	key := scopeKey + " " + selectorKey(pods)
	if p := c.peerOf[key]; p != nil {
		return p
	}
	s := c.scopeOf[scopeKey]
	if s == nil {
		s = &scope{key: scopeKey}
		if fixed {
			s.space, space.own = space, s
		} else {
			s.sel, s.spaces = spaces, map[*namespace]struct{}{}
			c.tx.scopes = append(c.tx.scopes, s)
		}
		c.scopeOf[scopeKey] = s
	}
	p := &peer{key: key, scope: s, pods: pods, id: c.newPeerID()}
	c.peers[p.id], c.peerOf[key] = p, p
	if len(s.fresh) == 0 {
		c.tx.fresh = append(c.tx.fresh, s)
	}
	s.fresh = append(s.fresh, p)
	s.count++
	return p
}

func (c *Compiler) newPeerID() uint32 {
	if n := len(c.freePeer); n > 0 {
		id := c.freePeer[n-1]
		c.freePeer = c.freePeer[:n-1]
		return id
	}
	c.peers = append(c.peers, nil)
	return uint32(len(c.peers) - 1)
}

// fillPeers finds the workloads of the peers that are new: one walk over the
// namespaces that they are about, however many peers there are.
func (c *Compiler) fillPeers() {
	c.fillScopes()
	asking := map[*namespace][]*index[*peer]{}
	for _, s := range c.tx.fresh {
		fresh := &index[*peer]{}
		for _, p := range s.fresh {
			fresh.add(p.pods, p)
		}
		if s.space != nil {
			asking[s.space] = append(asking[s.space], fresh)
		}
		for n := range s.spaces {
			asking[n] = append(asking[n], fresh)
		}
	}
	var found []uint32
	see := func(p *peer) { found = append(found, p.id) }
	for n, fresh := range asking {
		for _, id := range n.pods {
			found = found[:0]
			p := &c.pods[id]
			for _, x := range fresh {
				x.each(p.labels, see)
			}
			if len(found) == 0 {
				continue
			}
			for _, at := range found {
				c.peers[at].ids = append(c.peers[at].ids, id)
			}
			found = append(found, p.peers...)
			slices.Sort(found)
			p.peers = slices.Clone(found)
		}
	}
	for _, s := range c.tx.fresh {
		for _, p := range s.fresh {
			p.ids = slices.Clone(p.ids)
			slices.Sort(p.ids)
			p.anchor = s.peers.add(p.pods, p)
		}
		s.fresh = nil
	}
}

// fillScopes finds the namespaces of the scopes that are new.
func (c *Compiler) fillScopes() {
	if len(c.tx.scopes) == 0 {
		return
	}
	var fresh index[*scope]
	for _, s := range c.tx.scopes {
		fresh.add(s.sel, s)
		s.anchor = c.scopes.add(s.sel, s)
	}
	for _, n := range c.spaces {
		if n.known {
			fresh.each(n.labels, func(s *scope) {
				s.spaces[n] = struct{}{}
				n.groups = append(n.groups, s)
			})
		}
	}
}

// dropPeer forgets a peer that no set shows any more, and its scope with the last.
func (c *Compiler) dropPeer(p *peer) {
	s := p.scope
	s.peers.remove(p.pods, p.anchor, p)
	for _, id := range p.ids {
		c.pods[id].peers = removeID(c.pods[id].peers, p.id)
	}
	c.peers[p.id] = nil
	c.freePeer = append(c.freePeer, p.id)
	delete(c.peerOf, p.key)
	if s.count--; s.count > 0 {
		return
	}
	delete(c.scopeOf, s.key)
	if s.space != nil {
		s.space.own = nil
		c.touchSpace(s.space)
		return
	}
	c.scopes.remove(s.sel, s.anchor, s)
	for n := range s.spaces {
		n.groups = without(n.groups, s)
	}
}

// join puts a pod into a peer, and its members into the sets that show it.
func (c *Compiler) join(p *peer, id uint32) {
	c.note(p, id, 1)
	p.ids = insertID(p.ids, id)
}

// leave is the opposite of join.
func (c *Compiler) leave(p *peer, id uint32) {
	p.ids = removeID(p.ids, id)
	c.note(p, id, -1)
}

// note records what the coming or going of a pod, which is not in the peer now,
// does to the peer's sets. A member that another workload of the peer has too is
// in them anyhow: two share an address while one takes the other's place.
func (c *Compiler) note(p *peer, id uint32, n int) {
	for _, s := range p.views {
		if s.born {
			continue
		}
		c.membersOf(s, id, func(m Member) bool {
			if !c.held(s, m, func(owner uint32) bool { return owner != id }) {
				c.noteMember(s, m, n)
			}
			return true
		})
	}
}

func (c *Compiler) noteMember(s *liveSet, m Member, n int) {
	if s.changed == nil {
		s.changed = map[Member]int{}
		c.tx.changed = append(c.tx.changed, s)
	}
	s.changed[m] += n
}

// held reports whether a workload of the set's peer that ok accepts has a member.
func (c *Compiler) held(s *liveSet, m Member, ok func(owner uint32) bool) bool {
	return c.owners.any(m.Net.Addr(), func(owner uint32) bool {
		return ok(owner) && hasID(s.peer.ids, owner) && (s.port == "" || slices.ContainsFunc(c.pods[owner].ports, func(p caracal.Port) bool {
			return s.shows(p) && p.Port == m.Port
		}))
	})
}

// membersOf yields the members that a pod has in a set of a peer, each once, and
// reports whether all were wanted.
func (c *Compiler) membersOf(s *liveSet, id uint32, yield func(Member) bool) bool {
	p := &c.pods[id]
	for _, a := range p.addrs {
		if familyOf(a) != s.Family {
			continue
		}
		m := Member{Net: caracal.HostPrefix(a)}
		if s.port == "" {
			if !yield(m) {
				return false
			}
			continue
		}
		for i, port := range p.ports {
			if !s.shows(port) || slices.Contains(p.ports[:i], port) {
				continue
			}
			m.Protocol, m.Port = s.proto, port.Port
			if !yield(m) {
				return false
			}
		}
	}
	return true
}

// shows reports whether a set of named ports is of this one.
func (s *liveSet) shows(p caracal.Port) bool {
	return p.Name == s.port && p.Port != 0 && protocolNumber(p.Protocol) == s.proto
}

// eachMember yields what a set holds.
func (c *Compiler) eachMember(s *liveSet, yield func(Member) bool) {
	for m := range s.counts {
		if !yield(m) {
			return
		}
	}
	for _, n := range s.nets {
		if !yield(Member{Net: n}) {
			return
		}
	}
	if s.peer == nil {
		return
	}
	for _, id := range s.peer.ids {
		more := c.membersOf(s, id, func(m Member) bool {
			// Of several workloads with the member, the one with the lowest id has it.
			return c.held(s, m, func(owner uint32) bool { return owner < id }) || yield(m)
		})
		if !more {
			return
		}
	}
}
