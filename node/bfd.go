package node

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bfd"
	"caracal.dev/caracal/bgp"
)

// bfdTask has neighbors watched by BFD, and ends the session of one that is
// found to be gone (RFC 5882 section 3.2).
type bfdTask struct {
	watcher watcher
	ground  ground
	failer  Failer
	log     *slog.Logger

	config atomic.Pointer[bgp.Config] // in force
	wake   <-chan struct{}            // it changed
	ring   func()

	near    map[netip.Addr]bool // internal neighbors that were on a network of ours
	applied []bfd.Session
	issues  atomic.Pointer[[]caracal.Problem]
}

// watcher is [bfd.Process].
type watcher interface {
	Apply(want []bfd.Session) (failed map[string]error)
	Bell() <-chan struct{}
	Take() []bfd.Event
	Close(adminDown bool)
}

func newBFD(w watcher, g ground, f Failer, log *slog.Logger) *bfdTask {
	wake, ring := bell()
	t := &bfdTask{watcher: w, ground: g, failer: f, log: log, wake: wake, ring: ring, near: map[netip.Addr]bool{}}
	t.config.Store(&bgp.Config{})
	t.issues.Store(&[]caracal.Problem{})
	return t
}

// planned takes the configuration in force.
func (t *bfdTask) planned(c bgp.Config) {
	t.config.Store(&c)
	t.ring()
}

func (t *bfdTask) problems() []caracal.Problem { return *t.issues.Load() }

// run watches until ctx ends. A restart is expected then, so the neighbors are
// asked to bear a silence.
func (t *bfdTask) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		t.apply()
		select {
		case <-ctx.Done():
			t.watcher.Close(false)
			return nil
		case <-t.watcher.Bell():
			for _, ev := range t.watcher.Take() {
				t.take(ctx, ev)
			}
		case <-t.wake:
		case <-tick.C:
		}
	}
}

// apply has the sessions that there should be.
func (t *bfdTask) apply() {
	neighbors := t.config.Load().Neighbors
	if !slices.ContainsFunc(neighbors, func(n bgp.Neighbor) bool { return n.BFD.Enabled }) && len(t.applied) == 0 {
		return
	}
	want := bfdSessions(neighbors, t.onLink(neighbors))
	if slices.Equal(want, t.applied) && len(t.problems()) == 0 {
		return
	}
	failed := t.watcher.Apply(want)
	t.applied = want
	issues := []caracal.Problem{}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		issues = append(issues, *problem("BFD", name, failed[name].Error()))
	}
	t.issues.Store(&issues)
}

// onLink returns the addresses of internal neighbors that are on a network of
// this host. One that was stays so, or a link that goes down would make another
// kind of session of it, just when it is to be found broken.
func (t *bfdTask) onLink(neighbors []bgp.Neighbor) map[netip.Addr]bool {
	var addrs []netip.Addr
	for _, n := range neighbors {
		if n.BFD.Enabled && !n.External && !n.Multihop {
			addrs = append(addrs, n.Addr)
		}
	}
	maps.DeleteFunc(t.near, func(a netip.Addr, _ bool) bool { return !slices.Contains(addrs, a) })
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return t.near[a] })
	if len(addrs) == 0 {
		return t.near
	}
	places, err := t.ground.Places(addrs)
	if err != nil {
		t.log.Debug("where neighbors are is not known; it is asked for again", "err", err)
	}
	for a := range places {
		t.near[a] = true
	}
	return t.near
}

// severalHops says which kind of session watches a neighbor: RFC 5883 for an
// external one that is configured as multihop and for an internal one that is on
// none of our networks, RFC 5881 for the others. Both ends must have the same.
func severalHops(n bgp.Neighbor, near bool) bool {
	if n.External || n.Addr.IsLinkLocalUnicast() {
		return n.Multihop
	}
	return n.Multihop || !near
}

// bfdSessions are those of the neighbors that are to be watched.
func bfdSessions(neighbors []bgp.Neighbor, near map[netip.Addr]bool) []bfd.Session {
	var out []bfd.Session
	for _, n := range neighbors {
		if !n.BFD.Enabled {
			continue
		}
		s := bfd.Session{Name: n.Name, Local: n.Local, Remote: n.Addr, Interface: n.Addr.Zone(), Multihop: severalHops(n, near[n.Addr]), BFD: n.BFD}
		if s.Multihop {
			s.MaxHops = n.TTLSecurity
		}
		if n.Addr.IsLinkLocalUnicast() && !n.Local.IsLinkLocalUnicast() {
			s.Local = netip.Addr{}
		}
		out = append(out, s)
	}
	return out
}

// take ends the session of a neighbor that is gone, and has one that is back
// dialed. BGP waits for neither: a neighbor may have no BFD. Whether its routes stay as
// stale is for RFC 5882 section 4.3 to say: if its BFD shares the fate of its
// BGP, the silence may be a restart.
func (t *bfdTask) take(ctx context.Context, ev bfd.Event) {
	if ev.State == bfd.Up {
		t.failer.Reachable(ev.Name)
	}
	if !ev.Failure() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := t.failer.Fail(ctx, ev.Name, "BFD: "+ev.Reason, !ev.RemoteCPI); err != nil && !errors.Is(err, context.Canceled) {
		t.log.Error("a session that BFD found broken could not be ended; it ends with its hold time", "neighbor", ev.Name, "err", err)
	}
}

// leave tells the neighbors that BFD ends on purpose, after BGP has closed its
// sessions: then there is nothing left that they could take for a failure.
func (t *bfdTask) leave() { t.watcher.Close(true) }
