package kube

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	v1 "caracal.dev/caracal/api/v1"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Now()
	for i := range paceBurst {
		if d := p.next(now); d != 0 {
			t.Fatalf("watch %d waits %v", i, d)
		}
	}
	if d := p.next(now); d != paceEach {
		t.Errorf("one too many waits %v", d)
	}
	now = now.Add(paceEach)
	if d := p.next(now); d != paceEach {
		t.Errorf("the next waits %v, on top of its %v", d, paceEach)
	}
	if d := p.next(now.Add(time.Hour)); d != 0 {
		t.Errorf("after an hour one waits %v", d)
	}
}

// TestStormIsPaced has a Reflector meet an API whose watches all end at once, in each
// of the ways that it does not wait after by itself. It must not be asked in a circle,
// and what a list has to say must be taken.
func TestStormIsPaced(t *testing.T) {
	tooLarge := apierrors.NewTimeoutError("Too large resource version", 1)
	tooLarge.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	ended := func(err *apierrors.StatusError) watch.Event {
		return watch.Event{Type: watch.Error, Object: &err.ErrStatus}
	}
	for name, events := range map[string][]watch.Event{
		"expired":                {ended(apierrors.NewResourceExpired("too old"))},
		"too large":              {ended(tooLarge)},
		"expired after an event": {{Type: watch.Added, Object: a()}, ended(apierrors.NewResourceExpired("too old"))},
		"ends after an event":    {{Type: watch.Modified, Object: a()}},
		"ends at once":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lists, watches atomic.Int64
			k := &sink{store: New(Options{Node: "a"}), source: &source{kind: v1.KindNamespace, convert: func(metav1.Object) any { return nil },
				list: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
					return &items{ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(10 + lists.Add(1))}}, nil
				},
				watch: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
					watches.Add(1)
					w := watch.NewFakeWithChanSize(len(events), false)
					for _, e := range events {
						w.Action(e.Type, e.Object)
					}
					w.Stop()
					return w, nil
				}}}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			k.run(ctx, false)
			// At 0 s, at 0.8 s to 1.6 s, and once more in the third second; and paceBurst.
			if n, m := lists.Load(), watches.Load(); n < 1 || n > 4+paceBurst || m > 6+paceBurst {
				t.Errorf("%d lists and %d watches in three seconds", n, m)
			}
			k.store.mu.Lock()
			defer k.store.mu.Unlock()
			for _, c := range k.store.inbox {
				if c.all {
					return
				}
			}
			t.Error("no list was taken")
		})
	}
}

// TestEndings: one end now and then is none to speak of, as those of a restart of some
// API servers; one after the other is.
func TestEndings(t *testing.T) {
	start := time.Now()
	for name, c := range map[string]struct {
		every time.Duration
		want  int // the first that is too often; 0: none
	}{
		"a Reflector that lists again":    {30 * time.Second, earlyCount},
		"at once":                         {0, earlyCount},
		"a balancer that cuts idle lines": {time.Minute, 0},
	} {
		var e endings
		got := 0
		for i := range 100 {
			if e.again(start.Add(time.Duration(i)*c.every)) && got == 0 {
				got = i + 1
			}
		}
		if got != c.want || len(e) > earlyCount {
			t.Errorf("%s: too often at number %d, want %d; %d are kept", name, got, c.want, len(e))
		}
	}
}

// TestRestless: what is said of watches that end early is said for a while.
func TestRestless(t *testing.T) {
	s := New(Options{Node: "a"})
	for _, c := range []struct {
		until time.Duration
		want  int
	}{{time.Hour, 1}, {-time.Second, 0}} {
		for _, kind := range []string{kindPods, v1.KindIPPool} {
			s.restless(kind, time.Now().Add(c.until))
		}
		if got := s.unwell(); len(got) != c.want {
			t.Errorf("until %v: %v", c.until, got)
		}
	}
}

// a is an object of any kind.
func a() runtime.Object {
	o := &metav1.PartialObjectMetadata{}
	o.Name, o.ResourceVersion = "a", "11"
	return o
}
