package bfd

import (
	"net/netip"
	"time"

	"caracal.dev/caracal"
)

// Session is one neighbor to be watched. It is comparable.
type Session struct {
	// Name is the BGP neighbor's: "peer/tor@192.0.2.1".
	Name string
	// Local is where packets come from; invalid to let the kernel choose. Remote is
	// the only address from which they are accepted. A link-local one needs
	// Interface, or a zone.
	Local, Remote netip.Addr
	// Interface, if it is not empty, is the only device for packets in and out.
	Interface string
	// Multihop is RFC 5883, on port 4784, instead of RFC 5881, on port 3784.
	Multihop bool
	// MaxHops is how many hops away a Multihop neighbor may be: packets need a TTL
	// of at least 256-MaxHops, as in RFC 5082. 0 means that TTL is not looked at.
	// A neighbor that is not Multihop is one hop away: TTL 255.
	MaxHops uint8
	// BFD has the timers: 0 stands for [DefaultInterval] and [DefaultMultiplier].
	// With Enabled false there is no session.
	BFD caracal.BFD
}

// What a zero in [Session.BFD] stands for.
const (
	DefaultInterval   = 300 * time.Millisecond
	DefaultMultiplier = 3
)

// MinInterval is the shortest interval that can be configured.
const MinInterval = 10 * time.Millisecond

// Event is a change of a session's state. See the documentation of the package
// on what to do with it.
type Event struct {
	Name       string
	State, Was State
	// Diag is ours for the change, RemoteDiag is what the neighbor said last.
	Diag, RemoteDiag Diag
	// RemoteAdminDown says that the neighbor went to AdminDown: it stopped BFD on
	// purpose, which says nothing about its forwarding (RFC 5882 section 3.2).
	RemoteAdminDown bool
	// RemoteCPI is the C bit of the neighbor while the session was in Was: its BFD
	// does not share the fate of its control plane (RFC 5882 section 4.3).
	RemoteCPI bool
	// Removed says that the session is no longer configured; State is AdminDown.
	Removed bool
	// Reason says in words why; empty for most changes to Init or Up.
	Reason string
	At     time.Time
}

// Failure reports whether the event says that the neighbor cannot be reached,
// or has lost us: the session was Up, is Down, and nobody asked for it.
func (e Event) Failure() bool { return e.Was == Up && e.State == Down && !e.RemoteAdminDown }

// Status is what is known of a session now.
type Status struct {
	Session
	State State
	Since time.Time // of the present state
	Diag  Diag
	// LocalAddr and SourcePort are where packets come from; invalid and 0 while
	// there is no socket.
	LocalAddr  netip.Addr
	SourcePort uint16
	// LocalDiscr and RemoteDiscr are the discriminators; RemoteDiscr is 0 and what
	// else is Remote is zero while nothing is heard.
	LocalDiscr, RemoteDiscr uint32
	RemoteState             State
	RemoteDiag              Diag
	RemoteMultiplier        uint8
	RemoteMinTx             time.Duration // as the neighbor would like to send
	RemoteMinRx             time.Duration // as it is able to receive
	RemoteDemand, RemoteCPI bool
	// Transmit is the interval in which we send, before jitter, Receive the one in
	// which the neighbor is to, and Detection the silence that means Down. Receive
	// and Detection are 0 while nothing is heard.
	Transmit, Receive, Detection time.Duration
	// Polling says that the neighbor has yet to confirm new timers.
	Polling        bool
	Sent, Received uint64
	LastReceived   time.Time
	// Dropped counts packets that came in the session's name but were not
	// accepted; LastDropped says why the last one was not.
	Dropped     uint64
	LastDropped string
	// Flaps counts how often the session left Up, LastDown says why it last did.
	Flaps      uint64
	LastDown   string
	LastDownAt time.Time
	// Err is why nothing can be sent or received now, in words; empty otherwise.
	Err string
}

// Stats counts what belongs to no session, and how punctual the server is.
type Stats struct {
	// Malformed packets, those with an unknown discriminator of ours, and those
	// without one from an address that is no neighbor's.
	Malformed, UnknownDiscr, NoSession uint64
	// Thread is how the server's thread is scheduled, in words; empty if it has
	// not begun.
	Thread string
	// Late is the longest that the server ran later than it wanted to.
	Late time.Duration
	// Relieved counts the times that a thread of the Go runtime did the work since
	// the server's own was late.
	Relieved uint64
}

// Saved is what a new process needs to go on with a session that was paused
// (see [Server.Pause]). It can be written as JSON.
type Saved struct {
	Name             string
	Local, Remote    netip.Addr
	Interface        string
	Multihop         bool
	Discr            uint32
	RemoteDiscr      uint32
	Port             uint16
	RemoteMultiplier uint8
	RemoteMinTx      time.Duration
	RemoteMinRx      time.Duration
	RemoteCPI        bool
	// Hold is the interval that was announced; the neighbor waits until Until.
	Hold  time.Duration
	Until time.Time
}
