package fib

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"caracal.dev/caracal"
)

// Kind says what the kernel does with a packet that matches a route
// (rtnetlink(7), rtm_type).
type Kind uint8

// The kinds of routes that are written, and Foreign for any other that is read.
const (
	Unicast     Kind = iota + 1
	Blackhole        // dropped without a word
	Unreachable      // dropped, the sender gets ICMP host unreachable
	OtherKind        // read only: local, broadcast, prohibit, throw, ...
)

// String returns the word that ip-route(8) uses.
func (k Kind) String() string {
	switch k {
	case Unicast:
		return "unicast"
	case Blackhole:
		return "blackhole"
	case Unreachable:
		return "unreachable"
	}
	return "other"
}

// Hop is one way out of the machine.
type Hop struct {
	// Gateway is invalid for a destination that is on the link itself. It may
	// be an IPv6 address in an IPv4 route (RFC 8950).
	Gateway netip.Addr
	// Link is the index of the device.
	Link int
	// Device is its name; only for people, and not part of a comparison.
	Device string
	// OnLink tells the kernel not to check that Gateway is on the link.
	OnLink bool
	// Weight is the share in a multipath route; 0 means 1.
	Weight uint8
}

// String returns the hop as ip-route(8) writes it: "via 10.0.0.2 dev eth0".
func (h Hop) String() string {
	var parts []string
	if h.Gateway.IsValid() {
		parts = append(parts, "via "+h.Gateway.String())
	}
	switch {
	case h.Device != "":
		parts = append(parts, "dev "+h.Device)
	case h.Link != 0:
		parts = append(parts, fmt.Sprintf("dev #%d", h.Link))
	}
	if h.OnLink {
		parts = append(parts, "onlink")
	}
	if h.Weight > 1 {
		parts = append(parts, fmt.Sprintf("weight %d", h.Weight))
	}
	return strings.Join(parts, " ")
}

// Route is a route that is in the kernel, or shall be. Hops are sorted, shared
// between routes and not to be changed; there are none unless Kind is Unicast.
type Route struct {
	Dst  netip.Prefix
	Kind Kind
	Hops []Hop
	// Odd says of a route that was read that it carries attributes that are
	// never written here (a source address, an MTU, ...): it is not as wanted.
	Odd bool
}

// String returns the route as ip-route(8) writes it, on one line.
func (r Route) String() string {
	switch r.Kind {
	case Blackhole, Unreachable, OtherKind:
		return r.Kind.String() + " " + r.Dst.String()
	}
	hops := make([]string, len(r.Hops))
	for i, h := range r.Hops {
		hops[i] = h.String()
		if len(r.Hops) > 1 {
			hops[i] = "nexthop " + hops[i]
		}
	}
	return strings.Join(append([]string{r.Dst.String()}, hops...), " ")
}

// Mark is what tells our routes from everybody else's: a route is ours if it
// has all three. The kernel keeps routes of one prefix and table apart by their
// metric, so a foreign route lives beside ours as long as metrics differ.
type Mark struct {
	Table    int    // 254 is main
	Protocol uint8  // rtnetlink(7), rtm_protocol
	Metric   uint32 // not 0: IPv6 has no route of metric 0
}

// DefaultMark is table main, protocol 67 and metric 427.
var DefaultMark = Mark{Table: 254, Protocol: 67, Metric: 427}

// MarkOf returns the mark that the configuration asks for, with defaults where
// it says nothing.
func MarkOf(d caracal.Dataplane) Mark {
	m := Mark{Table: d.Table, Protocol: d.Protocol, Metric: d.Metric}
	if m.Table == 0 {
		m.Table = DefaultMark.Table
	}
	if m.Protocol == 0 {
		m.Protocol = DefaultMark.Protocol
	}
	if m.Metric == 0 {
		m.Metric = DefaultMark.Metric
	}
	return m
}

// WantKind says where a wanted route leads.
type WantKind uint8

// The kinds of [Want].
const (
	// Learned leads to the next hops of BGP paths.
	Learned WantKind = iota + 1
	// Local leads to a workload behind a device of this node.
	Local
	// Discard ends here: the addresses of a local block that nobody has. It is
	// written as unreachable, not as blackhole: a client of a pod that is gone
	// gets an error at once and tries another, where silence would cost it a
	// connect timeout of minutes. The kernel limits the rate of the answers
	// (icmp(7), icmp_ratelimit). Either keeps a packet to an unassigned
	// address from following the default route back out, and looping.
	Discard
	// Pinned leads to a single address by the gateway that an operator named for
	// it, NextHops. It is the one route of ours that next hops resolve through: a
	// Learned next hop with that address goes by the gateway, or nowhere.
	Pinned
)

// String returns the word that `show fib` prints.
func (k WantKind) String() string {
	switch k {
	case Learned:
		return "learned"
	case Local:
		return "local"
	case Discard:
		return "discard"
	case Pinned:
		return "pinned"
	}
	return "none"
}

// Want is what the caller wants for one prefix.
type Want struct {
	Dst  netip.Prefix
	Kind WantKind
	// NextHops of a Learned or Pinned route; several make it ECMP. A link-local
	// one carries its device as the zone. One of an IPv4 route may be IPv6
	// (RFC 8950), but not the other way round. The slice is copied.
	NextHops []netip.Addr
	// Tunnel, if set, is the device that takes packets to the next hops inside
	// others: the route becomes `via NEXTHOP dev TUNNEL onlink`.
	Tunnel string
	// Link is the device of a Local route.
	Link string
	// Source says where it comes from, for people: "mesh/b", "block".
	Source string
	// Received is when the path arrived, for [Options.Observe]; may be zero.
	Received time.Time
}

// Link is a network device.
type Link struct {
	Index int
	Name  string
	// Up says that it is administratively up (IFF_UP), Carrier that it can
	// carry packets (IFF_RUNNING).
	Up, Carrier bool
}

// Answer is what the kernel says about the way to an address: the route that
// matches, not only its hop (RTM_F_FIB_MATCH).
type Answer struct {
	// Err is an errno if there is no route at all (ENETUNREACH).
	Err error
	// Type is the rtm_type of the route: 1 is unicast, 2 local.
	Type uint8
	// Own says that the route carries our mark.
	Own bool
	// Dst is the route's prefix.
	Dst netip.Prefix
	// Hops are its ways out, without those that are dead. One without Gateway
	// is a directly connected network.
	Hops []Hop
}
