package fib

import (
	"net/netip"
	"slices"
	"time"
)

// RouteState is what is known of one prefix, for `show fib`.
type RouteState struct {
	Dst netip.Prefix
	// Wanted says that Want holds what the caller asked for.
	Wanted bool
	Want   Want // without Received
	// Adopted says that the route was found at start and nobody has wanted it
	// since.
	Adopted bool
	// Installed says that Route is in the kernel, now, and if Wanted that it is
	// as wanted.
	Installed bool
	// Route is what the kernel has; its Kind is 0 if it has nothing.
	Route Route
	// Pending says that the next Apply will look at it.
	Pending bool
	// Reason says in words why the route is not in, or not as wanted; empty if
	// all is well.
	Reason string
	// Err is what the kernel answered to the last try, Attempts the number of
	// tries, Retry the time of the next.
	Err      error
	Attempts int
	Retry    time.Time
	// Since is when the route got into the kernel or out of it, or since when
	// there is the Reason.
	Since time.Time
}

// State returns what is known of dst; false if it is neither wanted nor in the
// kernel.
func (f *FIB) State(dst netip.Prefix) (RouteState, bool) {
	if !dst.IsValid() {
		return RouteState{}, false
	}
	i := f.table.find(dst.Masked())
	if i == 0 {
		return RouteState{}, false
	}
	return f.state(i, f.table.at(i)), true
}

// All calls fn for each prefix, in no order, until it returns false.
func (f *FIB) All(fn func(RouteState) bool) {
	f.table.all(func(i id, e *entry) bool { return fn(f.state(i, e)) })
}

// Installed reports whether the kernel has a route of ours for dst. What was
// adopted counts.
func (f *FIB) Installed(dst netip.Prefix) bool {
	if !dst.IsValid() {
		return false
	}
	i := f.table.find(dst.Masked())
	return i != 0 && f.table.at(i).have != 0
}

// InstalledAsWanted reports whether the kernel has the route that the want for
// dst resolves to now, and did not refuse it: what a prefix must be before it is
// announced. It looks into memory only. What is adopted and not wanted is not
// as wanted; see [FIB.Installed].
func (f *FIB) InstalledAsWanted(dst netip.Prefix) bool {
	if !dst.IsValid() {
		return false
	}
	i := f.table.find(dst.Masked())
	if i == 0 {
		return false
	}
	e := f.table.at(i)
	return e.want != unwanted && e.have != 0 && e.have == f.wants.vals[e.want].group && f.failures[i] == nil
}

func (f *FIB) state(i id, e *entry) RouteState {
	w := f.wants.vals[e.want]
	s := RouteState{
		Dst: e.dst(), Wanted: e.want != unwanted, Adopted: e.is(flagAdopted),
		Pending: e.is(flagDirty), Since: time.Unix(0, e.since),
		Route: f.route(e.dst(), e.have),
	}
	if s.Route.Kind == Unicast {
		s.Route.Hops = f.named(s.Route.Hops)
	}
	s.Installed = e.have != 0
	if s.Wanted {
		s.Want = w.Want
		s.Want.Dst = s.Dst
		s.Installed = e.have != 0 && e.have == w.group
	}
	switch fail := f.failures[i]; {
	case fail != nil:
		s.Err, s.Attempts, s.Retry = fail.err, fail.attempts, fail.at
		s.Reason, s.Since = fail.err.Error(), time.Unix(0, fail.since)
	case s.Wanted && w.reason != "":
		s.Reason, s.Since = w.reason, time.Unix(0, w.since)
	case s.Wanted && !s.Installed:
		s.Reason = "not written yet"
	case s.Adopted:
		s.Reason = "found at start, not wanted by anybody yet"
	}
	return s
}

// named returns hops with the devices' names of now.
func (f *FIB) named(hops []Hop) []Hop {
	hops = slices.Clone(hops)
	for i := range hops {
		if l, ok := f.links[hops[i].Link]; ok {
			hops[i].Device = l.Name
		}
	}
	return hops
}

// Cause says why a route in the kernel was not what it should have been.
type Cause uint8

// The causes of drift.
const (
	CauseDeleted Cause = iota // somebody deleted our route
	CauseChanged              // somebody changed it
	CauseLink                 // it went with its link or its address
	CauseStray                // somebody made a route with our mark
	numCauses
)

// String returns the word that metrics use.
func (c Cause) String() string {
	return [...]string{"deleted", "changed", "link", "stray"}[c]
}

func (e *entry) cause() Cause {
	if e.is(flagLink) {
		return CauseLink
	}
	return CauseDeleted
}

// Drift counts routes by [Cause].
type Drift [numCauses]uint64

// Stats are counters since the start, and gauges of now.
type Stats struct {
	// Gauges: prefixes known, routes in the kernel, how many of those discard;
	// prefixes without a resolvable next hop; failed, of those conflicts with a
	// foreign route; adopted and not wanted; next hops; shared ways.
	Prefixes, Installed, Discarding int
	Unresolved, Failed, Conflicts   int
	Adopted, NextHops, Groups       int
	// Counters: routes written, deleted, refused by the kernel; next hops looked
	// up; audits.
	Written, Deleted, Refused, Lookups, Audits uint64
	// Drift counts the routes that were not as they should be, by cause, each
	// repaired by the next Apply; DriftAudit those that only an audit found.
	Drift      Drift
	DriftAudit uint64
	// Lost counts the times that notifications were lost.
	Lost uint64
}

// Stats returns the counters. It visits what is shared, not the routes.
func (f *FIB) Stats() Stats {
	s := f.stats
	s.Prefixes, s.Failed, s.NextHops = f.table.len(), len(f.failures), len(f.nexthops)
	s.Groups = len(f.groups.byKey)
	for _, fail := range f.failures {
		if fail.conflict {
			s.Conflicts++
		}
	}
	for n, w := range f.wants.vals {
		switch {
		case w == nil:
		case uint32(n) == unwanted:
			f.routes(w, func(_ id, e *entry) {
				if e.is(flagAdopted) {
					s.Adopted++
				}
			})
		case w.reason != "":
			s.Unresolved += w.num
		}
	}
	return s
}
