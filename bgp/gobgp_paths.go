package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"caracal.dev/caracal"
)

// This file makes GoBGP's paths of ours, and does nothing else.

// toPath is a path of our own. The next hop is always explicit: what GoBGP puts
// in by itself is the session's address, which for IPv6 on an IPv4 session is
// an IPv4-mapped one that nobody can use.
func toPath(prefix netip.Prefix, o own) (*apiutil.Path, error) {
	attrs := []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(uint8(caracal.OriginIGP))}
	if slices.Contains(o.communities, caracal.GracefulShutdown) { // RFC 8326 section 4
		attrs = append(attrs, gobgp.NewPathAttributeLocalPref(0))
	}
	var standard []uint32
	var large [][3]uint32
	for _, c := range o.communities {
		if c.Large {
			large = append(large, c.Value)
		} else {
			standard = append(standard, c.Value[0])
		}
	}
	return pathWith(prefix, o.nextHop, append(attrs, toCommunities(standard, large)...))
}

// pathWith completes a path with its prefix and next hop.
func pathWith(prefix netip.Prefix, nextHop netip.Addr, attrs []gobgp.PathAttributeInterface) (*apiutil.Path, error) {
	nlri, err := gobgp.NewIPAddrPrefix(prefix)
	if err != nil {
		return nil, err
	}
	family := familyOf(prefix.Addr().Is6())
	if prefix.Addr().Is4() && nextHop.Is4() {
		nh, err := gobgp.NewPathAttributeNextHop(nextHop)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, nh)
	} else {
		mp, err := gobgp.NewPathAttributeMpReachNLRI(family, []gobgp.PathNLRI{{NLRI: nlri}}, nextHop)
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, mp)
	}
	return &apiutil.Path{Family: family, Nlri: nlri, Attrs: attrs, Age: time.Now().Unix()}, nil
}

func toCommunities(standard []uint32, large [][3]uint32) (attrs []gobgp.PathAttributeInterface) {
	if len(standard) > 0 {
		attrs = append(attrs, gobgp.NewPathAttributeCommunities(standard))
	}
	if len(large) > 0 {
		var list []*gobgp.LargeCommunity
		for _, c := range large {
			list = append(list, &gobgp.LargeCommunity{ASN: c[0], LocalData1: c[1], LocalData2: c[2]})
		}
		attrs = append(attrs, gobgp.NewPathAttributeLargeCommunities(list))
	}
	return attrs
}

// relayASN is the AS number of the sources of passed-on paths: reserved (RFC
// 7300), so that GoBGP takes none of its neighbors for it and passes the path on
// as if it came from another AS.
const relayASN = markASN

// toRelay is a path that is passed on. Its source's router ID keeps GoBGP from
// announcing it to the one it is from; its address is none a neighbor can have.
func toRelay(p passing) (*apiutil.Path, error) {
	a := p.Attrs
	attrs := []gobgp.PathAttributeInterface{gobgp.NewPathAttributeOrigin(uint8(a.Origin)), toASPath(a)}
	if a.HasMED {
		attrs = append(attrs, gobgp.NewPathAttributeMultiExitDisc(a.MED))
	}
	pref, communities := a.LocalPref, a.Communities
	if p.leaving && !slices.Contains(communities, caracal.GracefulShutdown.Value[0]) {
		communities = append(slices.Clip(communities), caracal.GracefulShutdown.Value[0])
	}
	if p.leaving {
		pref = 0
	}
	large := slices.DeleteFunc(slices.Clone(a.LargeCommunities), func(c [3]uint32) bool { return c[0] == markASN })
	switch {
	case p.External:
		large = append(large, markExternal.Value)
	case p.Internal && !p.Client:
		large = append(large, markNonClient.Value)
	}
	attrs = append(attrs, gobgp.NewPathAttributeLocalPref(pref))
	attrs = append(attrs, toCommunities(communities, large)...)
	hidden := carried{PathAttribute: gobgp.PathAttribute{Type: carriedAs, Flags: gobgp.BGP_ATTR_FLAG_OPTIONAL | gobgp.BGP_ATTR_FLAG_TRANSITIVE}}
	if p.reflect.IsValid() {
		hidden.originator(p.id)
		hidden.cluster(append([]netip.Addr{p.reflect}, a.ClusterList...))
	}
	wire, _ := a.Wire.([]gobgp.PathAttributeInterface)
	for _, attr := range wire {
		switch kept := others(attr); {
		case kept == nil:
		case kept.GetType() == carriedAs:
			hidden.raw(kept)
		default:
			attrs = append(attrs, kept)
		}
	}
	if len(hidden.value) > 0 {
		attrs = append(attrs, &hidden)
	}
	path, err := pathWith(p.NLRI, p.nextHop(), attrs)
	if err != nil {
		return nil, err
	}
	path.PeerASN, path.PeerID, path.PeerAddress = relayASN, p.id, p.addr
	path.IsFromExternal = p.External
	return path, nil
}

