package api

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// ErrNotFound is wrapped by an implementation's error when what the operator
// named does not exist; the CLI then exits with 1 and lists what there is.
var ErrNotFound = errors.New("not found")

// ErrRefused is wrapped by an implementation's error when the request makes no
// sense now: reloading a neighbor that is down, for one.
var ErrRefused = errors.New("refused")

// Source answers what the show commands and monitor ask. Methods are called
// from many goroutines at once.
type Source interface {
	// Status is the daemon in one page.
	Status(ctx context.Context) (Status, error)
	// Neighbors are the sessions, in any order.
	Neighbors(ctx context.Context) ([]Neighbor, error)
	// Routes calls fn for each path that matches, refused ones included, until
	// fn returns false. Paths of one prefix come one after the other, best
	// first; the prefixes may come in any order. fn blocks for as long as the
	// client is slow: take a page from whoever owns the routes, let go, then
	// call fn. An unknown neighbor is [ErrNotFound].
	Routes(ctx context.Context, q RouteQuery, fn func(RoutePath) bool) error
	// FIB calls fn for each route of ours that is wanted in the kernel or is in
	// it, in any order, until fn returns false. fn blocks as for Routes.
	FIB(ctx context.Context, fn func(FIBEntry) bool) error
	// Monitor calls fn for each event from now on, in order, until ctx ends or
	// fn returns an error; it returns that error, or nil. fn never blocks: the
	// server queues for its client, and counts what it had to drop. A [Feed]
	// implements it.
	Monitor(ctx context.Context, fn func(MonitorEvent) error) error
}

// Inventory lists what the daemon knows besides BGP, in any order.
type Inventory interface {
	Nodes(ctx context.Context) ([]Node, error)
	Workloads(ctx context.Context) ([]Workload, error)
	Interfaces(ctx context.Context) ([]Interface, error)
}

// Commander does what the verbs of the CLI ask.
type Commander interface {
	// Neighbor carries out a verb on the neighbor of that name and returns a
	// sentence that says what was done: "mesh/b: disabled". An unknown name is
	// [ErrNotFound].
	Neighbor(ctx context.Context, verb NeighborVerb, name string) (string, error)
	// Configure reads the configuration again.
	Configure(ctx context.Context, o ConfigureOptions) (ConfigureResult, error)
	// Cleanup lists what of ours is in the kernel, and with yes removes it.
	Cleanup(ctx context.Context, yes bool) (CleanupResult, error)
	// Drain takes this node out of service as far as its workloads allow, or with
	// force altogether. wait is how long traffic has to go elsewhere; 0 means
	// [DefaultDrainWait]. It calls fn with each step, until nothing more happens by
	// itself or ctx ends; the drain goes on without its caller.
	Drain(ctx context.Context, wait time.Duration, force bool, fn func(Drain) error) error
	// Undrain puts this node back into service. It returns what was before.
	Undrain(ctx context.Context) (Drain, error)
}

// ConfigureOptions say how the configuration is read again.
type ConfigureOptions struct {
	// Check applies nothing.
	Check bool
	// Confirm releases a removal that was held (rule 9).
	Confirm bool
	// Dir is the absolute path of a directory to be checked in the place of the
	// configuration, as if it took that; empty for the configuration itself.
	Dir string
}

// NeighborVerb is what can be done to one session.
type NeighborVerb string

// The verbs of [Commander].
const (
	// NeighborEnable lets a disabled session come up again.
	NeighborEnable NeighborVerb = "enable"
	// NeighborDisable takes the session down until it is enabled, or until the
	// daemon restarts.
	NeighborDisable NeighborVerb = "disable"
	// NeighborRestart takes the session down and lets it come up again.
	NeighborRestart NeighborVerb = "restart"
	// NeighborReloadIn judges everything that the neighbor announced anew and
	// chooses again. The mirror keeps all of it, refused paths too, so there is
	// nothing to ask the neighbor for (RFC 2918).
	NeighborReloadIn NeighborVerb = "reload-in"
	// NeighborReloadOut announces everything to the neighbor again.
	NeighborReloadOut NeighborVerb = "reload-out"
)

// Fact is something that holds or does not, with the reason in words: what it
// waits for if it does not hold, and optionally since when or why if it does.
type Fact struct {
	Holds  bool
	Reason string
}

