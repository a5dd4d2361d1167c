package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"caracal.dev/caracal"
)

// This file looks again at what GoBGP let through. It judges once for each set
// of attributes, so that what it costs does not grow with the prefixes.
// docs/RFC7606.md lists what GoBGP and it leave open.

// guard is the second look at the UPDATEs of one neighbor.
type guard struct {
	neighbor Neighbor
	// external says that the neighbor is in another AS than this node.
	external bool
	// device is where link-local next hops are.
	device string
	// report is told the first prefix of each set of attributes that is treated
	// as withdrawn, and why.
	report func(nlri netip.Prefix, why string)
}

// carries reports whether the session carries the prefix's family. GoBGP does
// not ask if it found an attribute to discard before.
func (g *guard) carries(p netip.Prefix) bool { return g.neighbor.carries(p) }

// attrs converts the attributes that a prefix came with; nil if it is to be
// treated as withdrawn for them.
func (g *guard) attrs(list []gobgp.PathAttributeInterface, nlri netip.Prefix) *caracal.Attrs {
	list = firstOfEach(list)
	a := fromAttrs(list)
	if why := g.malformed(list, a, nlri.Addr().Is6()); why != "" {
		g.report(nlri, why)
		return nil
	}
	if g.external {
		ofAnotherAS(a)
	}
	if a.NextHop.Is6() && a.NextHop.IsLinkLocalUnicast() {
		a.NextHop = a.NextHop.WithZone(g.device)
	}
	a.Wire = withoutNLRI(list) // GoBGP's Adj-RIB-In keeps it anyway
	return a
}

// firstOfEach leaves out what comes again of an attribute (RFC 7606 section
// 3 (g)). GoBGP does so itself unless it discarded another one.
func firstOfEach(list []gobgp.PathAttributeInterface) []gobgp.PathAttributeInterface {
	again := func(i int) bool {
		return slices.ContainsFunc(list[:i], func(a gobgp.PathAttributeInterface) bool { return a.GetType() == list[i].GetType() })
	}
	for i := range list {
		if !again(i) {
			continue
		}
		first := slices.Clone(list[:i])
		for j := i; j < len(list); j++ {
			if !again(j) {
				first = append(first, list[j])
			}
		}
		return first
	}
	return list
}

// malformed says why the attributes of an UPDATE make its prefixes withdrawn
// (RFC 7606 section 2, treat-as-withdraw); empty if they do not. a is what was
// made of them, and v6 the family of the prefix.
func (g *guard) malformed(list []gobgp.PathAttributeInterface, a *caracal.Attrs, v6 bool) string {
	hasASPath := false
	for _, attr := range list {
		switch v := attr.(type) {
		case *gobgp.PathAttributeAsPath:
			hasASPath = true
			if why := g.badASPath(v); why != "" {
				return why
			}
		case *gobgp.PathAttributeNextHop:
			if !v.Value.Is4() { // RFC 7606 section 7.3
				return "NEXT_HOP of 16 octets"
			}
		case *gobgp.PathAttributeUnknown:
			if v.GetFlags()&gobgp.BGP_ATTR_FLAG_OPTIONAL == 0 { // RFC 4271 section 6.3
				return fmt.Sprintf("unknown well-known attribute %d", v.GetType())
			}
		default:
			if empty(attr) { // RFC 7606 sections 7.8, 7.10, 7.14, 7.15; RFC 8092 section 6
				return fmt.Sprintf("%s without a value", attr.GetType())
			}
		}
	}
	switch {
	case !hasASPath: // RFC 7606 section 3 (d)
		return "no AS_PATH"
	case a.Origin > caracal.OriginIncomplete: // RFC 7606 section 7.1
		return fmt.Sprintf("ORIGIN %d", a.Origin)
	}
	return badNextHop(a.NextHop, v6)
}

// badASPath judges an AS_PATH by RFC 4271 section 6.3, RFC 7606 section 7.2
// and RFC 7607.
func (g *guard) badASPath(path *gobgp.PathAttributeAsPath) string {
	for _, segment := range path.Value {
		for _, as := range segment.GetAS() {
			if as == 0 {
				return "AS 0 in AS_PATH"
			}
		}
	}
	if !g.external {
		return ""
	}
	if len(path.Value) == 0 {
		return "empty AS_PATH from another AS"
	}
	first := path.Value[0].GetAS()
	if path.Value[0].GetType() != gobgp.BGP_ASPATH_ATTR_TYPE_SEQ || len(first) == 0 || first[0] != g.neighbor.ASN {
		return fmt.Sprintf("AS_PATH %q does not begin with the neighbor's AS %d", gobgp.AsPathString(path), g.neighbor.ASN)
	}
	return ""
}

