package ipam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
)

// attempts bounds how often something is tried again because others were
// faster.
const attempts = 32

// Allocator gives addresses out of blocks, which it keeps in a [Store] and
// remembers. It implements [API].
//
// A change is made in memory first and then written, with one record for each
// block that it touches; those who wait meanwhile are served together by the
// next write. If a write fails, what is in the store is read again, and the
// change is made anew on that.
//
// One Allocator at a time may act for a node.
type Allocator struct {
	store  Store
	shared bool
	now    func() time.Time
	next   atomic.Pointer[plan] // the plan to be taken up

	queueMu sync.Mutex
	queue   []*job
	idle    sync.Pool // of jobs

	// mu guards all that follows. Whoever has it serves everybody in the queue.
	mu      sync.Mutex
	plan    *plan
	loaded  bool
	loads   uint64 // how often the store was read
	blocks  map[netip.Prefix]*block
	sizes   [2][]int // prefix lengths of blocks, IPv4 and IPv6
	open    [2][]*block
	handles map[string][]*entry
	mine    map[netip.Prefix]*affinity // of this node
	// unsettled are those of mine that were pending when they were last looked at.
	unsettled []*affinity
	foreign   []*affinity          // of others, as far as they were needed
	taken     ranges               // all blocks that are known of
	loans     map[netip.Addr]*loan // borrowed by this node
	own       *listing             // of this node's loans, while the store is read
	bad       []damage
	dirty     []*block
	spare     []*job                      // room for the queue
	from      map[netip.Prefix]netip.Addr // where a static range has not been cut yet
	claimed   map[string]uint64           // index of the block of a pool that was claimed last
	at        time.Time                   // when the job that is served began, or those served together
	picker    picker
}

// job is what somebody waits for.
type job struct {
	ctx context.Context
	run func(*Allocator, *job) error
	// What Assign and Release are asked for, and give: with that here they cost
	// less memory.
	request   Request
	allocated []Allocation
	released  []netip.Addr
	// after is done once what run changed is written.
	after []func(context.Context) error
	// listed is after which load the affinities of all nodes were read for it.
	listed uint64
	// again says that an attempt failed, as others were faster.
	again bool
	err   error
	done  bool
}

// plan is a Plan made ready.
type plan struct {
	Plan
	static, reserved, others ranges
}

// damage is a block of which nothing is known.
type damage struct {
	cidr netip.Prefix
	Damaged
	newer bool // written by a later program: not to be mended by this one
}

// Option changes how an Allocator works.
type Option func(*Allocator)

// WithClock replaces the clock; for tests.
func WithClock(now func() time.Time) Option { return func(a *Allocator) { a.now = now } }

// WithShared says that other nodes use the store as well. Without it the store
// is this node's own, and is read whole at the start.
func WithShared() Option { return func(a *Allocator) { a.shared = true } }

// New returns an Allocator over a store. It reads the store when it is first
// needed, and again after a failure, so it needs no store to start; nothing is
// given before [Allocator.Configure].
func New(s Store, options ...Option) *Allocator {
	a := &Allocator{store: s, now: time.Now}
	for _, o := range options {
		o(a)
	}
	return a
}

// Configure implements [API]. It never waits.
func (a *Allocator) Configure(p Plan) {
	next := &plan{Plan: p, static: newRanges(p.Static), reserved: newRanges(p.Reserved), others: newRanges(p.Others)}
	next.Pools = slices.Clone(p.Pools)
	for i := range next.Pools {
		next.Pools[i].CIDR = next.Pools[i].CIDR.Masked()
	}
	a.next.Store(next)
}

// Families reports of which families the plan has addresses to give.
func (p Plan) Families() (v4, v6 bool) {
	add := func(cidr netip.Prefix) {
		v4 = v4 || cidr.Addr().Is4()
		v6 = v6 || cidr.Addr().Is6()
	}
	for _, s := range p.Static {
		if pool := poolOf(p.Pools, s); pool == nil || !pool.Disabled {
			add(s)
		}
	}
	for _, pool := range p.Pools {
		if p.Mode == ModeBlocks && !pool.Disabled {
			add(pool.CIDR)
		}
	}
	return v4, v6
}

// poolOf returns the smallest pool that covers a prefix, or nil.
func poolOf(pools []caracal.Pool, p netip.Prefix) *caracal.Pool {
	var best *caracal.Pool
	for i := range pools {
		if caracal.Covers(pools[i].CIDR, p) && (best == nil || pools[i].CIDR.Bits() > best.CIDR.Bits()) {
			best = &pools[i]
		}
	}
	return best
}

// do runs a job, alone or together with those of others, and returns its error.
func (a *Allocator) do(ctx context.Context, run func(*job) error) error {
	j := &job{ctx: ctx, run: func(_ *Allocator, j *job) error { return run(j) }}
	a.serve(j)
	return j.err
}

// serve returns when a job is done.
func (a *Allocator) serve(j *job) {
	a.queueMu.Lock()
	a.queue = append(a.queue, j)
	a.queueMu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !j.done {
		a.lead()
	}
}

// job returns one to fill in, which discard takes back.
func (a *Allocator) job() *job {
	if j, ok := a.idle.Get().(*job); ok {
		return j
	}
	return new(job)
}

func (a *Allocator) discard(j *job) {
	j.ctx, j.after, j.err, j.listed, j.again, j.done = nil, nil, nil, 0, false, false
	j.allocated, j.released = nil, nil
	a.idle.Put(j)
}

