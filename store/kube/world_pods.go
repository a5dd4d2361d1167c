package kube

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// claim is a Pod's word that it has an address.
type claim struct {
	key     string
	created int64
	ending  bool
}

// beats reports whether c has the address rather than o, if the node of neither or of
// both has the block that it is in: one that is not ending before one that is, and the
// younger one of two, whatever order they come in.
func (c claim) beats(o claim) bool {
	if c.ending != o.ending {
		return o.ending
	}
	return cmp.Or(cmp.Compare(c.created, o.created), strings.Compare(c.key, o.key)) > 0
}

func (w *world) setPod(key string, p *pod) {
	old, had := w.workloads.Get(key)
	w.setUIDs(key, p)
	if p == nil {
		if had {
			w.release(key, old.Addrs)
			w.workloads = w.workloads.Delete(key)
			w.mention(old.Namespace, -1)
		}
		return
	}
	is := p.Workload
	_, is.Name, _ = strings.Cut(key, "/") // one text for both
	if had && len(w.losers) == 0 && reflect.DeepEqual(old, is) && !slices.ContainsFunc(is.Addrs, func(a netip.Addr) bool {
		return w.claims[a] != claim{key, p.Created, p.Ending}
	}) {
		return
	}
	w.release(key, old.Addrs)
	is.Addrs = without(is.Addrs, func(a netip.Addr) bool { return !w.claim(a, claim{key, p.Created, p.Ending}, p.Node) })
	if !had {
		w.mention(is.Namespace, 1)
	}
	if !had || !reflect.DeepEqual(old, is) {
		w.workloads = w.workloads.Put(key, is)
	}
}

// setUIDs notes by which UIDs the kubelet of this node may call a Pod.
func (w *world) setUIDs(key string, p *pod) {
	var is []string
	if p != nil {
		is = p.UIDs
	}
	was, _ := w.uids.Get(key)
	if slices.Equal(was, is) {
		return
	}
	w.touched[kindPods] = true
	if is == nil {
		w.uids = w.uids.Delete(key)
		return
	}
	w.uids = w.uids.Put(key, is)
}

// without returns a list of its own without some; nil if none is left.
func without(list []netip.Addr, gone func(netip.Addr) bool) []netip.Addr {
	left := slices.DeleteFunc(slices.Clone(list), gone)
	if len(left) == 0 {
		return nil
	}
	return left
}

// claim gives an address to a Pod of a node if its claim is the best, and reports
// whether.
func (w *world) claim(a netip.Addr, c claim, node string) bool {
	cur, taken := w.claims[a]
	if !taken {
		w.claims[a] = c
		return true
	}
	home := w.home(a)
	if here, there := node == home, w.nodeOf(cur) == home; here != there && there || here == there && !c.beats(cur) {
		w.losers[a] = append(w.losers[a], c)
		return false
	}
	w.claims[a] = c
	w.losers[a] = append(w.losers[a], cur)
	w.takeAddr(cur, a)
	return true
}

// takeAddr takes an address from the Pod that has it.
func (w *world) takeAddr(c claim, a netip.Addr) {
	if was, ok := w.workloads.Get(c.key); ok {
		was.Addrs = without(was.Addrs, func(b netip.Addr) bool { return b == a })
		w.workloads = w.workloads.Put(c.key, was)
	}
}

func (w *world) nodeOf(c claim) string {
	p, _ := w.workloads.Get(c.key)
	return p.Node
}

// home is the node that has the block of an address, or has borrowed it; empty if no
// claim says so. What a Pod's status says its kubelet wrote, and a host that somebody
// has broken into must not take the addresses of others by it. It looks at all claims
// of blocks, and is asked only when two Pods say that they have one address.
func (w *world) home(a netip.Addr) (node string) {
	bits := -1
	for _, f := range w.affinities {
		if f.CIDR.Bits() > bits && f.CIDR.Contains(a) {
			node, bits = f.Node, f.CIDR.Bits()
		}
	}
	return node
}

// rehome gives the addresses of a block that several Pods claim to the best of them,
// when whose the block is has changed.
func (w *world) rehome(block netip.Prefix) {
	for a := range w.losers {
		if block.Contains(a) {
			cur := w.claims[a]
			w.takeAddr(cur, a)
			w.losers[a] = append(w.losers[a], cur)
			w.giveBest(a)
		}
	}
}

