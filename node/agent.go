package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bfd"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ndp"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
)

// Options are what an [Agent] is made of. The fields without "may be" must be
// set.
type Options struct {
	Store Store
	// Reloader serves `caracal configure`; may be nil.
	Reloader Reloader
	// Viewer serves `caracal show tor-config`; may be nil.
	Viewer Viewer
	// Endpoints knows the containers of this node, and Store is its Overlay; may be
	// nil, for a node without.
	Endpoints *endpoint.Registry
	// ConfigSource says for status where the configuration is read from.
	ConfigSource string
	// OpenKernel returns the kernel's routing tables for the routes of a mark.
	OpenKernel func(fib.Mark) (Kernel, error)
	// NewSpeaker makes the speaker. restarting says that routes of this boot
	// were adopted, so that forwarding state is announced as preserved (RFC 4724
	// section 4.1).
	NewSpeaker func(restarting bool) (Speaker, error)
	// OpenRules returns the kernel's rules of a backend, "nft" or "legacy", or for an
	// empty one of that of the host's other programs; nil is a node without policy.
	// RemoveRules takes away all of ours, of both.
	OpenRules   func(backend string) (Rules, error)
	RemoveRules func(ctx context.Context) error
	// OpenFlusher opens the kernel's table of connections; nil leaves it alone.
	OpenFlusher func() (Flusher, error)
	// Networks lists the networks that the host is directly on; nil means those
	// of the kernel's addresses.
	Networks func() []netip.Prefix
	// StateDir is where it is kept what marks routes in the kernel carry; empty
	// means nowhere.
	StateDir string
	// Deferral is how long after BGP's start a silent neighbor is waited for
	// before adopted routes may be swept; 0 means 10 s.
	Deferral time.Duration
	// Say is told in a few words what the daemon is about, for the first time when
	// it answers on its socket and has either adopted the routes in the kernel or
	// found out what it must wait for; may be nil.
	Say func(status string)
	// Beside run beside the daemon's own tasks, from when no other daemon has the
	// socket until ctx ends; an error ends the daemon.
	Beside []func(ctx context.Context, a *Agent) error
	// Problems are those that Beside's tasks have, for status; may be nil.
	Problems func() []caracal.Problem
	// HTTPAddr is where metrics and health are served; empty means nowhere.
	HTTPAddr string
	// API says where the CLI's socket is.
	API     api.Options
	Version string
	Log     *slog.Logger
}

// Routing is what Say is told once packets are routed.
const Routing = "routing"

// Kernel is the machine's routing tables, with what happens to them.
type Kernel interface {
	fib.Kernel
	// Watch tells what others do to routes, links and addresses until ctx ends
	// or it fails; then the channel is closed.
	Watch(ctx context.Context) (<-chan fib.Events, error)
	Close()
}

// Agent is the daemon. Make it with [New] and let it [Agent.Run].
type Agent struct {
	o       Options
	started time.Time
	feed    *api.Feed
	pulse   *pulse
	latency prometheus.Histogram
	// endpointLatency is by step: add, ready, remove.
	endpointLatency *prometheus.HistogramVec

	up             atomic.Pointer[running]   // nil while the start waits
	configured     atomic.Pointer[time.Time] // when the Snapshot in force was published
	sysctlProblems atomic.Pointer[[]caracal.Problem]
	httpProblem    atomic.Pointer[caracal.Problem]
	waiting        atomic.Pointer[string] // what the start waits for; nil once up
	leave          chan struct{}
	drain          *drain
	policy         *policyTask
}

// running is what exists once the tasks run.
type running struct {
	routes  *routesTask
	bgp     *speakerTask
	links   *linksTask
	routers *ndp.Server
	bfd     *bfdTask
	watcher *bfd.Process // of bfd
	tunnel  *tunnelTask
	speaker Speaker
}

// New returns an Agent that does nothing yet.
func New(o Options) *Agent {
	if o.Deferral == 0 {
		o.Deferral = defaultDeferral
	}
	if o.Networks == nil {
		o.Networks = hostNetworks
	}
	a := &Agent{
		o:       o,
		started: time.Now(),
		feed:    &api.Feed{},
		pulse:   newPulse("routes", "speaker", "links", "relay", "tunnel", "policy"),
		latency: newLatency(),

		endpointLatency: newEndpointLatency(),

		leave: make(chan struct{}, 1),
		drain: newDrain(o.StateDir, o.Store, o.Log),
	}
	a.policy = newPolicy(o.Store, o.Log, a.pulse.beat("policy"))
	a.policy.open, a.policy.remove = o.OpenRules, o.RemoveRules
	if o.OpenFlusher != nil {
		a.policy.flusher = newFlush(o.OpenFlusher, o.Log)
	}
	return a
}

