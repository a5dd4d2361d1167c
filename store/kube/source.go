package kube

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
	"caracal.dev/caracal/store/kube/apiserver"
)

// source is where the objects of one kind come from.
type source struct {
	kind     string // as Problems and Incomplete name it
	resource string // as the API names it
	group    string
	// wait is how long the first list may be put off on a node that has what it last
	// took on disk: so that a cluster whose nodes all start at once does not ask for
	// everything in the same second.
	wait    time.Duration
	convert convert
	list    func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch   func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// resources are the kinds of caracal.dev, and their names in the API.
var resources = map[string]string{
	v1.KindBGPConfiguration: "bgpconfigurations", v1.KindBGPPeer: "bgppeers", v1.KindBGPFilter: "bgpfilters",
	v1.KindIPPool: "ippools", v1.KindNodeConfig: "nodeconfigs", v1.KindIPAMConfiguration: "ipamconfigurations",
	v1.KindDataplaneConfiguration: "dataplaneconfigurations", v1.KindIPReservation: "ipreservations",
	v1.KindBlockAffinity: "blockaffinities",
}

// kinds lists all kinds that are read, sorted.
func kinds() []string {
	list := append(mapKeys(resources), v1.KindWorkload, v1.KindNamespace, v1.KindNetworkPolicy, kindService, kindEndpointSlice, kindNode)
	slices.Sort(list)
	return list
}

// How long kinds wait at most; see source.wait.
const (
	waitPods  = 3 * time.Second // and Services: the largest lists
	waitSmall = time.Second
)

// sources returns all of them for a node.
func sources(c *apiserver.Client, self string, words *store.Words) []*source {
	core, net, disc := c.Core.CoreV1(), c.Core.NetworkingV1(), c.Core.DiscoveryV1()
	list := []*source{
		of(kindNode, "nodes", "", 0, nodeOf(words), core.Nodes().List, core.Nodes().Watch),
		of(v1.KindWorkload, "pods", "", waitPods, podOf(self, words), core.Pods("").List, core.Pods("").Watch),
		of(v1.KindNamespace, "namespaces", "", waitSmall, namespaceOf(words), core.Namespaces().List, core.Namespaces().Watch),
		of(kindService, "services", "", waitPods, serviceOf(words), core.Services("").List, core.Services("").Watch),
		of(v1.KindNetworkPolicy, "networkpolicies", "networking.k8s.io", waitSmall, policyOf(words), net.NetworkPolicies("").List, net.NetworkPolicies("").Watch),
		of(kindEndpointSlice, "endpointslices", "discovery.k8s.io", waitPods, sliceOf(self, words), disc.EndpointSlices("").List, disc.EndpointSlices("").Watch),
	}
	names := resources
	for _, kind := range slices.Sorted(slices.Values(mapKeys(names))) {
		conv, wait := ownOf(words), time.Duration(0)
		switch kind {
		case v1.KindNodeConfig:
			conv = overlayOf
		case v1.KindBlockAffinity:
			conv, wait = affinityOf(words), waitSmall
		}
		r := c.Own.Resource(schema.GroupVersionResource{Group: "caracal.dev", Version: "v1", Resource: names[kind]})
		list = append(list, of(kind, names[kind], "caracal.dev", wait, conv, r.List, r.Watch))
	}
	return list
}

func of[L runtime.Object](kind, resource, group string, wait time.Duration, conv convert,
	list func(context.Context, metav1.ListOptions) (L, error), watch func(context.Context, metav1.ListOptions) (watch.Interface, error)) *source {
	return &source{
		kind: kind, resource: resource, group: group, wait: wait, convert: conv, watch: watch,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := list(ctx, o)
			if err != nil {
				return nil, err
			}
			return newItems(l, conv)
		},
	}
}

// pageSize is how many objects a page of a list has, where the API cannot stream
// them: all at once would be in memory twice.
const pageSize = 500

// sink takes what one Reflector finds to the store, and is what it calls for lists
// and watches.
type sink struct {
	*source
	store *Store
	// until is when the last watch was to end by itself; see [sink.rewound].
	until time.Time
	// listed is the resourceVersion of the last list.
	listed  string
	last    *watching // the last watch; nil: none yet
	pace    pace
	endings endings
}

// run follows the kind until ctx ends.
func (k *sink) run(ctx context.Context, late bool) {
	if late && k.wait > 0 {
		select {
		case <-time.After(rand.N(k.wait)):
		case <-ctx.Done():
			return
		}
	}
	quiet := logr.Discard()
	// The store says itself what is wrong, once.
	ctx = apiserver.Once(logr.NewContext(ctx, quiet))
	p := patience{back: k.store.returned, end: ctx.Done(), nodes: func() int { return k.store.Snapshot().Nodes.Len() }}
	r := cache.NewReflectorWithOptions(k, &item{}, k, cache.ReflectorOptions{Name: k.kind, TypeDescription: k.resource, Logger: &quiet, Clock: p})
	r.WatchListPageSize = pageSize
	p.keepTrying(ctx, r.ListAndWatchWithContext)
}

// ListWithContext implements cache.ListerWithContext.
func (k *sink) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	l, err := k.list(ctx, o)
	k.store.heard(k.kind, verbList, err)
	if err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(l); err == nil {
		k.listed = m.GetResourceVersion()
	}
	return l, nil
}

// List implements cache.Lister, which nobody calls.
func (k *sink) List(o metav1.ListOptions) (runtime.Object, error) {
	return k.ListWithContext(context.Background(), o)
}

// WatchWithContext implements cache.WatcherWithContext.
func (k *sink) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if now := time.Now(); k.last != nil && k.until.Sub(now) > shortWatch {
		k.tooEarly(now)
	}
	if err := k.slowDown(ctx); err != nil {
		return nil, err
	}
	if o.ResourceVersion == "" || o.ResourceVersion != k.listed {
		if err := k.rewound(ctx, o); err != nil {
			return nil, err
		}
	}
	w, err := k.watch(ctx, o)
	k.store.heard(k.kind, verbWatch, err)
	if k.until = (time.Time{}); o.TimeoutSeconds != nil {
		k.until = time.Now().Add(time.Duration(*o.TimeoutSeconds) * time.Second)
	}
	if err != nil {
		if expired(err) {
			k.tooEarly(time.Now())
		}
		return nil, k.asList(o, err)
	}
	k.last = follow(w, k.convert, func(err error) error { return k.asList(o, err) })
	return k.last, nil
}

// Watch implements cache.Watcher, which nobody calls.
func (k *sink) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return k.WatchWithContext(context.Background(), o)
}

// Add implements cache.ReflectorStore, as do the following.
func (k *sink) Add(obj any) error { k.store.push(k.kind, obj.(*item), false); return nil }

// Update implements cache.ReflectorStore.
func (k *sink) Update(obj any) error { return k.Add(obj) }

// Delete implements cache.ReflectorStore.
func (k *sink) Delete(obj any) error { k.store.push(k.kind, obj.(*item), true); return nil }

// Replace implements cache.ReflectorStore.
func (k *sink) Replace(list []any, _ string) error {
	all := make([]*item, len(list))
	for i, o := range list {
		all[i] = o.(*item)
	}
	k.store.pushAll(k.kind, all)
	return nil
}

// Resync implements cache.ReflectorStore; nothing is done.
func (k *sink) Resync() error { return nil }
