package records

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/store/kube/apiserver"
)

// Times that a request may take. Whoever waits for an address waits for them.
const (
	requestTime = 10 * time.Second
	listTime    = 30 * time.Second
	// readBackTime is for a look at what became of a write that was not answered,
	// whoever has given up waiting for that by then.
	readBackTime = 2 * time.Second
)

// pageSize is how many objects a page of a list has.
const pageSize = 500

// fieldOwner is the field manager of what we write (kubectl get -o yaml
// --show-managed-fields).
const fieldOwner = "caracal-ipam"

// Store keeps records in the API. It implements [ipam.Store] and [ipam.NodeStore].
type Store struct {
	blocks, claims resource
	// request and readBack are requestTime and readBackTime, but in tests.
	request, readBackIn time.Duration
}

// resource is one kind of objects.
type resource struct {
	dynamic.ResourceInterface
	name   string // as in a URL
	blocks bool
}

var _ ipam.NodeStore = (*Store)(nil)

// New returns the store of a cluster. It asks nothing yet.
func New(client *apiserver.Client) *Store {
	of := func(name string, blocks bool) resource {
		return resource{client.Own.Resource(gvr(name)), name, blocks}
	}
	return &Store{blocks: of("ipamblocks", true), claims: of("blockaffinities", false), request: requestTime, readBackIn: readBackTime}
}

func gvr(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: name}
}

// of returns the resource that a subject is an object of.
func (s *Store) of(subject ipam.Subject) resource {
	if subject.Kind == ipam.BlockSubject {
		return s.blocks
	}
	return s.claims
}

// Get implements [ipam.Store].
func (s *Store) Get(ctx context.Context, key string) (ipam.Record, error) {
	subject, ok := ipam.SubjectOf(key)
	if !ok {
		return ipam.Record{}, fmt.Errorf("records: read record %s: %w", key, ipam.ErrNotFound)
	}
	r, err := s.get(ctx, subject)
	if err != nil {
		return r, fmt.Errorf("records: read record %s: %w", key, err)
	}
	return r, nil
}

func (s *Store) get(ctx context.Context, subject ipam.Subject) (ipam.Record, error) {
	res := s.of(subject)
	ctx, cancel := context.WithTimeout(ctx, s.request)
	defer cancel()
	o, err := res.Get(ctx, nameOf(subject), metav1.GetOptions{})
	if err != nil {
		return ipam.Record{}, res.explain("get", nameOf(subject), err)
	}
	r, err := recordOf(res.blocks, o)
	r.Key = subject.Key() // also of one whose name is a digest
	return r, err
}

// Put implements [ipam.Store]. If it is not known whether a write took place, what
// is there is read back.
func (s *Store) Put(ctx context.Context, r ipam.Record) (string, error) {
	subject, ok := ipam.SubjectOf(r.Key)
	if !ok {
		return "", fmt.Errorf("records: write record %q: it is no key", r.Key)
	}
	revision, err := s.put(ctx, subject, r)
	if err != nil {
		return "", fmt.Errorf("records: write record %s: %w", r.Key, err)
	}
	return revision, nil
}

func (s *Store) put(ctx context.Context, subject ipam.Subject, r ipam.Record) (string, error) {
	res, o := s.of(subject), objectOf(subject, r)
	write, verb := func(ctx context.Context) (*unstructured.Unstructured, error) {
		return res.Create(ctx, o, metav1.CreateOptions{FieldManager: fieldOwner})
	}, "create"
	if r.Revision != "" {
		was, ok := parseRevision(r.Revision)
		if !ok {
			return "", ipam.ErrConflict
		}
		o.SetResourceVersion(was.version)
		o.SetUID(was.uid)
		write, verb = func(ctx context.Context) (*unstructured.Unstructured, error) {
			return res.Update(ctx, o, metav1.UpdateOptions{FieldManager: fieldOwner})
		}, "update"
	}
	within, cancel := context.WithTimeout(ctx, s.request)
	defer cancel()
	got, err := write(within)
	if err == nil {
		return revisionOf(got), nil
	}
	gone := apierrors.IsNotFound(err) && r.Revision != ""
	if err = res.explain(verb, o.GetName(), err); gone && errors.Is(err, ipam.ErrNotFound) {
		return "", ipam.ErrConflict
	}
	if refused(err) {
		return "", err
	}
	return s.readBack(ctx, subject, r, err)
}

// readBack finds out what became of a write that failed with err. It may have been
// done and not answered, or answered and repeated by the client, which then is told
// of a conflict with itself. A write that is still under way can do no harm later:
// the next one of the same record gets there first, or has a conflict with it.
func (s *Store) readBack(ctx context.Context, subject ipam.Subject, r ipam.Record, err error) (string, error) {
	if errors.Is(err, ipam.ErrConflict) && subject.Kind == ipam.BlockSubject && r.Revision != "" {
		return "", err // is read again anyway, see ipam.Allocator
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.readBackIn)
	defer cancel()
	is, rerr := s.get(ctx, subject)
	switch {
	case rerr == nil && is.Revision != r.Revision && string(is.Value) == string(r.Value) && s.may(subject, err):
		return is.Revision, nil
	case errors.Is(err, ipam.ErrConflict) && errors.Is(rerr, ipam.ErrDamaged) && r.Revision == "":
		return "", rerr
	case rerr == nil && is.Revision != r.Revision:
		return "", ipam.ErrConflict
	}
	return "", err
}

// may reports whether a record that is there as we wanted to write it can be ours
// after this error. A claim is written by its own node alone, so it is. A block that
// exists already may be another node's, in the same words.
func (s *Store) may(subject ipam.Subject, err error) bool {
	return subject.Kind != ipam.BlockSubject || !errors.Is(err, ipam.ErrConflict)
}

