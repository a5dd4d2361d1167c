package felix

import (
	"maps"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// pod is a workload that takes part: one that has a network of its own, and that
// has not ended. There may be 100,000, so it has nothing that can be had elsewhere.
type pod struct {
	space  *namespace // nil for an id that is free
	labels map[string]string
	ports  []caracal.Port
	addrs  []netip.Addr
	// peers are the ids of those it is in, sorted.
	peers []uint32
	// dirty says that its peers have to be found anew.
	dirty bool
}

// namespace is one that workloads or policies are in, known or not.
type namespace struct {
	name string
	// known says that the Snapshot has it; the labels of one that is unknown are
	// unknown too, so no namespace selector selects it.
	known  bool
	labels map[string]string
	pods   []uint32 // sorted
	locals []*local
	// policies finds those that select a local workload of the namespace.
	policies index[*policy]
	count    int // of policies
	// own is the scope of the peers that are of this namespace alone, groups are
	// those of the namespace selectors that select it.
	own    *scope
	groups []*scope
	dirty  bool
}

func sameNamespace(a, b caracal.Namespace) bool { return maps.Equal(a.Labels, b.Labels) }

func sameWorkload(a, b caracal.Workload) bool {
	return a.Node == b.Node && a.Interface == b.Interface && a.HostNetwork == b.HostNetwork && a.Completed == b.Completed &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.Ports, b.Ports) && maps.Equal(a.Labels, b.Labels)
}

// space returns the namespace of a name, known or not.
func (c *Compiler) space(name string) *namespace {
	n := c.spaces[name]
	if n == nil {
		n = &namespace{name: name}
		c.spaces[name] = n
	}
	return n
}

func (c *Compiler) changeNamespace(name string, _, is *caracal.Namespace) {
	n := c.space(name)
	n.known, n.labels = is != nil, nil
	if is != nil {
		n.labels = is.Labels
	}
	c.touchSpace(n)
}

// touchSpace has the namespace's groups found anew, and it forgotten if it is of no
// use.
func (c *Compiler) touchSpace(n *namespace) {
	if !n.dirty {
		n.dirty = true
		c.tx.spaces = append(c.tx.spaces, n)
	}
}

func (c *Compiler) changeWorkload(key string, was, is *caracal.Workload) {
	c.checkInterface(key, is)
	had, has := takesPart(was), takesPart(is)
	switch {
	case had && has && was.Namespace == is.Namespace:
		c.changePod(key, was, is)
	default:
		if had {
			c.removePod(key)
		}
		if has {
			c.addPod(key, is)
		}
	}
}

func takesPart(w *caracal.Workload) bool {
	return w != nil && !w.HostNetwork && !w.Completed
}

func (c *Compiler) addPod(key string, w *caracal.Workload) {
	var id uint32
	if n := len(c.freeIDs); n > 0 {
		id, c.freeIDs = c.freeIDs[n-1], c.freeIDs[:n-1]
	} else {
		id = uint32(len(c.pods))
		c.pods = append(c.pods, pod{})
	}
	n := c.space(w.Namespace)
	c.pods[id] = pod{space: n, labels: w.Labels, ports: w.Ports, addrs: plainAddrs(w.Addrs)}
	c.podByID[key] = id
	n.pods = insertID(n.pods, id)
	for _, a := range c.pods[id].addrs {
		c.owners.add(a, id)
	}
	c.touchPod(id)
	c.addLocal(id, key, w)
}

func (c *Compiler) removePod(key string) {
	id := c.podByID[key]
	p := &c.pods[id]
	c.removeLocal(id)
	for _, at := range p.peers {
		c.leave(c.peers[at], id)
	}
	for _, a := range p.addrs {
		c.owners.remove(a, id)
	}
	p.space.pods = removeID(p.space.pods, id)
	c.touchSpace(p.space)
	delete(c.podByID, key)
	*p = pod{}
	c.freeIDs = append(c.freeIDs, id)
}

