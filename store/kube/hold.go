package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// What the API no longer has is gone: an operator who deletes pools or drains half of
// a cluster means it, and nobody is there on 5,000 nodes to confirm it. But an API
// that has lost its objects (a restore of an empty backup, a CRD that was deleted and
// took its resources along) must not take the network along. So only this is held,
// until it is confirmed or the objects are back:
//
//   - the own Node, while the daemon runs: without it there is nothing that it could do;
//   - all other Nodes at once, of two or more;
//   - all of a kind of caracal.dev at once, if there were more than freeRemovals;
//   - the last IPPool, while nodes have blocks;
//   - and with these whatever else of these kinds goes in the same removalWindow.
//
// Pods, Namespaces, NetworkPolicies and Services are not held.
const (
	freeRemovals  = 3
	removalWindow = 30 * time.Second
)

// removal is what went without being held.
type removal struct {
	kind  string
	count int
	at    time.Time
}

// recently returns how many of a kind went in the last while.
func (g *goneSet) recently(kind string, now time.Time) int {
	g.recent = slices.DeleteFunc(g.recent, func(r removal) bool { return now.Sub(r.at) > removalWindow })
	n := 0
	for _, r := range g.recent {
		if r.kind == kind {
			n += r.count
		}
	}
	return n
}

// holdAffinities decides about BlockAffinities that are gone.
func (w *world) holdAffinities(now time.Time, confirm bool) {
	w.gone.problems = nil
	if len(w.gone.affinities) == 0 {
		return
	}
	count := len(w.gone.affinities) + w.gone.recently(v1.KindBlockAffinity, now)
	if !confirm && len(w.affinities) == 0 && count > freeRemovals {
		w.gone.problem(v1.KindBlockAffinity, slices.Collect(maps.Keys(w.gone.affinities)))
		return
	}
	w.gone.recent = append(w.gone.recent, removal{v1.KindBlockAffinity, len(w.gone.affinities), now})
	for name, a := range w.gone.affinities {
		w.unindex(name, a)
	}
	clear(w.gone.affinities)
}

// hold returns the accepted objects that stay though the API has them no more.
func (w *world) hold(now time.Time, confirm bool) []*store.Object {
	gone, left := map[string][]*store.Object{}, map[string]int{}
	for key, o := range w.accepted {
		switch {
		case w.offered[key] == nil:
			gone[key.Kind] = append(gone[key.Kind], o)
		case key.Name != w.self || key.Kind != v1.KindNodeConfig:
			left[key.Kind]++
		}
	}
	together := len(w.gone.affinities) > 0
	for kind, objects := range gone {
		together = together || w.tooMany(kind, objects, left[kind], now)
	}
	var held []*store.Object
	was := w.gone.held
	w.gone.held = map[store.Key]bool{}
	for kind, objects := range gone {
		var names []string
		for _, o := range objects {
			self := kind == v1.KindNodeConfig && o.Name == w.self
			// What was shown as held is what a confirmation is about.
			if !self && (confirm && was[o.Key] || !together && !was[o.Key]) {
				w.gone.recent = append(w.gone.recent, removal{kind, 1, now})
				continue
			}
			w.gone.held[o.Key] = true
			held = append(held, o)
			if self {
				w.gone.problems = append(w.gone.problems, caracal.Problem{Severity: caracal.Held, Kind: kindNode, Name: w.self, Message: fmt.Sprintf(
					"Node %s is that of this very node and is gone from the API; it stays in force while caracald runs. To take this host out of the cluster, stop caracald and run caracal cleanup --yes", w.self)})
			} else {
				names = append(names, o.Name)
			}
		}
		w.gone.problem(kind, names)
	}
	return held
}

// tooMany reports whether it is not believed that these are gone.
func (w *world) tooMany(kind string, gone []*store.Object, left int, now time.Time) bool {
	count, fresh := 0, false
	for _, o := range gone {
		if kind != v1.KindNodeConfig || o.Name != w.self {
			count++
			fresh = fresh || !w.gone.held[o.Key]
		}
	}
	count += w.gone.recently(kind, now)
	if !fresh || left > 0 {
		return false
	}
	switch kind {
	case v1.KindNodeConfig:
		return count >= 2
	case v1.KindIPPool:
		return len(w.affinities) > 0 || count > freeRemovals
	}
	return count > freeRemovals
}

func (g *goneSet) problem(kind string, names []string) {
	if len(names) == 0 {
		return
	}
	what := kind
	if kind == v1.KindNodeConfig {
		what = kindNode
	}
	slices.Sort(names)
	text := strings.Join(names[:min(len(names), 10)], ", ")
	if more := len(names) - 10; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	g.problems = append(g.problems, caracal.Problem{Severity: caracal.Held, Kind: what, Message: fmt.Sprintf(
		"%d objects of kind %s are gone from the API at once (%s), and none is left; they stay in force until they are back, or the removal is confirmed (caracal configure confirm)",
		len(names), what, text)})
}
