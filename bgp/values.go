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
	// Services are ranges of which nothing is announced to nodes but reflectors.
	Services []netip.Prefix
	// NextHop4 and NextHop6 are the next hops of the originated prefixes; invalid
	// where the node has no address of the family.
	NextHop4, NextHop6 netip.Addr
	// Communities are those of originated prefixes that have some.
	Communities map[netip.Prefix][]caracal.Community
	// Filters are those that a Neighbor names.
	Filters map[string]caracal.Filter
	// ClusterID makes this node a route reflector (RFC 4456): what it learns from
	// internal neighbors it passes on. Invalid otherwise.
	ClusterID netip.Addr
	// Drain says how this node asks traffic to go elsewhere.
	Drain Drain

	// Lingers are neighbors that would be gone, or would no longer be what they
	// are to us, if others had taken their place already; each with the time when
	// that ends at the latest, zero for none.
	Lingers map[string]time.Time
	// Outgoing are those of Originate that others are to take the place of, with the
	// time when they are withdrawn; zero while that is not known yet.
	Outgoing map[netip.Prefix]time.Time
	// Reflects is until when ClusterID stays although the node is no longer
	// configured to be a reflector; zero if it is, or is none.
	Reflects time.Time
	// Found are the addresses at which the gateways and routers were that peers
	// without an address of their own are for, by the key of the peer.
	Found map[string]netip.Addr
	// Wake is when [Plan] must be asked again even if nothing it was told of has
	// changed; zero for never. It is nothing to apply.
	Wake time.Time
}

// Drain is a stage of leaving that does not cut off this node's own workloads.
type Drain uint8

// The stages of [Drain].
const (
	// DrainNone: the node serves.
	DrainNone Drain = iota
	// DrainLast: what this node announces together with others, or passes on, is
	// marked GRACEFUL_SHUTDOWN and is the last choice (RFC 8326).
	DrainLast
	// DrainOut: that is withdrawn.
	DrainOut
)

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
	// Impatient limits Passive: a neighbor that does not dial in three seconds is
	// dialed.
	Impatient bool

	HoldTime, KeepaliveTime time.Duration
	ConnectRetry            time.Duration
	GracefulRestart         bool
	RestartTime             time.Duration
	Multihop                bool
	// MaxPrefixes per family; the session is torn down beyond it (RFC 4486
	// subcode 1), and begun anew after MaxPrefixesRetry unless that is 0. From
	// WarnPrefixes on there is a warning; 0 for none.
	MaxPrefixes, WarnPrefixes uint32
	MaxPrefixesRetry          time.Duration

	// Peer is the key of the caracal.Peer it comes from; empty for the mesh.
	Peer string
	// External says that the neighbor is in another AS and not one of our nodes:
	// nothing is taken from it or passed to it that no policy allows (RFC 8212).
	External bool
	// Client says that the neighbor is a client of ours (RFC 4456): it gets what
	// other internal neighbors announce, and they get what it does.
	Client bool
	// Reflector says that the neighbor reflects to us.
	Reflector bool
	// Interface is the device of an unnumbered session, whose Addr is then
	// link-local with the zone of that device; or the one to send through.
	Interface    string
	LocalASN     uint32 // towards this neighbor; 0 means Global's
	AllowLocalAS uint8
	// TTLSecurity is the most hops away that the neighbor may be (RFC 5082); 0
	// for no check.
	TTLSecurity     uint8
	Password        caracal.Password
	BFD             caracal.BFD
	LongLived       time.Duration
	NextHop         caracal.NextHopMode
	ExtendedNextHop bool
	AddPathReceive  bool
	AddPathSend     uint8
	// Filters are the names of the filters, joined by commas, so that Neighbor is
	// comparable.
	Filters string
}

// Relay is a path that is passed on from one neighbor to others, with the
// attributes that it came with. Without Attrs it is passed on no more.
type Relay struct {
	NLRI  netip.Prefix
	Attrs *caracal.Attrs
	// From is the neighbor it came from. Internal says that it is in our own AS,
	// Client that it is a client of ours: a path of another internal neighbor goes
	// to clients only (RFC 4456 section 6).
	// External says that it is from outside, as [Neighbor.External] has it: it is
	// passed on only where an export filter names it.
	From                       string
	Internal, Client, External bool
}