// giveBest gives an address that nobody has now to the best of those who claim it.
func (w *world) giveBest(a netip.Addr) {
	list, home := w.losers[a], w.home(a)
	best := 0
	for i := range list {
		if here, there := w.nodeOf(list[i]) == home, w.nodeOf(list[best]) == home; here && !there || here == there && list[i].beats(list[best]) {
			best = i
		}
	}
	next := list[best]
	w.setLosers(a, slices.Delete(list, best, best+1))
	w.claims[a] = next
	if is, ok := w.workloads.Get(next.key); ok {
		is.Addrs = append(slices.Clone(is.Addrs), a)
		slices.SortFunc(is.Addrs, netip.Addr.Compare)
		w.workloads = w.workloads.Put(next.key, is)
	}
}

// release takes the addresses of a Pod from it, and those that it claims in vain.
func (w *world) release(key string, held []netip.Addr) {
	for a, list := range w.losers {
		w.setLosers(a, slices.DeleteFunc(list, func(c claim) bool { return c.key == key }))
	}
	for _, a := range held {
		if w.claims[a].key != key {
			continue
		}
		delete(w.claims, a)
		if len(w.losers[a]) > 0 {
			w.giveBest(a)
		}
	}
}

func (w *world) setLosers(a netip.Addr, list []claim) {
	if len(list) == 0 {
		delete(w.losers, a)
		return
	}
	w.losers[a] = list
}

func (w *world) setNamespace(name string, n *caracal.Namespace) {
	if n == nil {
		delete(w.declared, name)
		w.mention(name, 0)
		return
	}
	w.declared[name] = true
	if old, ok := w.namespaces.Get(name); !ok || !reflect.DeepEqual(old, *n) {
		w.namespaces = w.namespaces.Put(name, *n)
	}
}

// mention counts the objects in a namespace: it is there if it has an object of its
// own, or if another is in it, whose watch may be ahead of that of Namespaces.
func (w *world) mention(name string, by int) {
	w.mentions[name] += by
	_, known := w.namespaces.Get(name)
	switch {
	case w.mentions[name] > 0 && !w.declared[name]:
		w.namespaces = w.namespaces.Put(w.words.Word(name), v1.NamespaceOf(name, nil))
	case w.mentions[name] <= 0:
		delete(w.mentions, name)
		if known && !w.declared[name] {
			w.namespaces = w.namespaces.Delete(name)
		}
	}
}

func (w *world) setPolicy(key string, p *policy) {
	old, had := w.policies.Get(key)
	id := store.Key{Kind: v1.KindNetworkPolicy, Name: key}
	delete(w.refused, id)
	if p == nil {
		delete(w.warned, id)
		if had {
			w.policies = w.policies.Delete(key)
			w.mention(old.Namespace, -1)
		}
		return
	}
	if p.Invalid != "" {
		w.refused[id] = p.Invalid
		if had && old.Invalid == "" {
			w.refused[id] += "; the last version that could be read stays in force"
			return
		}
		w.refused[id] += "; until it is corrected or removed, the pods that it may select are isolated, and nothing may connect to them nor they to anything"
	}
	if delete(w.warned, id); len(p.Warnings) > 0 {
		w.warned[id] = p.Warnings
	}
	if !had {
		w.mention(p.Namespace, 1)
	}
	if !had || !reflect.DeepEqual(old, p.Policy) {
		w.policies = w.policies.Put(key, p.Policy)
	}
}

func (w *world) setService(key string, s *caracal.Service) {
	if s == nil {
		w.services = w.services.Delete(key)
		return
	}
	is := *s
	is.ReadyHere4, is.ReadyHere6 = w.readyHere(key)
	if old, ok := w.services.Get(key); !ok || !reflect.DeepEqual(old, is) {
		w.services = w.services.Put(key, is)
	}
}

// readyHere reports of which families a Service has a ready endpoint here.
func (w *world) readyHere(service string) (v4, v6 bool) {
	return w.ready[slice{service, false}] > 0, w.ready[slice{service, true}] > 0
}

func (w *world) setSlice(key string, s *slice) {
	was, is := w.slices[key], slice{}
	if s != nil {
		is = *s
	}
	if was == is {
		return
	}
	w.touched[kindEndpointSlice] = true
	delete(w.slices, key)
	if is.Service != "" {
		w.slices[key] = is
	}
	w.countReady(was, -1)
	w.countReady(is, 1)
}

func (w *world) countReady(of slice, by int) {
	if of.Service == "" {
		return
	}
	if w.ready[of] += by; w.ready[of] <= 0 {
		delete(w.ready, of)
	}
	v4, v6 := w.readyHere(of.Service)
	if s, ok := w.services.Get(of.Service); ok && (s.ReadyHere4 != v4 || s.ReadyHere6 != v6) {
		s.ReadyHere4, s.ReadyHere6 = v4, v6
		w.services = w.services.Put(of.Service, s)
	}
}
