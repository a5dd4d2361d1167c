package ipam

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"caracal.dev/caracal"
)

// Store keeps records, each a short text under a key, and changes them only by
// compare-and-swap. It may be shared by the nodes of a cluster or be one node's
// own. Keys are parts joined by "/", each of lower-case letters, digits, '.', '-',
// ':' and '%' (see [Escape]):
//
//	block/<CIDR with / as ->            a block: whose it is, and who has which address
//	affinity/<node>/<CIDR with / as ->  which node has which block
//	borrowed/<address>                  an address that is used on another node than its block's
//
// Nodes watch affinities and borrowed addresses, which change rarely, and never
// the blocks. There is no record of a handle: its addresses are all in blocks of
// the node that uses it or are on its list of borrowed ones, so a node knows its
// handles once it has read those.
//
// All methods may be called from any goroutine.
type Store interface {
	// Get returns a record; [ErrNotFound] if there is none. For one that is damaged
	// the error wraps [ErrDamaged], and the record has the key and the revision of
	// the damage.
	Get(ctx context.Context, key string) (Record, error)
	// List returns the records whose keys begin with a prefix, in the order of the
	// keys. Records that cannot be read are left out and are in the second result.
	List(ctx context.Context, prefix string) ([]Record, []Damaged, error)
	// Put writes a record that was read with this revision, or one that must not
	// exist yet if the revision is empty, and returns its new revision.
	// [ErrConflict] if it is another by now. When it returns nil the record is
	// where a crash does not lose it. With the revision of a damage it takes the
	// damaged record's place, at once or not at all. It keeps no reference to the
	// value.
	Put(ctx context.Context, r Record) (revision string, err error)
	// Delete removes a record that was read with this revision; [ErrConflict] if it
	// is another by now. One that is gone is no error. With the revision of a damage
	// it forgets the damage.
	Delete(ctx context.Context, key, revision string) error
}

// NodeStore is a [Store] that can list what is of one node without reading what is
// of all others.
type NodeStore interface {
	Store
	// ListNode returns the affinities of a node and the addresses that it borrows, as
	// List does.
	ListNode(ctx context.Context, node string) ([]Record, []Damaged, error)
}

// Record is one entry of a [Store].
type Record struct {
	Key      string
	Value    []byte
	Revision string
}

// Damaged is a record that was there but could not be read, and what became of
// it, as a sentence for an operator. What it said of addresses is not known, so
// none of what it may have been about is given to anybody.
type Damaged struct {
	Key     string
	Message string
	// Revision stands for the damage in Put and Delete, to mend it.
	Revision string
}

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrConflict: somebody else was faster; read again.
	ErrConflict = errors.New("changed by another in the meantime")
	// ErrDamaged: the record is there but cannot be read.
	ErrDamaged = errors.New("damaged")
	// ErrExhausted: no address is left. The error that wraps it names the pools,
	// their use, and the largest holders.
	ErrExhausted = errors.New("no address is left")
	// ErrTaken: an address that was asked for is another's.
	ErrTaken = errors.New("the address is taken")
	// ErrUnavailable: an address or pool that was asked for is not this node's to
	// give.
	ErrUnavailable = errors.New("not available on this node")
)

// Mode says where a node's addresses come from.
type Mode string

// The modes of [Plan.Mode].
const (
	// ModeBlocks: the node claims blocks of the pools as it needs them, beside those
	// that the configuration gives it.
	ModeBlocks Mode = "blocks"
	// ModePodCIDR: the node has what its podCIDRs and blocks in the configuration
	// say, and claims nothing.
	ModePodCIDR Mode = "podCIDR"
)

// Plan is what the configuration says of a node's addresses, as values.
type Plan struct {
	Node string
	Mode Mode
	// Pools are those whose nodeSelector matches the node, sorted by name. A
	// disabled one gives no new addresses; those given stay.
	Pools []caracal.Pool
	// Static are the blocks and podCIDRs that the configuration gives this node;
	// they need no claim, and may lie outside of every pool.
	Static []netip.Prefix
	// Others are blocks and podCIDRs that the configuration gives to other nodes:
	// never claimed, nor borrowed from unless they are in the store.
	Others []netip.Prefix
	// Reserved are never given to a workload, unless asked for by address.
	Reserved []netip.Prefix
	// StrictAffinity forbids borrowing from blocks of other nodes.
	StrictAffinity bool
	// MaxBlocks bounds the blocks that the node claims per family; 0 is no bound.
	MaxBlocks int
	// Cooldown is how long an address rests after its release.
	Cooldown time.Duration
}

// Owner is who has an address: what must exist for the address to be in use.
type Owner struct {
	Kind        string // "cni", "attach", "tunnel" or what else
	ContainerID string
	Interface   string // in the container
	Namespace   string // of the workload
	Name        string
	NetNS       string // path
}

// Request asks for addresses for one handle.
type Request struct {
	// Handle identifies the allocation: one workload's interface. A handle that has
	// addresses already gets the same again.
	Handle string
	Owner  Owner
	// V4 and V6: how many addresses of the family; all together or none.
	V4, V6 int
	// Pools are the names to take them from; empty is any.
	Pools []string
	// Addrs are addresses that are asked for by name; they count against V4 and V6.
	Addrs []netip.Addr
	// InUse reports addresses that somebody has whatever the records say: those may be
	// lost, or older than what they tell of. They are not given. Nil knows of none.
	InUse func(netip.Addr) bool
}

// Allocation is one address that somebody has.
type Allocation struct {
	Addr   netip.Addr
	Handle string
	Owner  Owner
	// Node is where it is used: not that of the block if it is borrowed.
	Node  string
	Block netip.Prefix
	Pool  string // empty outside of every pool
	Since time.Time
}

// Affinity is how far a block belongs to a node.
type Affinity string

// The affinities of a block.
const (
	AffinityNone      Affinity = "none"
	AffinityPending   Affinity = "pending"   // claimed, not yet certain
	AffinityConfirmed Affinity = "confirmed" // the node announces it
	AffinityReleasing Affinity = "releasing" // gives no new address
	AffinityStatic    Affinity = "static"    // by the configuration
)

// BlockUse is how much of a block is in use.
type BlockUse struct {
	CIDR     netip.Prefix
	Pool     string
	Node     string // whose block it is
	Affinity Affinity
	// Size is a float since an IPv6 block may have more addresses than fit.
	Size                                   float64
	Allocated, Reserved, Cooling, Borrowed int
}

// API is what [Allocator] offers to the rest of the daemon: the contract between
// the rooms. All methods may be called from any goroutine.
type API interface {
	// Configure takes a new plan. What was given stays given.
	Configure(Plan)
	// Assign gives the handle its addresses, all or none, IPv4 first; it is on disk
	// when it returns. The errors wrap [ErrExhausted], [ErrTaken] or
	// [ErrUnavailable] where it is for the caller to do something.
	Assign(ctx context.Context, r Request) ([]Allocation, error)
	// Release frees all addresses of a handle and returns them; none if the handle
	// has none.
	Release(ctx context.Context, handle string) ([]netip.Addr, error)
	// Allocations lists what this node has in use, by address.
	Allocations(ctx context.Context) ([]Allocation, error)
	// Blocks lists the blocks that this node owns or borrows from, by prefix.
	Blocks(ctx context.Context) ([]BlockUse, []Damaged, error)
}

var (
	_ API       = (*Allocator)(nil)
	_ NodeStore = (*Memory)(nil)
)