// empty reports whether an attribute that must carry a value has none.
func empty(attr gobgp.PathAttributeInterface) bool {
	switch v := attr.(type) {
	case *gobgp.PathAttributeCommunities:
		return len(v.Value) == 0
	case *gobgp.PathAttributeExtendedCommunities:
		return len(v.Value) == 0
	case *gobgp.PathAttributeIP6ExtendedCommunities:
		return len(v.Value) == 0
	case *gobgp.PathAttributeLargeCommunities:
		return len(v.Values) == 0
	case *gobgp.PathAttributeClusterList:
		return len(v.Value) == 0
	}
	return false
}

// badNextHop wants an address that a packet can be sent to (RFC 4271 section
// 6.3). An IPv6 next hop is good for an IPv4 prefix (RFC 8950), not the other
// way round (RFC 2545).
func badNextHop(a netip.Addr, v6 bool) string {
	switch {
	case !a.IsValid():
		return "no next hop"
	case v6 && a.Unmap().Is4():
		return fmt.Sprintf("IPv4 next hop %s of an IPv6 prefix", a)
	case a.IsUnspecified(), a.IsMulticast(),
		a.Is6() && a.IsLoopback(), a.Is4() && a.As4()[0] >= 240, a.Is4() && a.As4()[0] == 0:
		return fmt.Sprintf("next hop %s is no host's address", a)
	}
	return ""
}

// ofAnotherAS takes out what only means something within an AS, and is to be
// discarded otherwise (RFC 7606 sections 7.5, 7.9 and 7.10).
func ofAnotherAS(a *caracal.Attrs) {
	a.LocalPref = defaultLocalPref
	a.OriginatorID, a.ClusterList = netip.Addr{}, nil
}

// treatedAsWithdraw is what GoBGP logs of an UPDATE that it treats so, and
// lostNLRI the errors after which it does so without having read the prefixes.
const treatedAsWithdraw = "the received Update message was treated as withdraw"

var lostNLRI = []string{
	"path attribute length exceeds path attributes boundary",
	"attribute length is short",
	"attribute value length is short",
	"attribute header length is short",
	// Flags of these are judged before their prefixes are read.
	gobgp.BGP_ATTR_TYPE_MP_REACH_NLRI.String(),
	gobgp.BGP_ATTR_TYPE_MP_UNREACH_NLRI.String(),
}

// readWhole are the errors that are found once an UPDATE was read to its end.
var readWhole = []string{
	"invalid origin attribute",
	"invalid nexthop address",
	"segment type confederation",
	"well-known mandatory attributes are not present",
}

// faults looks for the line by which GoBGP tells that it took an UPDATE for
// withdrawals that it never read. It stops reading where an attribute goes
// beyond its bounds, and the routes to be withdrawn would stay.
type faults struct {
	lost func(neighbor netip.Addr, why string)
	// unsure is told of those of which the line does not say.
	unsure func(neighbor netip.Addr, why string, logged time.Time)
	// attempted is told of lines that say why a session does not come up; down
	// says whether to look for them.
	attempted func(neighbor netip.Addr, a attempt)
	down      func(neighbor netip.Addr) bool
}

func (f faults) see(attrs []slog.Attr, r slog.Record) {
	if r.Message != treatedAsWithdraw || f.lost == nil {
		return
	}
	var addr netip.Addr
	var why string
	add := func(a slog.Attr) bool {
		switch a.Key {
		case "Key":
			addr, _ = netip.ParseAddr(a.Value.String())
		case "Error":
			why = a.Value.String()
		}
		return true
	}
	for _, a := range attrs {
		add(a)
	}
	r.Attrs(add)
	says := func(words string) bool { return strings.Contains(why, words) }
	switch {
	case slices.ContainsFunc(lostNLRI, says):
		f.lost(addr, why)
	case !slices.ContainsFunc(readWhole, says):
		f.unsure(addr, why, r.Time)
	}
}

// guardOf returns the guard of a neighbor with a session. The caller holds the
// lock.
func (t *tracker) guardOf(nb *tracked) guard {
	n := nb.conf
	external := n.external(t.asn)
	n.ASN = nb.open.asn // which the configuration may leave open
	return guard{
		neighbor: n,
		external: external,
		device:   nb.device,
		report: func(nlri netip.Prefix, why string) {
			if !t.refusals.again(n.Name, time.Now()) {
				t.log.Warn("UPDATE treated as withdrawal", "neighbor", n.Name, "nlri", nlri, "reason", why)
			}
		},
	}
}

// lostTrack ends the session of a neighbor that was to withdraw routes nobody
// knows: where the prefixes cannot be told, RFC 7606 section 3 (j) resets.
func (t *tracker) lostTrack(addr netip.Addr, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil || nb.state != Established || nb.fault != "" {
		return
	}
	nb.fault = "neighbor sent a malformed UPDATE: " + why
	e, name := t.engine, nb.conf.Name
	go func() { // GoBGP holds the neighbor meanwhile
		if err := e.reset(context.Background(), addr); err != nil {
			t.log.Error("session with a malformed UPDATE cannot be ended; restart the neighbor", "neighbor", name, "err", err)
		}
	}()
}
