package node

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal/fib"
)

// defaultDeferral is how long after BGP's start a neighbor that has not sent
// End-of-RIB is waited for before the RIB counts as converged (the
// Selection_Deferral_Timer of RFC 4724 section 4.1).
const defaultDeferral = 10 * time.Second

// convergence decides when adopted routes that nobody asked for may go. The
// zero value protects everything.
type convergence struct {
	started time.Time // BGP's start; zero before it
	done    bool      // every neighbor was heard, or the deferral is over
	reason  string    // why not done
	said    bool      // that all there is was chosen from
	look    bool      // something changed that may end the waiting
	release time.Time // when the next thing ends by itself
}

// converged brings the fact up to date.
func (t *routesTask) converged(now time.Time) bool {
	c := &t.conv
	switch {
	case c.done:
	case c.started.IsZero():
		c.reason = "BGP has not started"
	default:
		pending := t.mirror.Pending()
		if len(pending) == 0 || now.Sub(c.started) >= t.deferral {
			c.done, c.reason = true, ""
			t.log.Info("RIB converged", "after", now.Sub(c.started).Round(time.Millisecond), "not_heard", strings.Join(pending, " "))
			break
		}
		slices.Sort(pending)
		c.reason = fmt.Sprintf("waiting for End-of-RIB from %s, for %s more", strings.Join(pending, ", "), (t.deferral - now.Sub(c.started)).Round(time.Second))
	}
	return c.done
}

// sweep gives up adopted routes that nobody wants, once nothing can be missing.
// Routes by a neighbor that was not heard since our start live until its
// restart time is over: it may be restarting too.
func (t *routesTask) sweep(ctx context.Context) {
	now := time.Now()
	if !t.converged(now) || t.snap == nil || !t.snap.Complete() {
		return
	}
	if !t.conv.look && (t.conv.release.IsZero() || now.Before(t.conv.release)) {
		return
	}
	t.conv.look, t.conv.release = false, time.Time{}
	t.settle(now)
	if t.fib.Stats().Adopted == 0 {
		t.fib.Sweep(nil) // from now on a route with our mark that nobody wants is deleted at once
		return
	}
	if t.reflectorUnheard(now) {
		return
	}
	protected, err := t.unheard(ctx, now)
	if err != nil {
		t.conv.look = true
		t.log.Warn("routes of the last run are not removed yet: the way to neighbors not heard yet is not known", "err", err)
		return
	}
	swept := t.fib.Sweep(func(r fib.Route) bool {
		return slices.ContainsFunc(r.Hops, func(h fib.Hop) bool { return protected[h.Gateway] })
	})
	if swept > 0 {
		t.log.Info("routes of the last run that nobody announces any more are removed", "count", swept)
		t.apply(ctx)
	}
}

// unheard returns the gateways that routes by neighbors can have from which we
// have not heard since our start, while their restart time runs: their own
// addresses, and the routers on the way to them.
func (t *routesTask) unheard(ctx context.Context, now time.Time) (map[netip.Addr]bool, error) {
	end := t.conv.started.Add(t.snap.BGP.RestartTime)
	if !now.Before(end) {
		return nil, nil
	}
	gateways := map[netip.Addr]bool{}
	for _, n := range t.config.Neighbors {
		if t.mirror.Seen(n.Name) {
			continue
		}
		t.conv.release = end
		gateways[n.Addr] = true
		if node, ok := t.snap.Nodes.Get(n.Node); ok {
			gateways[node.IPv4.Addr()], gateways[node.IPv6.Addr()] = true, true
		}
	}
	delete(gateways, netip.Addr{})
	addrs := slices.Collect(maps.Keys(gateways))
	answers, err := t.kernel.Lookup(ctx, addrs)
	if err != nil {
		return nil, err
	}
	for _, answer := range answers {
		for _, h := range answer.Hops {
			if h.Gateway.IsValid() {
				gateways[h.Gateway] = true
			}
		}
	}
	return gateways, nil
}

// settle closes settled when every neighbor was heard, or had its restart time
// to come back.
func (t *routesTask) settle(now time.Time) {
	end := t.conv.started.Add(t.snap.BGP.RestartTime)
	if now.Before(end) && len(t.mirror.Pending()) > 0 {
		t.conv.release = end
		return
	}
	select {
	case <-t.settled:
	default:
		close(t.settled)
	}
}

// reflectorUnheard reports whether a reflector, or an internal neighbor that is
// not one of the nodes, may still be restarting. Behind it may be any next hop,
// so nothing can be swept until its restart time is over.
func (t *routesTask) reflectorUnheard(now time.Time) bool {
	end := t.conv.started.Add(t.snap.BGP.RestartTime)
	if !now.Before(end) {
		return false
	}
	for _, n := range t.config.Neighbors {
		if (n.Reflector || n.Node == "" && !n.External) && !t.mirror.Seen(n.Name) {
			t.conv.release = end
			return true
		}
	}
	return false
}
