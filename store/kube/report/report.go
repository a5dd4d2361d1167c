package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/store/kube/apiserver"
)

// Source is what a report is made of; node.Agent is one.
type Source interface {
	Status(ctx context.Context) (api.Status, error)
	Neighbors(ctx context.Context) ([]api.Neighbor, error)
}

// Options are what a [Reporter] is made of.
type Options struct {
	Client *apiserver.Client
	// Node is the name of this one.
	Node   string
	Source Source
	// IPAM returns how many addresses are in use; may be nil.
	IPAM func(context.Context) (v1.IPAMStatus, error)
	// Notices are what Events tell of beside the problems of the Source; may be nil.
	Notices func() []Notice
	Log     *slog.Logger
	// Look is the time between two looks at the Source (2 s if 0).
	Look time.Duration
}

// Reporter writes the reports of one node.
type Reporter struct {
	o   Options
	api writer
	// now is the clock, draw a random time around d.
	now  func() time.Time
	draw func(d time.Duration) time.Duration

	last      written
	told      told
	since     map[string]time.Time // of problems, by what they say
	down      map[string]time.Time // of sessions
	neighbors []api.Neighbor
	asked     time.Time // neighbors, when last
	inForce   bool      // routes and policy were in once
	checked   time.Time // the condition, when last
	recheck   time.Duration
	failures  int
	retryAt   time.Time
	said      string
	problem   atomic.Pointer[string] // what was said last
}

// New returns a Reporter that has written nothing yet.
func New(o Options) *Reporter {
	if o.Look == 0 {
		o.Look = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reporter{o: o, now: time.Now, since: map[string]time.Time{}, down: map[string]time.Time{},
		draw: func(d time.Duration) time.Duration { return d/2 + rand.N(d) }}
	if o.Client != nil {
		r.api = &apiWriter{client: o.Client, node: o.Node}
	}
	return r
}

// Run reports until ctx ends. It never fails.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(r.o.Look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.turn(ctx)
		}
	}
}

// callTime is how long one request may take, and what the Source is asked.
const callTime = 10 * time.Second

// turn looks once, and writes what is due.
func (r *Reporter) turn(ctx context.Context) {
	f, err := r.look(ctx)
	if err != nil {
		return // the daemon ends, or one of its tasks hangs: /healthz says so
	}
	now := r.now()
	cur := build(f, r.firstSeen(now), now)
	r.inForce = r.inForce || inForce(f.status)
	list := r.told.next(notices(f, now), now, func() time.Duration { return r.delay(f.status.Counts.Nodes) })
	if now.Before(r.retryAt) {
		for _, n := range list {
			r.told.failed(n, r.retryAt)
		}
		return
	}
	err = errors.Join(r.writeStatus(ctx, cur, now), r.writeCondition(ctx, now), r.writeEvents(ctx, list, now))
	if ctx.Err() != nil {
		return
	}
	r.outcome(err, now)
}

// outcome says when an error begins, changes and ends, and lets the API rest.
func (r *Reporter) outcome(err error, now time.Time) {
	text := ""
	if err == nil {
		r.failures = 0
	} else {
		if forbidden(err) {
			err = fmt.Errorf("%w; apply manifests/base/rbac.yaml", err)
		}
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
		r.failures++
		r.retryAt = now.Add(r.draw(min(2*time.Second<<min(r.failures-1, 6), 2*time.Minute)))
	}
	switch {
	case text == r.said:
	case err != nil:
		r.o.Log.Warn("the cluster is not told how this node is; tried again", "err", text)
	default:
		r.o.Log.Info("the cluster is told again how this node is")
	}
	r.said = text
	r.problem.Store(&text)
}

// Problem says why the cluster is not told how the node is; empty if it is. It may be
// called from any goroutine.
func (r *Reporter) Problem() string {
	if p := r.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// delay spreads Events over the nodes of a cluster, 20 ms for each: what all of them
// see at once is not to be 5,000 requests in one second.
func (r *Reporter) delay(nodes int) time.Duration {
	return rand.N(time.Duration(max(nodes, 1)) * 20 * time.Millisecond)
}

// look asks the Source. The sessions one by one are only asked for now and then, or
// when as many as before are not up.
func (r *Reporter) look(ctx context.Context) (facts, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	st, err := r.o.Source.Status(ctx)
	if err != nil {
		return facts{}, err
	}
	now := r.now()
	changed := st.Counts.Established != r.last.status.Established || st.Counts.Neighbors != r.last.status.Sessions
	if changed || now.Sub(r.asked) >= 10*time.Second {
		if list, err := r.o.Source.Neighbors(ctx); err == nil {
			r.neighbors, r.asked = list, now
			noteDown(r.down, list, now)
		}
	}
	f := facts{status: st, neighbors: r.neighbors, down: r.down, ipam: r.last.status.IPAM}
	if r.o.IPAM != nil && now.Sub(r.last.at) >= soonest {
		// At most when there may be something to write: it may ask the API.
		if r.last.at.IsZero() || now.Sub(r.last.at) >= r.last.changed {
			if use, err := r.o.IPAM(ctx); err == nil {
				f.ipam = use
			}
		}
	}
	if r.o.Notices != nil {
		f.extra = r.o.Notices()
	}
	return f, nil
}

// firstSeen returns when each problem was seen first, and forgets those that are gone.
func (r *Reporter) firstSeen(now time.Time) func(string) time.Time {
	was := r.since
	r.since = map[string]time.Time{}
	return func(key string) time.Time {
		at, ok := was[key]
		if !ok {
			at = now
		}
		r.since[key] = at
		return at
	}
}

func (r *Reporter) writeStatus(ctx context.Context, cur v1.NodeStatus, now time.Time) error {
	if !r.last.due(cur, now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := r.api.status(ctx, cur); err != nil {
		return err
	}
	r.last = written{at: now, status: cur, changed: r.draw(changed), regular: r.draw(regular)}
	return nil
}

// writeCondition says that the network of the node is there, once it is for the first
// time, and looks now and then whether somebody else has said otherwise.
func (r *Reporter) writeCondition(ctx context.Context, now time.Time) error {
	if !r.inForce || !r.checked.IsZero() && now.Sub(r.checked) < r.recheck {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	wrote, err := r.api.networkIsUp(ctx, now)
	if err != nil {
		return err
	}
	if wrote {
		r.o.Log.Info("the Node's condition NetworkUnavailable is False")
	}
	r.checked, r.recheck = now, r.draw(regular)
	return nil
}

func (r *Reporter) writeEvents(ctx context.Context, list []Notice, now time.Time) error {
	var errs []error
	for _, n := range list {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		err := r.api.event(ctx, n, now)
		cancel()
		if err != nil {
			errs = append(errs, err)
			r.told.failed(n, now.Add(r.draw(time.Minute)))
		}
	}
	return errors.Join(errs...)
}
