package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// TestItems puts a list and a watch through the forms that a Reflector wants.
func TestItems(t *testing.T) {
	conv := namespaceOf(nil)
	list := &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "more"}}
	for i := range 3 {
		list.Items = append(list.Items, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), ResourceVersion: fmt.Sprint(i)}})
	}
	got, err := newItems(list, conv)
	if err != nil || got.ResourceVersion != "9" || got.Continue != "more" || len(got.Items) != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	again, err := meta.ExtractList(got)
	if err != nil || len(again) != 3 || again[1].(*item).key != "n1" || again[1].(*item).value.(*caracal.Namespace).Name != "n1" {
		t.Fatalf("%+v %v", again, err)
	}
	fake := watch.NewFakeWithChanSize(10, false)
	w := follow(fake, conv, func(err error) error { return err })
	fake.Add(&list.Items[0])
	fake.Action(watch.Bookmark, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "20", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}})
	fake.Delete(&list.Items[2])
	fake.Error(&metav1.Status{Code: 410})
	added, mark, gone, failed := <-w.ResultChan(), <-w.ResultChan(), <-w.ResultChan(), <-w.ResultChan()
	m, err := meta.Accessor(mark.Object)
	if err != nil || m.GetResourceVersion() != "20" || m.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("%+v %v", mark, err)
	}
	if added.Object.(*item).value == nil || gone.Object.(*item).value != nil || gone.Object.(*item).key != "n2" {
		t.Errorf("%+v %+v", added, gone)
	}
	if _, ok := failed.Object.(*metav1.Status); !ok {
		t.Errorf("%+v", failed)
	}
	fake.Add(&list.Items[0]) // that nobody takes
	w.Stop()
	w.Stop()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case _, open := <-w.ResultChan():
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("a watch that is stopped must end")
		}
	}
}

// TestRewound looks for an API that has gone back in time.
func TestRewound(t *testing.T) {
	now, asked := "100", 0
	k := &sink{store: New(Options{Node: "a"}), source: &source{kind: kindNode, list: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
		asked++
		return &items{ListMeta: metav1.ListMeta{ResourceVersion: now}}, nil
	}}}
	yes := true
	for i, c := range []struct {
		o     metav1.ListOptions
		until time.Duration
		now   string
		gone  bool
		asks  int
	}{
		{metav1.ListOptions{}, 0, "100", false, 0},
		{metav1.ListOptions{ResourceVersion: "200", SendInitialEvents: &yes}, 0, "100", false, 0},
		{metav1.ListOptions{ResourceVersion: "100"}, 0, "100", false, 1},
		{metav1.ListOptions{ResourceVersion: "99"}, 5 * time.Minute, "100", false, 1},
		{metav1.ListOptions{ResourceVersion: "101"}, 5 * time.Minute, "100", true, 1},
		{metav1.ListOptions{ResourceVersion: "18446744073709551615"}, 0, "9", true, 1},
		{metav1.ListOptions{ResourceVersion: "101"}, -time.Second, "100", false, 0}, // the last one ended in its time
	} {
		now, asked, k.until = c.now, 0, time.Time{}
		if c.until != 0 {
			k.until = time.Now().Add(c.until)
		}
		err := k.rewound(t.Context(), c.o)
		if apierrors.IsResourceExpired(err) != c.gone || asked != c.asks {
			t.Errorf("%d: %v after %d questions", i, err, asked)
		}
	}
}

