package felix

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"caracal.dev/caracal"
)

// Compiler turns Snapshots into sets and chains. It keeps what the last one came
// to, and so works in proportion to what differs in the next. It is not safe for
// use by more than one goroutine at a time.
//
// What is where:
//
//	compile_pods.go      Workloads and Namespaces: who is in which set
//	compile_peers.go     the selectors of peers, and whom they select
//	compile_sets.go      the sets, and who has an address
//	compile_policies.go  which policies are in force here, and their chains
//	compile_local.go     the node's own workloads: groups, and the trees to them
//	compile_node.go      nodes, pools and neighbors
//	compile_delta.go     what an Update changed
type Compiler struct {
	in Input

	spaces map[string]*namespace
	// pods has the workloads that take part, by id; freeIDs are those of none.
	pods    []pod
	podByID map[string]uint32 // ids by the Workload's key
	freeIDs []uint32
	owners  owners

	peers    []*peer // by id; nil for a free one
	freePeer []uint32
	peerOf   map[string]*peer // by their meaning
	scopeOf  map[string]*scope
	scopes   index[*scope] // those with a namespace selector, for namespaces' labels
	// here are the local workloads as a peer; every named port of ingress is
	// looked for among them.
	here *peer

	policies map[string]*policy // by key
	locals   map[uint32]*local  // by the pod's id
	ifaces   map[string][]*local
	groups   map[ChainKey]*group
	leaves   [2][2]leaves // by family and direction

	// trees has the names of the chains below each root.
	trees map[ChainKey][]string

	sets   map[string]*liveSet
	chains map[ChainKey][]Rule
	// policyOf has the key of the policy that a chain is of.
	policyOf map[string]string
	// bgpPorts counts the nodes that have their speaker on a port.
	bgpPorts map[uint16]int
	// bad are the objects that cannot be meant so, by kind and key.
	bad map[string]caracal.Problem

	tx transaction
}

// NewCompiler returns a Compiler that has seen nothing: its Ruleset is empty.
func NewCompiler() *Compiler {
	c := &Compiler{
		in:       Input{Snapshot: caracal.NewSnapshot("")},
		spaces:   map[string]*namespace{},
		podByID:  map[string]uint32{},
		owners:   newOwners(),
		peerOf:   map[string]*peer{},
		scopeOf:  map[string]*scope{},
		here:     &peer{key: "here"},
		policies: map[string]*policy{},
		locals:   map[uint32]*local{},
		ifaces:   map[string][]*local{},
		groups:   map[ChainKey]*group{},
		trees:    map[ChainKey][]string{},
		sets:     map[string]*liveSet{},
		chains:   map[ChainKey][]Rule{},
		policyOf: map[string]string{},
		bgpPorts: map[uint16]int{},
		bad:      map[string]caracal.Problem{},
	}
	for f := range c.leaves {
		for b := range c.leaves[f] {
			c.leaves[f][b].rules = map[string]Rule{}
		}
	}
	return c
}

// Update makes the Ruleset that of an Input, and returns what differs from the
// last one and everything in the Snapshot that cannot be put into force as it is,
// sorted by kind and name. The first Delta is all there is.
func (c *Compiler) Update(in Input) (Delta, []caracal.Problem) {
	was, now := c.in.Snapshot, in.Snapshot
	c.begin(len(c.sets) == 0)
	if c.tx.first {
		c.reserve(now.Workloads.Len())
	}
	wasNeighbors, wasUnnumbered := c.in.Neighbors, c.in.Unnumbered
	c.in = in

	now.Namespaces.Diff(was.Namespaces, sameNamespace, c.changeNamespace)
	old := was.Workloads
	if was.Self != now.Self { // another node's view: nobody is local any more
		empty := caracal.NewTable[string, caracal.Workload]()
		empty.Diff(old, sameWorkload, c.changeWorkload)
		old = empty
	}
	now.Workloads.Diff(old, sameWorkload, c.changeWorkload)
	now.Policies.Diff(was.Policies, samePolicy, c.changePolicy)

	c.settleLocals()
	c.settlePolicies()
	c.settleSpaces()
	c.settlePods()
	c.fillPeers()
	c.dropSpaces()

	c.updateNode(was, wasNeighbors)
	if !slices.Equal(wasUnnumbered, in.Unnumbered) || was.Dataplane.Policy.FlushConntrack != now.Dataplane.Policy.FlushConntrack {
		c.tx.fixed = true
	}
	c.renderTrees()
	if c.tx.fixed || c.tx.first {
		c.renderFixed()
	}
	return c.delta(), c.problems()
}

// reserve makes room for the workloads of the first Snapshot.
func (c *Compiler) reserve(n int) {
	c.pods = make([]pod, 0, n)
	c.podByID = make(map[string]uint32, n)
	c.owners.v4 = make(map[[4]byte]uint32, n)
}

// Chains implements [Ruleset].
func (c *Compiler) Chains() iter.Seq2[ChainKey, []Rule] { return maps.All(c.chains) }

// Hooks implements [Ruleset]. They never change.
func (c *Compiler) Hooks() iter.Seq2[ChainKey, Rule] {
	return func(yield func(ChainKey, Rule) bool) {
		if len(c.chains) == 0 {
			return
		}
		for _, f := range families {
			for _, h := range hooks {
				if !yield(ChainKey{f, h.table, h.chain}, Rule{Spec: h.spec, About: h.about}) {
					return
				}
			}
		}
	}
}

// Sets implements [Ruleset].
func (c *Compiler) Sets() iter.Seq[Set] {
	return func(yield func(Set) bool) {
		for _, s := range c.sets {
			if !yield(s.Set) {
				return
			}
		}
	}
}

// Members implements [Ruleset]. A set that there is not has none.
func (c *Compiler) Members(name string) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		if s := c.sets[name]; s != nil {
			c.eachMember(s, yield)
		}
	}
}

// Endpoint returns the local workload with a key of the Snapshot; false if it is
// none that policies apply to.
func (c *Compiler) Endpoint(key string) (Endpoint, bool) {
	id, ok := c.podByID[key]
	if !ok {
		return Endpoint{}, false
	}
	l, ok := c.locals[id]
	if !ok {
		return Endpoint{}, false
	}
	return l.endpoint(c.pods[id].addrs), true
}

// Endpoints yields all local workloads, sorted by key.
func (c *Compiler) Endpoints() iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		all := slices.SortedFunc(maps.Values(c.locals), func(a, b *local) int { return cmp.Compare(a.key, b.key) })
		for _, l := range all {
			if !yield(l.endpoint(c.pods[l.id].addrs)) {
				return
			}
		}
	}
}

// PolicyOf returns the key of the policy whose rules for one direction are in a
// chain; false for a chain that is no policy's.
func (c *Compiler) PolicyOf(chain string) (key string, ok bool) {
	key, ok = c.policyOf[chain]
	return key, ok
}

// SetAbout says for people what is in a set; empty if there is no such set.
func (c *Compiler) SetAbout(name string) string {
	if s := c.sets[name]; s != nil {
		return s.describe()
	}
	return ""
}

// Len returns the number of the workloads that take part, of the policies that are
// in force on this node, and of the sets.
func (c *Compiler) Len() (workloads, policies, sets int) {
	for _, p := range c.policies {
		if p.active() {
			policies++
		}
	}
	return len(c.podByID), policies, len(c.sets)
}

func (c *Compiler) problems() []caracal.Problem {
	out := slices.Collect(maps.Values(c.bad))
	slices.SortFunc(out, func(a, b caracal.Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}
