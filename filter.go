package caracal

import (
	"fmt"
	"net/netip"
)

// Filter is a list of rules on paths that come from, or go to, a neighbor. The
// first rule that matches decides; a path that none matches is judged as if
// there were no filter.
type Filter struct {
	Name             string
	Import4, Import6 []Rule
	Export4, Export6 []Rule
}

// Rule is one rule of a [Filter]. A condition that is not set matches any path;
// all that are set must match.
type Rule struct {
	// CIDR and Match compare the prefix; an invalid CIDR is any.
	CIDR  netip.Prefix
	Match MatchOperator
	// MinLen and MaxLen bound the prefix length, both inclusive. They apply only
	// if HasLen.
	HasLen         bool
	MinLen, MaxLen int
	// Communities must all be on the path.
	Communities []Community
	// ASPathPrefix is what the AS_PATH must begin with, nearest AS first.
	ASPathPrefix []uint32
	// Source and PeerType restrict where the path was learned.
	Source   PathSource
	PeerType PeerType

	Accept bool
	// Operations change an accepted path, in order.
	Operations []Operation
}

// MatchOperator compares a prefix with the CIDR of a [Rule].
type MatchOperator string

// The operators of a [Rule].
const (
	MatchEqual    MatchOperator = "Equal"
	MatchNotEqual MatchOperator = "NotEqual"
	MatchIn       MatchOperator = "In" // equal or more specific
	MatchNotIn    MatchOperator = "NotIn"
)

// PathSource says where a path is from.
type PathSource string

// The sources of a [Rule]; empty is any.
const (
	// SourceLocal: this node announces it of its own.
	SourceLocal PathSource = "Local"
	// SourceRemotePeers: learned from a neighbor.
	SourceRemotePeers PathSource = "RemotePeers"
)

// PeerType is the type of the session that a filter is asked for.
type PeerType string

// The types of a [Rule]; empty is any.
const (
	PeerInternal PeerType = "iBGP"
	PeerExternal PeerType = "eBGP"
)

// Operation is one change to a path. Exactly one of its fields is set.
type Operation struct {
	AddCommunity *Community
	// PrependASPath is put before the AS_PATH, its first element nearest to us.
	PrependASPath []uint32
	// SetLocalPref sets LOCAL_PREF (RFC 4271 section 5.1.5).
	SetLocalPref *uint32
	// SetMED sets MULTI_EXIT_DISC (RFC 4271 section 5.1.4).
	SetMED *uint32
}

// Community is a standard (RFC 1997) or a large (RFC 8092) community.
type Community struct {
	Large bool
	// Value has a large community's three numbers, or in its first element the
	// 32 bits of a standard one.
	Value [3]uint32
}

// The well-known communities that are honoured.
var (
	// NoExport keeps a path within the AS (RFC 1997).
	NoExport = StandardCommunity(0xffff, 0xff01)
	// NoAdvertise keeps a path from every other neighbor (RFC 1997).
	NoAdvertise = StandardCommunity(0xffff, 0xff02)
	// GracefulShutdown marks a path that will be gone soon (RFC 8326).
	GracefulShutdown = StandardCommunity(0xffff, 0)
	// LLGRStale marks a long-lived stale path (RFC 9494).
	LLGRStale = StandardCommunity(0xffff, 6)
	// NoLLGR keeps a path from becoming one (RFC 9494).
	NoLLGR = StandardCommunity(0xffff, 7)
)

// StandardCommunity returns the community high:low.
func StandardCommunity(high, low uint16) Community {
	return Community{Value: [3]uint32{uint32(high)<<16 | uint32(low)}}
}

// String returns "65000:1" or "65000:1:2".
func (c Community) String() string {
	if c.Large {
		return fmt.Sprintf("%d:%d:%d", c.Value[0], c.Value[1], c.Value[2])
	}
	return fmt.Sprintf("%d:%d", c.Value[0]>>16, c.Value[0]&0xffff)
}

// Advertisement adds communities to what this node announces of a range.
type Advertisement struct {
	CIDR        netip.Prefix
	Communities []Community
}
