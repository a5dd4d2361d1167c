package kube

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// build returns the Snapshot of what is known now, and whether its tables or
// settings differ from those of prev. Generation, Synced, Incomplete and Problems are
// left as they are; Problems that the objects give are [world.problems]. Confirm lets
// removals through that are held.
func (w *world) build(prev *caracal.Snapshot, now time.Time, confirm bool) (*caracal.Snapshot, bool) {
	if w.judge && w.listedJudged() && (confirm || w.judgeIn() <= 0) {
		began := time.Now()
		w.holdAffinities(now, confirm)
		w.propose()
		w.judgeAll(now, confirm)
		w.judge, w.rebuild = false, true
		defer func() { w.judgedAt, w.judgeTook = time.Now(), time.Since(began) }()
	}
	base := *prev
	base.Namespaces = caracal.NewTable[string, caracal.Namespace]()
	next, changed := &base, false
	if w.rebuild {
		next, changed = w.fromObjects(&base)
	}
	changed = changed || differ(prev.Workloads, w.workloads) || differ(prev.Namespaces, w.namespaces) ||
		differ(prev.Policies, w.policies) || differ(prev.Services, w.services)
	next.Workloads, next.Namespaces, next.Policies, next.Services = w.workloads, w.namespaces, w.policies, w.services
	return next, changed
}

// To judge costs time in proportion to the cluster, so at most a part of the time is
// spent so: a rack of new nodes, each with its blocks, is judged together. What is not
// judged, Pods and policies among it, does not wait.
const judgeShare = 4

// judgeIn returns how long a judgement has to wait for the sake of the last one; 0 or
// less if it need not.
func (w *world) judgeIn() time.Duration {
	return min(judgeShare*w.judgeTook, time.Second) - time.Since(w.judgedAt)
}

// differ reports whether two tables are not the very same. Every change here makes
// another one, so there is no need to compare values.
func differ[V any](a, b caracal.Table[string, V]) bool {
	found := a.Len() != b.Len()
	if !found {
		b.Diff(a, func(V, V) bool { return false }, func(string, *V, *V) { found = true })
	}
	return found
}

// fromObjects builds what comes of the accepted objects.
func (w *world) fromObjects(base *caracal.Snapshot) (*caracal.Snapshot, bool) {
	w.begin()
	next, problems, changed := store.RebuildClaimed(base, w.claimed(), w.built, w.objects, w.secrets)
	if digest := store.Digest(w.objects); digest != next.Digest {
		next.Digest, changed = digest, true
	}
	w.built, w.builds, w.rebuild = w.objects, problems, false
	return next, changed
}

// claimed are the blocks that nodes took by themselves, and the addresses that they
// borrow of others' blocks. A block that a NodeConfig lists is the configuration's, and
// one that two nodes say they have is that of the one who has it by the judgement.
func (w *world) claimed() map[netip.Prefix]string {
	all := make(map[netip.Prefix]string, len(w.affinities))
	loans := map[netip.Prefix]string{} // to the names of their objects
	for _, m := range []map[string]*affinity{w.gone.affinities, w.affinities} {
		for name, a := range m {
			is := w.accepted[keyOfNode(a.Node)]
			if a.Static || is == nil {
				continue
			}
			if a.Borrowed {
				if was, taken := loans[a.CIDR]; !taken || firstLoan(a.CIDR, name, was) == name {
					loans[a.CIDR], all[a.CIDR] = name, a.Node
				}
				continue
			}
			o, block := w.overlays[a.Node], a.CIDR.String()
			if (o == nil || !slices.Contains(o.Config.Spec.Blocks, block)) && slices.Contains(is.Value.(*v1.NodeConfig).Spec.Blocks, block) {
				all[a.CIDR] = a.Node
			}
		}
	}
	return all
}

// firstLoan returns which of two objects says who borrows an address: the one that has
// the name for that, of which there can be only one, or else the first by name.
func firstLoan(p netip.Prefix, a, b string) string {
	named := func(name string) bool {
		rest, ok := strings.CutPrefix(name, "borrowed.")
		addr, err := netip.ParseAddr(strings.ReplaceAll(rest, "-", ":"))
		return ok && err == nil && addr == p.Addr()
	}
	switch {
	case named(a):
		return a
	case named(b):
		return b
	}
	return min(a, b)
}

