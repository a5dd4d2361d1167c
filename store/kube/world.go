package kube

import (
	"net/netip"
	"time"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// The kinds whose names are not in package v1, as Problems and Incomplete name them.
const (
	kindNode          = "Node"
	kindService       = "Service"
	kindEndpointSlice = "EndpointSlice"
	kindPods          = v1.KindWorkload
)

// world is what is known of the API's objects, and what of it is in force. It is
// brought up to date object by object, and makes a Snapshot of itself in time
// proportional to what has changed; only a change of a resource of caracal.dev or of
// a Node has all of those looked at. It knows nothing of the API, and belongs to one
// goroutine.
type world struct {
	self  string
	words *store.Words

	workloads  caracal.Table[string, caracal.Workload]
	namespaces caracal.Table[string, caracal.Namespace]
	policies   caracal.Table[string, caracal.Policy]
	services   caracal.Table[string, caracal.Service]

	uids     caracal.Table[string, []string] // of this node's Pods
	claims   map[netip.Addr]claim            // who has an address
	losers   map[netip.Addr][]claim          // who claims it besides; rarely anybody
	declared map[string]bool                 // namespaces that have an object of their own
	mentions map[string]int                  // objects in a namespace
	slices   map[string]slice                // EndpointSlices with a ready endpoint here
	ready    map[slice]int                   // how many such slices a Service has of a family

	nodes      map[string]*node
	overlays   map[string]*overlay
	affinities map[string]*affinity
	byNode     map[string]map[string]bool // to the names of affinities
	dirtyNodes map[string]bool
	mode       string // of IPAM

	offered  map[store.Key]*store.Object // what the API has, in its last version that can be read
	accepted map[store.Key]*store.Object
	objects  []*store.Object // accepted, sorted by kind and name, and what they are without being said
	built    []*store.Object // what the last Snapshot was built of
	judge    bool            // something of these may have changed

	judgedAt  time.Time // when the last judgement ended
	judgeTook time.Duration

	gone goneSet

	refused  map[store.Key]string    // what cannot be read, with the reason
	warned   map[store.Key]v1.Errors // warnings of NetworkPolicies
	verdicts []caracal.Problem       // of the last judgement
	builds   []caracal.Problem       // of the last build
	seen     map[string]bool         // kinds that were listed, or taken from disk
	secrets  func(v1.SecretKeyRef) caracal.Password
	rebuild  bool            // what is built of accepted objects is to be built again
	begin    func()          // is called before secrets is, in each build
	touched  map[string]bool // kinds that are not on disk as they are now
}

// goneSet are the removals that wait: see hold.go.
type goneSet struct {
	affinities map[string]*affinity
	kept       map[string]bool // of these: what was held at the last judgement
	keptAt     time.Time       // when the last of them was held first
	held       map[store.Key]bool
	lost       bool // at the last judgement; see [world.lost]
	recent     []removal
	problems   []caracal.Problem
}

func newWorld(self string) *world {
	blank := caracal.NewSnapshot(self)
	return &world{
		self: self, words: store.NewWords(),
		workloads: blank.Workloads, namespaces: blank.Namespaces, policies: blank.Policies, services: blank.Services,
		uids:   caracal.NewTable[string, []string](),
		claims: map[netip.Addr]claim{}, losers: map[netip.Addr][]claim{}, declared: map[string]bool{}, mentions: map[string]int{},
		slices: map[string]slice{}, ready: map[slice]int{},
		nodes: map[string]*node{}, overlays: map[string]*overlay{}, affinities: map[string]*affinity{}, byNode: map[string]map[string]bool{},
		dirtyNodes: map[string]bool{}, mode: v1.IPAMBlocks,
		offered: map[store.Key]*store.Object{}, accepted: map[store.Key]*store.Object{},
		gone:    goneSet{affinities: map[string]*affinity{}, kept: map[string]bool{}, held: map[store.Key]bool{}},
		refused: map[store.Key]string{}, warned: map[store.Key]v1.Errors{}, seen: map[string]bool{}, rebuild: true, begin: func() {}, touched: map[string]bool{},
	}
}

// set takes an object in; a nil value is one that is gone, or of no interest.
func (w *world) set(kind, key string, value any) {
	switch kind {
	case v1.KindWorkload:
		p, _ := value.(*pod)
		w.setPod(key, p)
	case v1.KindNamespace:
		n, _ := value.(*caracal.Namespace)
		w.setNamespace(key, n)
	case v1.KindNetworkPolicy:
		p, _ := value.(*policy)
		w.setPolicy(key, p)
	case kindService:
		s, _ := value.(*caracal.Service)
		w.setService(key, s)
	case kindEndpointSlice:
		s, _ := value.(*slice)
		w.setSlice(key, s)
	case kindNode:
		n, _ := value.(*node)
		w.setNode(key, n)
	case v1.KindNodeConfig:
		o, _ := value.(*overlay)
		w.setOverlay(key, o)
	case v1.KindBlockAffinity:
		a, _ := value.(*affinity)
		w.setAffinity(key, a)
	default:
		o, _ := value.(*own)
		w.setOwn(store.Key{Kind: kind, Name: key}, o)
	}
}

// replace takes the whole list of a kind in: what is not in it is gone.
func (w *world) replace(kind string, list []*item) { w.replaceBut(kind, list, nil) }

// replaceBut does so with all but what is to be kept.
func (w *world) replaceBut(kind string, list []*item, keep map[string]bool) {
	now := make(map[string]bool, len(list))
	for _, i := range list {
		if i.value != nil {
			now[i.key] = true
		}
	}
	for _, key := range w.names(kind) {
		if !now[key] && !keep[key] {
			w.set(kind, key, nil)
		}
	}
	for _, i := range list {
		if i.value != nil {
			w.set(kind, i.key, i.value)
		}
	}
	if !w.seen[kind] {
		w.seen[kind], w.touched[kind] = true, true
		w.judge = w.judge || judged(kind)
	}
}

// names lists what is known of a kind.
func (w *world) names(kind string) []string {
	var list []string
	switch kind {
	case v1.KindWorkload:
		list = keysOf(w.workloads)
	case v1.KindNamespace:
		for name := range w.declared {
			list = append(list, name)
		}
	case v1.KindNetworkPolicy:
		list = keysOf(w.policies)
	case kindService:
		list = keysOf(w.services)
	case kindEndpointSlice:
		list = mapKeys(w.slices)
	case kindNode:
		list = mapKeys(w.nodes)
	case v1.KindNodeConfig:
		list = mapKeys(w.overlays)
	case v1.KindBlockAffinity:
		list = mapKeys(w.affinities)
	default:
		for key := range w.offered {
			if key.Kind == kind {
				list = append(list, key.Name)
			}
		}
	}
	if kind != kindNode { // what is said of one without a Node is not the Node's
		for key := range w.refused {
			if key.Kind == kind {
				list = append(list, key.Name)
			}
		}
	}
	return list
}

func keysOf[V any](t caracal.Table[string, V]) []string {
	list := make([]string, 0, t.Len())
	for k := range t.All() {
		list = append(list, k)
	}
	return list
}

func mapKeys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	return list
}

func keyOf(kind, name string) store.Key { return store.Key{Kind: kind, Name: name} }

func keyOfNode(name string) store.Key { return keyOf(v1.KindNodeConfig, name) }

// judged reports whether objects of a kind are judged together.
func judged(kind string) bool {
	switch kind {
	case v1.KindWorkload, v1.KindNamespace, v1.KindNetworkPolicy, kindService, kindEndpointSlice:
		return false
	}
	return true
}
