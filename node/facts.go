package node

import (
	"context"
	"maps"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// sessionFacts is what the routes task knows of the sessions, from their events.
// It publishes a copy when something changed.
type sessionFacts struct {
	now     map[string]bgp.SessionFact
	eor     map[string][2]bool // IPv4, IPv6
	changed bool
}

func newSessionFacts() *sessionFacts {
	return &sessionFacts{now: map[string]bgp.SessionFact{}, eor: map[string][2]bool{}}
}

// session takes an event.
func (f *sessionFacts) session(s *bgp.Session) {
	f.changed = true
	switch {
	case s.Renamed != "":
		f.now[s.Neighbor], f.eor[s.Neighbor] = f.now[s.Renamed], f.eor[s.Renamed]
		delete(f.now, s.Renamed)
		delete(f.eor, s.Renamed)
	case s.Removed:
		delete(f.now, s.Neighbor)
		delete(f.eor, s.Neighbor)
	case s.State != s.Was:
		f.now[s.Neighbor] = bgp.SessionFact{Established: s.State == bgp.Established, Since: s.At}
		delete(f.eor, s.Neighbor)
	}
}

// endOfRIB takes one; n is the neighbor as it is configured.
func (f *sessionFacts) endOfRIB(e *bgp.EndOfRIB, n bgp.Neighbor) {
	eor := f.eor[e.Neighbor]
	if e.IPv6 {
		eor[1] = true
	} else {
		eor[0] = true
	}
	f.eor[e.Neighbor] = eor
	fact := f.now[e.Neighbor]
	if fact.EndOfRIB.IsZero() && (eor[0] || !n.IPv4) && (eor[1] || !n.IPv6) {
		fact.EndOfRIB = time.Now()
		f.now[e.Neighbor], f.changed = fact, true
	}
}

// neighbor returns a neighbor of the plan that the mirror knows.
func (t *routesTask) neighbor(name string) bgp.Neighbor {
	i, ok := slices.BinarySearchFunc(t.config.Neighbors, name, func(n bgp.Neighbor, name string) int {
		switch {
		case n.Name < name:
			return -1
		case n.Name > name:
			return 1
		}
		return 0
	})
	if !ok {
		return bgp.Neighbor{IPv4: true, IPv6: true}
	}
	return t.config.Neighbors[i]
}

// publishSessions hands what is known of the sessions to the speaker's task.
func (t *routesTask) publishSessions() {
	if t.facts.changed {
		t.facts.changed = false
		sessions := maps.Clone(t.facts.now)
		t.sessions.Store(&sessions)
	}
}

// coverage is what the mirror says of a neighbor's accepted paths: that all of
// them came another way as well, and that there is none.
type coverage struct{ covered, silent bool }

// coverages asks the mirror, between two batches.
func (t *routesTask) coverages(ctx context.Context, names []string) map[string]coverage {
	found := map[string]coverage{}
	err := t.query(ctx, func() {
		for _, name := range names {
			covered, accepted := t.mirror.Covered(name)
			found[name] = coverage{covered, !accepted}
		}
	})
	if err != nil {
		return nil // the session stays, and is asked for again
	}
	return found
}

// surroundings are the facts that the machine and its operator give.
func (t *speakerTask) surroundings() bgp.Facts {
	f := bgp.Facts{Now: time.Now(), Drain: t.drain.Stage(), Unruled: !t.ruled.Load()}
	if t.network != nil {
		f.Gateway4, f.Gateway6 = t.network.Gateways()
		f.Routers = t.network.Routers()
	}
	return f
}

// factsFor are those that the next plan is made by.
func (t *speakerTask) factsFor(ctx context.Context, last bgp.Config) bgp.Facts {
	f := t.surroundings()
	f.Last = last
	f.Sessions = *t.sessions.Load()
	if len(last.Lingers) == 0 {
		t.covered = nil
		return f
	}
	f.Sessions = maps.Clone(f.Sessions)
	since := map[string]time.Time{}
	for name, c := range t.coverages(ctx, slices.Collect(maps.Keys(last.Lingers))) {
		session := f.Sessions[name]
		session.Silent = c.silent
		f.Sessions[name] = session
		if !c.covered {
			continue
		}
		since[name] = f.Now
		if earlier, ok := t.covered[name]; ok {
			since[name] = earlier
		}
	}
	t.covered, f.Covered = since, since
	return f
}

// advertise tells on which devices routers are looked for.
func (t *speakerTask) advertise(snap *caracal.Snapshot) {
	if t.network == nil {
		return
	}
	var devices []string
	for _, p := range snap.Peers.All() {
		if p.Interface != "" {
			devices = append(devices, p.Interface)
		}
	}
	slices.Sort(devices)
	devices = slices.Compact(devices)
	if !slices.Equal(devices, t.advertised) {
		t.advertised = devices
		t.network.Advertise(devices)
	}
}
