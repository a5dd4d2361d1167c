package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/fib"
)

// routeWait is somebody who waits for the routes of a workload.
type routeWait struct {
	w    caracal.Workload
	open bool // to be in, and not to be gone
	done chan struct{}
}

// PodMTU implements endpoint.Plane.
func (a *Agent) PodMTU() int {
	if up := a.up.Load(); up != nil {
		return up.tunnel.state.Load().podMTU
	}
	return 0
}

// Observe implements endpoint.Plane.
func (a *Agent) Observe(step string, d time.Duration) {
	a.endpointLatency.WithLabelValues(step).Observe(d.Seconds())
}

// Waiting implements endpoint.Plane.
func (a *Agent) Waiting() string {
	if a.up.Load() != nil {
		return ""
	}
	if reason := a.waiting.Load(); reason != nil {
		return "the daemon has not started routing: " + *reason
	}
	return "the daemon is starting"
}

// Open implements endpoint.Gate: the workload's routes are in the kernel, and so
// are the rules that its policies of now ask for.
func (a *Agent) Open(ctx context.Context, w caracal.Workload) error { return a.await(ctx, w, true) }

// Closed implements endpoint.Gate: no route of ours leads to the workload, and no
// rule knows it.
func (a *Agent) Closed(ctx context.Context, w caracal.Workload) error { return a.await(ctx, w, false) }

// await waits for routes and rules at once: neither task waits for the other.
func (a *Agent) await(ctx context.Context, w caracal.Workload, open bool) error {
	if a.up.Load() == nil {
		return fmt.Errorf("%w: %s", endpoint.ErrNotReady, a.Waiting())
	}
	ruled := make(chan error, 1)
	go func() { ruled <- a.policy.await(ctx, w, open) }()
	err := a.awaitRoutes(ctx, &routeWait{w: w, open: open, done: make(chan struct{})})
	return errors.Join(err, <-ruled)
}

func (a *Agent) awaitRoutes(ctx context.Context, wait *routeWait) error {
	up := a.up.Load()
	if up == nil {
		return fmt.Errorf("%w: %s", endpoint.ErrNotReady, a.Waiting())
	}
	t := up.routes
	// The task looks at its waits at the end of the turn that follows the query.
	if err := t.query(ctx, func() { t.waits[wait] = struct{}{} }); err != nil {
		return err
	}
	select {
	case <-wait.done:
		return nil
	case <-ctx.Done():
	}
	var why error
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	err := t.query(ask, func() {
		delete(t.waits, wait)
		why = t.missing(wait)
	})
	if err == nil && why == nil {
		return nil // in the last moment
	}
	return errors.Join(err, why)
}

// answerWaits lets those go who have what they wait for.
func (t *routesTask) answerWaits() {
	for wait := range t.waits {
		if t.missing(wait) == nil {
			close(wait.done)
			delete(t.waits, wait)
		}
	}
}

// missing says which route is not as it is waited for, and why.
func (t *routesTask) missing(wait *routeWait) error {
	for _, a := range wait.w.Addrs {
		p := caracal.HostPrefix(a)
		want, wanted := t.local.wants[p]
		mine := wanted && want.Kind == fib.Local && want.Link == wait.w.Interface
		switch s, _ := t.fib.State(p); {
		case wait.open && !mine:
			return fmt.Errorf("%w: route %s: %s", endpoint.ErrNotReady, p, notMine(want, wanted))
		case wait.open && !t.fib.InstalledAsWanted(p):
			return fmt.Errorf("%w: route %s by interface %s is not in the kernel: %s", endpoint.ErrNotReady, p, wait.w.Interface, s.Reason)
		case !wait.open && (mine || s.Installed && !s.Wanted):
			return fmt.Errorf("route %s is still in the kernel: %s", p, s.Reason)
		}
	}
	return nil
}

func notMine(want fib.Want, wanted bool) string {
	if wanted {
		return "it leads elsewhere, for " + want.Source
	}
	return "the routes task has not taken it up yet"
}

// endpointAddrs are the addresses of a workload that was an endpoint: once that is
// gone from a Snapshot, so is its container, whatever else cannot be read.
func endpointAddrs(w *caracal.Workload, into map[netip.Prefix]bool) {
	if w == nil || w.Source != endpoint.KindCNI && w.Source != endpoint.KindAttach {
		return
	}
	for _, a := range w.Addrs {
		into[caracal.HostPrefix(a)] = true
	}
}
