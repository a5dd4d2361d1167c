package felix

import (
	"context"
	"errors"
	"fmt"
)

// The variants of iptables: two sets of tables in the kernel that both see every
// packet. A host's programs should all use the same one.
const (
	BackendNFT    = "nft"    // iptables-nft: nf_tables
	BackendLegacy = "legacy" // iptables-legacy: ip_tables
)

// TableRef names one table of one variant of iptables.
type TableRef struct {
	Backend string
	Family  Family
	Table   Table
}

// String names the table for people: "IPv6 filter (nft)".
func (r TableRef) String() string {
	return fmt.Sprintf("%s %s (%s)", r.Family, r.Table, r.Backend)
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

// TableHost is the machine's iptables. The real one is behind [Open]; [Fake]
// behaves like it. Its methods may be called by several goroutines.
type TableHost interface {
	// Present lists the tables of a variant that are worth a Save: the others
	// are known to be empty. It makes none. The error is ErrNoFamily without the
	// family or the variant.
	Present(ctx context.Context, backend string, family Family) ([]Table, error)
	// Save calls fn for each line that iptables-save -c prints of the table; the
	// line is valid during the call.
	Save(ctx context.Context, ref TableRef, fn func(line []byte)) error
	// Restore has iptables-restore --noflush carry out text, all of it or nothing.
	Restore(ctx context.Context, ref TableRef, text []byte) error
	// Watch rings when somebody else changed chains of ours, or the kernel's own
	// chains that lead to them. It is nil where that cannot be told.
	Watch(ctx context.Context, backend string) (<-chan struct{}, error)
}

// SetHost is the machine's ipsets. It belongs to one goroutine.
type SetHost interface {
	// List returns what there is to know of each set but its members.
	List(ctx context.Context) ([]SetHeader, error)
	// Members calls fn for each member of a set. plain is false for one with
	// properties that none of ours has, such as nomatch.
	Members(ctx context.Context, name string, fn func(m Member, plain bool)) error
	// Write carries out ops in order, all of them, and returns those that failed.
	// With an error the outcome is unknown.
	Write(ctx context.Context, ops []SetOp) ([]SetFailure, error)
}

// Host is a machine with iptables and ipsets.
type Host struct {
	Tables TableHost
	Sets   SetHost
}

// SetHeader describes a set of the kernel. One whose type we never use, or has
// it with properties that we never give, is Odd: its members are not what they
// seem.
type SetHeader struct {
	Set
	Odd        bool
	Elements   int // how many members it has
	MaxElem    int // how many it may have
	HashSize   int // how many buckets it has
	References int // how many rules use it
}

// SetVerb is what a [SetOp] does.
type SetVerb uint8

// The verbs of [SetOp].
const (
	CreateSet     SetVerb = iota + 1 // fails with ErrSetExists if there is one of the name
	AddMembers                       // creates those that are missing
	RemoveMembers                    // deletes those that are there
	FlushSet                         // deletes all members
	SwapSets                         // exchanges the members of Set and Other
	DestroySet                       // fails with ErrSetInUse if a rule uses it
)

// String returns the verb in words.
func (v SetVerb) String() string {
	return [...]string{"", "create", "add to", "remove from", "flush", "swap", "destroy"}[v]
}

// SetOp is one change of the kernel's sets.
type SetOp struct {
	Verb SetVerb
	Set  Set
	// Other is the set that SwapSets exchanges it with.
	Other string
	// HashSize and MaxElem are those of a new set.
	HashSize, MaxElem int
	Members           []Member
}

// SetFailure is the kernel's refusal of an op, or of one member of it; the op's
// other members are written.
type SetFailure struct {
	Op     int // the index of the op
	Member int // the index of the member; -1 where the op is refused as a whole
	Err    error
}

// What the kernel refuses a [SetOp] with (linux/netfilter/ipset/ip_set.h).
var (
	ErrNoSet       = errors.New("there is no such set")
	ErrSetExists   = errors.New("there is a set of that name already")
	ErrSetInUse    = errors.New("rules use the set")
	ErrSetFull     = errors.New("the set is full")
	ErrSetMismatch = errors.New("the set is of another type")
)

// ErrStuck is in the errors of a [TableHost] for programs that did not end in time
// or did not get the lock: others will not either.
var ErrStuck = errors.New("iptables is held up")

// ErrNoFamily is what a [TableHost] answers for a family that the kernel or the
// programs do not have.
var ErrNoFamily = errors.New("not to be had on this host")

// errNoIPv6 is ErrNoFamily of a kernel without IPv6: nothing passes that rules could
// miss.
var errNoIPv6 = fmt.Errorf("%w: the kernel has no IPv6", ErrNoFamily)
