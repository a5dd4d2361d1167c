package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

// fakeStore publishes what the test puts.
type fakeStore struct {
	mu    sync.Mutex
	bells []chan struct{}
	snap  atomic.Pointer[caracal.Snapshot]
}

func (s *fakeStore) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (s *fakeStore) Snapshot() *caracal.Snapshot { return s.snap.Load() }

func (s *fakeStore) Subscribe() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan struct{}, 1)
	s.bells = append(s.bells, c)
	return c
}

func (s *fakeStore) put(change func(*caracal.Snapshot)) {
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

// fakeSpeaker remembers what it was told, and says what the test has it say.
type fakeSpeaker struct {
	relayed   map[netip.Prefix][]bgp.Relay
	relayErr  error
	completed bool

	mu         sync.Mutex
	restarting bool
	applied    []bgp.Config
	fail       error
	failed     map[string]error // steps of Apply
	events     []bgp.Event
	bell       chan struct{}
	left       bool
	disabled   map[string]string // name to reason
}

func (s *fakeSpeaker) Apply(_ context.Context, c bgp.Config) (bgp.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return bgp.Result{}, s.fail
	}
	s.applied = append(s.applied, c)
	if len(s.failed) > 0 {
		return bgp.Result{Failed: s.failed}, errors.New("not all steps")
	}
	return bgp.Result{Failed: map[string]error{}}, nil
}

func (s *fakeSpeaker) last() (bgp.Config, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.applied) == 0 {
		return bgp.Config{}, 0
	}
	return s.applied[len(s.applied)-1], len(s.applied)
}

func (s *fakeSpeaker) say(events ...bgp.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func (s *fakeSpeaker) Bell() <-chan struct{} { return s.bell }

func (s *fakeSpeaker) Take() []bgp.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.events
	s.events = nil
	return taken
}

func (s *fakeSpeaker) Leave(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	return nil
}

func (s *fakeSpeaker) Neighbors(context.Context) ([]bgp.NeighborStatus, error) {
	c, _ := s.last()
	var out []bgp.NeighborStatus
	for _, n := range c.Neighbors {
		state := bgp.Established
		if _, ok := s.disabledNow()[n.Name]; ok {
			state = bgp.Disabled
		}
		out = append(out, bgp.NeighborStatus{Neighbor: n, State: state})
	}
	return out, nil
}

func (s *fakeSpeaker) AdjOut(context.Context, string, func(netip.Prefix, caracal.Attrs) bool) error {
	return nil
}

func (s *fakeSpeaker) Enable(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.disabled, name)
	return nil
}

func (s *fakeSpeaker) Disable(_ context.Context, name, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disabled == nil {
		s.disabled = map[string]string{}
	}
	if _, ok := s.disabled[name]; !ok {
		s.disabled[name] = reason
	}
	return nil
}

func (s *fakeSpeaker) disabledNow() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.disabled)
}

func (s *fakeSpeaker) Restart(context.Context, string) error { return nil }
func (s *fakeSpeaker) Fail(context.Context, string, string, bool) error {
	return nil
}
func (s *fakeSpeaker) Reachable(string)                         {}
func (s *fakeSpeaker) RefreshOut(context.Context, string) error { return nil }

func (s *fakeSpeaker) Relay(_ context.Context, list []bgp.Relay, _ func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relayed == nil {
		s.relayed = map[netip.Prefix][]bgp.Relay{}
	}
	for _, r := range list {
		delete(s.relayed, r.NLRI)
	}
	for _, r := range list {
		if r.Attrs != nil {
			s.relayed[r.NLRI] = append(s.relayed[r.NLRI], r)
		}
	}
	return s.relayErr
}

func (s *fakeSpeaker) Complete(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.completed = true
	return nil
}

// rig is an Agent with everything around it faked but the tasks.
type rig struct {
	t       *testing.T
	store   *fakeStore
	kernel  *fib.Fake
	speaker *fakeSpeaker
	earlier *fib.Fake // the same machine, seen with an earlier mark
	state   string

	deferral  time.Duration      // short unless a test says otherwise
	networks  []netip.Prefix     // that the host is on
	endpoints *endpoint.Registry // may be nil
	agent     *Agent
	done      chan error
	stop      context.CancelFunc
}

func (r *rig) open(m fib.Mark) (Kernel, error) {
	if r.earlier != nil && m == r.earlier.Mark() {
		return kernelOf{r.earlier}, nil
	}
	return kernelOf{r.kernel}, nil
}

type kernelOf struct{ *fib.Fake }

func (kernelOf) Close() {}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, store: &fakeStore{}, kernel: fib.NewFake(fib.DefaultMark), speaker: &fakeSpeaker{bell: make(chan struct{}, 1)}}
	r.kernel.AddLink("eth0", "192.0.2.1/24")
	s := caracal.NewSnapshot("a")
	s.Synced, s.BGP.RestartTime = true, 120*time.Second
	s.BGP.MeshEnabled, s.BGP.GracefulRestart = true, true
	s.Pools = s.Pools.Put("pods", caracal.Pool{Name: "pods", CIDR: pfx("10.1.0.0/16"), BlockSize: 26, Advertise: caracal.AdvertiseBlocks})
	for i, n := range []string{"a", "b", "c"} {
		addr := netip.PrefixFrom(ip(fmt.Sprintf("192.0.2.%d", i+1)), 24)
		s.Nodes = s.Nodes.Put(n, caracal.Node{Name: n, IPv4: addr, ASN: 64512, RouterID: addr.Addr(), Port: 179, MeshEnabled: true})
		b := pfx(fmt.Sprintf("10.1.%d.0/26", i+1))
		s.Blocks = s.Blocks.Put(b, caracal.Block{CIDR: b, Node: n})
	}
	r.store.snap.Store(s)
	return r
}

func (r *rig) start() {
	var store Store = r.store
	if r.endpoints != nil {
		store = r.endpoints.Overlay()
	}
	r.agent = New(Options{
		Store:      store,
		Endpoints:  r.endpoints,
		OpenKernel: r.open,
		StateDir:   r.state,
		Networks:   func() []netip.Prefix { return r.networks },
		NewSpeaker: func(restarting bool) (Speaker, error) { r.speaker.restarting = restarting; return r.speaker, nil },
		API:        api.Options{Socket: filepath.Join(r.t.TempDir(), "s"), Log: slog.New(slog.DiscardHandler)},
		Deferral:   cmp.Or(r.deferral, 500*time.Millisecond),
		Version:    "test",
		Log:        slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r.stop, r.done = cancel, done
	go func(a *Agent) { done <- a.Run(ctx) }(r.agent)
	r.t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			r.t.Error("the agent does not end")
		}
	})
}

// until waits for a condition; what is what it waits for.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	r.t.Fatalf("waited in vain until %s; the kernel has\n%s", what, r.kernel)
}

func (r *rig) has(route string) bool { return strings.Contains(r.kernel.String(), route) }

func (r *rig) converse(neighbors ...string) {
	for _, n := range neighbors {
		r.speaker.say(bgp.Event{Session: &bgp.Session{Neighbor: n, State: bgp.Established, Was: bgp.OpenConfirm}})
	}
}

func eor(n string) bgp.Event { return bgp.Event{EndOfRIB: &bgp.EndOfRIB{Neighbor: n}} }

func announce(n, nlri, nextHop string) bgp.Event {
	return bgp.Event{Update: &bgp.Update{Neighbor: n, Received: time.Now(), Announced: []bgp.NLRI{{Prefix: pfx(nlri)}},
		Attrs: &caracal.Attrs{NextHop: ip(nextHop), LocalPref: 100}}}
}
