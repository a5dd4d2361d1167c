package kube

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// item is what is kept of an object of the API from the moment that it is decoded:
// so not even the first list is ever in memory as the API has it. To a Reflector it
// looks like an object.
type item struct {
	key     string // "name" or "namespace/name"
	version string // the resourceVersion
	// notes are the annotations of a bookmark, by which the end of the first list is
	// known; nil otherwise.
	notes map[string]string
	// value is what the kind's convert made of it; nil if it is of no interest here.
	value any
}

// GetObjectKind implements runtime.Object.
func (*item) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object. An item is never changed.
func (i *item) DeepCopyObject() runtime.Object { return i }

// GetObjectMeta implements metav1.ObjectMetaAccessor.
func (i *item) GetObjectMeta() metav1.Object {
	m := &metav1.ObjectMeta{Name: i.key, ResourceVersion: i.version, Annotations: i.notes}
	if space, name, ok := strings.Cut(i.key, "/"); ok {
		m.Namespace, m.Name = space, name
	}
	return m
}

// items is a list of them, or a page of one.
type items struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []runtime.Object
}

// DeepCopyObject implements runtime.Object.
func (l *items) DeepCopyObject() runtime.Object { return l }

// convert makes of a decoded object what is kept of it.
type convert func(obj metav1.Object) any

func newItem(obj runtime.Object, conv convert) *item {
	m, err := meta.Accessor(obj)
	if err != nil {
		return &item{}
	}
	i := &item{key: m.GetName(), version: m.GetResourceVersion()}
	if ns := m.GetNamespace(); ns != "" {
		i.key = ns + "/" + i.key
	}
	i.value = conv(m)
	return i
}

// newItems does the same with a list.
func newItems(list runtime.Object, conv convert) (*items, error) {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	out := &items{ListMeta: metav1.ListMeta{ResourceVersion: m.GetResourceVersion(), Continue: m.GetContinue(), RemainingItemCount: m.GetRemainingItemCount()}}
	err = meta.EachListItem(list, func(o runtime.Object) error {
		out.Items = append(out.Items, newItem(o, conv))
		return nil
	})
	return out, err
}

// watching turns the events of a watch into those of items.
type watching struct {
	inner watch.Interface
	out   chan watch.Event
	stop  chan struct{}
	once  sync.Once
	// heard says that it had something to tell, failed that it ended with an error.
	heard, failed atomic.Bool
	began         time.Time
}

// follow returns a watch of items. Of an error that ends it, what told makes of it is
// passed on; told is asked with nil for a watch that ends without an error, and without
// having said that all initial objects have been sent.
func follow(inner watch.Interface, conv convert, told func(error) error) *watching {
	w := &watching{inner: inner, out: make(chan watch.Event), stop: make(chan struct{}), began: time.Now()}
	go func() {
		defer close(w.out)
		whole := false
		for e := range inner.ResultChan() {
			if e.Type == watch.Error {
				w.failed.Store(true)
				if !whole {
					e.Object = failure(e.Object, told)
				}
			} else {
				w.heard.Store(true)
				e = converted(e, conv)
			}
			whole = whole || e.Type == watch.Error || e.Type == watch.Bookmark && e.Object.(*item).notes[metav1.InitialEventsAnnotationKey] == "true"
			if !w.send(e) {
				return
			}
		}
		if whole {
			return
		}
		if err := told(nil); err != nil {
			w.failed.Store(true)
			w.send(watch.Event{Type: watch.Error, Object: &apierrors.NewInternalError(err).ErrStatus})
		}
	}()
	return w
}

// send hands an event on, unless nobody wants it any more.
func (w *watching) send(e watch.Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.stop:
		return false
	}
}

// failure is the object of an event of type ERROR, as told has it.
func failure(was runtime.Object, told func(error) error) runtime.Object {
	err := apierrors.FromObject(was)
	if now := told(err); now != err {
		return &apierrors.NewInternalError(now).ErrStatus
	}
	return was
}

func converted(e watch.Event, conv convert) watch.Event {
	switch e.Type {
	case watch.Bookmark:
		i := newItem(e.Object, func(m metav1.Object) any { return nil })
		if m, err := meta.Accessor(e.Object); err == nil {
			i.notes = m.GetAnnotations()
		}
		e.Object = i
	case watch.Deleted:
		e.Object = newItem(e.Object, func(metav1.Object) any { return nil })
	default:
		e.Object = newItem(e.Object, conv)
	}
	return e
}

// ResultChan implements watch.Interface.
func (w *watching) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *watching) Stop() {
	w.once.Do(func() { close(w.stop) })
	w.inner.Stop()
}