// Delete implements [ipam.Store].
func (s *Store) Delete(ctx context.Context, key, rev string) error {
	subject, ok := ipam.SubjectOf(key)
	if !ok {
		return nil
	}
	if err := s.remove(ctx, subject, rev); err != nil {
		return fmt.Errorf("records: delete record %s: %w", key, err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, subject ipam.Subject, rev string) error {
	res, name := s.of(subject), nameOf(subject)
	was, ok := parseRevision(rev)
	if !ok { // of nothing that there ever was: a conflict, unless there is nothing
		_, err := s.get(ctx, subject)
		if errors.Is(err, ipam.ErrNotFound) {
			return nil
		}
		if err != nil && !errors.Is(err, ipam.ErrDamaged) {
			return err
		}
		return ipam.ErrConflict
	}
	within, cancel := context.WithTimeout(ctx, s.request)
	defer cancel()
	background := metav1.DeletePropagationBackground
	err := res.ResourceInterface.Delete(within, name, metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &was.uid, ResourceVersion: &was.version},
		PropagationPolicy: &background,
	})
	if err == nil {
		return nil
	}
	if err = res.explain("delete", name, err); errors.Is(err, ipam.ErrNotFound) {
		return nil
	} else if refused(err) || errors.Is(err, ipam.ErrConflict) {
		return err
	}
	within, stop := context.WithTimeout(context.WithoutCancel(ctx), s.readBackIn)
	defer stop()
	if _, rerr := s.get(within, subject); errors.Is(rerr, ipam.ErrNotFound) {
		return nil
	}
	return err
}

// List implements [ipam.Store].
func (s *Store) List(ctx context.Context, prefix string) ([]ipam.Record, []ipam.Damaged, error) {
	var records []ipam.Record
	var bad []ipam.Damaged
	for _, part := range parts(prefix) {
		res := s.claims
		if part.blocks {
			res = s.blocks
		}
		some, wrong, err := res.list(ctx, part.selector)
		if err != nil {
			return nil, nil, fmt.Errorf("records: list %s: %w", prefix, err)
		}
		records, bad = append(records, some...), append(bad, wrong...)
	}
	records = slices.DeleteFunc(records, func(r ipam.Record) bool { return !strings.HasPrefix(r.Key, prefix) })
	bad = slices.DeleteFunc(bad, func(d ipam.Damaged) bool { return d.Key != "" && !strings.HasPrefix(d.Key, prefix) })
	sortByKey(records, bad)
	return records, bad, nil
}

// ListNode implements [ipam.NodeStore].
func (s *Store) ListNode(ctx context.Context, node string) ([]ipam.Record, []ipam.Damaged, error) {
	records, bad, err := s.claims.list(ctx, LabelNode+"="+short(node, longestLabel))
	if err != nil {
		return nil, nil, fmt.Errorf("records: list claims of node %s: %w", node, err)
	}
	sortByKey(records, bad)
	return records, bad, nil
}

// ListBlocks returns the blocks that a node has.
func (s *Store) ListBlocks(ctx context.Context, node string) ([]ipam.Record, []ipam.Damaged, error) {
	records, bad, err := s.blocks.list(ctx, LabelNode+"="+short(node, longestLabel))
	if err != nil {
		return nil, nil, fmt.Errorf("records: list blocks of node %s: %w", node, err)
	}
	sortByKey(records, bad)
	return records, bad, nil
}

// NodeOf returns the node that the metadata of one of our objects names; empty where
// its name is too long for that.
func NodeOf(o metav1.Object) string {
	if node := o.GetLabels()[LabelNode]; !digest.MatchString(node) {
		return node
	}
	return ""
}

func sortByKey(records []ipam.Record, bad []ipam.Damaged) {
	slices.SortFunc(records, func(a, b ipam.Record) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(bad, func(a, b ipam.Damaged) int { return strings.Compare(a.Key, b.Key) })
}

// part is what one list asks for.
type part struct {
	blocks   bool
	selector string
}

// parts are the lists that have all keys of a prefix.
func parts(prefix string) []part {
	all := map[string]part{
		"block/": {blocks: true}, "affinity/": {selector: "!" + LabelBorrowed}, "borrowed/": {selector: LabelBorrowed},
	}
	var out []part
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, prefix) || strings.HasPrefix(prefix, k) {
			out = append(out, all[k])
		}
	}
	return out
}

// list reads all objects that a label selector selects, page by page, as they are
// at one moment. If that is too long ago for the API, it begins again.
func (res resource) list(ctx context.Context, selector string) (records []ipam.Record, bad []ipam.Damaged, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	for again, token := 0, ""; ; {
		page, err := res.ResourceInterface.List(ctx, metav1.ListOptions{LabelSelector: selector, Limit: pageSize, Continue: token})
		if apierrors.IsResourceExpired(err) && token != "" && again < 5 {
			again, token, records, bad = again+1, "", nil, nil
			continue
		}
		if err != nil {
			return nil, nil, res.explain("list", "", err)
		}
		for i := range page.Items {
			r, err := recordOf(res.blocks, &page.Items[i])
			if err != nil {
				bad = append(bad, ipam.Damaged{Key: r.Key, Revision: r.Revision, Message: strings.TrimPrefix(err.Error(), ipam.ErrDamaged.Error()+": ")})
				continue
			}
			records = append(records, r)
		}
		if token = page.GetContinue(); token == "" {
			return records, bad, nil
		}
	}
}
