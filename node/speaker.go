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
)

// ErrReexec is wrapped by the error of [Agent.Run] when the daemon must start
// itself anew: the AS number, the router ID, the port or a listen address
// changed, and GoBGP takes those only at its start; or the mark of routes did.
// No route has moved.
var ErrReexec = errors.New("re-exec needed")

// speakerTask carries bgp.Plan into the speaker. It runs alone: GoBGP may take
// its time without delaying a route.
type speakerTask struct {
	store    Store
	speaker  Speaker
	gate     *atomic.Pointer[gate]
	gateBell <-chan struct{}
	seen     *caracal.Snapshot // the last that was planned by, or that changes nothing of it
	// drain says whether the node is leaving, and drainBell when that changes.
	drain     *drain
	drainBell <-chan struct{}
	// network is what the links of the host say; advertised are the devices that it
	// was told of.
	network    Network
	advertised []string
	// sessions are what the routes task knows of them, coverages what the mirror
	// says of some; covered is since when it has said so without a break.
	sessions  *atomic.Pointer[map[string]bgp.SessionFact]
	coverages func(ctx context.Context, names []string) map[string]coverage
	covered   map[string]time.Time
	// wake is when the plan may change by itself; zero for never.
	wake time.Time
	// planned publishes the configuration in force to the routes task and to
	// status, before it is applied.
	planned func(bgp.Config)
	// unruled says that nothing may be announced for the first time yet, since what
	// isolates the workloads is not in the kernel; nil once it was, for good.
	unruled func() bool
	ruled   atomic.Bool // it was
	log     *slog.Logger
	beat    func()

	state atomic.Pointer[speakerState]
}

// speakerState is what status shows of the task.
type speakerState struct {
	config   bgp.Config
	started  time.Time // BGP listens since; zero while it does not
	applied  bool      // config, all of it
	drain    bgp.Drain // the stage of leaving that is carried out
	err      error     // why not
	problems []caracal.Problem
}

func (t *speakerTask) run(ctx context.Context) error {
	changed := t.store.Subscribe()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var retryAt time.Time
	failures := 0
	for {
		t.beat()
		if retryAt.IsZero() || !time.Now().Before(retryAt) {
			err := t.pass(ctx)
			var restart *bgp.RestartNeeded
			switch {
			case errors.As(err, &restart):
				return errors.Join(ErrReexec, err)
			case err != nil && ctx.Err() == nil:
				failures++
				retryAt = time.Now().Add(backoff(failures))
			default:
				failures, retryAt = 0, time.Time{}
			}
		}
		if !t.wait(ctx, changed, tick.C, &retryAt) {
			return nil
		}
	}
}

// drained is the stage of leaving that is carried out. A neighbor that cannot be
// configured does not hold it up.
func (t *speakerTask) drained() bgp.Drain { return t.state.Load().drain }

// wait returns when there may be something to do; false when ctx has ended.
// A retry comes at its time, or earlier with a change.
func (t *speakerTask) wait(ctx context.Context, changed <-chan struct{}, tick <-chan time.Time, retryAt *time.Time) bool {
	retrying := !retryAt.IsZero()
	var wake <-chan time.Time
	if !t.wake.IsZero() && !retrying {
		timer := time.NewTimer(time.Until(t.wake))
		defer timer.Stop()
		wake = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			if is := t.store.Snapshot(); t.seen != nil && !bgp.Concerns(t.seen, is) {
				t.seen = is
				continue
			}
			*retryAt = time.Time{}
			return true
		case <-t.drainBell:
			*retryAt = time.Time{}
			return true
		case <-t.network.Bell():
			*retryAt = time.Time{}
			return true
		case <-t.gateBell: // what is ready does not wait for what failed
			*retryAt = time.Time{}
			return true
		case <-wake:
			return true
		case <-tick:
			t.beat()
			if retrying && !time.Now().Before(*retryAt) {
				return true
			}
		}
	}
}

// pass plans from the newest Snapshot and applies the plan if it is news.
func (t *speakerTask) pass(ctx context.Context) error {
	snap := t.store.Snapshot()
	t.seen = snap
	last := t.state.Load()
	if _, ok := snap.SelfNode(); !ok || !snap.Synced {
		return nil // the last configuration, if any, stays in force
	}
	open := t.announceable()
	t.advertise(snap)
	config, problems := bgp.Plan(snap, func(p netip.Prefix) bool { _, ok := open[p]; return ok }, t.factsFor(ctx, last.config))
	t.wake, config.Wake = config.Wake, time.Time{}
	if last.applied && reflect.DeepEqual(config, last.config) {
		if !slices.Equal(problems, last.problems) { // as of what is waited for
			next := *last
			next.problems = problems
			t.state.Store(&next)
		}
		return nil
	}
	t.planned(config)
	t.room(config, snap.Dataplane.SetSysctls)
	res, err := t.speaker.Apply(ctx, config)
	next := &speakerState{config: config, started: last.started, problems: problems, applied: err == nil, drain: last.drain}
	if err == nil || res.Announced() {
		next.drain = config.Drain
	}
	t.logResult(res)
	for _, name := range slices.Sorted(maps.Keys(res.Failed)) {
		next.problems = append(next.problems, speakerProblem(name, res.Failed[name]))
	}
	switch {
	case res.Failed == nil && err != nil: // nothing was done at all
		next.problems = append(next.problems, speakerProblem("", err))
	case next.started.IsZero():
		next.started = time.Now()
	}
	next.err = err
	t.state.Store(next)
	var restart *bgp.RestartNeeded
	if err != nil && !errors.As(err, &restart) && (last.err == nil || last.err.Error() != err.Error()) {
		t.log.Error("BGP configuration not applied; it is tried again", "err", err)
	}
	return err
}

// announceable are the local prefixes that may be announced.
func (t *speakerTask) announceable() gate {
	if t.unruled != nil && t.unruled() {
		return nil
	}
	t.unruled = nil
	t.ruled.Store(true)
	return *t.gate.Load()
}

func speakerProblem(name string, err error) caracal.Problem {
	return caracal.Problem{Severity: caracal.Warning, Kind: "BGP", Name: name, Message: err.Error(), Since: time.Now()}
}

func (t *speakerTask) logResult(r bgp.Result) {
	for _, name := range r.Added {
		t.log.Info("neighbor added", "neighbor", name)
	}
	for _, name := range r.Removed {
		t.log.Info("neighbor removed", "neighbor", name)
	}
	for _, name := range r.Reset {
		t.log.Info("neighbor reset to take its new configuration", "neighbor", name)
	}
	for _, p := range r.Originated {
		t.log.Info("announced", "nlri", p)
	}
	for _, p := range r.Withdrawn {
		t.log.Info("withdrawn", "nlri", p)
	}
}
