package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/store"
	"caracal.dev/caracal/store/kube/apiserver"
)

// Options configure a [Store].
type Options struct {
	Client *apiserver.Client
	// Node is the name of the node we run on, that of its Node object.
	Node string
	// Namespace is where the Secrets are that passwords refer to: that of the daemon.
	// Empty is kube-system.
	Namespace string
	// StateDir is the daemon's directory; what was last taken is kept in "kube" below
	// it. Empty keeps nothing.
	StateDir string
	Log      *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// defaultNamespace is where Secrets are if nobody says.
const defaultNamespace = "kube-system"

// Store publishes Snapshots of the API of Kubernetes. Make one with [New] and start
// it with [Store.Run]; the other methods may be called from any goroutine.
type Store struct {
	opts     Options
	snap     atomic.Pointer[caracal.Snapshot]
	uids     atomic.Pointer[caracal.Table[string, []string]] // of this node's Pods, no newer than snap
	requests chan request
	done     chan struct{} // closed when Run returns
	started  atomic.Bool
	wake     chan struct{} // capacity 1: the inbox has something

	mu     sync.Mutex // guards what follows
	bells  []chan struct{}
	inbox  []change
	health map[string]*health // by kind
	pulse  bool               // health has changed
	back   chan struct{}      // is closed when the API is back, and another made

	// What follows belongs to the goroutine of Run.
	world      *world
	departures departures
	vault      *vault
	disk       *disk
	published  time.Time
	due        bool // something is to be published
}

// change is what a Reflector found: an object, or one that is gone, or a whole list.
type change struct {
	kind string
	item *item
	gone bool
	list []*item
	all  bool
	// unknown says that the API does not know the kind.
	unknown bool
}

// request is work for the goroutine of Run.
type request struct {
	do   func()
	done chan struct{}
}

// New returns a store. Until it has read something its Snapshot is empty and not
// Synced.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	s := &Store{
		opts: o, requests: make(chan request), done: make(chan struct{}), wake: make(chan struct{}, 1), back: make(chan struct{}),
		world: newWorld(o.Node), departures: newDepartures(), health: map[string]*health{},
	}
	for _, kind := range kinds() {
		s.health[kind] = &health{}
	}
	s.snap.Store(caracal.NewSnapshot(o.Node))
	none := s.world.uids
	s.uids.Store(&none)
	return s
}

// String implements fmt.Stringer for the log.
func (s *Store) String() string { return "store/kube " + s.host() }

func (s *Store) host() string {
	if s.opts.Client == nil || s.opts.Client.Config == nil {
		return ""
	}
	return s.opts.Client.Config.Host
}

// Snapshot returns the latest Snapshot; never nil.
func (s *Store) Snapshot() *caracal.Snapshot { return s.snap.Load() }

// Subscribe returns a bell of capacity 1 that rings after a new Snapshot was
// published, for the life of the store.
func (s *Store) Subscribe() <-chan struct{} {
	bell := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bells = append(s.bells, bell)
	return bell
}

func (s *Store) unsubscribe(bell <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bells = slices.DeleteFunc(s.bells, func(b chan struct{}) bool { return b == bell })
}

// Reload publishes what has come from the API, without waiting for more to come with
// it, reads the passwords again, and returns the Problems. The API is not asked for
// anything else: what changes there comes by itself.
func (s *Store) Reload(ctx context.Context) ([]caracal.Problem, error) {
	err := s.request(ctx, func() { s.vault.again(); s.take(); s.publish(false) })
	if err != nil {
		return nil, fmt.Errorf("store/kube: reload: %w", err)
	}
	return slices.Clone(s.Snapshot().Problems), nil
}

// Confirm lets the removals through that are held now ([caracal.Held]), and returns
// the Problems that are left.
func (s *Store) Confirm(ctx context.Context) ([]caracal.Problem, error) {
	err := s.request(ctx, func() { s.departConfirmed(); s.world.judge = true; s.publish(true) })
	if err != nil {
		return nil, fmt.Errorf("store/kube: confirm removals: %w", err)
	}
	return slices.Clone(s.Snapshot().Problems), nil
}

// Check returns the Snapshot of what the API has now. Since changes are taken as
// they come, that is the present one but for what came in this moment.
func (s *Store) Check(ctx context.Context) (*caracal.Snapshot, error) {
	if err := s.request(ctx, func() { s.take(); s.publish(false) }); err != nil {
		return nil, fmt.Errorf("store/kube: check: %w", err)
	}
	return s.Snapshot(), nil
}

// Views returns the Snapshots that other nodes make of the objects in force here.
// They are without secrets, which only a node itself reads, and without Problems.
func (s *Store) Views(ctx context.Context, nodes []string) ([]*caracal.Snapshot, error) {
	var out []*caracal.Snapshot
	err := s.request(ctx, func() {
		now := s.Snapshot()
		for _, name := range nodes {
			v, _, _ := store.RebuildClaimed(caracal.NewSnapshot(name), s.world.claimed(), nil, s.world.objects, s.vault.named)
			v.Workloads, v.Policies, v.Namespaces, v.Services = now.Workloads, now.Policies, now.Namespaces, now.Services
			v.Generation, v.Digest, v.Synced = now.Generation, now.Digest, now.Synced
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("store/kube: view: %w", err)
	}
	return out, nil
}

// knowsTime is how long [Store.Knows] waits.
const knowsTime = 5 * time.Second

// Knows reports whether the API has said that a Pod is on this node. The runtime may
// be faster than our watch, so it waits for up to five seconds; not while the API
// cannot be read. A runtime that says the Pod's UID gets no answer about another Pod
// that had its name before; an empty uid is any.
func (s *Store) Knows(ctx context.Context, namespace, name, uid string) bool {
	bell := s.Subscribe()
	defer s.unsubscribe(bell)
	ctx, cancel := context.WithTimeout(ctx, knowsTime)
	defer cancel()
	for {
		if s.hasPod(namespace+"/"+name, uid) {
			return true
		}
		if s.away() {
			return false
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return false
		}
	}
}

// hasPod reports whether a Pod of this node is in the Snapshot, with its UID if one is
// given. One that an earlier version left on disk has none, and is taken by its name.
func (s *Store) hasPod(key, uid string) bool {
	uids, _ := s.uids.Load().Get(key) // first, see uids
	w, ok := s.Snapshot().Workloads.Get(key)
	return ok && w.Node == s.opts.Node && (uid == "" || len(uids) == 0 || slices.Contains(uids, uid))
}

var errStopped = errors.New("the store has stopped")

// request has work done by the goroutine of Run, and waits for it.
func (s *Store) request(ctx context.Context, do func()) error {
	r := request{do, make(chan struct{})}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return errStopped
	}
	select {
	case <-r.done:
		return nil
	case <-s.done:
		return errStopped
	}
}
