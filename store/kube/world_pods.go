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

// beats reports whether c has the address rather than o: one that is not ending
// before one that is, and the younger one of two, whatever order they come in.
func (c claim) beats(o claim) bool {
	if c.ending != o.ending {
		return o.ending
	}
	return cmp.Or(cmp.Compare(c.created, o.created), strings.Compare(c.key, o.key)) > 0
}

func (w *world) setPod(key string, p *pod) {
	old, had := w.workloads.Get(key)
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
	is.Addrs = without(is.Addrs, func(a netip.Addr) bool { return !w.claim(a, claim{key, p.Created, p.Ending}) })
	if !had {
		w.mention(is.Namespace, 1)
	}
	if !had || !reflect.DeepEqual(old, is) {
		w.workloads = w.workloads.Put(key, is)
	}
}

// without returns a list of its own without some; nil if none is left.
func without(list []netip.Addr, gone func(netip.Addr) bool) []netip.Addr {
	left := slices.DeleteFunc(slices.Clone(list), gone)
	if len(left) == 0 {
		return nil
	}
	return left
}

// claim gives an address to a Pod if its claim is the best, and reports whether.
func (w *world) claim(a netip.Addr, c claim) bool {
	cur, taken := w.claims[a]
	if !taken {
		w.claims[a] = c
		return true
	}
	if !c.beats(cur) {
		w.losers[a] = append(w.losers[a], c)
		return false
	}
	w.claims[a] = c
	w.losers[a] = append(w.losers[a], cur)
	if was, ok := w.workloads.Get(cur.key); ok {
		was.Addrs = without(was.Addrs, func(b netip.Addr) bool { return b == a })
		w.workloads = w.workloads.Put(cur.key, was)
	}
	return true
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
		list := w.losers[a]
		if len(list) == 0 {
			continue
		}
		best := 0
		for i := range list {
			if list[i].beats(list[best]) {
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
	is.ReadyHere = w.ready[key] > 0
	if old, ok := w.services.Get(key); !ok || !reflect.DeepEqual(old, is) {
		w.services = w.services.Put(key, is)
	}
}

func (w *world) setSlice(key string, s *slice) {
	was, is := w.slices[key], ""
	if s != nil {
		is = s.Service
	}
	if was == is {
		return
	}
	w.touched[kindEndpointSlice] = true
	delete(w.slices, key)
	if is != "" {
		w.slices[key] = is
	}
	w.countReady(was, -1)
	w.countReady(is, 1)
}

func (w *world) countReady(service string, by int) {
	if service == "" {
		return
	}
	if w.ready[service] += by; w.ready[service] <= 0 {
		delete(w.ready, service)
	}
	if s, ok := w.services.Get(service); ok && s.ReadyHere != (w.ready[service] > 0) {
		s.ReadyHere = w.ready[service] > 0
		w.services = w.services.Put(service, s)
	}
}
