package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// Options are what a [Registry] is made of. The fields without "may be" or a
// default must be set.
type Options struct {
	// Source is the store whose Snapshots the [Overlay] adds to.
	Source Source
	IPAM   Allocator
	// Shared says that the nodes have one ipam.Store together.
	Shared bool
	// Dir is the daemon's state directory: records are in "endpoints" below it, what
	// the plugin leaves for the daemon in "deletions".
	Dir    string
	Ground Ground
	// AddrsOf returns the addresses that the kernel knows of at the other end of a link;
	// may be nil. It is asked where the records of a container are lost.
	AddrsOf func(link string) ([]netip.Addr, error)
	// Wires checks and mends the host's ends of links; may be nil.
	Wires Wires
	// Knows reports whether the store has a Pod, and may wait a few seconds for it; the
	// uid is empty where the runtime says none. It may be nil, for a store without Pods.
	Knows func(ctx context.Context, namespace, name, uid string) bool
	// Grace is how long a container must be gone before its addresses are freed (60 s
	// if 0); PendingFor how long it may take to be wired up (5 min if 0); Interval the
	// time between looks (10 s if 0).
	Grace, PendingFor, Interval time.Duration
	// ReadyWait is how long the gate is waited for (20 s if 0).
	ReadyWait time.Duration
	// StartWait is how long a container that comes while the daemon starts has to
	// wait before it is told to try again later (2 s if 0).
	StartWait time.Duration
	Now       func() time.Time // time.Now if nil
	Log       *slog.Logger
}

// Plane is the rest of the daemon, as a Registry needs it.
type Plane interface {
	Gate
	// PodMTU is the largest that every packet of a workload gets through with; 0
	// while it is not known.
	PodMTU() int
	// Waiting says why packets are not routed yet; empty once they are.
	Waiting() string
	// Observe is told how long each successful "add", "ready" and "remove" took.
	Observe(step string, d time.Duration)
}

// Wires checks the host's end of a link.
type Wires interface {
	// Check returns what is not as it must be; with mend it is made right, and what
	// is returned is what could not be.
	Check(ctx context.Context, netns string, id ID, w Wiring, mend bool) (wrong []string, err error)
}

// Registry knows this node's endpoints. Make one with [New] and let it
// [Registry.Run]; the other methods may be called from any goroutine.
type Registry struct {
	o       Options
	dir     *records
	overlay *Overlay
	plane   atomic.Pointer[Plane]
	plan    atomic.Pointer[ipam.Plan] // nil until the configuration is known
	begun   atomic.Bool               // the records are known, and hold
	// unheard is why the address records have not been compared with ours since the
	// start; nil once that is done.
	unheard atomic.Pointer[string]
	// away says that the address records could not be reached, and are not to be waited
	// for again before the next audit.
	away atomic.Bool
	// claimDue says that the blocks of the node may be others.
	claimDue atomic.Bool
	claiming sync.Mutex // or what was read first could be published last
	started  time.Time
	// refused says that the allocator did not take all that endpoints have.
	refused atomic.Bool
	errand  chan struct{} // holds what is under way, see aside
	// What follows is Run's, and the same once begun.
	bootID      string
	haveRecords bool
	damaged     []damaged
	turn        int               // of the endpoints whose links are looked at closely
	writing     sync.WaitGroup    // of records that only tests wait for
	tidyEvery   time.Duration     // tidyInterval but in tests
	reasserted  time.Time         // when that was tried last, see audit
	doubted     time.Time         // when claims were missing last, see doubt
	lasting     []lasting         // what the start found wrong, as far as it is so still
	kept        []ipam.Allocation // of containers without a record, see keepLost
	// orphans are since when addresses have no endpoint, by handle.
	orphans map[string]watch
	// crash, in tests, ends an operation after a step by its error.
	crash func(step string) error

	mu        sync.Mutex // guards what follows; nothing waits while it is held
	endpoints map[key]*Endpoint
	busy      map[key]chan struct{}
	why       string // not begun
	watched   map[key]watch
	owed      map[key]string    // all of them is done but the release, and why not that
	planned   *caracal.Snapshot // of plan
	taken     []netip.Addr      // of planned
}