// Status is the daemon in one page.
type Status struct {
	Node     string
	Version  string
	PID      int
	ASN      uint32
	RouterID netip.Addr
	// Started is when the process started.
	Started time.Time
	// Generation, Digest and Configured are those of the Snapshot in force;
	// ConfigSource is the directory it was read from.
	Generation   uint64
	Digest       string
	Configured   time.Time
	ConfigSource string
	// Ready is what /readyz says. Synced, Converged and Complete are the facts
	// of the design: the store has listed everything, the RIB has heard
	// End-of-RIB from everybody it waits for, and both.
	Ready, Synced, Converged, Complete Fact
	// Problems are those of the Snapshot, and what the appliers failed at.
	Problems []caracal.Problem
	Counts   Counts
	Drain    Drain
	Policy   PolicyStatus
	// PodMTU is the largest MTU, in bytes, that pods can have without a packet being
	// too large for the encapsulations in use; 0 while it is not known.
	PodMTU int
}

// Counts are the sizes of things, for one look.
type Counts struct {
	Neighbors, Established      int
	Nodes, Pools, Blocks, Peers int
	Workloads, LocalWorkloads   int
	// Prefixes are those with an accepted path; Paths all paths held, of which
	// Refused are refused.
	Prefixes, Paths, Refused int
	Originated               int
	// FIBWanted are the routes that should be in the kernel, FIBInstalled those
	// of them that are, FIBFailed those the kernel refused, FIBStale those kept
	// from an earlier run that nobody has asked for yet.
	FIBWanted, FIBInstalled, FIBFailed, FIBStale int
	// DriftRepaired counts routes put back after somebody else changed them.
	DriftRepaired uint64
	// LastAudit is when the kernel was last compared as a whole.
	LastAudit time.Time
}

// Neighbor is one session with what came of its prefixes.
type Neighbor struct {
	bgp.NeighborStatus
	Prefixes PrefixCounts
	// Refusals say why paths of the neighbor are refused, the most frequent first.
	Refusals []Refusal
	// BFD is the session that watches it; nil without.
	BFD *BFDSession
}

// Refusal is a reason for which paths are refused.
type Refusal struct {
	// Reason is one word, that of rib.Code.
	Reason string
	Paths  int
}

// PrefixCounts says what became of a neighbor's prefixes, both families
// together.
type PrefixCounts struct {
	// Received are all in adj-rib-in; Accepted and Refused divide them; Installed
	// are the prefixes whose kernel route goes by this neighbor.
	Received, Accepted, Refused, Installed uint64
	// Advertised are those in adj-rib-out.
	Advertised uint64
}

// RouteTable is one of the tables of RFC 4271 section 3.2.
type RouteTable uint8

// The tables of [RouteQuery].
const (
	LocRIB RouteTable = iota
	AdjRIBIn
	AdjRIBOut
)

// String returns the table as the CLI prints it.
func (t RouteTable) String() string {
	return [...]string{"loc-rib", "adj-rib-in", "adj-rib-out"}[t]
}

// RouteQuery says which paths are asked for; the zero value means all paths
// of loc-rib, local ones and refused ones included.
type RouteQuery struct {
	Table RouteTable
	// Prefix, if valid, is the one prefix asked for, exactly.
	Prefix netip.Prefix
	// For, if valid, asks for the longest prefix that contains this address.
	For netip.Addr
	// Neighbor, if not empty, restricts to paths from (adj-rib-out: to) this
	// neighbor. The server never asks for AdjRIBOut without it.
	Neighbor string
}

// PathSource says where a path comes from.
type PathSource string

// The values of [PathSource].
const (
	FromBGP      PathSource = "bgp"
	FromBlock    PathSource = "block"    // a block of this node
	FromWorkload PathSource = "workload" // a workload on this node
	FromPeer     PathSource = "peer"     // the way to a BGPPeer with reachableBy
)

// RoutePath is one path and everything that was decided about it. In
// adj-rib-out only Path is filled in.
type RoutePath struct {
	// Path has a nil Attrs and an empty Neighbor if it is local.
	caracal.Path
	Source PathSource
	// Best is the path that selection chose; Multipath are the equal ones that
	// carry traffic beside it.
	Best, Multipath bool
	// Refused: it takes no part in selection, for the reason in Why.
	Refused bool
	// Stale: its neighbor is restarting (RFC 4724 section 4.2).
	Stale bool
	// Installed: the kernel has a route that goes this path's way.
	Installed bool
	// Why says in words why it is not installed: why it was refused, why its
	// next hop is not reachable, or which comparison of RFC 4271 section 9.1.2.2
	// it lost to which path. Empty if Installed.
	Why string
	// Hops are where the kernel sends packets for it.
	Hops []Hop
	// Kernel is what the kernel answered to the last write of the route: "ok",
	// the error, or empty if nothing was written. KernelAt is when.
	Kernel   string
	KernelAt time.Time
}

