package kube

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

func (w *world) setNode(name string, n *node) {
	if old := w.nodes[name]; old == nil && n == nil || old != nil && n != nil && reflect.DeepEqual(*old, *n) {
		return // a heartbeat
	}
	w.touched[kindNode] = true
	if n == nil {
		delete(w.nodes, name)
	} else {
		w.nodes[name] = n
	}
	w.dirty(name)
}

func (w *world) dirty(name string) {
	w.dirtyNodes[name] = true
	w.judge = true
}

func (w *world) setOverlay(name string, o *overlay) {
	id := store.Key{Kind: v1.KindNodeConfig, Name: name}
	w.touched[v1.KindNodeConfig] = true
	delete(w.refused, id)
	switch {
	case o == nil:
		delete(w.overlays, name)
	case o.Config == nil:
		w.refuse(id, o.Wrong, w.overlays[name] != nil)
	default:
		w.overlays[name] = o
	}
	w.dirty(name)
}

// refuse notes why an object cannot be read.
func (w *world) refuse(id store.Key, why string, stays bool) {
	if stays {
		why += "; the last version that could be read stays in force"
	}
	w.refused[id] = why
}

func (w *world) setAffinity(name string, a *affinity) {
	id := store.Key{Kind: v1.KindBlockAffinity, Name: name}
	delete(w.refused, id)
	if a != nil && a.Wrong != "" {
		w.refuse(id, a.Wrong, w.affinities[name] != nil)
		w.judge = true
		return
	}
	old := w.affinities[name]
	if old == nil && a == nil || old != nil && a != nil && *old == *a {
		return
	}
	w.judge, w.touched[v1.KindBlockAffinity] = true, true
	if a == nil {
		w.gone.affinities[name] = old // until it is known how many more are gone
		delete(w.affinities, name)
		return
	}
	defer w.rehome(a.CIDR)
	if old == nil {
		old = w.gone.affinities[name]
		delete(w.gone.affinities, name)
	}
	w.unindex(name, old)
	for other, was := range w.gone.affinities { // held, and somebody else's now
		if was.CIDR == a.CIDR {
			delete(w.gone.affinities, other)
			w.unindex(other, was)
		}
	}
	w.affinities[name] = a
	w.index(name, a)
}

func (w *world) index(name string, a *affinity) {
	if a.Borrowed {
		return // see claimed
	}
	if w.byNode[a.Node] == nil {
		w.byNode[a.Node] = map[string]bool{}
	}
	w.byNode[a.Node][name] = true
	w.dirty(a.Node)
}

func (w *world) unindex(name string, a *affinity) {
	switch {
	case a != nil && !a.Borrowed:
		delete(w.byNode[a.Node], name)
		if len(w.byNode[a.Node]) == 0 {
			delete(w.byNode, a.Node)
		}
		w.dirty(a.Node)
	}
}

func (w *world) setOwn(id store.Key, o *own) {
	_, wasRefused := w.refused[id]
	delete(w.refused, id)
	switch old := w.offered[id]; {
	case o == nil:
		delete(w.offered, id)
		w.judge = w.judge || old != nil || wasRefused
		w.touched[id.Kind] = true
	case o.Object == nil:
		w.refuse(id, o.Wrong, old != nil)
	case old == nil || old.Sum != o.Object.Sum:
		w.offered[id] = o.Object
		w.judge, w.touched[id.Kind] = true, true
	}
}

// propose makes the NodeConfigs of the nodes that have changed: what the core Node
// says, what the NodeConfig of that name sets, and the blocks that it has.
func (w *world) propose() {
	mode := v1.IPAMBlocks
	if o := w.offered[store.Key{Kind: v1.KindIPAMConfiguration, Name: v1.DefaultName}]; o != nil {
		mode = o.Value.(*v1.IPAMConfiguration).Spec.Mode
	}
	if mode != w.mode {
		w.mode = mode
		for name := range w.nodes {
			w.dirtyNodes[name] = true
		}
	}
	for name := range w.dirtyNodes {
		w.proposeNode(name)
	}
	clear(w.dirtyNodes)
}

func (w *world) proposeNode(name string) {
	id, core := store.Key{Kind: v1.KindNodeConfig, Name: name}, store.Key{Kind: kindNode, Name: name}
	delete(w.refused, core)
	n := w.nodes[name]
	if n == nil {
		if w.overlays[name] != nil {
			w.refused[core] = "there is a NodeConfig of this name, and no Node; it has no effect until there is one"
		}
		delete(w.offered, id)
		return
	}
	old := w.offered[id]
	c := w.nodeConfig(name, n)
	if len(c.Spec.Addresses) == 0 {
		w.refuse(core, "it has no address yet: neither an InternalIP in its status nor one in a NodeConfig", old != nil)
		return
	}
	if errs := c.Validate(); len(errs) > 0 {
		w.refuse(core, errs.Error(), old != nil)
		return
	}
	o, err := store.NewObject(c, "", "", w.words)
	if err != nil {
		w.refuse(core, err.Error(), old != nil)
		return
	}
	if o.Text = nil; old == nil || old.Sum != o.Sum {
		w.offered[id] = o
	}
	if n.Wrong != "" {
		w.refused[core] = n.Wrong
	}
}

func (w *world) nodeConfig(name string, n *node) *v1.NodeConfig {
	c := &v1.NodeConfig{}
	var set v1.NodeConfigSpec
	labels := n.Labels
	if o := w.overlays[name]; o != nil {
		set = o.Config.Spec
		if len(o.Config.Labels) > 0 {
			labels = maps.Clone(labels)
			if labels == nil {
				labels = map[string]string{}
			}
			maps.Copy(labels, o.Config.Labels)
		}
	}
	c.Spec = set
	c.Name, c.Labels = name, labels
	if c.Spec.Addresses = slices.Clone(set.Addresses); len(set.Addresses) == 0 {
		for _, p := range n.Addrs {
			if p.IsValid() {
				c.Spec.Addresses = append(c.Spec.Addresses, p.String())
			}
		}
	}
	c.Spec.PodCIDRs = slices.Clone(set.PodCIDRs)
	if w.mode == v1.IPAMPodCIDR && len(set.PodCIDRs) == 0 {
		c.Spec.PodCIDRs = slices.Clone(n.PodCIDRs)
	}
	c.Spec.Blocks = slices.Clone(set.Blocks)
	for _, name := range slices.Sorted(maps.Keys(w.byNode[name])) {
		a := w.affinities[name]
		if a == nil {
			a = w.gone.affinities[name] // held
		}
		if block := a.CIDR.String(); !slices.Contains(c.Spec.Blocks, block) {
			c.Spec.Blocks = append(c.Spec.Blocks, block)
		}
	}
	c.Default()
	return c
}

// unjudged reports whether there is a Node of which nothing can be said yet: it was never
// judged, since other kinds are not listed or it has just come.
func (w *world) unjudged(name string) bool {
	return w.nodes[name] != nil && w.offered[keyOfNode(name)] == nil && w.refused[store.Key{Kind: kindNode, Name: name}] == ""
}

// nodeWords turn a message about the NodeConfig that was made of a Node into one about
// the Node.
var nodeWords = strings.NewReplacer("NodeConfig ", "Node ", "spec.addresses: ", "addresses: ", "spec.blocks: ", "blocks: ")