// Facts are what [Plan] must know beside the Snapshot. The zero value is a
// daemon that has just started.
type Facts struct {
	Now time.Time
	// Last is the Config that was applied last.
	Last Config
	// Sessions are those of Last, by neighbor name.
	Sessions map[string]SessionFact
	// Covered has the mesh neighbors all of whose accepted paths came by
	// reflectors as well, and since when.
	Covered map[string]time.Time
	// Gateway4 and Gateway6 are the next hops of the kernel's default routes, with
	// a zone where they are link-local.
	Gateway4, Gateway6 netip.Addr
	// Routers are the neighbors that unnumbered sessions found, by device: the
	// link-local address, with its zone, of the router that advertises itself there.
	Routers map[string]netip.Addr
	Drain   Drain
	// Unruled says that what isolates the workloads is not in the kernel yet.
	Unruled bool
}

// SessionFact is what [Plan] must know of a session.
type SessionFact struct {
	Established bool
	// Since is when it became so, EndOfRIB when it had sent all it had, of every
	// family; zero if not.
	Since, EndOfRIB time.Time
	// Silent says that of what it sent no path was accepted, so that nothing is
	// known of the neighbor beyond the session.
	Silent bool
}

// Event is one thing that happened in the speaker. Exactly one of its fields is
// set. Events come in the order in which they happened; of one neighbor:
//
//   - Session with State Established, then Updates and EndOfRIBs;
//   - Session with Was Established: the session is over. Unless Graceful is
//     set the consumer drops every path of the neighbor: no withdrawals follow.
//     If it is set, it keeps the paths of the families Kept4 and Kept6 name as
//     stale and drops the others;
//   - back in Established, what the neighbor does not announce again before the
//     EndOfRIB of the family goes at that EndOfRIB (RFC 4724 section 4.2);
//   - Session with Expired: what is still stale goes, but for the families that
//     LongLived4 and LongLived6 name, whose stale paths are the last choice from
//     then on (RFC 9494); those go with the next Expired that does not name them;
//   - Session with Renamed: from now on it has another name; the one it had is
//     another's, if anyone's;
//   - Session with Removed: the neighbor is gone with all its paths, and is the
//     last event of its name until it is configured again.
//
// An Update never comes outside of Established.
type Event struct {
	Update   *Update
	Session  *Session
	EndOfRIB *EndOfRIB
}

// Update is what a neighbor announced and withdrew in one UPDATE (RFC 4271
// section 4.3). Announced paths share Attrs; an UPDATE whose paths differ in
// them, as one with prefixes of both families does, becomes several Updates.
// Withdrawn counts before Announced. Paths are as they were received: with our
// own AS number in the AS_PATH, and next hops that may be our own.
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

