package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/internal/memory"
	"caracal.dev/caracal/store"
)

// A change that comes alone is published at once, of many that follow each other as
// much as came since the last: at most one Snapshot in gap, and in firstGap while the
// first lists come in.
const (
	gap      = 50 * time.Millisecond
	firstGap = 250 * time.Millisecond
)

// Run follows the API until ctx ends. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("store/kube: run: it was run before")
	}
	defer close(s.done)
	s.vault = newVault(s.opts, s.ring)
	s.world.secrets, s.world.begin = s.vault.password, s.vault.begin
	s.disk = openDisk(s.opts)
	late := s.disk.load(s.world, s.vault)
	s.publish(false)

	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	for _, src := range sources(s.opts.Client, s.opts.Node, s.world.words) {
		tasks.Go(func() { (&sink{source: src, store: s}).run(ctx, late) })
	}
	tasks.Go(func() { s.vault.run(ctx) })
	tasks.Go(func() { s.askWhileAway(ctx) })
	s.loop(ctx)
	cancel()
	tasks.Wait()
	s.disk.save(s.world, s.vault, true)
	return nil
}

func (s *Store) loop(ctx context.Context) {
	later := time.NewTimer(time.Hour)
	defer later.Stop()
	saves := time.NewTicker(time.Second)
	defer saves.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.take()
		case <-later.C:
		case <-saves.C:
			s.depart()
			if s.disk.save(s.world, s.vault, false); s.disk.news {
				s.disk.news, s.due = false, true
			}
		case r := <-s.requests:
			r.do()
			close(r.done)
			s.judgeSoon(later)
			continue
		}
		if !s.due {
			continue
		}
		least := gap
		if !s.Snapshot().Synced {
			least = firstGap
		}
		if wait := least - time.Since(s.published); wait > 0 {
			later.Reset(wait)
			continue
		}
		s.publish(false)
		s.judgeSoon(later)
	}
}

// judgeSoon has a judgement that must wait come by itself.
func (s *Store) judgeSoon(later *time.Timer) {
	if w := s.world; w.judge && w.listedJudged() {
		s.due = true
		later.Reset(max(w.judgeIn(), gap))
	}
}

// push takes one object from a Reflector.
func (s *Store) push(kind string, i *item, gone bool) {
	s.deliver(change{kind: kind, item: i, gone: gone})
}

// pushAll takes a whole list from a Reflector.
func (s *Store) pushAll(kind string, list []*item) {
	s.deliver(change{kind: kind, list: list, all: true})
}

func (s *Store) deliver(c change) {
	s.mu.Lock()
	s.inbox = append(s.inbox, c)
	s.mu.Unlock()
	s.ring()
}

func (s *Store) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take brings what came into the world.
func (s *Store) take() {
	s.mu.Lock()
	inbox, pulse := s.inbox, s.pulse
	s.inbox, s.pulse = nil, false
	for _, c := range inbox { // not before: a Snapshot without the list is not complete
		if h := s.health[c.kind]; c.all && !h.listed {
			h.listed, pulse = true, true
		}
	}
	s.mu.Unlock()
	w := s.world
	pods, spaces, policies, services := w.workloads, w.namespaces, w.policies, w.services
	for _, c := range inbox {
		s.takeChange(c)
	}
	for kind, changed := range map[string]bool{
		kindPods: differ(pods, w.workloads), v1.KindNamespace: differ(spaces, w.namespaces),
		v1.KindNetworkPolicy: differ(policies, w.policies), kindService: differ(services, w.services),
	} {
		w.touched[kind] = w.touched[kind] || changed
	}
	s.touchDisk()
	if s.vault.changed() {
		s.world.rebuild, pulse = true, true
	}
	s.due = s.due || pulse || len(inbox) > 0
}

// touchDisk notes which kinds are no longer on disk as they are.
func (s *Store) touchDisk() {
	for kind, changed := range s.world.touched {
		if changed {
			s.disk.touch(kind)
		}
	}
	clear(s.world.touched)
}

