package endpoint

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
)

// Source is a store of Snapshots, as the daemon sees it.
type Source interface {
	// Run watches the source until ctx ends.
	Run(ctx context.Context) error
	// Snapshot returns the newest Snapshot; never nil.
	Snapshot() *caracal.Snapshot
	// Subscribe returns a bell that rings when there is a new Snapshot.
	Subscribe() <-chan struct{}
}

// Overlay is a store whose Snapshots are those of another one and this node's
// endpoints with them, as Workloads. It is not Synced before the endpoints are
// known too. A change costs time in proportion to what changed.
//
// All methods may be called from any goroutine.
type Overlay struct {
	inner Source
	snap  atomic.Pointer[caracal.Snapshot]

	mu     sync.Mutex // guards what follows, for as long as memory takes
	bells  []chan struct{}
	base   *caracal.Snapshot // the last of inner
	merged caracal.Table[string, caracal.Workload]
	groups map[string]*group // by the key of the Workload
	// addrs are those of endpoints, configured those of the store's Workloads.
	addrs      map[netip.Addr]*Endpoint
	configured map[netip.Addr]string // to the key of the Workload
	own        map[netip.Addr]string // those of this node
	claimed    []caracal.Block       // of this node, that the store does not know of
	blocks     caracal.Table[netip.Prefix, caracal.Block]
	spaces     spaces
	loaded     bool
	unreadable string
	problems   map[string][]caracal.Problem // by who says so
}

// group is the endpoints of one workload, and the keys that they have in the
// merged table.
type group struct {
	members []*Endpoint // by age
	keys    []string
	// pod is what the store last said of it, if it is a Pod. A Pod that is deleted by
	// force is gone before its containers, and what isolates them must not go first.
	pod *caracal.Workload
}

// podSource is the Source of Workloads that are Pods; see package store/kube.
const podSource = "pod"

func newOverlay(inner Source) *Overlay {
	base := inner.Snapshot()
	blank := caracal.NewSnapshot(base.Self)
	o := &Overlay{
		inner: inner, base: blank, merged: blank.Workloads, blocks: blank.Blocks, groups: map[string]*group{},
		addrs: map[netip.Addr]*Endpoint{}, configured: map[netip.Addr]string{}, own: map[netip.Addr]string{}, problems: map[string][]caracal.Problem{},
	}
	o.spaces.rebase(blank.Namespaces)
	o.snap.Store(blank)
	o.take()
	return o
}

// Run implements the store: it runs the inner one, and follows it.
func (o *Overlay) Run(ctx context.Context) error {
	bell := o.inner.Subscribe()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.inner.Run(ctx) }()
	for {
		o.take()
		select {
		case err := <-done:
			o.take()
			return err
		case <-bell:
		}
	}
}

// Snapshot implements the store.
func (o *Overlay) Snapshot() *caracal.Snapshot { return o.snap.Load() }

// Subscribe implements the store.
func (o *Overlay) Subscribe() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	bell := make(chan struct{}, 1)
	o.bells = append(o.bells, bell)
	return bell
}

// take brings the inner store's newest Snapshot in.
func (o *Overlay) take() {
	o.mu.Lock()
	defer o.mu.Unlock()
	cur := o.inner.Snapshot()
	if cur == o.base {
		return
	}
	dirty := map[string]bool{}
	same := func(a, b caracal.Workload) bool { return reflect.DeepEqual(a, b) }
	cur.Workloads.Diff(o.base.Workloads, same, func(k string, was, is *caracal.Workload) {
		dirty[k] = true
		for _, a := range addrsOf(was) {
			forget(o.configured, a, k)
			forget(o.own, a, k)
		}
		for _, a := range addrsOf(is) {
			o.configured[a] = k
			if is.Node == cur.Self {
				o.own[a] = k
			}
		}
	})
	o.base = cur
	o.mergeBlocks()
	o.spaces.rebase(cur.Namespaces)
	o.remerge(dirty)
	o.publish()
}

// remerge begins again with the table of the store, so that the two share what they
// have in common, and writes the workloads of endpoints into it. Changed are the
// keys that differ in the store.
func (o *Overlay) remerge(changed map[string]bool) {
	o.merged = o.base.Workloads
	dirty := map[string]bool{}
	for k := range o.groups {
		dirty[k] = true
	}
	for a := range o.addrs {
		if k, ok := o.configured[a]; ok {
			dirty[k] = true
		}
	}
	for k := range changed {
		if len(o.problems["workload "+k]) > 0 {
			dirty[k] = true
		}
	}
	for k := range dirty {
		o.regroup(k)
	}
}

