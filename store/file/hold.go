package file

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

const (
	// A step that removes half of the objects of a kind, or more, is held, unless
	// it is this many or fewer.
	freeRemovals = 3
	// removalWindow is how long removals count as one step: a tree that is deleted
	// or unmounted slowly is seen in several batches.
	removalWindow = 30 * time.Second
)

// holdRemovals keeps what a change would remove that is too large to be
// believed, until it is confirmed. If it is held for one kind, then for all: a
// tree that was moved away takes a few objects of some kinds with the many of
// others. What is held stays so until it is confirmed or back.
func (p *pass) holdRemovals() {
	p.old.recent = slices.DeleteFunc(slices.Clone(p.old.recent), func(r removal) bool { return p.now.Sub(r.at) > removalWindow })
	self := p.goneSelf()
	gone := p.unconfirmed(self)
	if p.confirm || !p.anyHeld() {
		p.old.heldAt = time.Time{}
	}
	if p.scan.err == nil && p.documents == 0 && len(gone) > 0 {
		p.holdEverything(gone, self)
		return
	}
	if p.isHeldNow(gone, self) {
		p.old.heldAt = p.now
	}
	together := !p.old.heldAt.IsZero() && p.now.Sub(p.old.heldAt) <= removalWindow
	for _, kind := range slices.Sorted(maps.Keys(gone)) {
		held, free := gone[kind], []*store.Object(nil)
		if !together && !p.tooLarge(kind, gone[kind]) {
			held, free = p.parted(gone[kind])
		}
		p.hold(held)
		if len(held) > 0 {
			p.problem(caracal.Held, "", store.Key{Kind: kind}, fmt.Sprintf(
				"%d of %d objects of kind %s are gone from %s at once (%s); they stay in force until the removal is confirmed (caracal configure confirm) or the files are back",
				len(held), p.total(kind), kind, p.dir, names(held)))
		}
		if len(free) > 0 {
			p.old.recent = append(p.old.recent, removal{kind, len(free), p.now})
		}
	}
	if self != nil {
		p.hold([]*store.Object{self})
		p.problem(caracal.Held, "", self.Key, fmt.Sprintf(
			"%s is that of this very node and is gone from %s; it stays in force while caracald runs. Put it back; or, to take this host out of the cluster, stop caracald and run caracal cleanup --yes. Started again without it, caracald does nothing",
			self.Key, p.dir))
	}
}

func (p *pass) holdEverything(gone map[string][]*store.Object, self *store.Object) {
	var all []*store.Object
	for _, kind := range slices.Sorted(maps.Keys(gone)) {
		all = append(all, gone[kind]...)
	}
	if self != nil {
		all = append(all, self)
	}
	p.hold(all)
	p.old.heldAt = p.now
	p.problem(caracal.Held, "", store.Key{}, fmt.Sprintf(
		"%s holds no configuration at all%s until the removal is confirmed (caracal configure confirm) or the files are back",
		p.dir, p.standIn(all)))
}

func (p *pass) selfKey() store.Key { return store.Key{Kind: v1.KindNodeConfig, Name: p.self} }

// goneSelf returns the own NodeConfig if it was removed while we run; nil
// otherwise. Without it the daemon would go on with what it has, half
// configured; only a daemon that starts without it is out of the cluster.
func (p *pass) goneSelf() *store.Object {
	for _, o := range p.removed[v1.KindNodeConfig] {
		if o.Key == p.selfKey() && p.old.selfSeen {
			return o
		}
	}
	return nil
}

// unconfirmed returns what is gone, by kind, but for what is confirmed now and
// for self.
func (p *pass) unconfirmed(self *store.Object) map[string][]*store.Object {
	gone := map[string][]*store.Object{}
	for kind, objects := range p.removed {
		for _, o := range objects {
			if o != self && !(p.confirm && p.old.held[o.Key]) {
				gone[kind] = append(gone[kind], o)
			}
		}
	}
	return gone
}

// isHeldNow reports whether something is gone since the last pass that is to be
// held.
func (p *pass) isHeldNow(gone map[string][]*store.Object, self *store.Object) bool {
	for kind, objects := range gone {
		if _, fresh := p.parted(objects); len(fresh) > 0 && p.tooLarge(kind, objects) {
			return true
		}
	}
	return self != nil && !p.old.held[self.Key]
}

// anyHeld reports whether something is still gone that was held before.
func (p *pass) anyHeld() bool {
	for _, objects := range p.removed {
		if held, _ := p.parted(objects); len(held) > 0 {
			return true
		}
	}
	return false
}

// parted returns those that were held before, and the others.
func (p *pass) parted(objects []*store.Object) (held, fresh []*store.Object) {
	for _, o := range objects {
		if p.old.held[o.Key] {
			held = append(held, o)
		} else {
			fresh = append(fresh, o)
		}
	}
	return held, fresh
}

// tooLarge reports whether the removal of objects of a kind is not believed.
func (p *pass) tooLarge(kind string, gone []*store.Object) bool {
	recent := 0
	for _, r := range p.old.recent {
		if r.kind == kind {
			recent += r.count
		}
	}
	step := len(gone) + recent
	if step > freeRemovals && 2*step >= p.total(kind)+recent {
		return true
	}
	if kind != v1.KindNodeConfig {
		return false
	}
	others := p.total(kind)
	if p.old.accepted[p.selfKey()] != nil {
		others--
	}
	// A cluster of two may lose the other one; a larger one does not lose all.
	return len(gone) == others && others+recent >= 2
}

func (p *pass) total(kind string) int {
	n := 0
	for key := range p.old.accepted {
		if key.Kind == kind {
			n++
		}
	}
	return n
}

func (p *pass) hold(gone []*store.Object) {
	for _, o := range gone {
		p.held[o.Key] = true
		p.keep(o)
	}
}
