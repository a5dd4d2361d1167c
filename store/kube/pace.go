package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Reflector waits longer and longer where lists and watches fail, but not in all
// cases (client-go v0.37, tools/cache/reflector.go): a stream of initial objects that
// ends with 410 Gone, or before its last object, is asked for again in the same moment
// (watchList), and so is a watch that ends without an error (watch). An API, or a
// balancer before it, that does that for a while would be asked a thousand times a
// second by each of 5,000 nodes. So here the first becomes a plain list, which is what
// fails in its turn or helps, and the second is held to a pace.
const (
	paceBurst = 6                // watches at once
	paceEach  = 10 * time.Second // and one more in each such time
	// shortWatch is what a Reflector itself takes for a failure, if nothing came.
	shortWatch = time.Second
)

// pace says how soon a watch may follow another: a bucket that fills with time.
type pace struct {
	level float64 // watches that may not yet be forgotten
	at    time.Time
}

// next notes a watch at the time now, and returns how long it has to wait.
func (p *pace) next(now time.Time) time.Duration {
	p.level = max(0, p.level-now.Sub(p.at).Seconds()/paceEach.Seconds()) + 1
	p.at = now
	return time.Duration(max(0, p.level-paceBurst) * float64(paceEach))
}

// slowDown waits before a watch that a Reflector asks for without waiting, for which
// it takes the last one not to have failed.
func (k *sink) slowDown(ctx context.Context) error {
	last := k.last
	k.last = nil
	if last == nil || last.failed.Load() || !last.heard.Load() && time.Since(last.began) < shortWatch {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(k.pace.next(time.Now())):
		return nil
	}
}

// A watch that ends early costs no more than a list. Where all of them do, changes come
// late, and neither lists nor watches fail that could say so.
const (
	earlyCount = 5 // of them
	earlyWhile = 3 * time.Minute
	// earlyShown is how long it is said of them: a Reflector waits a minute at most.
	earlyShown = 90 * time.Second
)

// endings are when watches ended before their time.
type endings []time.Time

// again notes one more, and reports whether that is too often.
func (e *endings) again(now time.Time) bool {
	*e = append(slices.DeleteFunc(*e, func(t time.Time) bool { return now.Sub(t) > earlyWhile }), now)
	if len(*e) < earlyCount {
		return false
	}
	*e = (*e)[len(*e)-earlyCount:]
	return true
}

// tooEarly notes that a watch has ended before its time, or did not begin.
func (k *sink) tooEarly(now time.Time) {
	if k.endings.again(now) {
		k.store.restless(k.kind, now.Add(earlyShown))
	}
}

// expired reports whether an error of the API is no more than a reason to list again.
func expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// asList makes of the error of a stream of initial objects one for which a Reflector
// lists instead, and not asks for the stream again at once; nil is a stream that ended
// before the last of them. A list copes with a version that the API does not know (any
// more, or yet), and comes in pages, each of which a slow line may still get through.
func (k *sink) asList(o metav1.ListOptions, err error) error {
	if o.SendInitialEvents == nil {
		return err
	}
	why := "it ended before the last object"
	if err != nil {
		if !expired(err) {
			return err
		}
		why = err.Error()
	}
	return fmt.Errorf("stream %s from version %q: %s", k.resource, o.ResourceVersion, why)
}
