package caracal

import (
	"net/netip"
	"time"
)

// Origin is the ORIGIN attribute (RFC 4271 section 5.1.1); lower is better.
type Origin uint8

// The values of [Origin].
const (
	OriginIGP Origin = iota
	OriginEGP
	OriginIncomplete
)

// String returns the letter that routers print for the origin.
func (o Origin) String() string {
	if o > OriginIncomplete {
		return "?"
	}
	return [...]string{"i", "e", "?"}[o]
}

// Attrs are the path attributes of one UPDATE (RFC 4271 section 5). Paths that
// arrived together share one Attrs; it must not be changed once shared.
type Attrs struct {
	NextHop netip.Addr
	Origin  Origin
	// ASPath is the flattened AS_PATH, members of AS_SETs included.
	ASPath []uint32
	// ASPathLen is the length that counts in selection: an AS_SET counts as 1
	// (RFC 4271 section 9.1.2.2 a), confederation segments as 0 (RFC 5065).
	ASPathLen int
	// ASPathText is the AS_PATH as people write it: "64512 {1 2}".
	ASPathText string
	LocalPref  uint32 // 100 where the attribute is absent
	MED        uint32 // 0 where the attribute is absent
	HasMED     bool
	// OriginatorID and ClusterList are a reflector's (RFC 4456); OriginatorID is
	// invalid where absent.
	OriginatorID     netip.Addr
	ClusterList      []netip.Addr
	Communities      []uint32
	LargeCommunities [][3]uint32
	// Wire is the list of attributes as it was received, for bgp to pass it on
	// with what is not understood here; nil for a path of our own.
	Wire any
}

// Path is an NLRI with its attributes, as one neighbor announced it.
type Path struct {
	NLRI netip.Prefix
	// ID is the path identifier of add-path (RFC 7911), 0 without it.
	ID uint32
	// Neighbor is the name of the neighbor it came from: "mesh/b".
	Neighbor string
	Attrs    *Attrs
	// Received is when the UPDATE was read from the socket.
	Received time.Time
}