// Run serves until ctx ends: then routes stay in the kernel and the sessions
// end without a Cease, since a restart is expected. After [Agent.Leave] it
// withdraws what was announced first. The error wraps [ErrReexec] when the
// process must start itself anew.
func (a *Agent) Run(ctx context.Context) error {
	server := api.New(a.backend(), a.o.API)
	if err := server.Listen(); err != nil { // first: it finds out whether a daemon runs already
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.o.Store.Run(ctx) })
	if a.o.Endpoints != nil {
		g.Go(func() error { return a.o.Endpoints.Run(ctx, a) })
	}
	g.Go(func() error { return a.serveHTTP(ctx) })
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return a.serveRoutes(ctx, g) })
	g.Go(func() error { return a.leaveWhenAsked(ctx) })
	for _, task := range a.o.Beside {
		g.Go(func() error { return task(ctx, a) })
	}
	err := g.Wait()
	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// backend is what the server asks.
func (a *Agent) backend() api.Backend {
	b := api.Backend{Source: a, Inventory: a, Commander: a, Peering: a, Tunnels: a, Services: a, Policies: a}
	if a.o.Endpoints != nil {
		b.Endpoints, b.Addresses = a.o.Endpoints, a.o.Endpoints
	}
	return b
}

// errLeft ends the tasks after the speaker has taken its leave.
var errLeft = errors.New("left")

// Leave asks Run to withdraw what was announced, to close the sessions with a
// Cease and to return. Kernel routes stay.
func (a *Agent) Leave() {
	select {
	case a.leave <- struct{}{}:
	default:
	}
}

// serveRoutes waits for the first Snapshot, adopts what is in the kernel and
// then runs the two tasks.
func (a *Agent) serveRoutes(ctx context.Context, g *errgroup.Group) error {
	storeBell := a.o.Store.Subscribe()
	snap, err := a.firstSnapshot(ctx, storeBell)
	if err != nil || snap == nil {
		return err
	}
	mark := fib.MarkOf(snap.Dataplane)
	earlier := a.recordMark(mark)
	kernel, err := a.o.OpenKernel(mark)
	if err != nil {
		return fmt.Errorf("node: open kernel routes: %w", err)
	}
	defer kernel.Close()
	events, err := kernel.Watch(ctx) // before anything is read
	if err != nil {
		return fmt.Errorf("node: watch kernel routes: %w", err)
	}
	t, err := a.newRoutesTask(ctx, kernel)
	if err != nil {
		return err
	}
	events, beside := fib.Split(events)
	t.kernelEvents = events
	beside, other := fib.Split(beside)
	a.policy.adopted = t.fib.Len()+a.earlierRoutes(ctx, earlier) > 0
	speaker, err := a.o.NewSpeaker(a.policy.adopted)
	if err != nil {
		return fmt.Errorf("node: start speaker: %w", err)
	}
	up := &running{routes: t, speaker: speaker}
	a.watchful(up, kernel, beside)
	closeTunnel, err := a.tunnel(up, other)
	if err != nil {
		return err
	}
	up.bgp = a.wire(up)
	t.turn(ctx) // local routes first: what is announced is in the kernel
	a.up.Store(up)
	a.waiting.Store(nil)
	a.say(Routing)
	g.Go(func() error { return a.policy.run(ctx) })
	if a.policy.flusher != nil {
		g.Go(func() error { return a.policy.flusher.run(ctx) })
	}
	g.Go(func() error { return up.bgp.run(ctx) })
	g.Go(func() error { return t.relays.run(ctx) })
	g.Go(func() error { return up.links.run(ctx) })
	g.Go(func() error { return up.routers.Run(ctx) })
	g.Go(func() error { return up.bfd.run(ctx) })
	g.Go(func() error {
		defer closeTunnel()
		return up.tunnel.run(ctx)
	})
	g.Go(func() error { return a.drain.run(ctx, speaker, up.bgp.drained) })
	g.Go(func() error { return a.dropEarlier(ctx, t, earlier) })
	g.Go(func() error { return (&sysctlTask{routes: t, agent: a, log: a.o.Log}).run(ctx) })
	return t.run(ctx, storeBell)
}

// watchful makes the tasks that find out what BGP would be slow to: that a link
// or a neighbor is gone, or that a router is there.
func (a *Agent) watchful(up *running, kernel Kernel, events <-chan fib.Events) {
	ground := hostGround{kernel}
	up.routers = ndp.NewServer()
	up.links = newLinks(a.o.Store, ground, up.routers, up.speaker, a.o.Log, a.pulse.beat("links"))
	up.links.events = events
	up.watcher = bfd.NewProcess(bfd.ProcessOptions{
		// Beside the socket, where a reboot leaves nothing.
		Log: a.o.Log, StateFile: filepath.Join(filepath.Dir(cmp.Or(a.o.API.Socket, api.DefaultSocket)), "bfd.json"),
		Hold: a.o.Store.Snapshot().BGP.RestartTime,
	})
	up.bfd = newBFD(up.watcher, ground, up.speaker, a.o.Log)
}