func (w *world) judgeAll(now time.Time, confirm bool) {
	held := w.hold(now, confirm)
	p := store.Proposal{Accepted: w.accepted}
	for key, o := range w.offered {
		if acc := w.accepted[key]; acc != nil && acc.Sum == o.Sum {
			p.InForce = append(p.InForce, acc)
		} else {
			p.Changed = append(p.Changed, o)
		}
	}
	p.InForce = append(p.InForce, held...)
	verdict := store.Judge(p)
	w.verdicts = w.verdicts[:0:0]
	for _, r := range verdict.Rejected {
		message := store.Sentence("", r.Object.Key, r.Reason)
		if r.InForce != nil {
			message += fmt.Sprintf("; the version taken at %s stays in force", r.InForce.AcceptedAt.UTC().Format(time.RFC3339))
		}
		w.verdict(caracal.Rejected, r.Object.Key, message)
	}
	for _, r := range verdict.Strained {
		w.verdict(caracal.Warning, r.Object.Key, store.Sentence("", r.Object.Key, r.Reason))
	}
	w.accepted = make(map[store.Key]*store.Object, len(verdict.Objects))
	for i, o := range verdict.Objects {
		if o.AcceptedAt.IsZero() {
			stamped := *o
			stamped.AcceptedAt = now
			o, verdict.Objects[i] = &stamped, &stamped
		}
		w.accepted[o.Key] = o
	}
	w.objects = withDefaults(verdict.Objects)
	for _, p := range store.Warnings(w.objects) {
		w.verdict(p.Severity, store.Key{Kind: p.Kind, Name: p.Name}, p.Message)
	}
}

// verdict notes a Problem of judging. A Node without a NodeConfig of its own is
// called what it is.
func (w *world) verdict(s caracal.Severity, key store.Key, message string) {
	p := caracal.Problem{Severity: s, Kind: key.Kind, Name: key.Name, Message: message}
	if key.Kind == v1.KindNodeConfig && w.overlays[key.Name] == nil {
		p.Kind, p.Message = kindNode, nodeWords.Replace(message)
	}
	w.verdicts = append(w.verdicts, p)
}

// withDefaults adds what is in force without an object that says so.
func withDefaults(objects []*store.Object) []*store.Object {
	def := blocksByDefault()
	i, found := slices.BinarySearchFunc(objects, def, func(a, b *store.Object) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	if found {
		return objects
	}
	return slices.Insert(slices.Clone(objects), i, def)
}

// listedJudged reports whether all kinds are known that are judged together: before
// that, what is first would win.
func (w *world) listedJudged() bool {
	return !slices.ContainsFunc(kinds(), func(kind string) bool { return judged(kind) && !w.seen[kind] })
}

// problems are those of objects, in no order.
func (w *world) problems() []caracal.Problem {
	list := slices.Concat(w.verdicts, w.builds, w.gone.problems)
	for key, why := range w.refused {
		s := caracal.Rejected
		if key.Kind == kindNode {
			s = caracal.Warning
		}
		list = append(list, caracal.Problem{Severity: s, Kind: key.Kind, Name: key.Name, Message: store.Sentence("", key, why)})
	}
	keys := slices.SortedFunc(maps.Keys(w.warned), func(a, b store.Key) int { return strings.Compare(a.Name, b.Name) })
	for i, key := range keys {
		if i == maxAlike {
			list = append(list, caracal.Problem{Severity: caracal.Warning, Kind: key.Kind, Message: fmt.Sprintf(
				"%d more NetworkPolicies have warnings, %s first.", len(keys)-maxAlike, key.Name)})
			break
		}
		for _, e := range w.warned[key] {
			list = append(list, caracal.Problem{Severity: caracal.Warning, Kind: key.Kind, Name: key.Name, Message: store.Sentence("", key, e.Error())})
		}
	}
	return list
}

// maxAlike is how many NetworkPolicies' warnings are listed.
const maxAlike = 10
