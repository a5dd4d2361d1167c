package file

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/store"
)

// Run loads what the last run accepted, reads the directory, and follows it
// until ctx ends. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return errors.New("store/file: run: it was run before")
	}
	defer close(s.done)
	s.loadAccepted()
	w := newWatcher(s.opts.Dir)
	defer w.close()
	poll := time.NewTicker(s.opts.Poll)
	defer poll.Stop()

	// settle fires when the batch that began at began has settled.
	settle := time.NewTimer(time.Hour)
	defer settle.Stop()
	var began, unsettledSince, lastEvent time.Time
	pending := false
	touch := func(quiet time.Duration) {
		if !pending {
			pending, began = true, time.Now()
		}
		settle.Reset(max(0, min(quiet, s.opts.MaxWait-time.Since(began))))
	}
	look := func() {
		pending = false
		settle.Stop()
		if unsettledSince.IsZero() {
			unsettledSince = time.Now()
		}
		res := s.pass(passOptions{atOnce: time.Since(unsettledSince) > 2*settleTime, watcher: w, lastEvent: lastEvent})
		if !res.unsettled {
			unsettledSince = time.Time{}
		}
		if res.again > 0 {
			touch(res.again)
		}
	}
	look()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.events():
			lastEvent = time.Now()
			touch(s.opts.Quiet)
		case <-poll.C:
			if !pending { // else in the middle of a batch
				touch(0)
			}
		case r := <-s.requests:
			r.do()
			close(r.done)
			if !s.deferredSince.IsZero() {
				touch(s.opts.Quiet)
			}
		case <-settle.C:
			look()
		}
	}
}

type passOptions struct {
	// atOnce takes files as they are, even if they look half written.
	atOnce bool
	// asked says that somebody asked for this pass: it need not wait for the
	// directory to settle.
	asked   bool
	confirm bool
	// watcher is nil for a pass that was asked for; lastEvent is when it rang last.
	watcher   *watcher
	lastEvent time.Time
}

type passResult struct {
	unsettled bool
	again     time.Duration // look again after that time; 0 means no need
}

// pass reads the directory once, decides, publishes and saves.
func (s *Store) pass(o passOptions) passResult {
	found := s.scanner.scan()
	settled := s.settled(o, found)
	var res passResult
	if o.watcher != nil {
		added, why := o.watcher.follow(found.dirs)
		if s.watch != why {
			s.watch, s.dirty = why, true
		}
		if added {
			// What was written before the watch was there has rung no bell.
			res.again = s.opts.Quiet
		}
	}
	if found.unsettled {
		res = passResult{true, 100 * time.Millisecond}
		if !o.atOnce {
			return res
		}
	}
	out := plan(s.input(found, o.confirm, settled))
	if settled && out.missing && !s.scanner.still(found) {
		out = plan(s.input(found, o.confirm, false))
	}
	if s.deferring(out.deferred); len(out.deferred) > 0 {
		res.again = s.opts.Quiet
	}
	was := s.state.objects
	s.state = out.state
	s.adopt(was, out)
	if s.publish(out) && res.again == 0 {
		res.again = 100 * time.Millisecond
	}
	if s.dirty || len(s.unsaved) > 0 {
		if why := s.save(); why != s.saving {
			s.saving = why
			s.publish(out)
		}
	}
	return res
}

// settled reports whether the directory was left alone for the quiet time, so
// that an object that is in no file is gone, and not just about to be written to
// another one. Additions and changes do not wait for that longer than MaxWait.
func (s *Store) settled(o passOptions, found *scan) bool {
	last, lastAt := s.last, s.lastAt
	s.last, s.lastAt = found, time.Now()
	switch {
	case found.moving:
		return false
	case o.asked:
		return true
	case o.watcher.watches(found.dirs):
		return !o.watcher.rings() && time.Since(o.lastEvent) >= s.opts.Quiet
	}
	// Without a watch on all of it only a second look tells.
	return last != nil && s.lastAt.Sub(lastAt) >= s.opts.Quiet && last.same(found)
}

