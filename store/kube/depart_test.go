package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// leaving is a store with two claims and a pool, whose clock the test moves.
type leaving struct {
	*Store
	now time.Time
}

func newLeaving(t *testing.T) *leaving {
	t.Helper()
	l := &leaving{now: time.Unix(3000, 0)}
	l.Store = New(Options{Node: "a", Now: func() time.Time { return l.now }})
	l.world = full(t)
	l.vault, l.disk = newVault(l.opts, l.ring), openDisk(l.opts)
	put(l.world, v1.KindIPPool, "pods", map[string]any{"cidr": "10.1.0.0/16"})
	for i, n := range []string{"a", "b"} {
		put(l.world, v1.KindBlockAffinity, fmt.Sprint(i), claimed(n, fmt.Sprintf("10.1.%d.0/26", i)))
	}
	l.publish(false)
	l.expect(t, 2)
	return l
}

// after lets a time pass and everything happen that does by itself then.
func (l *leaving) after(d time.Duration) {
	l.now = l.now.Add(d)
	l.take()
	l.depart()
	l.world.judgedAt = time.Time{}
	l.publish(false)
}

func (l *leaving) expect(t *testing.T, n int) {
	t.Helper()
	if s := l.Snapshot(); s.Blocks.Len() != n {
		t.Errorf("%d blocks, want %d: %s", s.Blocks.Len(), n, messages(s))
	}
}

func (l *leaving) held() bool {
	return slices.ContainsFunc(l.Snapshot().Problems, func(p caracal.Problem) bool {
		return p.Severity == caracal.Held && p.Kind == v1.KindBlockAffinity && strings.Contains(p.Message, "blockaffinities.caracal.dev")
	})
}

func (l *leaving) gone(key string) { l.push(v1.KindBlockAffinity, &item{key: key}, true) }

// forget has the API not know the kind, as after the deletion of its definition.
func (l *leaving) forget() {
	l.heard(v1.KindBlockAffinity, verbWatch, apierrors.NewNotFound(schema.GroupResource{Group: "caracal.dev", Resource: "blockaffinities"}, ""))
}

// TestDeletionIsBelieved deletes a claim: it goes when the API knows the kind still.
func TestDeletionIsBelieved(t *testing.T) {
	l := newLeaving(t)
	l.gone("1")
	l.after(time.Second)
	l.expect(t, 2)
	l.after(departQuiet)
	l.expect(t, 1)
}

// TestDeletionsWithoutEnd go on and on: each is believed after a while.
func TestDeletionsWithoutEnd(t *testing.T) {
	l := newLeaving(t)
	l.gone("1")
	for i := range int(departMost / time.Second) {
		l.after(time.Second)
		if i < int(departMost/time.Second)-2 {
			l.expect(t, 2)
		}
		l.gone("0")
	}
	l.after(time.Second)
	l.expect(t, 1)
}

// TestDefinitionIsDeleted has everything deleted and then the definition: all stays,
// through the time in which there is none and after it is back without objects, until
// somebody confirms.
func TestDefinitionIsDeleted(t *testing.T) {
	l := newLeaving(t)
	l.gone("0")
	l.gone("1")
	l.after(time.Second)
	l.forget()
	l.after(time.Hour)
	l.expect(t, 2)
	if !l.held() {
		t.Errorf("nobody says that they are held:\n%s", messages(l.Snapshot()))
	}
	l.heard(v1.KindBlockAffinity, verbList, nil)
	l.pushAll(v1.KindBlockAffinity, nil)
	l.after(time.Hour)
	l.expect(t, 2)
	if !l.held() {
		t.Errorf("back without objects, and nobody says that they are held:\n%s", messages(l.Snapshot()))
	}
	l.pushAll(v1.KindBlockAffinity, []*item{{key: "0"}, {key: "1"}}) // made anew, and not confirmed yet
	l.after(time.Second)
	l.expect(t, 2)
	if !l.held() {
		t.Errorf("not confirmed, and nobody says that they are held:\n%s", messages(l.Snapshot()))
	}
	l.push(v1.KindBlockAffinity, &item{key: "0"}, false)
	l.after(time.Second)
	l.expect(t, 2)
	l.push(v1.KindBlockAffinity, &item{key: "0", value: affinityOf(l.world.words)(resource(v1.KindBlockAffinity, "", claimed("a", "10.1.0.0/26")))}, false)
	l.after(time.Second)
	l.expect(t, 2)
	l.departConfirmed()
	l.world.judge = true
	l.publish(true)
	l.expect(t, 1)
	if l.held() {
		t.Error("held after the confirmation")
	}
}

