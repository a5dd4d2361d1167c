package bgp

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// Receive does with the body of an UPDATE what GoBGP does with it, up to the
// callback, and then what we do: parse, validate, split into paths, convert. ok
// is false if the session would end. old is a neighbor without four-octet AS
// numbers.
func Receive(n Neighbor, asn uint32, old bool, body []byte) (events []Event, ok bool) {
	families := map[gobgp.Family]gobgp.BGPAddPathMode{}
	for _, f := range n.families() {
		families[f] = gobgp.BGP_ADD_PATH_NONE
	}
	header := &gobgp.BGPHeader{Type: gobgp.BGP_MSG_UPDATE, Len: uint16(gobgp.BGP_HEADER_LENGTH + len(body))}
	m, err := gobgp.ParseBGPBody(header, body, &gobgp.MarshallingOption{AddPath: families, Use2ByteAS: old})
	if m == nil {
		return nil, false
	}
	u := m.Body.(*gobgp.BGPUpdate)
	if err == nil {
		_, err = gobgp.ValidateUpdateMsg(u, families, n.ASN != asn, false, false)
	}
	handling := gobgp.ERROR_HANDLING_NONE
	if err != nil {
		handling = err.(*gobgp.MessageError).ErrorHandling
	}
	if handling > gobgp.ERROR_HANDLING_TREAT_AS_WITHDRAW {
		return nil, false
	}
	if end, family := u.IsEndOfRib(); end {
		return []Event{{EndOfRIB: &EndOfRIB{Neighbor: n.Name, IPv6: family == gobgp.RF_IPv6_UC}}}, true
	}
	g := guard{neighbor: n, external: n.ASN != asn, report: func(netip.Prefix, string) {}}
	return fromPaths(g, split(u, handling == gobgp.ERROR_HANDLING_TREAT_AS_WITHDRAW), time.Unix(1, 0)), true
}

// split makes paths as GoBGP does.
func split(u *gobgp.BGPUpdate, withdraw bool) []*apiutil.Path {
	var paths []*apiutil.Path
	var shared []gobgp.PathAttributeInterface
	add := func(list []gobgp.PathNLRI, gone bool, attrs func(gobgp.PathNLRI) []gobgp.PathAttributeInterface) {
		for _, n := range list {
			p := &apiutil.Path{Nlri: n.NLRI, RemoteID: n.ID, Withdrawal: gone || withdraw}
			if !p.Withdrawal {
				p.Attrs = attrs(n)
			}
			paths = append(paths, p)
		}
	}
	for _, a := range u.PathAttributes {
		switch a.(type) {
		case *gobgp.PathAttributeMpReachNLRI, *gobgp.PathAttributeMpUnreachNLRI:
		default:
			shared = append(shared, a)
		}
	}
	add(u.NLRI, false, func(gobgp.PathNLRI) []gobgp.PathAttributeInterface { return shared })
	for _, a := range u.PathAttributes {
		switch v := a.(type) {
		case *gobgp.PathAttributeMpReachNLRI:
			add(v.Value, false, func(n gobgp.PathNLRI) []gobgp.PathAttributeInterface {
				one, _ := gobgp.NewPathAttributeMpReachNLRI(gobgp.NewFamily(v.AFI, v.SAFI), []gobgp.PathNLRI{n}, v.Nexthop)
				return append(shared[:len(shared):len(shared)], one)
			})
		case *gobgp.PathAttributeMpUnreachNLRI:
			add(v.Value, true, nil)
		}
	}
	add(u.WithdrawnRoutes, true, nil)
	return paths
}

// Bodies cuts messages as sender encodes them into the bodies of UPDATEs.
func Bodies(messages [][]byte) (bodies [][]byte) {
	for _, m := range messages {
		bodies = append(bodies, m[gobgp.BGP_HEADER_LENGTH:binary.BigEndian.Uint16(m[16:])])
	}
	return bodies
}
