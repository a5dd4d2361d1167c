package bgp

import (
	"net/netip"
	"time"
)

// rename gives neighbors their new names. GoBGP knows them by address, so
// nothing happens to a session; an operator's word to one is still in force.
func (s *Speaker) rename(list []renaming) {
	for _, r := range list {
		from := r.was.Name
		n := r.was
		n.Name = r.to
		delete(s.have.neighbors, from)
		s.have.neighbors[r.to] = n
		if o, ok := s.options[from]; ok {
			delete(s.options, from)
			s.options[r.to] = o
		}
		if reason, ok := s.disabled[from]; ok {
			delete(s.disabled, from)
			s.disabled[r.to] = reason
		}
		s.tracker.rename(n.Addr, from, r.to)
		s.relays.rename(from, r.to)
		s.opts.Log.Info("neighbor has another name", "neighbor", r.to, "was", from)
	}
}

// rename says so in the stream of events: what comes before is of the old name,
// and what comes after of the new one.
func (t *tracker) rename(addr netip.Addr, from, to string) {
	t.flow.Lock()
	defer t.flow.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.conf.Name != from {
		if nb = t.parked[from]; nb == nil {
			return
		}
		delete(t.parked, from)
		t.parked[to] = nb
	}
	nb.conf.Name = to
	t.inbox.push(Event{Session: &Session{Neighbor: to, State: nb.state, Was: nb.state, Renamed: from, At: time.Now()}})
}

// rename has paths that are passed on come from the neighbor under its new name.
// Some may still be said to come from the old one.
func (r *relays) rename(from, to string) {
	delete(r.renamed, to)
	r.renamed[from] = to
	if a, ok := r.sources[from]; ok {
		delete(r.sources, from)
		r.sources[to] = a
	}
	for _, list := range r.want {
		for i := range list {
			if list[i].From == from {
				list[i].From = to
			}
		}
	}
	for _, list := range r.have {
		for i := range list {
			if list[i].From == from {
				list[i].From = to
			}
		}
	}
}

// name is what a neighbor is called by now that nobody is called any more.
func (r *relays) name(name string) string {
	for range len(r.renamed) { // there may be a circle
		to, ok := r.renamed[name]
		if !ok {
			break
		}
		name = to
	}
	return name
}