// nextHop is the one that came with the path, or ours if only this node can reach
// that: a link-local address means nothing on another link (RFC 2545 section 3).
func (p passing) nextHop() netip.Addr {
	nh := p.Attrs.NextHop.WithZone("")
	switch {
	case !nh.Is6() || !nh.IsLinkLocalUnicast():
		return nh
	case p.NLRI.Addr().Is6():
		return p.self6
	}
	return p.self4
}

// others returns what is passed on of an attribute that Attrs do not have; nil
// if nothing is. What GoBGP does not know either is marked as seen by one that
// does not (RFC 4271 section 5), unless it is not meant to go any further.
func others(attr gobgp.PathAttributeInterface) gobgp.PathAttributeInterface {
	switch attr.GetType() {
	case gobgp.BGP_ATTR_TYPE_ORIGIN, gobgp.BGP_ATTR_TYPE_AS_PATH, gobgp.BGP_ATTR_TYPE_NEXT_HOP, gobgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC,
		gobgp.BGP_ATTR_TYPE_LOCAL_PREF, gobgp.BGP_ATTR_TYPE_COMMUNITIES, gobgp.BGP_ATTR_TYPE_LARGE_COMMUNITY,
		gobgp.BGP_ATTR_TYPE_ORIGINATOR_ID, gobgp.BGP_ATTR_TYPE_CLUSTER_LIST, gobgp.BGP_ATTR_TYPE_MP_REACH_NLRI,
		gobgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI, gobgp.BGP_ATTR_TYPE_AS4_PATH, gobgp.BGP_ATTR_TYPE_AS4_AGGREGATOR:
		return nil
	case gobgp.BGP_ATTR_TYPE_ATOMIC_AGGREGATE:
		return attr // well-known, and so never marked
	}
	if attr.GetFlags()&gobgp.BGP_ATTR_FLAG_TRANSITIVE == 0 {
		return nil
	}
	if u, ok := attr.(*gobgp.PathAttributeUnknown); ok {
		return gobgp.NewPathAttributeUnknown(u.Flags|gobgp.BGP_ATTR_FLAG_PARTIAL, u.Type, u.Value)
	}
	return attr
}

// toASPath is the AS_PATH as it came, with what a filter has put before it.
func toASPath(a *caracal.Attrs) gobgp.PathAttributeInterface {
	var segments []gobgp.AsPathParamInterface
	had := 0
	wire, _ := a.Wire.([]gobgp.PathAttributeInterface)
	for _, attr := range wire {
		if path, ok := attr.(*gobgp.PathAttributeAsPath); ok {
			for _, s := range path.Value {
				segments = append(segments, s)
				had += len(s.GetAS())
			}
		}
	}
	if more := len(a.ASPath) - had; more > 0 {
		before := gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Clone(a.ASPath[:more]))
		if len(segments) > 0 && segments[0].GetType() == gobgp.BGP_ASPATH_ATTR_TYPE_SEQ && more+len(segments[0].GetAS()) <= 255 {
			before = gobgp.NewAs4PathParam(gobgp.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Concat(a.ASPath[:more], segments[0].GetAS()))
			segments = segments[1:]
		}
		segments = append([]gobgp.AsPathParamInterface{before}, segments...)
	}
	return gobgp.NewPathAttributeAsPath(segments)
}

