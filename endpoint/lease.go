package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// watch is since when an endpoint looks as if it were gone.
type watch struct {
	since time.Time
	times int
	wrong string // what the last close look at its link found
}

// sight is what a look at an endpoint found.
type sight struct {
	// link says that the host's end is there, up that it is up. A veth lives only as
	// long as the namespace of its other end, so it is proof enough.
	link, up bool
	// netns says that the path leads to the namespace that was recorded.
	netns bool
}

// verdict is what is to be done about an endpoint.
type verdict uint8

const (
	fine      verdict = iota
	suspected         // looks gone, but not for long enough
	broken            // its container is there, its link is not
	gone              // to be released
	abandoned         // never wired up: to be released
)

// limits are the times that a lease is judged by.
type limits struct{ grace, pendingFor time.Duration }

// judge decides about an endpoint and returns what to remember of the look. It is
// pure. began is when this process did: what was pending before had no daemon to
// talk to.
func judge(e *Endpoint, s sight, was watch, now, began time.Time, l limits) (verdict, watch) {
	if e.State == Deleting {
		return gone, was
	}
	if e.State == Pending {
		if pendingSince(e, now, began) >= l.pendingFor {
			return abandoned, watch{}
		}
		return fine, watch{} // it has no link yet
	}
	switch {
	case s.link:
		return fine, watch{wrong: was.wrong}
	case s.netns:
		return broken, watch{}
	}
	if was.times == 0 {
		return suspected, watch{since: now, times: 1}
	}
	was.times++
	if was.times >= 2 && now.Sub(was.since) >= l.grace {
		return gone, was
	}
	return suspected, was
}

// pendingSince is how long a pending endpoint could have been wired up. That it was
// added in the future was by a clock that was set back since.
func pendingSince(e *Endpoint, now, began time.Time) time.Duration {
	since := e.Added
	if began.After(since) || since.After(now) {
		since = began
	}
	return now.Sub(since)
}

// audit looks at every endpoint once, frees those that are gone and mends what is
// cheap to mend.
func (r *Registry) audit(ctx context.Context) {
	if !r.begun.Load() {
		return
	}
	links, err := r.o.Ground.Links()
	if err != nil {
		r.o.Log.Error("endpoint: audit failed; tried again", "err", err)
		return
	}
	problems := map[string]string{}
	r.away.Store(false)
	list := r.List()
	for i, e := range list {
		if ctx.Err() != nil {
			return
		}
		if unlock, ok := r.tryLock(e.key()); ok {
			close := (i-r.turn+len(list))%len(list) < closely
			if text := r.auditOne(ctx, e.key(), links, close); text != "" {
				problems[e.Key()+" "+e.HostInterface()] = text
			}
			unlock()
		}
	}
	if len(list) > 0 {
		r.turn = (r.turn + closely) % len(list)
	}
	r.noteOwed()
	var found []caracal.Problem
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		found = append(found, trouble(name, problems[name]))
	}
	r.overlay.report("audit", found)
	// The plan is of the source's Snapshot; the overlay's may still be an older one.
	r.overlay.report("outside", outside(*r.plan.Load(), r.o.Source.Snapshot(), r.List()))
	r.freeOrphans(ctx, links)
	r.review(ctx, links)
	// The disk was full, or the containers are gone by now. To ask the others' records
	// again and again would be a burden on all.
	if now := r.o.Now(); r.refused.Load() && (!r.o.Shared || now.Sub(r.reasserted) >= reassertInterval || now.Before(r.reasserted)) {
		kept := r.kept
		if r.aside(ctx, func(ctx context.Context) { r.reassert(ctx, kept) }) {
			r.reasserted = now
		}
	}
	r.doubt(ctx)
}

// reassertInterval is the time between two tries to have addresses that the shared
// records deny this node.
const reassertInterval = time.Minute

// closely is how many links each audit looks at in all: that costs a look into
// each namespace, so they take turns.
const closely = 8

// auditOne looks at one endpoint, whose lock is held, and returns what is wrong
// with it.
func (r *Registry) auditOne(ctx context.Context, k key, links map[string]bool, close bool) string {
	e := r.get(k)
	if e == nil || r.away.Load() && r.owes(e) {
		return ""
	}
	r.mu.Lock()
	was := r.watched[k]
	r.mu.Unlock()
	s, err := r.look(e, links)
	if err != nil {
		return err.Error()
	}
	v, next := judge(e, s, was, r.o.Now(), r.started, limits{r.o.Grace, r.o.PendingFor})
	r.remember(k, next)
	switch v {
	case gone, abandoned:
		return r.release(ctx, e, v)
	case broken:
		return fmt.Sprintf("container %s has lost its link: interface %s is gone while its network namespace %s is there; nothing reaches it until it is made anew", e.ID, e.HostInterface(), e.NetNS)
	case fine:
		if e.State == Ready && r.o.Wires != nil && (close || !s.up) {
			next.wrong = r.mend(ctx, e)
			r.remember(k, next)
		}
		return next.wrong
	}
	return ""
}

func (r *Registry) remember(k key, w watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched[k] = w
}

func (r *Registry) look(e *Endpoint, links map[string]bool) (s sight, err error) {
	s.up, s.link = links[e.HostInterface()]
	if !s.link {
		s.netns, err = r.hasNetNS(e)
	}
	return s, err
}

// hasNetNS reports whether the path of an endpoint still leads to its namespace,
// and not to that of another process with the same number.
func (r *Registry) hasNetNS(e *Endpoint) (bool, error) {
	id, err := r.o.Ground.NetNS(e.NetNS)
	return id != "" && (e.NetNSID == "" || id == e.NetNSID), err
}

func (r *Registry) release(ctx context.Context, e *Endpoint, v verdict) string {
	why := map[verdict]string{
		gone:      "the container is gone, and nobody said so",
		abandoned: "the container was never wired up",
	}[v]
	if e.State == Deleting {
		why = "its removal was not finished"
	}
	freed, err := r.finish(ctx, e)
	if errors.Is(err, errAway) {
		return "" // see noteOwed
	}
	if err != nil {
		return fmt.Sprintf("container %s is gone, but its addresses cannot be freed; tried again: %v", e.ID, err)
	}
	r.o.Log.Warn("endpoint released: "+why, "workload", e.Key(), "container", e.ContainerID, "addresses", freed)
	return ""
}

func (r *Registry) mend(ctx context.Context, e *Endpoint) string {
	wrong, err := r.o.Wires.Check(ctx, e.NetNS, e.ID, e.wiring(r.self()), true)
	switch {
	case err != nil:
		return fmt.Sprintf("the host's end of the link of container %s cannot be looked at: %v", e.ID, err)
	case len(wrong) > 0:
		return fmt.Sprintf("the host's end of the link of container %s is not as it must be: %v", e.ID, wrong)
	}
	return ""
}
