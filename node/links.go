package node

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ndp"
)

// linksTask watches the links of this host. It finds the gateways and routers
// that sessions can be with, which is the [Network] of the speaker's task, and
// ends the sessions of neighbors that a link led to, once it does not, without
// waiting for a hold time (RFC 4271 section 8 leaves that to the speaker; on
// switches it is known as fast external failover).
type linksTask struct {
	store   Store
	ground  ground
	routers finder
	failer  Failer
	log     *slog.Logger
	beat    func()

	events <-chan fib.Events
	config atomic.Pointer[bgp.Config] // in force
	wake   <-chan struct{}            // it changed
	ring   func()

	bell     <-chan struct{}
	tell     func()
	gateways atomic.Pointer[defaultGateways]
	found    atomic.Pointer[map[string]netip.Addr] // routers, as last told
	issues   atomic.Pointer[[]caracal.Problem]

	places   map[string]place // of watched neighbors, as last seen
	asked    time.Time        // when gateways were
	askAgain bool
	said     map[string]bool
}

// finder is [ndp.Server].
type finder interface {
	Apply(devices []string)
	Look()
	Bell() <-chan struct{}
	Routers() map[string]netip.Addr
	Status() []ndp.Device
}

// ground is what the task asks the kernel.
type ground interface {
	// Places returns where those of the addresses are that are directly on a link.
	Places(addrs []netip.Addr) (map[netip.Addr]place, error)
	// Gateways returns the next hops of the best default routes.
	Gateways(ctx context.Context) (v4, v6 []gatewayHop, err error)
}

// defaultGateways are the default gateways, and the devices they are on.
type defaultGateways struct{ v4, v6 gatewayHop }

// gatewayHop is one next hop of a default route, with a zone if link-local.
type gatewayHop struct {
	addr netip.Addr
	link int
}

// linksInterval is how often all is looked at without a reason.
const linksInterval = time.Minute

func newLinks(store Store, g ground, routers finder, failer Failer, log *slog.Logger, beat func()) *linksTask {
	wake, ring := bell()
	rings, tell := bell()
	t := &linksTask{store: store, ground: g, routers: routers, failer: failer, log: log, beat: beat, wake: wake, ring: ring, bell: rings, tell: tell}
	t.config.Store(&bgp.Config{})
	t.gateways.Store(&defaultGateways{})
	t.found.Store(&map[string]netip.Addr{})
	t.issues.Store(&[]caracal.Problem{})
	return t
}

// Gateways implements [Network]. A gateway stays until there is another: that
// the default route is gone for a moment, as while its link is down, does not
// make the switch at the other end another one.
func (t *linksTask) Gateways() (v4, v6 netip.Addr) {
	g := t.gateways.Load()
	return g.v4.addr, g.v6.addr
}

// Routers implements [Network].
func (t *linksTask) Routers() map[string]netip.Addr { return *t.found.Load() }

// Bell implements [Network].
func (t *linksTask) Bell() <-chan struct{} { return t.bell }

// Advertise implements [Network].
func (t *linksTask) Advertise(devices []string) { t.routers.Apply(devices) }

// planned takes the configuration in force.
func (t *linksTask) planned(c bgp.Config) {
	t.config.Store(&c)
	t.ring()
}

// problems are what an operator should know about the links.
func (t *linksTask) problems() []caracal.Problem { return *t.issues.Load() }

func (t *linksTask) run(ctx context.Context) error {
	changed := t.store.Subscribe()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	events := t.events
	var ev fib.Events
	for {
		t.beat()
		t.look(ctx, ev)
		ev = fib.Events{}
		select {
		case <-ctx.Done():
			return nil
		case got, ok := <-events:
			if !ok {
				events = nil // the routes task ends the daemon
			}
			ev = got
		case <-changed:
		case <-t.wake:
		case <-t.routers.Bell():
		case <-tick.C:
			t.beat()
		}
	}
}

// look brings everything up to date after ev.
func (t *linksTask) look(ctx context.Context, ev fib.Events) {
	if len(ev.Links)+len(ev.Addrs) > 0 || ev.Lost {
		t.routers.Look()
	}
	t.watchSessions(ctx, ev)
	news := byGateway(t.store.Snapshot()) && t.askGateways(ctx, ev)
	if routers := t.routers.Routers(); !maps.Equal(routers, *t.found.Load()) {
		t.found.Store(&routers)
		news = true
	}
	t.report(t.routers.Status())
	if news {
		t.tell()
	}
}

