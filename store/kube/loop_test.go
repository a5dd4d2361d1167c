package kube

import (
	"context"
	"testing"
	"time"

	v1 "caracal.dev/caracal/api/v1"
)

// TestListedIsTaken publishes while a list has come that is not taken yet: a Snapshot
// without it must not say that it is complete, or the rules of the last run would be
// replaced by what is on disk.
func TestListedIsTaken(t *testing.T) {
	s := New(Options{Node: "a"})
	s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
	s.pushAll(v1.KindNetworkPolicy, nil)
	s.publish(false)
	if _, missing := s.Snapshot().Incomplete[v1.KindNetworkPolicy]; !missing {
		t.Errorf("complete before the list is in it: %v", s.Snapshot().Incomplete)
	}
	s.take()
	s.publish(false)
	if why, missing := s.Snapshot().Incomplete[v1.KindNetworkPolicy]; missing {
		t.Errorf("still missing with the list in it: %s", why)
	}
}

// TestJudgedAfterRequest has a request publish while a judgement must wait for the
// sake of the last one: it comes by itself then, and not with the next change.
func TestJudgedAfterRequest(t *testing.T) {
	s := New(Options{Node: "a"})
	s.world = full(t)
	s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
	s.publish(false)
	s.world.judgeTook, s.world.judgedAt = time.Second, time.Now() // so the next is 1 s from now
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.loop(ctx) }()
	defer func() { cancel(); <-done }()
	s.push(kindNode, &item{key: "d", value: coreNode("d", "192.0.2.4")}, false)
	if _, err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for s.Snapshot().Nodes.Len() != 4 {
		if time.Now().After(deadline) {
			t.Fatalf("a node that came before a request is not judged: %d nodes", s.Snapshot().Nodes.Len())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestListedIsJudged publishes while a list of what is judged has been taken, but must
// wait for its judgement: it is not in the Snapshot yet.
func TestListedIsJudged(t *testing.T) {
	s := New(Options{Node: "a"})
	s.world = full(t)
	s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
	s.publish(false)
	s.world.judgeTook, s.world.judgedAt = time.Second, time.Now().Add(time.Hour) // so the next is long from now
	s.pushAll(kindNode, []*item{{key: "a", value: coreNode("a", "192.0.2.1")}})
	s.take()
	s.publish(false)
	if _, missing := s.Snapshot().Incomplete[kindNode]; !missing {
		t.Errorf("complete with the nodes of before: %d", s.Snapshot().Nodes.Len())
	}
	s.world.judgedAt = time.Time{}
	s.publish(false)
	if why, missing := s.Snapshot().Incomplete[kindNode]; missing {
		t.Errorf("still missing after the judgement: %s", why)
	}
}
