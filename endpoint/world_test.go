package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// source is a store that publishes what the test puts.
type source struct {
	mu    sync.Mutex
	bells []chan struct{}
	snap  atomic.Pointer[caracal.Snapshot]
}

func newSource() *source {
	s := &source{}
	snap := caracal.NewSnapshot("a")
	snap.Synced = true
	cidrs := []netip.Prefix{pfx("10.1.0.0/24"), pfx("fd00:1::/120")}
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a", IPv4: pfx("192.0.2.1/24"), IPv6: pfx("2001:db8::1/64"), PodCIDRs: cidrs})
	for _, c := range cidrs {
		snap.Blocks = snap.Blocks.Put(c, caracal.Block{CIDR: c, Node: "a"})
	}
	s.snap.Store(snap)
	return s
}

func (s *source) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (s *source) Snapshot() *caracal.Snapshot { return s.snap.Load() }

func (s *source) Subscribe() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{}, 1)
	s.bells = append(s.bells, c)
	return c
}

func (s *source) put(change func(*caracal.Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.snap.Load()
	next.Generation++
	change(&next)
	s.snap.Store(&next)
	for _, b := range s.bells {
		select {
		case b <- struct{}{}:
		default:
		}
	}
}

// plane is a dataplane whose routes follow the Snapshot at once, unless the test
// holds them.
type plane struct {
	overlay *Overlay
	waiting atomic.Pointer[string]
	held    atomic.Bool
}

func (p *plane) PodMTU() int { return 1440 }

func (p *plane) Observe(string, time.Duration) {}

func (p *plane) Waiting() string {
	if w := p.waiting.Load(); w != nil {
		return *w
	}
	return ""
}

func (p *plane) Open(ctx context.Context, w caracal.Workload) error {
	for !p.held.Load() {
		if is, ok := p.overlay.Snapshot().Workloads.Get(w.Key()); ok && is.Interface == w.Interface {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	<-ctx.Done()
	return fmt.Errorf("%w: route %s is not in the kernel: held", ErrNotReady, w.Addrs[0])
}

func (p *plane) Closed(_ context.Context, w caracal.Workload) error {
	for _, is := range p.overlay.Snapshot().Workloads.All() {
		if is.Interface == w.Interface {
			return errors.New("still in the Snapshot")
		}
	}
	return nil
}

// mortal is an allocator, and the machine, of a process that can have died: then
// nothing it does has an effect.
type mortal struct {
	Allocator
	Ground
	dead atomic.Bool
}

var errDead = errors.New("dead")

func (m *mortal) Assign(ctx context.Context, r ipam.Request) ([]ipam.Allocation, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Allocator.Assign(ctx, r)
}

func (m *mortal) Release(ctx context.Context, handle string) ([]netip.Addr, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Allocator.Release(ctx, handle)
}

func (m *mortal) DeleteLink(name string) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Ground.DeleteLink(name)
}

// world is a machine with a daemon that can die and start again.
type world struct {
	t      *testing.T
	source *source
	store  ipam.Store
	ground *Fake
	dir    string
	change func(*Options)

	*Registry
	plane  *plane
	mortal *mortal
	end    func()
	mu     sync.Mutex
	now    time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, source: newSource(), store: ipam.NewMemory(), ground: NewFake(), dir: t.TempDir(), now: time.Unix(1e9, 0)}
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// make is a daemon that does not run yet.
func (w *world) make() {
	w.t.Helper()
	w.stop()
	w.mortal = &mortal{Allocator: ipam.New(w.store, ipam.WithClock(w.clock)), Ground: w.ground}
	o := Options{Source: w.source, IPAM: w.mortal, Dir: w.dir, Ground: w.mortal, Now: w.clock, Interval: time.Hour, ReadyWait: 5 * time.Second, StartWait: time.Millisecond}
	if w.change != nil {
		w.change(&o)
	}
	w.Registry = New(o)
	w.plane = &plane{overlay: w.Overlay()}
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Overlay().Run(ctx) })
	wg.Go(func() { _ = w.Registry.Run(ctx, w.plane) })
	w.end = func() { cancel(); wg.Wait() }
}

// start is a daemon that has begun.
func (w *world) start() {
	w.t.Helper()
	w.make()
	w.run()
	w.until("the daemon has begun", func() bool { return w.begun.Load() && w.Snapshot().Complete() })
}

func (w *world) Snapshot() *caracal.Snapshot { return w.Overlay().Snapshot() }

// stop is the daemon's end, as a crash or not.
func (w *world) stop() {
	if w.end != nil {
		w.end()
		w.end = nil
		w.writing.Wait()
	}
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("waited in vain until %s; problems %v", what, w.Snapshot().Problems)
}

func request(container string) Request {
	return Request{ID: ID{container, "eth0", "net"}, NetNS: "/run/netns/" + container, Kind: KindCNI, Namespace: "default", WorkloadName: "pod-" + container}
}

// add is the plugin's ADD up to Ready.
func (w *world) wire(req Request) Wiring {
	w.t.Helper()
	w.ground.Container(req.NetNS)
	got, err := w.Add(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ground.Link(got.HostInterface, true)
	return got
}

func (w *world) addReady(req Request) Wiring {
	w.t.Helper()
	got := w.wire(req)
	if err := w.Ready(context.Background(), req.ID); err != nil {
		w.t.Fatal(err)
	}
	return got
}

// text is everything that is published, as "key interface addresses".
func (w *world) text() string {
	var b strings.Builder
	for k, wl := range w.Snapshot().Workloads.All() {
		fmt.Fprintf(&b, "%s %s %v\n", k, wl.Source, wl.Addrs)
	}
	return b.String()
}

func (w *world) allocations() []ipam.Allocation {
	w.t.Helper()
	list, err := w.o.IPAM.Allocations(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// clean fails unless allocations, records and Snapshot agree.
func (w *world) clean(endpoints int) {
	w.t.Helper()
	w.writing.Wait()
	n, m, problems, err := w.CheckUse(context.Background())
	if err != nil || len(problems) > 0 {
		w.t.Errorf("check: %v %v", problems, err)
	}
	if n != 2*endpoints || m != endpoints {
		w.t.Errorf("%d addresses of %d endpoints, want %d of %d", n, m, 2*endpoints, endpoints)
	}
	files, _ := filepath.Glob(filepath.Join(w.dir, "endpoints", "*"))
	if len(files) != endpoints {
		w.t.Errorf("%d records, want %d: %v", len(files), endpoints, files)
	}
}