// deferring notes which removals wait for the directory to settle, and says so
// if that takes long.
func (s *Store) deferring(gone []*store.Object) {
	s.waiting = ""
	switch {
	case len(gone) == 0:
		s.deferredSince = time.Time{}
	case s.deferredSince.IsZero():
		s.deferredSince = time.Now()
	case time.Since(s.deferredSince) > longDeferral:
		s.waiting = fmt.Sprintf("the removal of %s waits until %s is left alone for %v, but it is written to all the time; find out by what",
			names(gone), s.opts.Dir, s.opts.Quiet)
	}
}

// longDeferral is how long a removal waits without a word.
const longDeferral = 5 * time.Second

func (s *Store) input(found *scan, confirm, settled bool) input {
	return input{
		dir: s.opts.Dir, self: s.opts.Node, selfFrom: s.opts.NodeFrom,
		old: s.state, scan: found, now: s.opts.Now(), confirm: confirm, settled: settled, raw: s.rawOf,
	}
}

// compose makes the Snapshot of an outcome, and reports whether it differs from
// the present one.
func (s *Store) compose(out outcome, look *look) (*caracal.Snapshot, bool) {
	prev := s.Snapshot()
	next, found, changed := store.Rebuild(prev, s.built, out.everything(), look.password)
	next.Synced = out.state.synced
	next.Incomplete = out.incomplete
	if len(next.Incomplete) == 0 {
		next.Incomplete = nil
	}
	next.Digest = store.Digest(shared(out.objects))
	next.Problems = s.problems(prev, slices.Concat(out.problems, found, look.problems))
	if changed || next.Synced != prev.Synced || next.Digest != prev.Digest ||
		!maps.Equal(next.Incomplete, prev.Incomplete) || !slices.Equal(next.Problems, prev.Problems) {
		next.Generation = prev.Generation + 1
		return next, true
	}
	return prev, false
}

// shared leaves out what is for this host only, so that the digests of hosts
// can be compared.
func shared(objects []*store.Object) []*store.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o *store.Object) bool {
		return strings.HasPrefix(o.Source, "local/")
	})
}

// problems puts the Problems into order; one that was there before keeps its
// Since.
func (s *Store) problems(prev *caracal.Snapshot, found []caracal.Problem) []caracal.Problem {
	list := slices.Concat(found, s.stillLoading())
	for _, why := range []string{s.saving, s.watch, s.waiting} {
		if why != "" {
			list = append(list, caracal.Problem{Severity: caracal.Warning, Message: why})
		}
	}
	return store.Dated(prev.Problems, list, s.opts.Now())
}

// stillLoading are the Problems of loading whose file is still there: the
// operator deletes it when he has seen it.
func (s *Store) stillLoading() []caracal.Problem {
	return slices.DeleteFunc(slices.Clone(s.loading), func(p caracal.Problem) bool {
		if p.Source == "" {
			return false
		}
		_, err := os.Lstat(p.Source)
		return errors.Is(err, os.ErrNotExist)
	})
}

// publish takes an outcome, and reports whether a password in it is just being
// written.
func (s *Store) publish(out outcome) (unsettled bool) {
	prev := s.Snapshot()
	look := s.vault.look()
	next, changed := s.compose(out, look)
	look.keep()
	s.built = out.everything()
	if !changed {
		return look.unsettled
	}
	s.snap.Store(next)
	s.mu.Lock()
	bells := slices.Clone(s.bells)
	s.mu.Unlock()
	for _, b := range bells {
		select {
		case b <- struct{}{}:
		default:
		}
	}
	s.log(prev, next)
	return look.unsettled
}

// log says what became different, once.
func (s *Store) log(prev, next *caracal.Snapshot) {
	for _, p := range next.Problems {
		if !slices.Contains(prev.Problems, p) {
			s.opts.Log.Warn(p.Message, "severity", p.Severity.String())
		}
	}
	for _, p := range prev.Problems {
		if !slices.Contains(next.Problems, p) {
			s.opts.Log.Info("no longer a problem: "+p.Message, "severity", p.Severity.String())
		}
	}
	if prev.Digest != next.Digest || prev.Synced != next.Synced {
		s.opts.Log.Info("configuration taken", "dir", s.opts.Dir, "generation", next.Generation, "digest", next.Digest,
			"nodes", next.Nodes.Len(), "pools", next.Pools.Len(), "peers", next.Peers.Len(), "workloads", next.Workloads.Len(), "policies", next.Policies.Len())
	}
}