// lead serves all who are in the queue.
func (a *Allocator) lead() {
	a.queueMu.Lock()
	batch := a.queue
	a.queue, a.spare = a.spare[:0], nil
	a.queueMu.Unlock()
	ctx := batch[0].ctx
	a.at = a.now()
	if len(batch) > 1 {
		ctx = context.WithoutCancel(ctx) // one who gives up is not to spoil it for others
	}
	err := a.ready(ctx)
	for _, j := range batch {
		if j.done = true; err != nil {
			j.err = err
		} else if j.err = j.ctx.Err(); j.err == nil {
			j.err = j.run(a, j)
			a.doubt(j.err)
		}
	}
	if err != nil {
		return
	}
	failed := a.commit(ctx) != nil
	for _, j := range batch {
		if !failed && j.err == nil {
			j.err = a.finish(j)
		}
		if failed && j.err == nil || errors.Is(j.err, ErrConflict) {
			a.alone(j)
		}
	}
	clear(batch)
	a.spare = batch[:0]
}

// alone runs one job until it is done, or fails for another reason than that
// somebody was faster.
func (a *Allocator) alone(j *job) {
	for i := range attempts {
		if i > 3 { // then several are at it: let them get on
			pause := min(50*time.Millisecond, time.Millisecond<<(i-4))
			select {
			case <-j.ctx.Done():
			case <-time.After(rand.N(pause)):
			}
		}
		if j.err = a.once(j); !errors.Is(j.err, ErrConflict) {
			return
		}
	}
	j.err = fmt.Errorf("gave up after %d attempts: %w", attempts, j.err)
}

func (a *Allocator) once(j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	a.at = a.now()
	if err := a.ready(j.ctx); err != nil {
		return err
	}
	j.after, j.again = nil, true
	err := j.run(a, j)
	a.doubt(err)
	if cerr := a.commit(j.ctx); cerr != nil && err == nil {
		return cerr
	}
	if err == nil {
		err = a.finish(j)
	}
	return err
}

// doubt makes the store be read again after an error of it: a write that failed
// may have taken place.
func (a *Allocator) doubt(err error) {
	for _, own := range []error{nil, ErrExhausted, ErrTaken, ErrUnavailable, ErrNotFound, ErrDamaged} {
		if errors.Is(err, own) {
			return
		}
	}
	a.loaded = false
}

func (a *Allocator) finish(j *job) error {
	for _, f := range j.after {
		if err := f(j.ctx); err != nil {
			a.doubt(err)
			return err
		}
	}
	return nil
}

// ready takes up a new plan, and reads the store if what is remembered of it is
// not to be relied on.
func (a *Allocator) ready(ctx context.Context) error {
	if next := a.next.Load(); next != nil {
		next = a.next.Swap(nil)
		old := a.plan
		a.plan = next
		if old == nil || old.Node != next.Node || !slices.Equal(old.static, next.static) {
			a.loaded = false
		}
		if a.loaded {
			clear(a.from) // what was passed over may be to be given now
			a.judgeAll()
		}
	}
	if a.plan == nil || a.plan.Node == "" {
		return errors.New("there is no configuration for this node yet")
	}
	if a.loaded {
		return nil
	}
	var err error
	for range attempts {
		if err = a.load(ctx); err == nil {
			a.loaded = true
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			break
		}
	}
	return fmt.Errorf("read the store: %w", err)
}

// touch notes that a block is to be written.
func (a *Allocator) touch(b *block) {
	if !b.dirty {
		b.dirty = true
		a.dirty = append(a.dirty, b)
	}
}

// commit writes the blocks that were changed, side by side. Those that fail are
// read again.
func (a *Allocator) commit(ctx context.Context) error {
	dirty := a.dirty
	a.dirty = a.dirty[len(a.dirty):]
	switch len(dirty) {
	case 0:
		return nil
	case 1:
		a.dirty = dirty[:0]
		b := dirty[0]
		return a.written(ctx, b, b.put(ctx, a.store))
	}
	errs := make([]error, len(dirty))
	var wait sync.WaitGroup
	for i, b := range dirty {
		wait.Go(func() { errs[i] = b.put(ctx, a.store) })
	}
	wait.Wait()
	for i, b := range dirty {
		errs[i] = a.written(ctx, b, errs[i])
	}
	return worst(errs)
}

// worst returns an error that is no conflict if there is one.
func worst(errs []error) error {
	var conflict error
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
		if err != nil {
			conflict = err
		}
	}
	return conflict
}

// put writes the block's record.
func (b *block) put(ctx context.Context, s Store) error {
	revision, err := s.Put(ctx, Record{Key: b.key, Value: b.record(), Revision: b.revision})
	if err != nil {
		return fmt.Errorf("write block %s: %w", b.cidr, err)
	}
	b.revision = revision
	return nil
}

// written notes what became of a write.
func (a *Allocator) written(ctx context.Context, b *block, err error) error {
	b.dirty = false
	if err != nil {
		if rerr := a.reload(ctx, b.cidr); rerr != nil {
			a.loaded = false
		}
	}
	return err
}

// family is the index of an address' family.
func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// blockAt returns the block that an address is in, of those that are known.
func (a *Allocator) blockAt(addr netip.Addr) *block {
	for _, size := range a.sizes[family(addr)] {
		p, err := addr.Prefix(size)
		if err != nil {
			continue
		}
		if b := a.blocks[p]; b != nil {
			return b
		}
	}
	return nil
}

func (a *Allocator) entryAt(addr netip.Addr) *entry {
	if b := a.blockAt(addr); b != nil {
		return b.at(addr)
	}
	return nil
}

// damageAt returns the damage that an address falls under.
func (a *Allocator) damageAt(addr netip.Addr) *damage {
	for i := range a.bad {
		if a.bad[i].cidr.Contains(addr) {
			return &a.bad[i]
		}
	}
	return nil
}