func forget(index map[netip.Addr]string, a netip.Addr, k string) {
	if index[a] == k {
		delete(index, a)
	}
}

func addrsOf(w *caracal.Workload) []netip.Addr {
	if w == nil {
		return nil
	}
	return w.Addrs
}

// set publishes an endpoint; one that is published as it is costs nothing.
func (o *Overlay) set(list ...*Endpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dirty := map[string]bool{}
	for _, e := range list {
		o.drop(e.key(), e.Key(), dirty)
		g := o.groups[e.Key()]
		if g == nil {
			g = &group{}
			o.groups[e.Key()] = g
			o.spaces.count(e.Key(), 1)
		}
		i, _ := slices.BinarySearchFunc(g.members, e, byAge)
		g.members = slices.Insert(g.members, i, e)
		dirty[e.Key()] = true
		for _, a := range e.Addrs {
			o.addrs[a] = e
			if k, ok := o.configured[a]; ok {
				dirty[k] = true
			}
		}
	}
	for k := range dirty {
		o.regroup(k)
	}
	o.publish()
}

// unset takes an endpoint out of the Snapshots.
func (o *Overlay) unset(e *Endpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dirty := map[string]bool{}
	o.drop(e.key(), e.Key(), dirty)
	if len(dirty) == 0 {
		return
	}
	for k := range dirty {
		o.regroup(k)
	}
	o.publish()
}

// drop takes a member out of its group and marks what that touches.
func (o *Overlay) drop(id key, workload string, dirty map[string]bool) {
	g := o.groups[workload]
	if g == nil {
		return
	}
	i := slices.IndexFunc(g.members, func(m *Endpoint) bool { return m.key() == id })
	if i < 0 {
		return
	}
	was := g.members[i]
	g.members = slices.Delete(g.members, i, i+1)
	dirty[workload] = true
	for _, a := range was.Addrs {
		if o.addrs[a] == was {
			delete(o.addrs, a)
		}
		if k, ok := o.configured[a]; ok {
			dirty[k] = true
		}
	}
}

// regroup writes what the merged table says of one workload anew.
func (o *Overlay) regroup(k string) {
	g := o.groups[k]
	if g == nil {
		g = &group{}
	}
	configured, ok := o.base.Workloads.Get(k)
	next := map[string]caracal.Workload{}
	var found []caracal.Problem
	if ok {
		found = append(found, o.yield(&configured)...)
		next[k] = configured
	}
	if ok && configured.Source == podSource && joinable(configured, g.members, o.base.Self) {
		g.pod = &configured
	}
	found = append(found, join(next, k, ok, g, o.base.Self)...)
	for _, old := range g.keys {
		if _, stays := next[old]; !stays {
			o.merged = o.merged.Delete(old)
		}
	}
	if !ok && next[k].Name == "" {
		o.merged = o.merged.Delete(k)
	}
	g.keys = g.keys[:0]
	for name, w := range next {
		if was, had := o.merged.Get(name); !had || !reflect.DeepEqual(was, w) {
			o.merged = o.merged.Put(name, w)
		}
		g.keys = append(g.keys, name)
	}
	if _, known := o.groups[k]; known && len(g.members) == 0 {
		delete(o.groups, k)
		o.spaces.count(k, -1)
	}
	o.note("workload "+k, found)
}

// yield takes the addresses of endpoints from a configured Workload of this node:
// what runs keeps its address, until somebody says which of the two is wrong.
func (o *Overlay) yield(w *caracal.Workload) (found []caracal.Problem) {
	if w.Node != o.base.Self {
		return nil
	}
	clash := func(a netip.Addr) bool {
		e := o.addrs[a]
		return e != nil && (e.Key() != w.Key() || !joinable(*w, o.groups[e.Key()].members, o.base.Self))
	}
	if !slices.ContainsFunc(w.Addrs, clash) {
		return nil
	}
	var kept []netip.Addr
	for _, a := range w.Addrs {
		if !clash(a) {
			kept = append(kept, a)
			continue
		}
		found = append(found, conflict(w.Key(), "address "+a.String()+" of Workload "+w.Key()+" is in use by container "+o.addrs[a].ID.String()+
			" (workload "+o.addrs[a].Key()+"), which keeps it: give the Workload another address, or remove the container"))
	}
	w.Addrs = kept
	return found
}