// wire makes the speaker's task and connects the two: what happened goes one
// way, which prefixes are in the kernel the other.
func (a *Agent) wire(up *running) *speakerTask {
	t, speaker := up.routes, up.speaker
	gateBell, ringGate := bell()
	planBell, ringPlan := bell()
	t.events, t.eventBell, t.planBell, t.ringGate = speaker.Take, speaker.Bell(), planBell, ringGate
	s := &speakerTask{
		store: a.o.Store, speaker: speaker, gate: t.gate, gateBell: gateBell, log: a.o.Log, beat: a.pulse.beat("speaker"),
		drain: a.drain, drainBell: a.drain.Bell(),
		network: up.links, sessions: t.sessions, coverages: t.coverages,
		planned: func(c bgp.Config) {
			t.planned.Store(&c)
			ringPlan()
			up.links.planned(c)
			up.bfd.planned(c)
			a.policy.planned(c)
		},
		unruled: func() bool { return !a.policy.adopted && !a.policy.state.Load().passed() },
	}
	a.policy.opened = ringGate
	s.state.Store(&speakerState{})
	t.relays = newRelayTask(speaker, a.o.Log, a.pulse.beat("relay"))
	t.mirror.OnRelay(t.relays.put)
	t.bgpStarted = func() time.Time { return s.state.Load().started }
	return s
}

func (a *Agent) newRoutesTask(ctx context.Context, kernel Kernel) (*routesTask, error) {
	localBell, ringLocal := bell()
	networks := newNetworks(a.o.Networks)
	t := &routesTask{
		networks: networks,
		store:    a.o.Store, kernel: kernel, log: a.o.Log, feed: a.feed, beat: a.pulse.beat("routes"),
		events: func() []bgp.Event { return nil }, ringGate: func() {}, bgpStarted: func() time.Time { return time.Time{} },
		localBell: localBell, ringLocal: ringLocal,
		planned: &atomic.Pointer[bgp.Config]{}, gate: &atomic.Pointer[gate]{}, queries: make(chan func()), waits: map[*routeWait]struct{}{},
		settled: make(chan struct{}), facts: newSessionFacts(), sessions: &atomic.Pointer[map[string]bgp.SessionFact]{},
		encap: newEncap(), tunnelTried: func() bool { return true },
		owners: rib.NewOwners(), local: newLocal(networks.list), deferral: a.o.Deferral,
		taken: func() { now := time.Now(); a.configured.Store(&now) },
	}
	t.gate.Store(&gate{})
	t.sessions.Store(&map[string]bgp.SessionFact{})
	t.mirror = rib.NewMirror(t.owners)
	t.fib = fib.New(kernel, fib.Options{Observe: func(d time.Duration) { a.latency.Observe(d.Seconds()) }})
	n, err := t.fib.Adopt(ctx)
	if err != nil {
		return nil, fmt.Errorf("node: adopt routes: %w", err)
	}
	a.o.Log.Info("routes adopted from the kernel", "count", n)
	return t, nil
}

// firstSnapshot waits until the store has something that names this node. Until
// then nothing is touched.
func (a *Agent) firstSnapshot(ctx context.Context, storeBell <-chan struct{}) (*caracal.Snapshot, error) {
	var said string
	for {
		snap := a.o.Store.Snapshot()
		reason := "the configuration has not been read yet"
		if snap.Synced {
			if _, ok := snap.SelfNode(); ok {
				return snap, nil
			}
			reason = selfMissing(snap)
		}
		a.waiting.Store(&reason)
		if snap.Synced && reason != said {
			said = reason
			a.o.Log.Error("waiting: " + reason)
			a.say("waiting: " + reason)
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-storeBell:
		}
	}
}

// selfMissing returns the store's own words about the missing NodeConfig.
func selfMissing(snap *caracal.Snapshot) string {
	for _, p := range snap.Problems {
		if p.Kind == "NodeConfig" && p.Name == snap.Self {
			return p.Message
		}
	}
	return fmt.Sprintf("node %q is not in the configuration", snap.Self)
}

// say tells whoever supervises the process what it is about.
func (a *Agent) say(status string) {
	if a.o.Say != nil {
		a.o.Say(status)
	}
}

func (a *Agent) leaveWhenAsked(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.leave:
	}
	up := a.up.Load()
	if up == nil {
		return errLeft
	}
	a.o.Log.Info("leaving: announcements are withdrawn and sessions closed; kernel routes stay")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := up.speaker.Leave(ctx); err != nil {
		a.o.Log.Error("leaving was cut short", "err", err)
	}
	up.bfd.leave()
	return errLeft
}

func problem(kind, name, message string) *caracal.Problem {
	return &caracal.Problem{Severity: caracal.Warning, Kind: kind, Name: name, Message: message, Since: time.Now()}
}