// New returns a Registry that has read nothing yet.
func New(o Options) *Registry {
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{{&o.Grace, time.Minute}, {&o.PendingFor, 5 * time.Minute}, {&o.Interval, 10 * time.Second}, {&o.ReadyWait, 20 * time.Second},
		{&o.StartWait, 2 * time.Second}} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Knows == nil {
		o.Knows = func(context.Context, string, string, string) bool { return true }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Registry{
		o: o, dir: &records{path: filepath.Join(o.Dir, "endpoints")}, overlay: newOverlay(o.Source), started: o.Now(),
		errand: make(chan struct{}, 1), tidyEvery: tidyInterval,
		endpoints: map[key]*Endpoint{}, busy: map[key]chan struct{}{}, watched: map[key]watch{}, owed: map[key]string{},
		why: "the endpoints on record have not been read yet",
	}
}

// tidyInterval is the time between two clearings of the address records.
const tidyInterval = 5 * time.Minute

// Overlay returns the store of Snapshots with the endpoints in them.
func (r *Registry) Overlay() *Overlay { return r.overlay }

// Run reads the records, brings them together with what exists, and then keeps
// them so until ctx ends. It is called once.
func (r *Registry) Run(ctx context.Context, plane Plane) error {
	r.plane.Store(&plane)
	if !r.begin(ctx) {
		return nil
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() { r.keepQueue(ctx) })
	tasks.Go(func() { r.keepUp(ctx) })
	bell := r.overlay.Subscribe()
	for {
		r.configure()
		if r.claimDue.Swap(false) {
			r.claim(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		}
	}
}

// configure hands a plan that changed to the allocator.
func (r *Registry) configure() {
	snap := r.o.Source.Snapshot()
	if !snap.Synced {
		return
	}
	taken := r.overlay.takenHere()
	r.mu.Lock()
	same := r.planned != nil && samePlanInputs(r.planned, snap) && slices.Equal(taken, r.taken)
	r.planned, r.taken = snap, taken
	r.mu.Unlock()
	if same {
		return
	}
	p, problems, ok := Plan(snap, taken, r.o.Shared)
	if !ok {
		return // the last plan stays in force
	}
	r.o.IPAM.Configure(p)
	r.plan.Store(&p)
	r.overlay.report("plan", problems)
	r.claimDue.Store(true)
}

// claim has the blocks that the node claims for itself routed and announced. Where
// the nodes share their records, the store tells everybody of them.
func (r *Registry) claim(ctx context.Context) {
	r.claiming.Lock()
	defer r.claiming.Unlock()
	plan := r.plan.Load()
	if r.o.Shared || plan == nil {
		r.overlay.claim(nil)
		return
	}
	blocks, _, err := r.o.IPAM.Blocks(ctx)
	if err != nil {
		r.o.Log.Warn("endpoint: the blocks of this node are not known; those that were stay announced", "err", err)
		return
	}
	var list []caracal.Block
	for _, b := range blocks {
		if b.Node == plan.Node && (b.Affinity == ipam.AffinityConfirmed || b.Affinity == ipam.AffinityReleasing) && r.announces(plan, b) {
			list = append(list, caracal.Block{CIDR: b.CIDR, Node: b.Node})
		}
	}
	r.overlay.claim(list)
}

// announces reports whether a claimed block is this node's to announce. One of a time
// at which it was alone is so as long as containers have addresses of it, unless the
// configuration gives them to another node.
func (r *Registry) announces(plan *ipam.Plan, b ipam.BlockUse) bool {
	if plan.Mode == ipam.ModeBlocks {
		return true
	}
	for p, other := range r.o.Source.Snapshot().Blocks.All() {
		if other.Node != plan.Node && p.Overlaps(b.CIDR) {
			return false
		}
	}
	return b.Allocated > 0
}

// ready says why an operation cannot be done now.
func (r *Registry) ready() error {
	if r.begun.Load() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Errorf("%w: %s", ErrNotReady, r.why)
}

// soon returns what is in the way of something, unless that is gone within a moment:
// the start of a daemon takes less than it takes a runtime to try again.
func (r *Registry) soon(ctx context.Context, inTheWay func() error) error {
	err := inTheWay()
	for end := time.Now().Add(r.o.StartWait); errors.Is(err, ErrNotReady) && time.Now().Before(end); err = inTheWay() {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
	return err
}

// lock waits until nobody else works on an endpoint.
func (r *Registry) lock(ctx context.Context, k key) (unlock func(), err error) {
	for {
		r.mu.Lock()
		other, held := r.busy[k]
		if !held {
			r.busy[k] = make(chan struct{})
			r.mu.Unlock()
			return func() { r.unlock(k) }, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another request about %s/%s: %w", k.containerID, k.ifname, ctx.Err())
		}
	}
}

// tryLock is lock for those who can come again.
func (r *Registry) tryLock(k key) (unlock func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, held := r.busy[k]; held {
		return nil, false
	}
	r.busy[k] = make(chan struct{})
	return func() { r.unlock(k) }, true
}

func (r *Registry) unlock(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.busy[k])
	delete(r.busy, k)
}

func (r *Registry) get(k key) *Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.endpoints[k]
}

// put takes an endpoint in; it must not be changed any more.
func (r *Registry) put(e *Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endpoints[e.key()] = e
	delete(r.watched, e.key())
}

func (r *Registry) drop(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.endpoints, k)
	delete(r.watched, k)
	delete(r.owed, k)
}

// List returns the endpoints, the eldest first.
func (r *Registry) List() []*Endpoint {
	r.mu.Lock()
	list := slices.Collect(maps.Values(r.endpoints))
	r.mu.Unlock()
	slices.SortFunc(list, byAge)
	return list
}

func (r *Registry) self() string { return r.overlay.Snapshot().Self }

// save writes a record.
func (r *Registry) save(e *Endpoint) error {
	if err := r.dir.write(e); err != nil {
		return fmt.Errorf("write the record of %s in %s: %w", e.ID, r.dir.path, err)
	}
	return nil
}

// step is a point at which tests let the daemon die.
func (r *Registry) step(name string) error {
	if r.crash == nil {
		return nil
	}
	return r.crash(name)
}

// observe tells how long a step took that succeeded.
func (r *Registry) observe(step string, began time.Time) {
	if plane := r.plane.Load(); plane != nil {
		(*plane).Observe(step, time.Since(began))
	}
}
