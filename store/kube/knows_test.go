package kube

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestKnowsAnew has a Pod gone and made anew between two lists: nothing of the Snapshot
// differs, and yet who waits for the second one learns of it.
func TestKnowsAnew(t *testing.T) {
	s := New(Options{Node: "a"})
	s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
	conv := podOf("a", s.world.words)
	pod := func(uid types.UID) *item {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "db-0", UID: uid, Labels: map[string]string{"app": "db"}}}
		p.Spec.NodeName = "a"
		return newItem(p, conv)
	}
	turn := func() { s.take(); s.publish(false) }
	s.pushAll(kindPods, []*item{pod("one")})
	turn()
	if !s.hasPod("x/db-0", "one") || s.hasPod("x/db-0", "two") || !s.hasPod("x/db-0", "") {
		t.Fatal("it is known by its own UID, and by its name alone")
	}
	before := s.Snapshot()
	known := make(chan bool, 1)
	go func() { known <- s.Knows(t.Context(), "x", "db-0", "two") }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		waits := len(s.bells) > 0
		s.mu.Unlock()
		if waits {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
	s.pushAll(kindPods, []*item{pod("two")})
	turn()
	if !<-known {
		t.Error("the second one is not known")
	}
	if s.hasPod("x/db-0", "one") {
		t.Error("the first one is known still")
	}
	if s.Snapshot() != before {
		t.Error("a Snapshot was made though nothing of it differs")
	}
	s.push(kindPods, pod("two"), true)
	turn()
	if s.hasPod("x/db-0", "two") || s.hasPod("x/db-0", "") || s.world.uids.Len() != 0 {
		t.Error("one that is gone is known")
	}
}