// TestDefinitionConfirmed confirms the loss of a pool and of all claims with one word.
func TestDefinitionConfirmed(t *testing.T) {
	l := newLeaving(t)
	for _, kind := range []string{v1.KindIPPool, v1.KindBlockAffinity} {
		l.heard(kind, verbList, apierrors.NewNotFound(schema.GroupResource{Group: "caracal.dev", Resource: resources[kind]}, ""))
		l.pushAll(kind, nil)
	}
	l.after(time.Hour)
	l.expect(t, 2)
	if n := l.Snapshot().Pools.Len(); n != 1 {
		t.Errorf("%d pools", n)
	}
	l.departConfirmed()
	l.world.judge = true
	l.publish(true)
	l.expect(t, 0)
	if s := l.Snapshot(); s.Pools.Len() != 0 || strings.Contains(messages(s), "held ") {
		t.Errorf("%d pools after the confirmation; %s", s.Pools.Len(), messages(s))
	}
}

// TestUnknownAtTheStart has the definition gone while the daemon was down: what it kept
// on disk stays when an empty one is there.
func TestUnknownAtTheStart(t *testing.T) {
	l := newLeaving(t)
	l.forget()
	l.after(time.Second)
	l.pushAll(v1.KindBlockAffinity, nil)
	l.after(time.Hour)
	l.expect(t, 2)
}

// TestBlockOfAnother gives a deleted claim's block to another node: at once.
func TestBlockOfAnother(t *testing.T) {
	l := newLeaving(t)
	l.gone("1")
	l.push(v1.KindBlockAffinity, &item{key: "2", value: affinityOf(l.world.words)(resource(v1.KindBlockAffinity, "", claimed("c", "10.1.1.0/26")))}, false)
	l.after(50 * time.Millisecond)
	if got := blocks(l.Snapshot()); got != "10.1.0.0/26=a 10.1.1.0/26=c" {
		t.Errorf("%s\n%s", got, messages(l.Snapshot()))
	}
}

// TestDeletedAndBack makes a claim anew under its name while its deletion waits.
func TestDeletedAndBack(t *testing.T) {
	l := newLeaving(t)
	l.gone("1")
	l.after(time.Second)
	l.push(v1.KindBlockAffinity, &item{key: "1", value: affinityOf(l.world.words)(resource(v1.KindBlockAffinity, "", claimed("b", "10.1.1.0/26")))}, false)
	l.after(departQuiet)
	l.expect(t, 2)
}

// TestDefinitionMadeAnew lists a definition that went and came unseen between two watches:
// what was deleted with the old one waits as if it was deleted alone.
func TestDefinitionMadeAnew(t *testing.T) {
	l := newLeaving(t)
	l.gone("0")
	l.gone("1")
	l.after(time.Second)
	l.pushAll(v1.KindBlockAffinity, nil)
	l.after(time.Second)
	l.expect(t, 2)
	l.push(v1.KindBlockAffinity, &item{key: "0", value: affinityOf(l.world.words)(resource(v1.KindBlockAffinity, "", claimed("a", "10.1.0.0/26")))}, false)
	l.after(departQuiet)
	l.expect(t, 1)
}
