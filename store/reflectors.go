package store

import (
	"net/netip"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// setReflectors fills in the Reflectors of all nodes. It looks only at pairs of
// which one is a reflector, and at many of them at once: a set for each
// reflector holds who wants a session with it, another whom it wants one with,
// and a session is where both ends do.
func setReflectors(nodes map[string]caracal.Node, peers []*v1.BGPPeer, pick *picker) {
	var reflectors []int
	all, v4, v6 := pick.none(), pick.none(), pick.none()
	byAddr := make(map[netip.Addr]int, len(nodes))
	for i, name := range pick.names {
		n := nodes[name]
		if n.ClusterID.IsValid() {
			reflectors = append(reflectors, i)
			all.add(i)
		}
		if n.IPv4.IsValid() {
			v4.add(i)
			byAddr[n.IPv4.Addr()] = i
		}
		if n.IPv6.IsValid() {
			v6.add(i)
			byAddr[n.IPv6.Addr()] = i
		}
	}
	if len(reflectors) == 0 {
		return
	}
	w := wanted{to: map[int]set{}, from: map[int]set{}}
	for _, r := range reflectors {
		w.to[r], w.from[r] = pick.none(), pick.none()
	}
	for _, p := range peers {
		w.peer(p, pick, all, byAddr)
	}
	lists := make([][]string, len(pick.names))
	for _, r := range reflectors { // in the order of names, so that each list is
		both := w.to[r].and(w.from[r])
		both.each(func(i int) {
			if i != r && (v4.has(r) && v4.has(i) || v6.has(r) && v6.has(i)) {
				lists[i] = append(lists[i], pick.names[r])
			}
		})
	}
	for i, list := range lists {
		if len(list) > 0 {
			n := nodes[pick.names[i]]
			n.Reflectors = list
			nodes[n.Name] = n
		}
	}
}

// wanted has, by reflector, the nodes that want a session with it, and those that
// it wants one with.
type wanted struct{ to, from map[int]set }

// peer adds what one BGPPeer wants.
func (w wanted) peer(p *v1.BGPPeer, pick *picker, reflectors set, byAddr map[netip.Addr]int) {
	ours := pick.of(p.Selection())
	theirs := pick.none()
	if sel, ok := p.PeerSelection(); ok {
		theirs = pick.of(sel)
	} else if ap, _ := p.Address(); ap.IsValid() {
		if i, ok := byAddr[ap.Addr()]; ok {
			theirs.add(i)
		}
	}
	w.pairs(ours, theirs, reflectors)
	if p.Spec.ReversePeering == v1.ReverseAuto {
		w.pairs(theirs, ours, reflectors)
	}
}

// pairs notes that each of ours wants a session with each of theirs.
func (w wanted) pairs(ours, theirs, reflectors set) {
	if ours.first() < 0 || theirs.first() < 0 {
		return
	}
	theirs.and(reflectors).each(func(r int) { w.to[r].join(ours) })
	ours.and(reflectors).each(func(r int) { w.from[r].join(theirs) })
}
