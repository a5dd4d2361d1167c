package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipip"
)

// tunnelTask keeps the IPIP device as the pools ask for it, with the guard that
// lets only nodes send through it, and knows the MTU that pods can have. The
// guard is there before the device is up.
type tunnelTask struct {
	store  Store
	device tunnelDevice
	// openGuard opens the firewall, when it is first needed.
	openGuard func() (tunnelGuard, error)
	// uplink finds the interface with the node's address.
	uplink func(self caracal.Node, nodes *caracal.Table[string, caracal.Node]) (uplink, error)
	log    *slog.Logger
	beat   func()
	// ring tells the routes task that the device was tried.
	ring   func()
	events <-chan fib.Events

	state atomic.Pointer[tunnelState]

	linger     time.Duration
	asked      time.Time // when it was asked for last, or the task began
	settleTime time.Duration
	began      time.Time // when pools began to ask for it; zero while none does
	guard      tunnelGuard
	released   bool // the device is left to others, and was looked at
	// taken is the Snapshot of the last look.
	taken    *caracal.Snapshot
	guarded  *caracal.Snapshot
	failures int
	retry    time.Time // after a failure; zero without one
	looked   time.Time
	said     string
}

// tunnelDevice is [ipip.Tunnel].
type tunnelDevice interface {
	Load(ctx context.Context) (ipip.State, error)
	Apply(ctx context.Context, want ipip.Want) ([]ipip.Step, ipip.State, error)
	Observe(ctx context.Context) (ipip.State, error)
	Release(ctx context.Context) ([]ipip.Step, ipip.State, error)
}

// tunnelGuard is [ipip.Guard].
type tunnelGuard interface {
	Apply(ctx context.Context, allowed []netip.Addr, whole bool) (bool, error)
	Present(ctx context.Context) (bool, error)
	Remove(ctx context.Context) error
}

// tunnelState is what the task knows. It is immutable.
type tunnelState struct {
	// wanted says that the device is to be there, tried that it is and that others
	// had time to have theirs, or that it was found out why not: err.
	wanted, tried bool
	err           error
	since         time.Time // of err
	want          ipip.Want
	have          ipip.State
	uplink        uplink
	uplinkErr     error
	// podMTU is the largest that every packet of a pod gets through with; 0 while
	// it is not known.
	podMTU int
}

// uplink is the interface that leads to other nodes.
type uplink struct {
	name  string
	index int
	mtu   int
}

// tunnelLinger is how long the device stays as it is after nobody here asks for
// it any more: nodes that read their configuration later still send through it.
const tunnelLinger = 15 * time.Minute

// tunnelSettle is how long routes that are outside of the tunnel stay there after
// pools began to ask for it, where not all nodes have an address for it: the
// others have read the same configuration, and need a moment too before they can
// receive.
const tunnelSettle = 15 * time.Second

// tunnelInterval is how often device and guard are looked at without a reason.
const tunnelInterval = time.Minute

func newTunnel(store Store, device tunnelDevice, openGuard func() (tunnelGuard, error), log *slog.Logger, beat, ring func()) *tunnelTask {
	t := &tunnelTask{store: store, device: device, openGuard: openGuard, uplink: findUplink, log: log, beat: beat, ring: ring, linger: tunnelLinger, settleTime: tunnelSettle, asked: time.Now()}
	t.state.Store(&tunnelState{})
	return t
}

// tried reports whether the device is there as it was asked for, or cannot be.
func (t *tunnelTask) tried() bool { return t.state.Load().tried }

func (t *tunnelTask) run(ctx context.Context) error {
	changed := t.store.Subscribe()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	events := t.events
	for look := true; ; {
		t.beat()
		if look || t.due(time.Now()) {
			t.turn(ctx)
		}
		look = true
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-events:
			if !ok {
				events = nil // the routes task ends the daemon
			}
			look = t.touchedBy(ev)
		case <-changed:
			look = t.concerns(t.store.Snapshot())
		case <-tick.C:
			look = false
		}
	}
}

// due reports whether it is time to look without a reason.
func (t *tunnelTask) due(now time.Time) bool {
	if st := t.state.Load(); !t.began.IsZero() && !st.tried {
		return true
	}
	if !t.retry.IsZero() {
		return !now.Before(t.retry)
	}
	return now.Sub(t.looked) >= tunnelInterval
}