// withoutNLRI leaves out the attributes that are about single prefixes, so that
// what is kept of an UPDATE can be compared.
func withoutNLRI(list []gobgp.PathAttributeInterface) []gobgp.PathAttributeInterface {
	return slices.DeleteFunc(slices.Clone(list), func(a gobgp.PathAttributeInterface) bool {
		t := a.GetType()
		return t == gobgp.BGP_ATTR_TYPE_MP_REACH_NLRI || t == gobgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI
	})
}

// carriedAs is the type that GoBGP takes ORIGINATOR_ID and CLUSTER_LIST for. It
// strikes both out towards every neighbor that it does not reflect to itself,
// and it can begin or end to do that only with a new session. This type it
// never looks into and leaves alone, unless the export policy strikes it out
// together with the other extended communities, as it does towards another AS.
const carriedAs = gobgp.BGP_ATTR_TYPE_IP6_EXTENDED_COMMUNITIES

// carried is attributes, encoded one after the other, that GoBGP takes for one.
type carried struct {
	gobgp.PathAttribute
	value []byte

	originatorID netip.Addr
	clusterList  []netip.Addr
}

func (c *carried) originator(id netip.Addr) {
	c.originatorID = id
	c.put(gobgp.BGP_ATTR_TYPE_ORIGINATOR_ID, id.AsSlice())
}

func (c *carried) cluster(list []netip.Addr) {
	c.clusterList = list
	var b []byte
	for _, id := range list {
		b = append(b, id.AsSlice()...)
	}
	c.put(gobgp.BGP_ATTR_TYPE_CLUSTER_LIST, b)
}

// put encodes an optional non-transitive attribute (RFC 4271 section 4.3).
func (c *carried) put(t gobgp.BGPAttrType, value []byte) {
	flags := gobgp.BGP_ATTR_FLAG_OPTIONAL
	if len(value) > 255 {
		c.value = append(c.value, byte(flags|gobgp.BGP_ATTR_FLAG_EXTENDED_LENGTH), byte(t))
		c.value = binary.BigEndian.AppendUint16(c.value, uint16(len(value)))
	} else {
		c.value = append(c.value, byte(flags), byte(t), byte(len(value)))
	}
	c.value = append(c.value, value...)
}

// raw takes an attribute of the very type.
func (c *carried) raw(attr gobgp.PathAttributeInterface) {
	if b, err := attr.Serialize(); err == nil {
		c.value = append(c.value, b...)
	}
}

// DecodeFromBytes is never called: GoBGP decodes what it receives by itself.
func (c *carried) DecodeFromBytes([]byte, ...*gobgp.MarshallingOption) error {
	return fmt.Errorf("attributes of passed-on paths are not decoded")
}

// Serialize returns the attributes as they go out.
func (c *carried) Serialize(...*gobgp.MarshallingOption) ([]byte, error) { return c.value, nil }

// Len returns the length of what Serialize returns.
func (c *carried) Len(...*gobgp.MarshallingOption) int { return len(c.value) }

// String is for GoBGP's own log.
func (c *carried) String() string {
	return fmt.Sprintf("{Originator: %s ClusterList: %v}", c.originatorID, c.clusterList)
}

// MarshalJSON is for GoBGP's own log.
func (c *carried) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", c.String()), nil }

// Flat is for GoBGP's own log.
func (c *carried) Flat() map[string]string { return map[string]string{} }