// Hop is one way out of the kernel's route.
type Hop struct {
	Gateway netip.Addr // invalid for a device route
	Link    string
	OnLink  bool
}

// FIBState says how a wanted route and the kernel's stand to each other.
type FIBState string

// The values of [FIBEntry].
const (
	FIBInstalled FIBState = "installed"
	FIBPending   FIBState = "pending"  // wanted, not written yet
	FIBFailed    FIBState = "failed"   // the kernel refused it; see Reason
	FIBStale     FIBState = "stale"    // kept from an earlier run, nobody wants it yet
	FIBConflict  FIBState = "conflict" // another program has the prefix too; see Reason
)

// FIBEntry is one of our routes in the kernel.
type FIBEntry struct {
	Prefix netip.Prefix
	// Type is the kernel's: "unicast", "unreachable" or "blackhole".
	Type     string
	Hops     []Hop
	Table    int
	Protocol uint8
	Metric   uint32
	Source   PathSource
	// Neighbors are those whose paths it carries.
	Neighbors []string
	State     FIBState
	Reason    string
	// Since is when it got into this state.
	Since time.Time
}

// EventKind is what a [MonitorEvent] is about.
type EventKind string

// The kinds of [MonitorEvent].
const (
	EventSession EventKind = "session" // a neighbor changed its state
	EventRoute   EventKind = "route"   // a path came, went, was refused or chosen
	EventFIB     EventKind = "fib"     // a kernel route was written, failed or drifted
	EventConfig  EventKind = "config"  // a Snapshot was taken, an object refused
	EventLink    EventKind = "link"    // an interface or address changed
)

// MonitorEvent is one thing that happened.
type MonitorEvent struct {
	At   time.Time
	Kind EventKind
	// Neighbor and Prefix are set where the event is about one.
	Neighbor string
	Prefix   netip.Prefix
	// Action is one word for programs ("Established", "announced", "withdrawn",
	// "refused", "chosen", "gone", "installed", "deleted", …); Detail is for people.
	Action string
	Detail string
}

// ConfigureResult is what reading the configuration again did, or with check
// would do.
type ConfigureResult struct {
	// Applied is false for a check, and when nothing changed.
	Applied    bool
	Generation uint64
	Digest     string
	// Changes are lines such as "BGPPeer tor: added".
	Changes []string
	// Resets are the sessions that drop to take a change, with the reason.
	Resets []NeighborReset
	// Ends and Starts are the neighbors that go and those that are new, by name.
	Ends, Starts []string
	// Restart says why the daemon has to re-exec itself; empty if it has not to.
	Restart string
	// Held are removals that wait for `configure confirm`.
	Held     []string
	Problems []caracal.Problem
}

// NeighborReset is a session that drops to take a change.
type NeighborReset struct {
	Neighbor, Reason string
}

// CleanupResult lists what of ours is in the kernel.
type CleanupResult struct {
	// Items are lines such as "route 10.64.1.0/24 via 192.0.2.2 dev eth0 table
	// 254", at most [CleanupItems] of them; Total is how many there are.
	Items []string
	Total int
	// Deleted is how many were removed; Failed says which were not, and why.
	Deleted int
	Failed  []string
	// Blocked says why nothing can be deleted now; empty if nothing is in the way.
	Blocked string
}

// CleanupItems bounds the list in a [CleanupResult].
const CleanupItems = 10_000

// Node is a node of the cluster as this one sees it.
type Node struct {
	caracal.Node
	// Self marks the node that answers.
	Self bool
	// Neighbor and State are the session with it; empty without one.
	Neighbor, State string
	// Blocks are those of the node that are not among its PodCIDRs.
	Blocks []netip.Prefix
}

// Workload is a workload of any node.
type Workload struct {
	caracal.Workload
	// Local: it is on this node, so Installed says whether each of its addresses
	// has its route, and Why what is missing.
	Local, Installed bool
	Why              string
}

// Interface is a network interface of this node.
type Interface struct {
	Name  string
	Index int
	// Type is the kernel's kind of link: "veth", "bridge", "ipip"; "device" for
	// hardware.
	Type        string
	Up, Carrier bool
	MTU         int
	Addrs       []netip.Prefix
	// Use says what it is to us: "sessions of mesh/b", "workload default/a",
	// "tunnel"; empty if nothing.
	Use string
	// Problem says what is wrong with it, such as rp_filter; empty if nothing.
	Problem string
}
