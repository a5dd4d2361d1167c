package kube

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "caracal.dev/caracal/api/v1"
)

// TestPatienceEnds ends a wait between two tries with the daemon. A Reflector does not
// look whether it is to end while it waits (client-go, Reflector.watchList).
func TestPatienceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := patience{back: func() <-chan struct{} { return nil }, end: ctx.Done(), nodes: func() int { return 1 }}
	wait := p.After(time.Hour)
	cancel()
	select {
	case <-wait:
	case <-time.After(30 * time.Second):
		t.Fatal("the wait goes on after the end")
	}
}

// TestOverloadIsNoReturn has an API that is there but puts us off: to ask whether it is
// there must not end the waits between two tries, or 5,000 nodes would ask it for
// everything every few seconds for as long as it is overloaded.
func TestOverloadIsNoReturn(t *testing.T) {
	s := New(Options{Node: "a"})
	s.heard(v1.KindNetworkPolicy, verbList, apierrors.NewTooManyRequests("later", 1))
	back := s.returned()
	returned := func() bool {
		select {
		case <-back:
			return true
		default:
			return false
		}
	}
	if !s.isAway() {
		t.Fatal("not away")
	}
	var a absence
	for range 10 {
		if a.answered(true) {
			s.wakeAll()
		}
	}
	if returned() {
		t.Error("the waits end although the API was never out of reach")
	}
	if d := a.wait(true); d != askMost {
		t.Errorf("asked again after %s", d)
	}
	if a.answered(false) || returned() || !a.answered(true) {
		t.Error("the return of an API that did not answer is not seen")
	}
	if s.wakeAll(); !returned() {
		t.Error("the waits go on when it is back")
	}
	if a.wait(false) != askFirst || a.answered(true) {
		t.Error("returned twice")
	}
}

func TestReturnWithin(t *testing.T) {
	for nodes, want := range map[int]time.Duration{0: returnTime, 3: returnTime, 500: returnTime, 5000: 20 * time.Second} {
		if got := returnWithin(nodes); got != want {
			t.Errorf("%d nodes: %v, want %v", nodes, got, want)
		}
	}
}
