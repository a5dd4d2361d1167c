package kube

import (
	"fmt"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// A CustomResourceDefinition that is deleted takes its objects along: the API deletes
// them one by one, each as if somebody meant it, and has the definition itself last.
// So a deletion of an object of caracal.dev is believed only when no other of its kind
// has followed for departQuiet and the API still knows the kind. Deletions that never
// pause are believed after departMost each. What went with its definition is held: see
// hold.go for what else is.
const (
	departQuiet = 3 * time.Second
	departMost  = 30 * time.Second
)

// departures are the objects that the API no longer has and that are in force all the
// same. It knows neither the API nor the clock.
type departures struct {
	waiting map[string]map[string]time.Time // by kind and name: when it was deleted
	last    map[string]time.Time            // by kind: when the last one was
	orphans map[string]map[string]bool      // by kind and name: what went with its definition
	unknown map[string]bool                 // kinds without a definition
}

func newDepartures() departures {
	return departures{map[string]map[string]time.Time{}, map[string]time.Time{}, map[string]map[string]bool{}, map[string]bool{}}
}

// defined reports whether a kind is there by a CustomResourceDefinition.
func defined(kind string) bool { return resources[kind] != "" }

// leave notes that an object was deleted.
func (d *departures) leave(kind, key string, now time.Time) {
	if d.orphans[kind][key] {
		return
	}
	if d.waiting[kind] == nil {
		d.waiting[kind] = map[string]time.Time{}
	}
	d.waiting[kind][key] = now
	d.last[kind] = now
}

// stay notes that an object is there.
func (d *departures) stay(kind, key string) {
	delete(d.waiting[kind], key)
	delete(d.orphans[kind], key)
}

// has reports whether an object waits or is held.
func (d *departures) has(kind, key string) bool {
	_, waits := d.waiting[kind][key]
	return waits || d.orphans[kind][key]
}

// undefined notes that the API does not know a kind.
func (d *departures) undefined(kind string) {
	d.unknown[kind] = true
	for key := range d.waiting[kind] {
		d.orphan(kind, key)
	}
	delete(d.waiting, kind)
}

func (d *departures) orphan(kind, key string) {
	if d.orphans[kind] == nil {
		d.orphans[kind] = map[string]bool{}
	}
	d.orphans[kind][key] = true
}

// listed notes the whole list of a kind, and returns which of those that were known
// before stay in force without being in it: what went with its definition, and what was
// deleted a moment ago, of which that is not known yet.
func (d *departures) listed(kind string, known []string, list []*item) map[string]bool {
	has := make(map[string]bool, len(list))
	for _, i := range list {
		if i.value != nil { // a claim that is made anew is not confirmed at first
			d.stay(kind, i.key)
			has[i.key] = true
		}
	}
	if d.unknown[kind] {
		for _, key := range known {
			if !has[key] {
				d.orphan(kind, key)
			}
		}
		delete(d.unknown, kind)
		delete(d.waiting, kind)
	}
	stay := map[string]bool{}
	for _, key := range d.names(kind) {
		stay[key] = true
	}
	return stay
}

// due returns the keys of store objects whose deletion is believed now; well says
// whether a kind can be read.
func (d *departures) due(now time.Time, well func(kind string) bool) (list []store.Key) {
	for kind, keys := range d.waiting {
		if len(keys) == 0 || !well(kind) {
			continue
		}
		quiet := now.Sub(d.last[kind]) >= departQuiet
		for key, since := range keys {
			if quiet || now.Sub(since) >= departMost {
				list = append(list, store.Key{Kind: kind, Name: key})
				delete(keys, key)
			}
		}
	}
	return list
}

// names lists those of a kind that wait or are held.
func (d *departures) names(kind string) []string {
	return append(mapKeys(d.waiting[kind]), mapKeys(d.orphans[kind])...)
}

// confirm forgets what is held, and returns it.
func (d *departures) confirm() (list []store.Key) {
	for kind, keys := range d.orphans {
		for key := range keys {
			list = append(list, store.Key{Kind: kind, Name: key})
		}
	}
	clear(d.orphans)
	return list
}

// problems says what is held.
func (d *departures) problems() (list []caracal.Problem) {
	for kind, keys := range d.orphans {
		if len(keys) == 0 {
			continue
		}
		names := mapKeys(keys)
		list = append(list, caracal.Problem{Severity: caracal.Held, Kind: kind, Message: fmt.Sprintf(
			"%d objects of kind %s went with their definition, CustomResourceDefinition %s.caracal.dev (%s); they stay in force until they are back (apply manifests/base/crds.yaml, and the objects), or the removal is confirmed (caracal configure confirm)",
			len(names), kind, resources[kind], some(names))})
	}
	return list
}

// takeChange brings one thing that came into the world.
func (s *Store) takeChange(c change) {
	w, now := s.world, s.opts.Now()
	switch {
	case c.unknown:
		s.departures.undefined(c.kind)
	case c.all && defined(c.kind):
		w.replaceBut(c.kind, c.list, s.departures.listed(c.kind, w.names(c.kind), c.list))
	case c.all:
		w.replace(c.kind, c.list)
	case c.gone && defined(c.kind):
		s.departures.leave(c.kind, c.item.key, now)
	case c.gone:
		w.set(c.kind, c.item.key, nil)
	case c.item.value == nil && s.departures.has(c.kind, c.item.key):
		// As in listed.
	default:
		s.departures.stay(c.kind, c.item.key)
		if a, ok := c.item.value.(*affinity); ok {
			s.displace(c.item.key, a)
		}
		w.set(c.kind, c.item.key, c.item.value)
	}
}

// displace believes at once in the deletion of a claim whose block is somebody else's
// now.
func (s *Store) displace(key string, a *affinity) {
	for _, name := range s.departures.names(v1.KindBlockAffinity) {
		if old := s.world.affinities[name]; name != key && old != nil && old.CIDR == a.CIDR {
			s.departures.stay(v1.KindBlockAffinity, name)
			s.world.set(v1.KindBlockAffinity, name, nil)
		}
	}
}

// depart takes away what is to go by now.
func (s *Store) depart() {
	well := func(kind string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.health[kind].why == ""
	}
	for _, key := range s.departures.due(s.opts.Now(), well) {
		s.world.set(key.Kind, key.Name, nil)
		s.due = true
	}
	s.touchDisk()
}

// departConfirmed takes away what went with its definition.
func (s *Store) departConfirmed() {
	for _, key := range s.departures.confirm() {
		s.world.set(key.Kind, key.Name, nil)
		s.world.gone.held[key] = true // what was shown as held
	}
}
