package felix

import (
	"iter"
	"net/netip"

	"caracal.dev/caracal"
)

// Prefix begins the name of every chain and set of ours, and of no other.
const Prefix = "caracal-"

// Family is IPv4 or IPv6: each has its own chains and sets.
type Family uint8

// The families.
const (
	IPv4 Family = iota
	IPv6
)

// Table is one of the tables of iptables.
type Table uint8

// The tables that we have chains in.
const (
	RawTable    Table = iota // before connection tracking: sources are checked
	FilterTable              // policies
	NATTable                 // masquerading of what leaves the pools
)

// String returns the name of the table as iptables has it.
func (t Table) String() string { return [...]string{"raw", "filter", "nat"}[t] }

// ChainKey names a chain. Names begin with [Prefix], except those of the kernel's
// own chains, and have 28 bytes at most (XT_EXTENSION_MAXNAMELEN, x_tables.h).
type ChainKey struct {
	Family Family
	Table  Table
	Name   string
}

// Rule is one rule of a chain.
type Rule struct {
	// Spec is the rule in the words of iptables-restore, without "-A CHAIN" and
	// without its comment: "-i car+ -g caracal-from".
	Spec string
	// About says for people what the rule is for: "default/web ingress 0". It stands
	// in the rule's comment after the mark and the hash, and has no quotes.
	About string
}

// SetType is the type of an ipset, as ipset(8) calls it.
type SetType uint8

// The types in use.
const (
	HashIP       SetType = iota // hash:ip: addresses
	HashNet                     // hash:net: prefixes; never one of length 0
	HashIPPort                  // hash:ip,port: an address with a protocol and port
	HashNetIface                // hash:net,iface: an address with an interface's name
)

// String returns the name of the type as ipset has it.
func (t SetType) String() string {
	return [...]string{"hash:ip", "hash:net", "hash:ip,port", "hash:net,iface"}[t]
}

// Set describes an ipset. Its name begins with [Prefix] and has 31 bytes at most
// (IPSET_MAXNAMELEN, ip_set.h).
type Set struct {
	Name   string
	Type   SetType
	Family Family
}

// Member is an entry of a set. What the set's type does not have is zero.
type Member struct {
	Net      netip.Prefix // a host prefix where the type has addresses
	Protocol uint8        // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
	Port     uint16
	Iface    string
}

// SetChange says what becomes of one set.
type SetChange struct {
	Set
	// New says that the set was not wanted before, Gone that it is no longer; then
	// Add has all members, or Remove has none.
	New, Gone bool
	// Add is written before the chains change.
	Add []Member
	// AddLate is written after the chains have changed, before RemoveLate: members
	// that may do more than before by it, and less by the new chains.
	AddLate []Member
	// Remove is written before the chains change as well, but after Add.
	Remove []Member
	// RemoveLate is written after the chains have changed: members that were exempt
	// from what only the new chains contain.
	RemoveLate []Member
}

// ChainChange says what a chain holds from now on.
type ChainChange struct {
	ChainKey
	// Gone says that the chain is no longer wanted; no rule leads to it any more.
	Gone  bool
	Rules []Rule
}

// Delta is what differs between two Rulesets.
type Delta struct {
	Sets   []SetChange
	Chains []ChainChange
	// Tightened says that something that was allowed may be forbidden now.
	Tightened bool
}

// Empty reports whether nothing changes.
func (d Delta) Empty() bool { return len(d.Sets) == 0 && len(d.Chains) == 0 }

// Ruleset is everything that is wanted, for those who compare it with the kernel.
// [Compiler] is one. What it returns must not be changed, and is valid until the
// next Update.
type Ruleset interface {
	// Chains returns all chains of ours with their rules.
	Chains() iter.Seq2[ChainKey, []Rule]
	// Hooks returns the rules that lead from the kernel's own chains to ours. Each
	// is wanted once, before all rules of others.
	Hooks() iter.Seq2[ChainKey, Rule]
	// Sets returns all sets.
	Sets() iter.Seq[Set]
	// Members returns what a set holds, in any order, each once.
	Members(name string) iter.Seq[Member]
}

// Input is what a Ruleset depends on.
type Input struct {
	Snapshot *caracal.Snapshot
	// Neighbors are the addresses of those that BGP sessions are configured with,
	// and that may therefore connect to the node's BGP port. Sorted.
	Neighbors []netip.Addr
	// Unnumbered are the interfaces on which any link-local address may. Sorted.
	Unnumbered []string
}

// Endpoint is a local workload as the rules know it.
type Endpoint struct {
	Workload  string // its key in the Snapshot
	Interface string
	Addrs     []netip.Addr
	// Ingress and Egress are the keys of the policies that isolate it in that
	// direction, sorted; empty where it is not isolated.
	Ingress, Egress []string
}
