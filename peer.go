package caracal

import (
	"net/netip"
	"time"
	"unique"
)

// Peer is a BGP neighbor that the operator configured, resolved for this node
// as far as the configuration alone can tell. Where it is, is said by exactly
// one of Addr, Interface and DefaultGateway.
type Peer struct {
	// Name is that of the BGPPeer. With a peerSelector several Peers have it, and
	// Node tells them apart.
	Name string
	// Node is the name of the node at the other end; empty if it is not one.
	Node string
	// Selected says that a peerSelector found Node, on this side or on the other.
	Selected bool
	Addr     netip.Addr
	Port     uint16
	// Interface asks for an unnumbered session on this device: the neighbor is
	// whoever advertises itself there as a router (RFC 4861, RFC 8950).
	Interface string
	// DefaultGateway asks for a session with the next hop of this node's default
	// route: the IPv4 one, or the IPv6 one of a node without an IPv4 address.
	DefaultGateway bool

	// ASN is the neighbor's AS number; equal to the node's own for iBGP. It is 0
	// if any other AS number than our own will do.
	ASN uint32
	// LocalASN is our AS number towards this neighbor; 0 means the node's own.
	LocalASN uint32
	// AllowLocalAS is how often our own AS number may be in the AS_PATH of a path
	// that is accepted.
	AllowLocalAS uint8

	// SourceAddr is the local end of the session; invalid means the node's
	// address of the same family.
	SourceAddr netip.Addr
	// ReachableBy is the gateway through which the neighbor is reached, for which
	// a host route is kept; invalid if the kernel's routes are to say.
	ReachableBy netip.Addr
	// Multihop allows an eBGP neighbor that is not on a connected network.
	Multihop bool
	// Passive means that only the neighbor opens the connection.
	Passive bool
	// TTLSecurity is how many hops away the neighbor may be at most (GTSM,
	// RFC 5082); 0 means that its packets' TTL is not looked at.
	TTLSecurity uint8
	Password    Password

	// HoldTime and KeepaliveTime override BGP's when they are not 0.
	HoldTime, KeepaliveTime time.Duration
	BFD                     BFD
	GracefulRestart         bool
	RestartTime             time.Duration
	// LongLived is how long the paths of a neighbor that does not come back are
	// kept as a last resort (RFC 9494); 0 means that they are not.
	LongLived time.Duration

	NextHop NextHopMode
	// ExtendedNextHop offers IPv6 next hops for IPv4 prefixes (RFC 8950).
	ExtendedNextHop bool
	// AddPathReceive takes several paths for a prefix (RFC 7911); AddPathSend is
	// how many are sent at most, 0 for add-path off in that direction.
	AddPathReceive bool
	AddPathSend    uint8

	// MaxPrefixes per family: the session is closed beyond it. A warning comes at
	// WarnPrefixes. After MaxPrefixesRetry the session is tried again; 0 means
	// that an operator must enable it.
	MaxPrefixes, WarnPrefixes uint32
	MaxPrefixesRetry          time.Duration

	// Filters are the names of the BGPFilters in the order in which they are asked.
	// One that is not in [Snapshot.Filters] rejects every path, both ways: what it
	// would have kept out is not known.
	Filters []string
	// AcceptRanges lets in what these prefixes cover and no filter spoke of.
	AcceptRanges []netip.Prefix
	// AcceptPools lets the neighbor carry prefixes of our pools, but never those
	// that a block of this node owns.
	AcceptPools bool
	// AcceptDefault lets in 0.0.0.0/0 and ::/0.
	AcceptDefault bool
}

// Key returns the peer's key in a Snapshot: its name, or "name@node" for one of
// several of that name.
func (p Peer) Key() string {
	if p.Selected {
		return p.Name + "@" + p.Node
	}
	return p.Name
}

// NextHopMode says which next hop a neighbor is told.
type NextHopMode string

// The modes of [Peer.NextHop].
const (
	// NextHopAuto keeps the next hop towards iBGP, and is our own towards eBGP.
	NextHopAuto NextHopMode = "Auto"
	// NextHopSelf is always our own address.
	NextHopSelf NextHopMode = "Self"
	// NextHopKeep never changes the next hop.
	NextHopKeep NextHopMode = "Keep"
)

// BFD configures bidirectional forwarding detection (RFC 5880) of a neighbor.
// The zero value is BFD off.
type BFD struct {
	Enabled bool
	// Transmit and Receive are the desired and required minimum intervals.
	Transmit, Receive time.Duration
	// Multiplier is how many packets may be missing in a row.
	Multiplier uint8
}

// Password is the shared secret of a TCP-MD5 session (RFC 2385). The zero value
// is a session without one. If From is set and Secret is not, the secret could
// not be read: the session must stay down.
type Password struct {
	// From says where the secret is: "local/secrets/NAME/KEY".
	From   string
	Secret Secret
	// Err is why the secret cannot be read, in words.
	Err string
}

// Secret is a word that is never logged or shown: however it is printed, only
// stars appear. Equal words are equal Secrets.
type Secret struct {
	word unique.Handle[string] // a pointer, so that no way of printing reaches the word
	set  bool
}

// NewSecret returns the Secret of a word; the zero Secret for an empty one.
func NewSecret(word string) Secret {
	if word == "" {
		return Secret{}
	}
	return Secret{unique.Make(word), true}
}

// Reveal returns the word: only for the one who must use it.
func (s Secret) Reveal() string {
	if !s.set {
		return ""
	}
	return s.word.Value()
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return !s.set }

// String returns stars, or nothing for the zero Secret.
func (s Secret) String() string {
	if !s.set {
		return ""
	}
	return "****"
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String, for every encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
