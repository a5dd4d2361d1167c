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
//   - whatever an API no longer has that has no Node of this very node either: it may be
//     another cluster's, or a backup from before this node was there;
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

// lost reports whether the API no longer has the Node of this very node.
func (w *world) lost() bool { return w.accepted[keyOfNode(w.self)] != nil && w.nodes[w.self] == nil }

// holdAffinities decides about BlockAffinities that are gone. Those that are held stay so
// while others come back, which they do one by one.
func (w *world) holdAffinities(now time.Time, confirm bool) {
	g := &w.gone
	g.problems = nil
	if g.lost && !w.lost() {
		clear(g.kept) // this cluster's API, after all: judged anew
	}
	maps.DeleteFunc(g.kept, func(name string, _ bool) bool { return g.affinities[name] == nil })
	count := len(g.affinities) + g.recently(v1.KindBlockAffinity, now)
	all := w.lost() || len(w.affinities) == 0 && count > freeRemovals
	before := len(g.affinities)
	for name, a := range g.affinities {
		if confirm || !all && !g.kept[name] || w.accepted[keyOfNode(a.Node)] == nil && w.nodes[a.Node] == nil {
			delete(g.affinities, name)
			w.unindex(name, a)
		} else if !g.kept[name] {
			g.kept[name], g.keptAt = true, now
		}
	}
	if n := before - len(g.affinities); n > 0 {
		g.recent = append(g.recent, removal{v1.KindBlockAffinity, n, now})
	}
	w.holdProblem(v1.KindBlockAffinity, slices.Collect(maps.Keys(g.affinities)))
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
	lost := w.lost()
	if w.gone.lost && !lost {
		w.gone.held = nil // this cluster's API, after all: judged anew
	}
	w.gone.lost = lost
	together := lost || len(w.gone.affinities) > 0 && now.Sub(w.gone.keptAt) <= removalWindow
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
		w.holdProblem(kind, names)
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

// holdProblem says which objects of a kind are held.
func (w *world) holdProblem(kind string, names []string) {
	if len(names) == 0 {
		return
	}
	what := kind
	if kind == v1.KindNodeConfig {
		what = kindNode
	}
	why, until := "at once (%s), and none was left", "they are"
	if w.lost() {
		why, until = "(%s), which has no Node of this very node either: is it another cluster's?", "that Node is"
	}
	w.gone.problems = append(w.gone.problems, caracal.Problem{Severity: caracal.Held, Kind: what, Message: fmt.Sprintf(
		"%d objects of kind %s are gone from the API "+why+"; they stay in force until "+until+" back, or the removal is confirmed (caracal configure confirm)",
		len(names), what, some(names))})
}

// some lists names, ten of them at most; it sorts them.
func some(names []string) string {
	slices.Sort(names)
	text := strings.Join(names[:min(len(names), 10)], ", ")
	if more := len(names) - 10; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