// byGateway reports whether a peer is the default gateway, whoever that is.
func byGateway(snap *caracal.Snapshot) bool {
	for _, p := range snap.Peers.All() {
		if p.DefaultGateway {
			return true
		}
	}
	return false
}

// askGateways asks for the default gateways if they may have changed, which
// costs a walk through the kernel's table, and reports whether they did.
func (t *linksTask) askGateways(ctx context.Context, ev fib.Events) bool {
	last := *t.gateways.Load()
	now := time.Now()
	if !last.touchedBy(ev) && !t.askAgain && now.Sub(t.asked) < linksInterval {
		return false
	}
	v4, v6, err := t.ground.Gateways(ctx)
	t.askAgain = err != nil
	if err != nil {
		if ctx.Err() == nil && !t.said[err.Error()] {
			t.log.Warn("the default gateway is not known; it is asked for again", "err", err)
			t.said = map[string]bool{err.Error(): true}
		}
		return false
	}
	t.asked = now
	next := defaultGateways{v4: last.v4.orOf(v4), v6: last.v6.orOf(v6)}
	if next == last {
		return false
	}
	t.gateways.Store(&next)
	t.log.Info("default gateway", "ipv4", next.v4.addr, "ipv6", next.v6.addr)
	return next.v4.addr != last.v4.addr || next.v6.addr != last.v6.addr
}

// touchedBy reports whether ev may have changed the default gateways.
func (g defaultGateways) touchedBy(ev fib.Events) bool {
	isDefault := func(p netip.Prefix) bool { return p.Bits() == 0 }
	on := func(link int) bool { return link == g.v4.link || link == g.v6.link }
	return ev.Lost || ev.ForeignMany || slices.ContainsFunc(ev.Foreign, isDefault) ||
		slices.ContainsFunc(ev.Links, func(l fib.LinkEvent) bool { return on(l.Link.Index) })
}

// orOf returns the gateway of now: the one that was while it is one of them or
// there is none, else the first.
func (g gatewayHop) orOf(now []gatewayHop) gatewayHop {
	if len(now) == 0 || slices.Contains(now, g) {
		return g
	}
	return slices.MinFunc(now, func(a, b gatewayHop) int { return a.addr.Compare(b.addr) })
}

// watchSessions ends the sessions of neighbors whose link went down or away, and
// has those dialed whose link is back.
func (t *linksTask) watchSessions(ctx context.Context, ev fib.Events) {
	watched := singleHop(t.config.Load().Neighbors)
	if len(watched) == 0 {
		t.places = nil
		return
	}
	addrs := slices.Collect(maps.Values(watched))
	at, err := t.ground.Places(addrs)
	if err != nil {
		t.log.Debug("where neighbors are is not known; it is asked for again", "err", err)
		return
	}
	now := map[string]place{}
	for name, a := range watched {
		if p, ok := at[a]; ok {
			now[name] = p
		}
	}
	for _, l := range lostLinks(t.places, now, watched, ev.Links) {
		t.fail(ctx, l)
	}
	for name, p := range now {
		if p.alive() && !t.places[name].alive() {
			t.failer.Reachable(name)
		}
	}
	t.places = now
}

func (t *linksTask) fail(ctx context.Context, l lostLink) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch err := t.failer.Fail(ctx, l.neighbor, l.reason, false); {
	case err != nil && !errors.Is(err, context.Canceled):
		t.log.Error("a session on a lost link could not be ended; it ends with its hold time", "neighbor", l.neighbor, "err", err)
	case err == nil:
		t.log.Warn("session ended with its link", "neighbor", l.neighbor, "reason", l.reason)
	}
}

// report keeps what unnumbered sessions wait for, or should warn of.
func (t *linksTask) report(devices []ndp.Device) {
	issues := routerProblems(devices, *t.issues.Load(), time.Now())
	if reflect.DeepEqual(issues, *t.issues.Load()) {
		return
	}
	was := *t.issues.Load()
	for _, p := range issues {
		if !slices.Contains(was, p) {
			t.log.Warn("unnumbered", "link", p.Name, "finding", p.Message)
		}
	}
	t.issues.Store(&issues)
}
