package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
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
	// dir is where paused sessions are kept for the process after this one; empty
	// means nowhere.
	dir string

	config   atomic.Pointer[bgp.Config] // in force
	sessions *atomic.Pointer[map[string]bgp.SessionFact]
	wake     <-chan struct{} // one of these changed
	ring     func()

	watched map[string]watchedNeighbor
	resumed map[string]bool // sessions that the last process has paused
	applied []bfd.Session
	issues  atomic.Pointer[[]caracal.Problem]
}

// watcher is [bfd.Server].
type watcher interface {
	Apply(want []bfd.Session) (failed map[string]error)
	Bell() <-chan struct{}
	Take() []bfd.Event
	Pause(ctx context.Context, d time.Duration) []bfd.Saved
	Close(adminDown bool)
}

// watchedNeighbor is what was decided about a neighbor, for as long as it has
// its address.
type watchedNeighbor struct {
	addr     netip.Addr
	multihop bool
}

func newBFD(w watcher, g ground, f Failer, sessions *atomic.Pointer[map[string]bgp.SessionFact], dir string, log *slog.Logger) *bfdTask {
	wake, ring := bell()
	t := &bfdTask{
		watcher: w, ground: g, failer: f, sessions: sessions, dir: dir, log: log, wake: wake, ring: ring,
		watched: map[string]watchedNeighbor{}, resumed: map[string]bool{},
	}
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

// run watches until ctx ends. Then the neighbors are asked to bear a silence, for
// a restart is expected.
func (t *bfdTask) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		t.apply()
		select {
		case <-ctx.Done():
			t.pause()
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
	t.decide(neighbors)
	want := bfdSessions(neighbors, t.watched)
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

// decide takes up the neighbors that are to be watched from now on: those that
// were Established. Before that BFD has nothing to say, and after a crash our
// first packet, which says Down, would end the session that just begins. What
// the last process has paused goes on at once.
func (t *bfdTask) decide(neighbors []bgp.Neighbor) {
	facts := *t.sessions.Load()
	there := map[string]bool{}
	var fresh []bgp.Neighbor
	for _, n := range neighbors {
		if !n.BFD.Enabled {
			continue
		}
		there[n.Name] = true
		w, known := t.watched[n.Name]
		if known && w.addr == n.Addr {
			continue
		}
		if facts[n.Name].Established || t.resumed[n.Name] {
			fresh = append(fresh, n)
		} else if known {
			delete(t.watched, n.Name)
		}
	}
	maps.DeleteFunc(t.watched, func(name string, _ watchedNeighbor) bool { return !there[name] })
	if len(fresh) == 0 {
		return
	}
	addrs := make([]netip.Addr, len(fresh))
	for i, n := range fresh {
		addrs[i] = n.Addr
	}
	places, err := t.ground.Places(addrs)
	if err != nil {
		t.log.Debug("where neighbors are is not known; it is asked for again", "err", err)
		return
	}
	for _, n := range fresh {
		_, near := places[n.Addr]
		t.watched[n.Name] = watchedNeighbor{n.Addr, severalHops(n, near)}
		delete(t.resumed, n.Name)
	}
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

// bfdSessions are those of the neighbors that are watched.
func bfdSessions(neighbors []bgp.Neighbor, watched map[string]watchedNeighbor) []bfd.Session {
	var out []bfd.Session
	for _, n := range neighbors {
		w, ok := watched[n.Name]
		if !ok || !n.BFD.Enabled {
			continue
		}
		s := bfd.Session{Name: n.Name, Local: n.Local, Remote: n.Addr, Interface: n.Addr.Zone(), Multihop: w.multihop, BFD: n.BFD}
		if w.multihop {
			s.MaxHops = n.TTLSecurity
		}
		if n.Addr.IsLinkLocalUnicast() && !n.Local.IsLinkLocalUnicast() {
			s.Local = netip.Addr{}
		}
		out = append(out, s)
	}
	return out
}

// take ends the session of a neighbor that is gone. Whether its routes stay as
// stale is for RFC 5882 section 4.3 to say: if its BFD shares the fate of its
// BGP, the silence may be a restart.
func (t *bfdTask) take(ctx context.Context, ev bfd.Event) {
	if !ev.Failure() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := t.failer.Fail(ctx, ev.Name, "BFD: "+ev.Reason, !ev.RemoteCPI); err != nil && !errors.Is(err, context.Canceled) {
		t.log.Error("a session that BFD found broken could not be ended; it ends with its hold time", "neighbor", ev.Name, "err", err)
	}
}

// leave tells the neighbors that BFD ends on purpose. It comes before BGP closes
// its sessions.
func (t *bfdTask) leave() { t.watcher.Close(true) }

const (
	// pausedFile is where paused sessions are, in the state directory.
	pausedFile = "bfd"
	// pauseWithin is how long neighbors may take to agree to a pause, pauseLeast
	// how long one is if nobody says how long a restart may take.
	pauseWithin = time.Second
	pauseLeast  = 10 * time.Second
)

// pause asks the neighbors to wait for the next process as long as they keep our
// routes, and writes down what that needs to know.
func (t *bfdTask) pause() {
	ctx, cancel := context.WithTimeout(context.Background(), pauseWithin)
	defer cancel()
	saved := t.watcher.Pause(ctx, pauseFor(t.config.Load().Neighbors))
	if err := writePaused(t.dir, saved); err != nil {
		t.log.Warn("neighbors will see BFD go down when this process ends", "err", err)
	}
	t.watcher.Close(false)
}

// pauseFor is the shortest restart time of the neighbors that are watched.
func pauseFor(neighbors []bgp.Neighbor) time.Duration {
	var d time.Duration
	for _, n := range neighbors {
		if n.BFD.Enabled && n.GracefulRestart && n.RestartTime > 0 && (d == 0 || n.RestartTime < d) {
			d = n.RestartTime
		}
	}
	return max(d, pauseLeast)
}

func writePaused(dir string, saved []bfd.Saved) error {
	if dir == "" || len(saved) == 0 {
		return nil
	}
	text, err := json.Marshal(saved)
	path := filepath.Join(dir, pausedFile)
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("node: keep paused BFD sessions: %w", err)
	}
	return nil
}

// takePaused returns the sessions that the process before this one paused, once.
func takePaused(dir string) ([]bfd.Saved, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, pausedFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var saved []bfd.Saved
	if err == nil {
		err = errors.Join(json.Unmarshal(text, &saved), os.Remove(path))
	}
	if err != nil {
		return nil, fmt.Errorf("node: read paused BFD sessions: %w", err)
	}
	return saved, nil
}