// touchedBy reports whether what happened may concern the device or the
// interface that its MTU follows.
func (t *tunnelTask) touchedBy(ev fib.Events) bool {
	st := t.state.Load()
	ours := func(index int) bool {
		return st.uplink.index == 0 || index == st.uplink.index || index == st.have.Index
	}
	return ev.Lost ||
		slices.ContainsFunc(ev.Links, func(l fib.LinkEvent) bool { return ours(l.Link.Index) || l.Link.Name == ipip.Device }) ||
		slices.ContainsFunc(ev.Addrs, func(a fib.AddrEvent) bool { return a.IPv4 })
}

// concerns reports whether a Snapshot differs from that of the last look in what
// the device depends on: a container that starts is no reason to look.
func (t *tunnelTask) concerns(snap *caracal.Snapshot) bool {
	was := t.taken
	if was == nil || was.Synced != snap.Synced || was.Complete() != snap.Complete() || was.Dataplane != snap.Dataplane {
		return true
	}
	differs := false
	snap.Nodes.Diff(was.Nodes, func(a, b caracal.Node) bool { return a.IPv4 == b.IPv4 && a.IPv6 == b.IPv6 && a.Tunnel == b.Tunnel },
		func(string, *caracal.Node, *caracal.Node) { differs = true })
	snap.Pools.Diff(was.Pools, func(a, b caracal.Pool) bool { return a == b },
		func(string, *caracal.Pool, *caracal.Pool) { differs = true })
	return differs
}

// turn looks at everything once.
func (t *tunnelTask) turn(ctx context.Context) {
	snap := t.store.Snapshot()
	self, ok := snap.SelfNode()
	if !snap.Synced || !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	was := t.state.Load()
	whole := time.Since(t.looked) >= tunnelInterval || !t.retry.IsZero() // the guard too, which costs a process
	t.looked, t.taken = time.Now(), snap
	next := &tunnelState{uplink: was.uplink, have: was.have}
	if up, err := t.uplink(self, &snap.Nodes); err != nil {
		next.uplinkErr = err
	} else {
		next.uplink = up
	}
	asked := tunnelWanted(snap, self)
	if asked {
		t.asked = t.looked
	}
	lingers := t.looked.Sub(t.asked) < t.linger
	switch {
	case asked, was.wanted && lingers:
		next.wanted = true
		next.want = ipip.Want{Addr: self.Tunnel, MTU: tunnelMTU(snap.Dataplane, next.uplink, was.have)}
		if !asked {
			next.want.Addr = was.want.Addr
		}
		next.have, next.err = t.keep(ctx, snap, next.want, whole)
		next.tried = t.ready(snap, was, next.err)
		t.released = false
	case lingers: // it may be of the last run, and others still send through it
		next.have, next.err = t.device.Observe(ctx)
	default:
		next.have, next.err = t.release(ctx, snap)
	}
	next.podMTU = podMTU(snap, next.uplink, next.want)
	t.settle(was, next)
}

// tunnelWanted reports whether the device is to be there: while a pool asks for
// it, and also while the node has an address for it, so that a node can receive
// what others send before its own configuration has them do so.
func tunnelWanted(snap *caracal.Snapshot, self caracal.Node) bool {
	if !self.IPv4.IsValid() {
		return false
	}
	return self.Tunnel.IsValid() || len(tunnelPools(snap)) > 0
}

// ready reports whether routes may go into the tunnel: it is up here, and the
// other nodes had time to have theirs up, or it is known not to come. Nodes with
// an address for it have it up whatever the pools say.
func (t *tunnelTask) ready(snap *caracal.Snapshot, was *tunnelState, failed error) bool {
	if len(tunnelPools(snap)) == 0 {
		t.began = time.Time{}
		return false
	}
	if t.began.IsZero() {
		t.began = time.Now()
	}
	if was.tried || failed != nil || time.Since(t.began) >= t.settleTime {
		return true
	}
	for _, n := range snap.Nodes.All() {
		if n.IPv4.IsValid() && !n.Tunnel.IsValid() {
			return false
		}
	}
	return true
}

// tunnelPools are the names of the pools that ask for the tunnel.
func tunnelPools(snap *caracal.Snapshot) []string {
	var names []string
	for name, p := range snap.Pools.All() {
		if tunnels(p.IPIP) && p.CIDR.Addr().Is4() {
			names = append(names, name)
		}
	}
	return names
}

// usualMTU is that of Ethernet.
const usualMTU = 1500

// tunnelMTU is what is configured, or what the interface takes less the outer
// header. While the interface is not known the device keeps what it has.
func tunnelMTU(d caracal.Dataplane, up uplink, have ipip.State) int {
	switch {
	case d.TunnelMTU > 0:
		return d.TunnelMTU
	case up.mtu > 0:
		return ipip.MTU(up.mtu - ipip.Overhead)
	case have.Up:
		return have.MTU
	}
	return usualMTU - ipip.Overhead
}

