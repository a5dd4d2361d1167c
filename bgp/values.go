package bgp

import (
	"net/netip"
	"time"

	"caracal.dev/caracal"
)

// Config is everything the speaker is to do, as values. [Plan] makes it and
// [Speaker.Apply] carries it out.
type Config struct {
	Global    Global
	Neighbors []Neighbor // sorted by Name
	Originate []netip.Prefix
	// NextHop4 and NextHop6 are the next hops of the originated prefixes; invalid
	// where the node has no address of the family.
	NextHop4, NextHop6 netip.Addr
}

// Global is what GoBGP can only be told at its start: a change of it needs a
// restart of the process (see [RestartNeeded]).
type Global struct {
	ASN         uint32
	RouterID    netip.Addr
	Port        uint16
	ListenAddrs string // sorted, joined by commas, so that Global is comparable
}

// Neighbor is one session, derived from the mesh or from a configured Peer.
type Neighbor struct {
	// Name says where it comes from: "mesh/b" or "peer/tor@192.0.2.1".
	Name string
	// Node is the name of the node at the other end; empty if it is not one.
	Node    string
	Addr    netip.Addr
	Port    uint16
	ASN     uint32
	Local   netip.Addr // our end
	Passive bool       // the other end dials
	IPv4    bool       // carry AFI 1, SAFI 1
	IPv6    bool       // carry AFI 2, SAFI 1

	HoldTime, KeepaliveTime time.Duration
	ConnectRetry            time.Duration
	GracefulRestart         bool
	RestartTime             time.Duration
	Multihop                bool
	// MaxPrefixes per family; the session is torn down beyond it (RFC 4486
	// subcode 1).
	MaxPrefixes uint32
}

// Event is one thing that happened in the speaker, in the order it happened.
// Exactly one of its fields is set.
type Event struct {
	Update   *Update
	Session  *Session
	EndOfRIB *EndOfRIB
}

// Update is what a neighbor announced and withdrew in one UPDATE (RFC 4271
// section 4.3). Announced paths share Attrs.
type Update struct {
	Neighbor  string
	Attrs     *caracal.Attrs
	Announced []NLRI
	Withdrawn []NLRI
	Received  time.Time
}

// NLRI is a prefix with its add-path identifier (RFC 7911), 0 without it.
type NLRI struct {
	Prefix netip.Prefix
	ID     uint32
}

// State is a neighbor's state in the finite state machine of RFC 4271 section
// 8.2.2.
type State uint8

// The states of RFC 4271 section 8.2.2, and Disabled for a neighbor that an
// operator or a prefix limit holds down.
const (
	Disabled State = iota
	Idle
	Connect
	Active
	OpenSent
	OpenConfirm
	Established
)

// String returns the state as the CLI prints it.
func (s State) String() string {
	return [...]string{"Disabled", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"}[s]
}

// Session is a change of a neighbor's state.
type Session struct {
	Neighbor string
	State    State
	// Was is the state before.
	Was State
	// Graceful is set on the way down from Established when the neighbor is
	// restarting gracefully: its paths are to be kept as stale (RFC 4724
	// section 4.2). When it ends without the session's return, an event with
	// Expired follows.
	Graceful bool
	// Expired says that the neighbor's restart time ended: drop what is stale.
	Expired bool
	// Removed says that the neighbor is no longer configured.
	Removed bool
	Reason  string
	At      time.Time
}

// EndOfRIB says that a neighbor has sent all it had (RFC 4724 section 2).
type EndOfRIB struct {
	Neighbor string
	IPv6     bool
}

// NeighborStatus is what the speaker knows of one session now.
type NeighborStatus struct {
	Neighbor
	State      State
	Since      time.Time // of the present state
	RouterID   netip.Addr
	RemoteASN  uint32
	LocalAddr  netip.AddrPort
	RemoteAddr netip.AddrPort
	// Negotiated are the capabilities and timers in force, in words, empty
	// unless Established.
	Capabilities            []string
	HoldTime, KeepaliveTime time.Duration
	// RestartTime is what the neighbor announced; 0 if it does no graceful
	// restart.
	NeighborRestartTime time.Duration
	// Restarting says that the neighbor's paths are kept as stale.
	Restarting bool
	// EndOfRIB4 and EndOfRIB6 say that End-of-RIB was received in this session.
	EndOfRIB4, EndOfRIB6 bool
	// Messages counts by type what was sent and received.
	Sent, Received Messages
	Advertised     uint64
	Flaps          uint64
	// LastError is why the session last went down, in words.
	LastError   string
	LastErrorAt time.Time
}

// Messages counts messages by type (RFC 4271 section 4.1, RFC 2918).
type Messages struct {
	Open, Update, Notification, Keepalive, Refresh uint64
}

// Result says what [Speaker.Apply] did.
type Result struct {
	// Added, Removed and Reset are neighbors by name; Reset lists those whose
	// session was dropped to take a change.
	Added, Removed, Reset []string
	Originated, Withdrawn []netip.Prefix
	// Failed is what could not be done, by neighbor name or prefix.
	Failed map[string]error
}

// RestartNeeded is the error of [Speaker.Apply] when Global changed: GoBGP has
// no update of it, so the daemon must re-exec itself. Nothing was applied.
type RestartNeeded struct {
	// Why says what changed, in words: "AS number 64512 -> 64513".
	Why string
}

// Error implements error.
func (e *RestartNeeded) Error() string { return "bgp: apply global: restart needed: " + e.Why }