// Session is a change of a neighbor's state. The documentation of [Event] says
// what it means for the neighbor's paths.
type Session struct {
	Neighbor string
	State    State
	// Was is the state before.
	Was State
	// Graceful is set on the way down from Established when the neighbor may be
	// restarting, or only the connection was lost: its paths are to be kept as
	// stale (RFC 4724 section 4.2), those of the families Kept4 and Kept6 say.
	// It is also set when we end the session ourselves to begin it anew, for a
	// changed configuration or [Speaker.Restart]; the same node may then be at
	// another address, with another AS number.
	// Any other NOTIFICATION, so also an expired hold time, is never graceful
	// (RFC 8538 is not used).
	Graceful     bool
	Kept4, Kept6 bool
	// Preserved4 and Preserved6 are set in the change to Established when the
	// neighbor says that it kept forwarding for the family while it restarted
	// (the F bit, RFC 4724 section 3). Without it RFC 4724 wants stale paths gone
	// at once; speakers also leave it out after the mere loss of a connection.
	Preserved4, Preserved6 bool
	// Expired says that the time to keep stale paths ended: the neighbor's
	// restart time passed without its return, or twice that time without
	// End-of-RIB. State and Was are then equal, and may be Established.
	Expired bool
	// LongLived4 and LongLived6 are set with Expired alone. The stale paths of
	// that family are not dropped but become long-lived stale (RFC 9494 section
	// 4.3): less preferred than any other path, marked LLGR_STALE where they are
	// passed on, and dropped at once if they have NO_LLGR. A session that comes
	// back in that state refreshes them as after a restart, until its EndOfRIB.
	LongLived4, LongLived6 bool
	// Suspect is set with Graceful when the session was ended because the neighbor
	// was found to be out of reach ([Speaker.Fail]). It may be restarting, or dead:
	// so its stale paths give way to any other there is, until it is Established.
	Suspect bool
	// Removed says that the neighbor is no longer configured.
	Removed bool
	// Renamed is what the neighbor was called until now. Nothing else about it
	// has changed: State and Was are equal, and its paths are those of Neighbor.
	Renamed string
	// Reason is why the session went down, in words; empty otherwise.
	Reason string
	At     time.Time
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
	// Capabilities are what the neighbor announced in OPEN, in words; empty
	// unless Established.
	Capabilities []string
	// HoldTime and KeepaliveTime are those in force, 0 unless Established; the
	// configured ones are in Neighbor.
	HoldTime, KeepaliveTime time.Duration
	// NeighborRestartTime is what the neighbor announced; 0 if it does no graceful
	// restart.
	NeighborRestartTime time.Duration
	// LocalCapabilities are what we announced in OPEN, in words; empty unless
	// Established.
	LocalCapabilities []string
	// Restarting says that paths of an ended session are kept as stale, until
	// StaleUntil at the latest. LongLivedStale says that they are the last choice
	// by now (RFC 9494).
	Restarting     bool
	StaleUntil     time.Time
	LongLivedStale bool
	// Prefixes are those received in this session, of the family with more of
	// them. Warned says that they passed WarnPrefixes.
	Prefixes uint64
	Warned   bool
	// Held says that the neighbor passed MaxPrefixes and stays down for it until
	// it is enabled, or until HeldUntil if that is not zero.
	Held      bool
	HeldUntil time.Time
	// Refused says that there can be no session with the configuration as it is,
	// since its password cannot be read or used; LastError says why.
	Refused bool
	// Deferring says that changes are not announced to the neighbor yet, only what
	// was there when the session came up, since this node itself restarts
	// (RFC 4724 section 4.1).
	Deferring bool
	// EndOfRIB4 and EndOfRIB6 say that End-of-RIB was received in this session.
	EndOfRIB4, EndOfRIB6 bool
	// Messages counts by type what was sent and received.
	Sent, Received Messages
	// Advertised counts prefixes that the neighbor is announced now, if no export
	// filter holds some back; [Speaker.Advertised] counts exactly.
	Advertised uint64
	// Flaps counts how often the session went down.
	Flaps uint64
	// LastError is why the session last went down, in words, or why it does not
	// come up since; LastErrorAt is since when.
	LastError   string
	LastErrorAt time.Time
	// LastNotification is the last one that was sent or received, in this session
	// or before it; zero if there was none.
	LastNotification Notification
}

// Notification is a NOTIFICATION message (RFC 4271 section 4.5).
type Notification struct {
	// Sent says that it was ours.
	Sent          bool
	Code, Subcode uint8
	// Text is the shutdown communication of a Cease (RFC 9003), with everything
	// that does not print replaced.
	Text string
	At   time.Time
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

// The steps of [Speaker.Apply] that are in Result.Failed under names of their own.
const (
	stepExport = "export policy"
	stepHold   = "announcements"
)

// Announced reports whether what is announced is what the Config says: what
// failed, if anything, is about sessions or about addresses to listen on.
func (r Result) Announced() bool {
	for what := range r.Failed {
		if _, err := netip.ParsePrefix(what); err == nil || what == stepExport || what == stepHold {
			return false
		}
	}
	return r.Failed != nil
}

// RestartNeeded is the error of [Speaker.Apply] when Global changed: GoBGP has
// no update of it, so the daemon must re-exec itself. Nothing was applied.
type RestartNeeded struct {
	// Why says what changed, in words: "AS number 64512 -> 64513".
	Why string
}

// Error implements error.
func (e *RestartNeeded) Error() string { return "bgp: apply global: restart needed: " + e.Why }
