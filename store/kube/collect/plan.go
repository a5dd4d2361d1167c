package collect

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal/ipam"
)

// sight is what a look found of a node that has records.
type sight struct {
	node string
	// gone says that there is neither a Node of this name nor a Pod on it.
	gone bool
	// records are the revisions of all that it has: they change if it writes.
	records string
}

// watch is since when a node looks gone.
type watch struct {
	since   time.Time
	times   int
	records string
}

// limits are what a node's end is judged by.
type limits struct {
	// grace is how long a node must be gone, and massGrace how long if more than half
	// of all nodes are, and more than a few: then the API is what is more likely wrong.
	grace, massGrace time.Duration
}

// few is how many nodes may go at once without a doubt.
const few = 3

// judge returns what to remember of a look, and the nodes that are given up, sorted.
// total is how many nodes have records. It is pure.
func judge(was map[string]watch, seen []sight, total int, now time.Time, l limits) (next map[string]watch, due []string, held bool) {
	next = map[string]watch{}
	for _, s := range seen {
		if !s.gone {
			continue
		}
		w, before := was[s.node]
		if !before || w.records != s.records {
			w = watch{since: now, records: s.records}
		}
		w.times++
		next[s.node] = w
	}
	grace := l.grace
	mass := len(next) > few && len(next) > total/2
	if mass {
		grace = max(grace, l.massGrace)
	}
	for _, node := range slices.Sorted(maps.Keys(next)) {
		w := next[node]
		if w.times < 2 || now.Sub(w.since) < l.grace {
			continue
		}
		if now.Sub(w.since) < grace {
			held = true
			continue
		}
		due = append(due, node)
	}
	return next, due, held
}

// estate is what a node left.
type estate struct {
	node string
	// claims are its affinities and the addresses that it borrows; blocks those that it
	// has, and those that it borrows of.
	claims, blocks []ipam.Record
	// unread are blocks of which nobody knows what they say: their claims stay.
	unread map[netip.Prefix]bool
}

// step is one write.
type step struct {
	record ipam.Record
	delete bool
	// why, as a sentence for the log; freed are the addresses that are free by it.
	why   string
	freed []ipam.Allocation
}

// plan says what is to be done about an estate, in the order in which it is to be
// done: whatever it ends after, no address is free that somebody may have, and nothing
// is left that the next look does not find. Records change their revision with each
// write; the steps of one record are in order. It is pure.
func plan(e estate, now time.Time) (steps []step, problems []string) {
	left := map[netip.Prefix]*ipam.Holdings{} // blocks, after what is freed
	records := map[netip.Prefix]ipam.Record{}
	e.unread = maps.Clone(e.unread)
	for _, r := range e.claims { // off the list of borrowed ones before it is free
		if s, _ := ipam.SubjectOf(r.Key); s.Kind == ipam.BorrowedSubject {
			next, err := ipam.WithState(r, ipam.AffinityReleasing)
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			steps = append(steps, step{record: next, why: "address " + s.CIDR.Addr().String() + " is no longer borrowed"})
		}
	}
	for _, r := range e.blocks {
		next, freed, err := ipam.FreeOf(r, e.node, now)
		var h ipam.Holdings
		if err == nil {
			h, err = ipam.ReadBlock(next)
		}
		if err != nil {
			problems = append(problems, err.Error())
			if s, ok := ipam.SubjectOf(r.Key); ok {
				e.leave(s.CIDR)
			}
			continue
		}
		left[h.CIDR], records[h.CIDR] = &h, r
		if len(freed) > 0 {
			steps = append(steps, step{record: next, freed: freed, why: fmt.Sprintf("%d addresses of block %s are free", len(freed), h.CIDR)})
		}
	}
	for _, r := range e.claims {
		steps = append(steps, e.giveUp(r, left, records)...)
	}
	return append(steps, e.unclaimed(left, records)...), problems
}

// giveUp deletes a claim, and the block that it is of if nobody uses it. A block of
// which others borrow stays until they have left.
func (e estate) giveUp(r ipam.Record, left map[netip.Prefix]*ipam.Holdings, records map[netip.Prefix]ipam.Record) []step {
	s, _ := ipam.SubjectOf(r.Key)
	if sum, _ := ipam.Summarize(r); e.unread[s.CIDR] || e.unread[sum.Borrowed] {
		return nil
	}
	if s.Kind == ipam.BorrowedSubject {
		return []step{{record: r, delete: true, why: "nobody borrows " + s.CIDR.Addr().String()}}
	}
	h := left[s.CIDR]
	if h == nil || h.Node != e.node {
		return []step{{record: r, delete: true, why: "the claim of " + s.CIDR.String() + " came to nothing"}}
	}
	if len(h.Allocations) > 0 {
		return nil
	}
	delete(left, s.CIDR)
	releasing, err := ipam.WithState(r, ipam.AffinityReleasing)
	if err != nil { // ReadBlock could be read, so its claim goes with it
		releasing = r
	}
	return []step{
		{record: releasing, why: "block " + s.CIDR.String() + " is about to be deleted"},
		{record: records[s.CIDR], delete: true, why: "nobody uses block " + s.CIDR.String()},
		{record: r, delete: true, why: "block " + s.CIDR.String() + " is anybody's"},
	}
}

// leave notes a block that cannot be read.
func (e *estate) leave(cidr netip.Prefix) {
	if e.unread == nil {
		e.unread = map[netip.Prefix]bool{}
	}
	e.unread[cidr] = true
}

// unclaimed deletes blocks of the node without a claim.
func (e estate) unclaimed(left map[netip.Prefix]*ipam.Holdings, records map[netip.Prefix]ipam.Record) (steps []step) {
	claimed := map[netip.Prefix]bool{}
	for _, r := range e.claims {
		s, _ := ipam.SubjectOf(r.Key)
		claimed[s.CIDR] = true
	}
	for _, cidr := range slices.SortedFunc(maps.Keys(left), netip.Prefix.Compare) {
		if h := left[cidr]; h.Node == e.node && len(h.Allocations) == 0 && !claimed[cidr] {
			steps = append(steps, step{record: records[cidr], delete: true, why: "nobody uses block " + cidr.String() + ", and nobody claims it"})
		}
	}
	return steps
}
