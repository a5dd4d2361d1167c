package file

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
	"caracal.dev/caracal/store/accepted"
)

// Options configure a [Store].
type Options struct {
	// Dir is the configuration directory; /etc/caracal if empty.
	Dir string
	// StateDir is where accepted objects are kept; /var/lib/caracal/accepted if
	// empty.
	StateDir string
	// Node is the name of the node we run on, and NodeFrom how we know: "--node"
	// or "hostname".
	Node, NodeFrom string
	Log            *slog.Logger
	// Quiet is how long nothing must change for a batch of changes to count as
	// settled (75ms if 0), and MaxWait how long additions and changes wait for that
	// (1s if 0); a removal waits until it has settled, since in the middle of a
	// batch an object may be between two files. Poll is the time between looks at
	// the directory without a notification (60s if 0).
	Quiet, MaxWait, Poll time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// DefaultDir and DefaultStateDir are the directories of a host.
const (
	DefaultDir      = "/etc/caracal"
	DefaultStateDir = "/var/lib/caracal/accepted"
)

func (o *Options) fill() {
	for _, d := range []struct {
		p   *string
		def string
	}{{&o.Dir, DefaultDir}, {&o.StateDir, DefaultStateDir}, {&o.NodeFrom, "--node"}} {
		if *d.p == "" {
			*d.p = d.def
		}
	}
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{{&o.Quiet, 75 * time.Millisecond}, {&o.MaxWait, time.Second}, {&o.Poll, time.Minute}} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Store publishes Snapshots of a directory. Make one with [New] and start it
// with [Store.Run]; the other methods may be called from any goroutine.
type Store struct {
	opts     Options
	snap     atomic.Pointer[caracal.Snapshot]
	requests chan request
	done     chan struct{} // closed when Run returns
	started  atomic.Bool

	mu    sync.Mutex // guards bells
	bells []chan struct{}
	bell  <-chan struct{}

	// What follows belongs to the goroutine of Run.
	scanner *scanner
	vault   *vault
	kept    *accepted.Dir
	state   state
	// built are the objects that the Snapshot is made of; unsaved are the keys whose
	// record on disk is not that of the object in force.
	built   []*store.Object
	unsaved map[store.Key]bool
	// disk are Problems with the directory of accepted objects: those of loading
	// it, and that of the last save.
	loading []caracal.Problem
	saving  string
	watch   string // why changes are not noticed at once; empty if they are
	dirty   bool   // something is not saved yet
	// last is what the last pass found, and lastAt when.
	last   *scan
	lastAt time.Time
	// deferredSince is since when removals wait for the directory to settle; zero
	// if none does. waiting says so, if that takes long.
	deferredSince time.Time
	waiting       string
}

// request is work for the goroutine of Run.
type request struct {
	do   func()
	done chan struct{}
}

// New returns a store. Until its first pass its Snapshot is empty and not
// Synced.
func New(opts Options) *Store {
	opts.fill()
	s := &Store{
		opts: opts, requests: make(chan request), done: make(chan struct{}),
		scanner: newScanner(opts.Dir, opts.Now), vault: newVault(opts.Dir), kept: accepted.Open(opts.StateDir), unsaved: map[store.Key]bool{},
	}
	s.snap.Store(caracal.NewSnapshot(opts.Node))
	s.bell = s.Subscribe()
	return s
}

// String implements fmt.Stringer for the log.
func (s *Store) String() string { return "store/file " + s.opts.Dir }

// Snapshot returns the latest Snapshot; never nil.
func (s *Store) Snapshot() *caracal.Snapshot { return s.snap.Load() }

// Changed returns the store's own bell: it rings after a new Snapshot was
// published. It has capacity 1 and serves one reader; others take their own with
// [Store.Subscribe].
func (s *Store) Changed() <-chan struct{} { return s.bell }

// Subscribe returns a bell of capacity 1 that rings after a new Snapshot was
// published, for the life of the store.
func (s *Store) Subscribe() <-chan struct{} {
	bell := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bells = append(s.bells, bell)
	return bell
}

// Reload reads the directory at once, without waiting for a batch to settle,
// and returns the Problems after the new Snapshot was published. It waits for
// Run to be running; an error means that ctx ended or the store has stopped.
func (s *Store) Reload(ctx context.Context) ([]caracal.Problem, error) {
	err := s.request(ctx, func() { s.pass(passOptions{atOnce: true, asked: true}) })
	if err != nil {
		return nil, fmt.Errorf("store/file: reload %s: %w", s.opts.Dir, err)
	}
	return slices.Clone(s.Snapshot().Problems), nil
}

// Confirm lets the removals through that are held now ([caracal.Held]), and
// returns the Problems that are left. Removals that were not yet shown as held
// are not let through.
func (s *Store) Confirm(ctx context.Context) ([]caracal.Problem, error) {
	err := s.request(ctx, func() { s.pass(passOptions{atOnce: true, asked: true, confirm: true}) })
	if err != nil {
		return nil, fmt.Errorf("store/file: confirm removals: %w", err)
	}
	return slices.Clone(s.Snapshot().Problems), nil
}

// Check returns the Snapshot that the directory would give now, without taking
// it. Its Generation is that of the present one if nothing would change.
func (s *Store) Check(ctx context.Context) (*caracal.Snapshot, error) {
	var snap *caracal.Snapshot
	err := s.request(ctx, func() {
		out := plan(s.input(s.scanner.scan(), false, true))
		snap, _ = s.compose(out, s.vault.look())
	})
	if err != nil {
		return nil, fmt.Errorf("store/file: check %s: %w", s.opts.Dir, err)
	}
	return snap, nil
}

// CheckDir is Check for what is below another directory, as if it were moved to
// the place of the store's own. Passwords are those of the store's own, where
// they are meant to stay.
func (s *Store) CheckDir(ctx context.Context, dir string) (*caracal.Snapshot, error) {
	var snap *caracal.Snapshot
	var bad error
	err := s.request(ctx, func() {
		found := newScanner(dir, s.opts.Now).scan()
		if bad = found.err; bad != nil {
			return
		}
		in := s.input(found, false, true)
		in.dir = dir
		snap, _ = s.compose(plan(in), s.vault.look())
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("store/file: check %s: %w", dir, err)
	}
	return snap, nil
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

// Load reads a directory once, as a host that starts with it and has nothing
// accepted yet: for checks without a daemon. An empty node leaves out the check
// for its own NodeConfig. The Problems are in the Snapshot; an error means that
// the directory cannot be read.
func Load(dir, node string) (*caracal.Snapshot, error) {
	s := New(Options{Dir: dir, Node: node})
	found := s.scanner.scan()
	if found.err != nil {
		return nil, fmt.Errorf("store/file: load: %w", found.err)
	}
	snap, _ := s.compose(plan(s.input(found, false, true)), s.vault.look())
	return snap, nil
}