// podMTU is the smallest over the encapsulations in use.
func podMTU(snap *caracal.Snapshot, up uplink, want ipip.Want) int {
	if len(tunnelPools(snap)) == 0 || want.MTU == 0 {
		return up.mtu
	}
	if up.mtu == 0 {
		return want.MTU
	}
	return min(up.mtu, want.MTU)
}

// keep has guard and device as wanted. Without its guard the device is not
// brought up; one that is up already goes on.
func (t *tunnelTask) keep(ctx context.Context, snap *caracal.Snapshot, want ipip.Want, whole bool) (ipip.State, error) {
	have, err := t.device.Load(ctx)
	if err != nil {
		return have, err
	}
	var unguarded error
	if whole || t.guarded == nil || !sameAddrs(t.guarded, snap) {
		unguarded = t.protect(ctx, snap)
	}
	if unguarded != nil && !have.Up {
		return have, fmt.Errorf("nothing would keep others from sending through %s, so it stays down: %w", ipip.Device, unguarded)
	}
	did, have, err := t.device.Apply(ctx, want)
	t.report(did)
	return have, errors.Join(err, unguarded)
}

func (t *tunnelTask) report(did []ipip.Step) {
	for _, s := range did {
		t.log.Info("tunnel", "did", s.String())
	}
}

// protect lets only nodes send through the device.
func (t *tunnelTask) protect(ctx context.Context, snap *caracal.Snapshot) error {
	t.guarded = nil
	if err := t.open(); err != nil {
		return err
	}
	var nodes []netip.Addr
	for _, n := range snap.Nodes.All() {
		if n.IPv4.IsValid() {
			nodes = append(nodes, n.IPv4.Addr())
		}
	}
	changed, err := t.guard.Apply(ctx, nodes, snap.Complete())
	if changed {
		t.log.Info("tunnel", "did", fmt.Sprintf("let IPIP in from %d nodes alone", len(nodes)))
	}
	if err == nil {
		t.guarded = snap
	}
	return err
}

func (t *tunnelTask) open() (err error) {
	if t.guard == nil {
		t.guard, err = t.openGuard()
	}
	return err
}

// sameAddrs reports whether the guard of one Snapshot does for another.
func sameAddrs(a, b *caracal.Snapshot) bool {
	same := a.Complete() == b.Complete()
	b.Nodes.Diff(a.Nodes, func(x, y caracal.Node) bool { return x.IPv4.Addr() == y.IPv4.Addr() },
		func(string, *caracal.Node, *caracal.Node) { same = false })
	return same
}

// release leaves the device to others once nobody here wants it any more, with
// nothing of ours on it. A device that was never ours is not touched: what tells
// is our guard, also that of an earlier run, or an address with our label.
func (t *tunnelTask) release(ctx context.Context, snap *caracal.Snapshot) (ipip.State, error) {
	have, err := t.device.Observe(ctx)
	if err != nil || !have.Exists || t.released || !snap.Complete() {
		return have, err
	}
	present := false
	if err := t.open(); err == nil { // without iptables there is no guard
		if present, err = t.guard.Present(ctx); err != nil {
			return have, err
		}
	}
	ours := slices.ContainsFunc(have.Addrs, func(a ipip.Addr) bool { return a.Ours })
	if !present && !ours {
		t.released = true
		return have, nil
	}
	did, have, err := t.device.Release(ctx)
	t.report(did)
	if err == nil && present {
		err = t.guard.Remove(ctx)
	}
	t.released, t.guarded = err == nil, nil
	return have, err
}

// settle publishes what is now, logs what began and ended to fail, and says when
// to try again.
func (t *tunnelTask) settle(was, next *tunnelState) {
	text := ""
	if err := errors.Join(next.err, next.uplinkErr); err != nil {
		text = err.Error()
	}
	next.since = was.since
	switch {
	case text == t.said:
	case text == "":
		t.log.Info("the tunnel is as it must be again")
	default:
		t.log.Error("the tunnel is not as it must be; tried again", "err", text)
		next.since = time.Now()
	}
	t.said = text
	t.retry = time.Time{}
	if t.failures++; text == "" {
		t.failures = 0
	} else {
		t.retry = time.Now().Add(backoff(t.failures))
	}
	t.state.Store(next)
	if next.tried != was.tried {
		t.ring()
	}
}