// joinable reports whether what a store says of a workload is about these
// endpoints: it is of this node, and has no interface or addresses of its own.
func joinable(w caracal.Workload, members []*Endpoint, self string) bool {
	has := func(ok func(*Endpoint) bool) bool { return slices.ContainsFunc(members, ok) }
	if w.Node != "" && w.Node != self {
		return false
	}
	if w.Interface != "" && !has(func(e *Endpoint) bool { return e.HostInterface() == w.Interface }) {
		return false
	}
	return !slices.ContainsFunc(w.Addrs, func(a netip.Addr) bool {
		return !has(func(e *Endpoint) bool { return slices.Contains(e.Addrs, a) })
	})
}

// join puts the endpoints of one workload into next, with the labels and ports
// that the store has for it, or had last of a Pod. The eldest has the workload's own
// key; further interfaces, and a successor while the dead one is not gone, have one of
// theirs.
func join(next map[string]caracal.Workload, k string, known bool, g *group, self string) (found []caracal.Problem) {
	configured := next[k]
	ours := joinable(configured, g.members, self)
	taken := false
	for _, e := range g.members {
		w := e.workload(self)
		switch {
		case known && ours:
			w.Labels, w.Ports = joined(e.Labels, configured.Labels), configured.Ports
		case g.pod != nil:
			w.Labels, w.Ports, taken = joined(e.Labels, g.pod.Labels), g.pod.Ports, taken || known
		case known:
			found = append(found, conflict(k, "container "+e.ID.String()+" calls itself "+k+", which is the name of a configured Workload with an interface, addresses or a node of its own: rename one of them; until then policy does not see the container as that workload"))
			taken = true
		}
		if taken {
			w.Name += "@" + w.Interface
		}
		taken = true
		next[w.Key()] = w
	}
	return found
}

func joined(own, store map[string]string) map[string]string {
	if len(own) == 0 {
		return store
	}
	all := maps.Clone(own)
	maps.Copy(all, store)
	return all
}

func conflict(name, message string) caracal.Problem {
	return caracal.Problem{Severity: caracal.Warning, Kind: "Workload", Name: name, Message: message}
}

// load says that all endpoints are known.
func (o *Overlay) load() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loaded, o.unreadable = true, ""
	o.publish()
}

// claim says which blocks the node has claimed for itself, in a store that nobody
// else reads.
func (o *Overlay) claim(list []caracal.Block) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Equal(o.claimed, list) {
		return
	}
	o.claimed = list
	o.mergeBlocks()
	o.publish()
}

func (o *Overlay) mergeBlocks() {
	o.blocks = o.base.Blocks
	for _, b := range o.claimed {
		if _, known := o.blocks.Get(b.CIDR); !known {
			o.blocks = o.blocks.Put(b.CIDR, b)
		}
	}
}

// incomplete says that endpoints may be missing, and why; empty if none is.
func (o *Overlay) incomplete(why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.loaded && o.unreadable == why {
		return
	}
	o.loaded, o.unreadable = true, why
	o.publish()
}

// report replaces the problems that who has to tell of.
func (o *Overlay) report(who string, list []caracal.Problem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.note(who, list) {
		o.publish()
	}
}

func (o *Overlay) note(who string, list []caracal.Problem) (changed bool) {
	was := o.problems[who]
	if len(was) == 0 && len(list) == 0 {
		return false
	}
	for i := range list {
		list[i].Since = time.Now()
		for _, old := range was {
			if old.Message == list[i].Message {
				list[i].Since = old.Since
			}
		}
	}
	if len(list) == 0 {
		delete(o.problems, who)
	} else {
		o.problems[who] = list
	}
	return !reflect.DeepEqual(was, list)
}

// publish makes the next Snapshot and rings.
func (o *Overlay) publish() {
	next := *o.base
	next.Generation = o.snap.Load().Generation + 1
	next.Synced = o.base.Synced && o.loaded
	next.Workloads, next.Blocks, next.Namespaces = o.merged, o.blocks, o.spaces.merged
	if o.unreadable != "" {
		next.Incomplete = maps.Clone(o.base.Incomplete)
		if next.Incomplete == nil {
			next.Incomplete = map[string]string{}
		}
		next.Incomplete["Endpoint"] = o.unreadable
	}
	if len(o.problems) > 0 {
		next.Problems = slices.Clone(o.base.Problems)
		for _, who := range slices.Sorted(maps.Keys(o.problems)) {
			next.Problems = append(next.Problems, o.problems[who]...)
		}
	}
	o.snap.Store(&next)
	for _, bell := range o.bells {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
}

// takenHere returns the addresses of the configured Workloads of this node, sorted.
func (o *Overlay) takenHere() []netip.Addr {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Keys(o.own), netip.Addr.Compare)
}