// publish makes a Snapshot, and rings if it differs from the last.
func (s *Store) publish(confirm bool) {
	s.due = false
	prev := s.Snapshot()
	next, changed := s.world.build(prev, s.opts.Now(), confirm)
	next.Synced = prev.Synced || s.world.synced()
	next.Incomplete = s.incomplete()
	next.Problems = s.problems(prev)
	renamed := differ(*s.uids.Load(), s.world.uids)
	if !changed && next.Synced == prev.Synced && maps.Equal(next.Incomplete, prev.Incomplete) && slices.Equal(next.Problems, prev.Problems) {
		if renamed {
			s.announce(prev)
		}
		return
	}
	next.Generation = prev.Generation + 1
	s.published = time.Now()
	s.announce(next)
	if prev.Complete() != next.Complete() && next.Workloads.Len()+next.Nodes.Len() >= manyObjects {
		// To decode the first lists takes many times what is kept of them, which the
		// runtime would give back over minutes. By then those who read the Snapshot
		// have made theirs, too.
		time.AfterFunc(tidyDelay, memory.GiveBack)
	}
	s.log(prev, next)
}

// announce has everybody look at a Snapshot, and at the UIDs of the Pods in it.
func (s *Store) announce(snap *caracal.Snapshot) {
	uids := s.world.uids
	s.snap.Store(snap)
	s.uids.Store(&uids)
	s.mu.Lock()
	bells := slices.Clone(s.bells)
	s.mu.Unlock()
	for _, b := range bells {
		select {
		case b <- struct{}{}:
		default:
		}
	}
}

const (
	// manyObjects are enough to give back the memory that it took to read them,
	// tidyDelay later.
	manyObjects = 5_000
	tidyDelay   = 10 * time.Second
)

// synced reports whether every kind was listed, or taken from disk.
func (w *world) synced() bool {
	return !slices.ContainsFunc(kinds(), func(kind string) bool { return !w.seen[kind] })
}

// problems puts all Problems into order; one that was there before keeps its Since.
func (s *Store) problems(prev *caracal.Snapshot) []caracal.Problem {
	list := slices.Concat(s.world.problems(), s.departures.problems(), s.vault.problems(), s.unwell(), s.disk.problems())
	if _, ok := s.world.accepted[keyOfNode(s.opts.Node)]; !ok && s.world.seen[kindNode] && !s.world.unjudged(s.opts.Node) {
		list = append(list, caracal.Problem{Severity: caracal.Rejected, Kind: kindNode, Name: s.opts.Node, Message: noSelf(s.opts.Node, mapKeys(s.world.nodes))})
	}
	return store.Dated(prev.Problems, list, s.opts.Now())
}

// noSelf is the message for a node that the API has no usable Node of.
func noSelf(self string, nodes []string) string {
	if slices.Contains(nodes, self) {
		return fmt.Sprintf("Node %s, that of this node, is not in force; the other problems say why", self)
	}
	slices.Sort(nodes)
	text := "it has none"
	if len(nodes) > 0 {
		text = "it has " + nodes[0]
		for i, n := range nodes[1:min(len(nodes), 10)] {
			text += ", " + n
			if i == 8 && len(nodes) > 10 {
				text += fmt.Sprintf(" and %d more", len(nodes)-10)
			}
		}
	}
	return fmt.Sprintf("the API has no Node %q, which this node is called (--node, or NODE_NAME, or the hostname); %s", self, text)
}

// log says what became different, once.
func (s *Store) log(prev, next *caracal.Snapshot) {
	if !slices.Equal(prev.Problems, next.Problems) { // there may be one of each of 5,000 nodes
		s.logProblems(prev.Problems, next.Problems)
	}
	if prev.Digest != next.Digest || prev.Synced != next.Synced {
		s.opts.Log.Info("configuration taken", "api", s.host(), "generation", next.Generation, "digest", next.Digest, "synced", next.Synced,
			"nodes", next.Nodes.Len(), "pools", next.Pools.Len(), "peers", next.Peers.Len(), "workloads", next.Workloads.Len(), "policies", next.Policies.Len())
	}
}

func (s *Store) logProblems(was, is []caracal.Problem) {
	set := func(list []caracal.Problem) map[caracal.Problem]bool {
		m := make(map[caracal.Problem]bool, len(list))
		for _, p := range list {
			m[p] = true
		}
		return m
	}
	had, has := set(was), set(is)
	for _, p := range is {
		if !had[p] {
			s.opts.Log.Warn(p.Message, "severity", p.Severity.String())
		}
	}
	for _, p := range was {
		if !has[p] {
			s.opts.Log.Info("no longer a problem: "+p.Message, "severity", p.Severity.String())
		}
	}
}