// TestHealth gives the store the errors of the API.
func TestHealth(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	refused := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{Port: 6443}, Err: syscall.ECONNREFUSED}}
	for _, c := range []struct {
		err  error
		want string
		away bool
	}{
		{apierrors.NewForbidden(nodes, "", errors.New(`User "x" cannot list resource "nodes"`)), "apply manifests/base/rbac.yaml", false},
		{apierrors.NewUnauthorized("no"), "does not accept our credentials", true},
		{apierrors.NewTooManyRequests("later", 1), "overloaded", true},
		{apierrors.NewInternalError(errors.New("etcd is gone")), "answers with 500", true},
		{&apierrors.StatusError{ErrStatus: metav1.Status{Code: 404, Reason: metav1.StatusReasonNotFound}}, "apply manifests/base/crds.yaml", false},
		{refused, "dial: connection refused", true},
		{context.DeadlineExceeded, "does not answer in time", true},
	} {
		s := New(Options{Node: "a"})
		s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
		s.heard(v1.KindIPPool, verbList, c.err)
		s.heard(v1.KindIPPool, verbList, c.err)
		if list := s.unwell(); len(list) != 1 || !strings.Contains(list[0].Message, c.want) {
			t.Errorf("%v: %+v", c.err, list)
		}
		if s.isAway() != c.away || s.incomplete()[v1.KindIPPool] == "" {
			t.Errorf("%v: away %v, %v", c.err, s.isAway(), s.incomplete())
		}
		s.heard(v1.KindIPPool, verbList, apierrors.NewResourceExpired("old")) // says nothing new
		if len(s.unwell()) != 1 {
			t.Errorf("%v: forgotten", c.err)
		}
		s.heard(v1.KindIPPool, verbList, nil)
		s.deliver(change{kind: v1.KindIPPool, all: true})
		s.take()
		s.world.judge = false
		if len(s.unwell()) != 0 || s.incomplete()[v1.KindIPPool] != "" {
			t.Errorf("%v: still %v", c.err, s.unwell())
		}
	}
	s := New(Options{Node: "a"})
	for _, kind := range kinds() {
		s.heard(kind, verbList, refused)
	}
	if list := s.unwell(); len(list) != 1 {
		t.Errorf("an API that is away is one problem, not %d", len(list))
	}
}

// TestForbiddenIsOneProblem has a Reflector of a kind that it may not list, not watch, or
// neither, try again and again: that is one Problem, which stays until it is read.
func TestForbiddenIsOneProblem(t *testing.T) {
	no := func(verb string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", fmt.Errorf(`User "x" cannot %s resource "pods" in API group "" at the cluster scope`, verb))
	}
	for _, c := range []struct {
		name        string
		list, watch error
	}{{"neither", no(verbList), no(verbWatch)}, {"no watch", nil, no(verbWatch)}} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			s := New(Options{Node: "a", Log: slog.New(slog.NewTextHandler(&out, nil))})
			s.vault, s.disk = newVault(s.opts, s.ring), openDisk(s.opts)
			said := func(verb string, err error) {
				s.heard(kindPods, verb, err)
				s.publish(false)
			}
			try := func(list, watch error) {
				said(verbWatch, watch) // what it is and its changes, by one request
				if watch == nil {
					return
				}
				if said(verbList, list); list == nil {
					said(verbWatch, watch)
				}
			}
			for range 3 {
				try(c.list, c.watch)
			}
			if n := strings.Count(out.String(), "list and watch resource"); n != 1 || strings.Contains(out.String(), "no longer") {
				t.Errorf("%d times:\n%s", n, out.String())
			}
			away := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}
			try(away, away)
			if list := s.unwell(); len(list) != 1 || !strings.Contains(list[0].Message, "connection refused") {
				t.Errorf("away: %+v", list)
			}
			try(c.list, c.watch)
			if list := s.unwell(); len(list) != 1 || !strings.Contains(list[0].Message, "list and watch") {
				t.Errorf("back: %+v", list)
			}
			try(nil, nil)
			if list := s.unwell(); len(list) != 0 {
				t.Errorf("allowed: %+v", list)
			}
		})
	}
}

// TestPatience waits no longer than until the API is back.
func TestPatience(t *testing.T) {
	back := make(chan struct{})
	p := patience{back: func() <-chan struct{} { return back }, nodes: func() int { return 1 }}
	began := time.Now()
	long, short := p.After(time.Hour), p.After(time.Millisecond)
	<-short
	close(back)
	<-long
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	p.keepTrying(ctx, func(context.Context) error {
		if n++; n == 2 {
			cancel()
		}
		return errors.New("no")
	})
	if n != 2 {
		t.Errorf("%d tries", n)
	}
}
