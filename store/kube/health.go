package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
)

// health is how it goes with one kind.
type health struct {
	// listed says that it was listed in the life of this process, and weighed that what
	// is judged with other kinds has been judged since.
	listed, weighed bool
	// why says in words why it cannot be read now; empty if it can. Away says that
	// the API as a whole is.
	why  string
	away bool
	// denied is why it may not be watched; empty if it may. It may be that it can be
	// listed all the same, which is no use.
	denied string
	// since is when that began.
	since time.Time
	// restless is until when it is said that its watches end too early.
	restless time.Time
}

// What a Reflector asks of the API.
const (
	verbList  = "list"
	verbWatch = "watch"
)

// heard notes the answer of the API to a list or watch.
func (s *Store) heard(kind, verb string, err error) {
	var why string
	var away bool
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled), expired(err):
		return
	default:
		why, away = reason(kind, err)
	}
	s.mu.Lock()
	h := s.health[kind]
	switch {
	case verb == verbWatch && err == nil:
		h.denied = ""
	case verb == verbWatch && apierrors.IsForbidden(err):
		h.denied = why
	case err == nil:
		why = h.denied
	}
	if apierrors.IsNotFound(err) && defined(kind) {
		s.inbox, s.pulse = append(s.inbox, change{kind: kind, unknown: true}), true
	}
	changed := h.why != why || h.away != away
	if changed {
		if h.why == "" || why == "" {
			h.since = s.opts.Now()
		}
		h.why, h.away, s.pulse = why, away, true
	}
	s.mu.Unlock()
	if changed {
		s.ring()
	}
}

// restless has it said until a time that the watches of a kind end too early.
func (s *Store) restless(kind string, until time.Time) {
	s.mu.Lock()
	s.health[kind].restless, s.pulse = until, true
	s.mu.Unlock()
	s.ring()
	time.AfterFunc(time.Until(until)+time.Second, s.beat)
}

// beat has the Problems looked at again.
func (s *Store) beat() {
	s.mu.Lock()
	s.pulse = true
	s.mu.Unlock()
	s.ring()
}

// reason says in words why the API did not answer, without what differs from one try
// to the next; away says that the reason is not about the kind.
func reason(kind string, err error) (why string, away bool) {
	resource := resourceOf(kind)
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Code != 0 {
		text := status.Status().Message
		switch code := status.Status().Code; {
		case apierrors.IsUnauthorized(err):
			return "the API does not accept our credentials (" + text + "); is the ServiceAccount there, and its token of this cluster?", true
		case apierrors.IsForbidden(err):
			return bothVerbs.Replace(text) + "; apply manifests/base/rbac.yaml", false
		case apierrors.IsNotFound(err):
			return fmt.Sprintf("the API does not know %s; apply manifests/base/crds.yaml", resource), false
		case code == 429:
			return "the API is overloaded and puts us off", true
		default:
			return fmt.Sprintf("the API answers with %d: %s", code, clip(text)), true
		}
	}
	return network(err), true
}

// bothVerbs makes one text of the refusals of the two verbs, which a Reflector tries in
// turn: one without the other is of no use.
var bothVerbs = strings.NewReplacer(" cannot list resource ", " cannot list and watch resource ", " cannot watch resource ", " cannot list and watch resource ")

// network is what is wrong with the way to the API.
func network(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if why, ok := outOfTime(err, time.Now()); ok {
		return why
	}
	var timeout net.Error
	switch op, isOp := errors.AsType[*net.OpError](err); {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "it does not answer in time"
	case isOp:
		return op.Op + ": " + op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed"
	}
	return err.Error()
}

func resourceOf(kind string) string {
	if r, ok := resources[kind]; ok {
		return r + " of caracal.dev"
	}
	return kind
}

// away reports whether Pods cannot be read now.
func (s *Store) away() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health[kindPods].why != ""
}

// incomplete says of which kinds objects may be missing: those that this process has
// not listed yet, or whose list is not in the Snapshot yet. What was listed stays as
// it was while the API is away.
func (s *Store) incomplete() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]string
	for kind, h := range s.health {
		h.weighed = h.weighed || h.listed && !(judged(kind) && s.world.judge)
		if h.weighed {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		switch {
		case h.why != "":
			out[kind] = h.why
		case h.listed:
			out[kind] = "listed, and waits for the kinds that it is judged with"
		default:
			out[kind] = "not listed yet since the start"
		}
	}
	return out
}

// unwell says what is wrong with the API: in one Problem if it is away as a whole.
func (s *Store) unwell() []caracal.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []caracal.Problem
	gone := map[string][]string{} // kinds by the reason
	var since time.Time
	restless := false
	for _, kind := range slices.Sorted(maps.Keys(s.health)) {
		h := s.health[kind]
		switch {
		case h.why == "" && time.Now().Before(h.restless):
			restless = true
		case h.why == "":
		case h.away:
			gone[h.why] = append(gone[h.why], kind)
			if since.IsZero() || h.since.Before(since) {
				since = h.since
			}
		default:
			list = append(list, caracal.Problem{Severity: caracal.Warning, Kind: kind, Since: h.since,
				Message: fmt.Sprintf("%s cannot be read from the API: %s. What was last known of them stays in force", kind, h.why)})
		}
	}
	if restless {
		list = append(list, caracal.Problem{Severity: caracal.Warning, Message: fmt.Sprintf(
			"the API of Kubernetes at %s ends watches as soon as they begin: all is listed again and again, and changes are seen up to a minute late. Look at the log of the API server, and of the load balancer before it", s.host())})
	}
	if len(gone) == 0 {
		return list
	}
	// Of several reasons at once the one that concerns most kinds.
	why := slices.MaxFunc(slices.Sorted(maps.Keys(gone)), func(a, b string) int { return len(gone[a]) - len(gone[b]) })
	return append(list, caracal.Problem{Severity: caracal.Warning, Since: since, Message: fmt.Sprintf(
		"the API of Kubernetes at %s cannot be reached: %s. Everything goes on as it was last known", s.host(), why)})
}

// rewound finds out, before a watch goes on where the last one broke off, whether the
// API has gone back in time: etcd was restored from a backup. A watch from a
// resourceVersion that is yet to come would be silent until it has come. Such a watch
// is refused as expired, and the Reflector lists again. A watch that ended when it was
// to end needs no such question.
func (k *sink) rewound(ctx context.Context, o metav1.ListOptions) error {
	if o.SendInitialEvents != nil || o.ResourceVersion == "" || o.ResourceVersion == "0" || !k.until.IsZero() && time.Until(k.until) < time.Second {
		return nil
	}
	l, err := k.list(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		k.store.heard(k.kind, verbList, err)
		return err
	}
	have, err1 := strconv.ParseUint(o.ResourceVersion, 10, 64)
	now, err2 := strconv.ParseUint(l.(*items).ResourceVersion, 10, 64)
	if err1 == nil && err2 == nil && now < have {
		return apierrors.NewResourceExpired(fmt.Sprintf("the API is at resourceVersion %d, and we were at %d", now, have))
	}
	return nil
}
