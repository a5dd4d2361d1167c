package file

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// isolate puts what stands in for a refused NetworkPolicy into force, and says so:
// whoever wrote it wanted to close something, and what it was to allow is not
// known. It does nothing for other kinds.
func (p *pass) isolate(d *document) string {
	if d.bad.policy == nil {
		return ""
	}
	policy := *d.bad.policy
	if policy.Name == "" {
		// Two such documents must not be one policy.
		sum := store.SumOf(fmt.Appendf(nil, "%s:%d", d.file.path, d.line))
		policy.Name = fmt.Sprintf("unnamed-%x", sum[:5])
	}
	p.stands[policy.Key()] = store.RejectedPolicy(policy)
	which := "all pods"
	if len(policy.Pods.Requirements) > 0 {
		which = "the pods that its podSelector selects"
	}
	return fmt.Sprintf("; until it is corrected or removed, %s in the namespace %s are isolated, and nothing may connect to them nor they to anything", which, policy.Namespace)
}

// standIns returns what stands in for refused policies, sorted by name. One whose
// file cannot be read now, or may just be moving, stays.
func (p *pass) standIns() []*store.Object {
	for _, o := range p.old.stands {
		unseen := p.scan.err != nil || p.isShielded(o.Source) || !p.settled
		if unseen && p.stands[o.Name] == nil && p.found[o.Key] == nil {
			p.stands[o.Name] = o
		}
	}
	list := slices.SortedFunc(maps.Values(p.stands), func(a, b *store.Object) int { return cmp.Compare(a.Name, b.Name) })
	// One that is in force by its own name needs nothing in its place.
	return slices.DeleteFunc(list, func(o *store.Object) bool { return p.kept[o.Key] })
}

// everything returns what the Snapshot is built of, sorted by kind and name.
func (o *outcome) everything() []*store.Object {
	if len(o.stands) == 0 {
		return o.objects
	}
	at, _ := slices.BinarySearchFunc(o.objects, v1.KindNetworkPolicy, func(o *store.Object, kind string) int { return cmp.Compare(o.Kind, kind) })
	all := slices.Concat(o.objects[:at], o.stands, o.objects[at:])
	end := at
	for end < len(all) && all[end].Kind == v1.KindNetworkPolicy {
		end++
	}
	slices.SortFunc(all[at:end], func(a, b *store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