// changePod makes the pod of a workload that takes part as before what it is now.
func (c *Compiler) changePod(key string, was, is *caracal.Workload) {
	id := c.podByID[key]
	p := &c.pods[id]
	if local := c.locals[id] != nil; local != c.isLocal(is) || local && (was.Interface != is.Interface || !slices.Equal(was.Addrs, is.Addrs)) {
		c.removeLocal(id)
		defer c.addLocal(id, key, is)
	} else if local {
		c.touchLocal(c.locals[id], true)
	}
	if !slices.Equal(was.Addrs, is.Addrs) || !slices.Equal(was.Ports, is.Ports) {
		c.readdress(id, is)
	}
	p.labels, p.ports = is.Labels, is.Ports
	c.touchPod(id)
}

// readdress takes the pod out of everything that shows its addresses or ports and
// puts it back with the new ones. What is the same before and after cancels out.
func (c *Compiler) readdress(id uint32, is *caracal.Workload) {
	p := &c.pods[id]
	at := make([]*peer, 0, len(p.peers)+1)
	for _, i := range p.peers {
		at = append(at, c.peers[i])
	}
	if hasID(c.here.ids, id) {
		at = append(at, c.here)
	}
	for _, peer := range at {
		c.leave(peer, id)
	}
	for _, a := range p.addrs {
		c.owners.remove(a, id)
	}
	p.addrs, p.ports = plainAddrs(is.Addrs), is.Ports
	for _, a := range p.addrs {
		c.owners.add(a, id)
	}
	for _, peer := range at {
		c.join(peer, id)
	}
}

func (c *Compiler) touchPod(id uint32) {
	if !c.pods[id].dirty {
		c.pods[id].dirty = true
		c.tx.pods = append(c.tx.pods, id)
	}
}

// plainAddrs returns the valid addresses, each once, without zones and never as
// IPv4 in IPv6: most times the very slice that it is given.
func plainAddrs(addrs []netip.Addr) []netip.Addr {
	for i, a := range addrs {
		if a.IsValid() && a == plainAddr(a) && !slices.Contains(addrs[:i], a) {
			continue
		}
		out := slices.Clone(addrs[:i])
		for _, a := range addrs[i:] {
			if a = plainAddr(a); a.IsValid() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
		return out
	}
	return addrs
}

func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// settleSpaces finds the groups that the touched namespaces are in, and has their
// pods look for their peers anew where that may have changed.
func (c *Compiler) settleSpaces() {
	for _, n := range c.tx.spaces {
		n.dirty = false
		var groups []*scope
		if n.known {
			c.scopes.each(n.labels, func(s *scope) { groups = append(groups, s) })
		}
		if sameScopes(groups, n.groups) {
			continue
		}
		for _, s := range n.groups {
			delete(s.spaces, n)
		}
		for _, s := range groups {
			s.spaces[n] = struct{}{}
		}
		n.groups = groups
		for _, id := range n.pods {
			c.touchPod(id)
		}
	}
}

func sameScopes(a, b []*scope) bool {
	if len(a) != len(b) {
		return false
	}
	for _, s := range a {
		if !slices.Contains(b, s) {
			return false
		}
	}
	return true
}

// settlePods finds the peers that the touched pods are in, of those that were there
// before this Update.
func (c *Compiler) settlePods() {
	var found []uint32
	for _, id := range c.tx.pods {
		p := &c.pods[id]
		if p.space == nil || !p.dirty {
			continue // gone, or seen already
		}
		p.dirty = false
		found = found[:0]
		see := func(at *peer) { found = append(found, at.id) }
		if p.space.own != nil {
			p.space.own.peers.each(p.labels, see)
		}
		for _, s := range p.space.groups {
			s.peers.each(p.labels, see)
		}
		slices.Sort(found)
		if slices.Equal(found, p.peers) {
			continue
		}
		for _, at := range p.peers {
			if !hasID(found, at) {
				c.leave(c.peers[at], id)
			}
		}
		for _, at := range found {
			if !hasID(p.peers, at) {
				c.join(c.peers[at], id)
			}
		}
		p.peers = slices.Clone(found)
	}
}

// dropSpaces forgets the touched namespaces that nothing is in any more.
func (c *Compiler) dropSpaces() {
	for _, n := range c.tx.spaces {
		if !n.known && len(n.pods) == 0 && n.count == 0 && n.own == nil {
			for _, s := range n.groups {
				delete(s.spaces, n)
			}
			delete(c.spaces, n.name)
		}
	}
}
