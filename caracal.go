package caracal

import (
	"net/netip"
	"time"
)

// Snapshot is the whole of what is wanted, as one store saw it at one moment.
// It is immutable: a store makes a new one that shares structure with the last,
// and readers find what changed with [Table.Diff].
type Snapshot struct {
	// Generation grows by one with each Snapshot of a process.
	Generation uint64
	// Synced says that the store has listed every kind at least once, from its
	// source or from the accepted objects of the last run. While it is false
	// nothing that protects or carries may be removed.
	Synced bool
	// Incomplete names the kinds whose source cannot be read now, with the
	// reason. Objects of such a kind may be missing, so nothing is deleted on
	// their account.
	Incomplete map[string]string
	// Self is the name of the node that this daemon runs on.
	Self string
	// BGP is the configuration of the speaker on Self.
	BGP BGP
	// Dataplane is how routes are written on Self.
	Dataplane Dataplane
	// IPAM is how Self gives addresses to its workloads.
	IPAM IPAM

	Nodes     Table[string, Node]        // by name
	Pools     Table[string, Pool]        // by name
	Blocks    Table[netip.Prefix, Block] // by prefix
	Peers     Table[string, Peer]        // by Peer.Key; only those that apply to Self
	Filters   Table[string, Filter]      // by name
	Workloads Table[string, Workload]    // by "namespace/name"; those of all nodes

	Namespaces Table[string, Namespace] // by name; each that a Workload or Policy is in
	Policies   Table[string, Policy]    // by "namespace/name"
	Services   Table[string, Service]   // by "namespace/name"; a store without Services has none

	// Digest identifies the configuration: two hosts that read the same files
	// show the same digest.
	Digest string
	// Problems are the objects that were rejected, with the file and the reason,
	// and other things an operator should know about the configuration.
	Problems []Problem
}

// NewSnapshot returns an empty, unsynced Snapshot for the node self.
func NewSnapshot(self string) *Snapshot {
	return &Snapshot{
		Self:      self,
		Nodes:     NewTable[string, Node](),
		Pools:     NewTable[string, Pool](),
		Blocks:    NewTableFunc[netip.Prefix, Block](netip.Prefix.Compare),
		Peers:     NewTable[string, Peer](),
		Filters:   NewTable[string, Filter](),
		Workloads: NewTable[string, Workload](),

		Namespaces: NewTable[string, Namespace](),
		Policies:   NewTable[string, Policy](),
		Services:   NewTable[string, Service](),
	}
}

// SelfNode returns the node this daemon runs on; false until the store has it.
func (s *Snapshot) SelfNode() (Node, bool) { return s.Nodes.Get(s.Self) }

// Complete reports whether nothing may be missing from the Snapshot: only then
// may an object's absence cause a deletion.
func (s *Snapshot) Complete() bool { return s.Synced && len(s.Incomplete) == 0 }

// Severity says how bad a [Problem] is.
type Severity uint8

const (
	// Warning: everything was accepted, but something is likely not meant so.
	Warning Severity = iota
	// Rejected: an object, or a file, was not accepted.
	Rejected
	// Held: a removal that is too large to be believed waits for confirmation.
	Held
)

// String returns the severity as the CLI prints it.
func (s Severity) String() string {
	return [...]string{"warning", "rejected", "held"}[s]
}

// Problem is something wrong with the configuration. Message is a whole
// sentence for an operator: what, where and what to do.
type Problem struct {
	Severity Severity
	// Source is the file, relative to the configuration directory.
	Source string
	// Kind and Name identify the object; empty if the file could not be parsed.
	Kind, Name string
	Message    string
	Since      time.Time
}

// Node is a host of the cluster, with every default filled in.
type Node struct {
	Name string
	// IPv4 and IPv6 are the node's addresses with the prefix length of the
	// network they are on; invalid (the zero Prefix) where the node has none.
	IPv4, IPv6 netip.Prefix
	// ASN is the node's autonomous system number, never 0.
	ASN uint32
	// RouterID is the BGP identifier (RFC 6286), an IPv4 address, never zero.
	RouterID netip.Addr
	// Port is the TCP port its speaker listens on.
	Port uint16
	// MeshEnabled says whether the node takes part in the node-to-node mesh.
	MeshEnabled bool
	// ClusterID makes the node a route reflector of that cluster (RFC 4456);
	// invalid otherwise.
	ClusterID netip.Addr
	// Reflectors are the names of the nodes that are route reflectors and that
	// this node has a session with by a BGPPeer of either side, sorted. Two nodes
	// that both have some need no mesh session with each other.
	Reflectors []string
	// Anycast are prefixes that the node serves together with other nodes, sorted:
	// it announces them, and accepts them from the others as equals.
	Anycast []netip.Prefix
	// Tunnel is the address of the node's tunl0; invalid without one.
	Tunnel netip.Addr
	// PodCIDRs and Blocks of the node, sorted.
	PodCIDRs []netip.Prefix
	Labels   map[string]string
}

// Addr returns the node's address of the family of like (only its family
// counts); invalid if the node has none.
func (n Node) Addr(v6 bool) netip.Addr {
	if v6 {
		return n.IPv6.Addr()
	}
	return n.IPv4.Addr()
}

// IPIPMode says when packets to a pool travel in an IPIP tunnel.
type IPIPMode string

// The modes of [Pool.IPIP].
const (
	IPIPNever       IPIPMode = "Never"
	IPIPAlways      IPIPMode = "Always"
	IPIPCrossSubnet IPIPMode = "CrossSubnet"
)

// Advertise says what a node announces of a pool.
type Advertise string

// The modes of [Pool.Advertise].
const (
	// AdvertiseBlocks announces each block of the node as one prefix.
	AdvertiseBlocks Advertise = "blocks"
	// AdvertiseHosts announces a /32 or /128 for each local workload.
	AdvertiseHosts Advertise = "hosts"
)

// Pool is a range that pod addresses come from.
type Pool struct {
	Name             string
	CIDR             netip.Prefix
	BlockSize        int // prefix length of a block
	IPIP             IPIPMode
	NATOutgoing      bool
	NodeSelector     string
	Disabled         bool
	DisableBGPExport bool
	Advertise        Advertise
}

// Block is a part of a pool that one node owns.
type Block struct {
	CIDR netip.Prefix
	Node string
	// Claimed says that the node took it by itself, a block of a pool or an address of
	// another node's block, and not that the configuration gives it.
	Claimed bool
}

// BGP is the configuration of this node's speaker, with every default filled
// in. The AS number, the router ID and the port are in the Node.
type BGP struct {
	// ListenAddrs are the addresses to accept sessions on; empty means the
	// node's own addresses.
	ListenAddrs []netip.Addr
	// HoldTime and KeepaliveTime are proposed in OPEN (RFC 4271 section 4.2).
	HoldTime, KeepaliveTime time.Duration
	// GracefulRestart (RFC 4724) and the restart time announced with it.
	GracefulRestart bool
	RestartTime     time.Duration
	// MeshEnabled says that the nodes peer with each other directly.
	MeshEnabled bool
	// MeshPassword protects the sessions of the mesh (RFC 2385).
	MeshPassword Password
	// MeshBFD watches the neighbors of the mesh.
	MeshBFD BFD
	// Advertisements add communities to what this node announces, the most
	// specific prefix first.
	Advertisements []Advertisement
	// Services are the ranges of Services that this node announces.
	Services ServiceRanges
}

// Dataplane says how routes are written to the kernel.
type Dataplane struct {
	// Table is the kernel's routing table; 254 is main.
	Table int
	// Protocol and Metric are the mark of our routes (rtnetlink(7)).
	Protocol uint8
	Metric   uint32
	// AuditInterval is the time between whole comparisons with the kernel.
	AuditInterval time.Duration
	// TunnelMTU is the MTU of the IPIP device in bytes; 0 means that of the
	// interface with the node's address less the outer header.
	TunnelMTU int
	// SetSysctls says whether ip_forward and its friends are set, or only
	// reported when they are wrong.
	SetSysctls bool
	// Policy is how rules are written.
	Policy PolicySettings
}

// PolicySettings say how NetworkPolicies and the NAT of pools are put into force.
type PolicySettings struct {
	// Disabled leaves iptables alone: no policy, no NAT, no protection.
	Disabled bool
	// Backend is "legacy" or "nft"; empty takes that of the host's other programs.
	Backend string
	// FlushConntrack ends the established connections that the policies forbid from
	// now on; otherwise they may go on until they end by themselves.
	FlushConntrack bool
}

// IPAM says how a node gives addresses to workloads. The zero value is that of
// a cluster without a word about it: see [IPAM.Mode].
type IPAM struct {
	// Mode is "blocks" or "podCIDR"; empty leaves it to the store's kind.
	Mode string
	// StrictAffinity forbids a node to take addresses from the blocks of others.
	StrictAffinity bool
	// MaxBlocks bounds how many blocks a node claims per family; 0 is no bound.
	MaxBlocks int
	// Cooldown is how long an address rests before it is given again.
	Cooldown time.Duration
	// Reserved are given to nobody who does not ask for them by address, sorted.
	Reserved []netip.Prefix
}

// Workload is a pod, VM or container with addresses of its own.
type Workload struct {
	// Namespace and Name identify it; Key joins them.
	Namespace, Name string
	Node            string
	// Interface is the host's end of its link.
	Interface string
	Addrs     []netip.Addr
	Labels    map[string]string
	Ports     []Port
	// HostNetwork says that it uses the node's own addresses: no policy selects it.
	HostNetwork bool
	// Completed says that it has ended, and that its addresses may be another's by
	// now: no policy selects it.
	Completed bool
	// Source says where it comes from: a file, or "cni", or "attach".
	Source string
}

// Key returns the workload's key in a Snapshot: "namespace/name".
func (w Workload) Key() string { return w.Namespace + "/" + w.Name }

// Port is a named port of a workload.
type Port struct {
	Name     string
	Protocol string // "TCP", "UDP" or "SCTP"
	Port     uint16
}

// IsDefault reports whether p is 0.0.0.0/0 or ::/0.
func IsDefault(p netip.Prefix) bool { return p.IsValid() && p.Bits() == 0 }

// HostPrefix returns the /32 or /128 of an address.
func HostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Covers reports whether every address of inner is in outer.
func Covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
