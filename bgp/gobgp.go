package bgp

import (
	"net/netip"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"caracal.dev/caracal"
)

// This file converts between our values and GoBGP's, both ways, and does
// nothing else.

const (
	// defaultLocalPref is that of a path without LOCAL_PREF.
	defaultLocalPref = 100
)

func toGlobal(g Global) *api.Global {
	return &api.Global{
		Asn:             g.ASN,
		RouterId:        g.RouterID.String(),
		ListenPort:      int32(g.Port),
		ListenAddresses: strings.Split(g.ListenAddrs, ","),
		Families:        []uint32{0, 1}, // IPv4 and IPv6 unicast in GoBGP's own numbering
	}
}

func familyOf(v6 bool) gobgp.Family {
	if v6 {
		return gobgp.RF_IPv6_UC
	}
	return gobgp.RF_IPv4_UC
}

// fromPaths converts the paths of one UPDATE. GoBGP hands out one slice of
// attributes per path, but their elements are those of the UPDATE, so that
// comparing pointers is enough to convert them only once.
func fromPaths(g guard, paths []*apiutil.Path, at time.Time) []Event {
	var events []Event
	var u *Update
	var last []gobgp.PathAttributeInterface
	var attrs *caracal.Attrs // of last; nil if they are malformed
	room := len(paths)
	next := func() *Update {
		u = &Update{Neighbor: g.neighbor.Name, Received: at}
		events = append(events, Event{Update: u})
		return u
	}
	for i, p := range paths {
		nlri, ok := p.Nlri.(*gobgp.IPAddrPrefix)
		if !ok || !g.carries(nlri.Prefix) {
			continue
		}
		n := NLRI{Prefix: nlri.Prefix, ID: p.RemoteID}
		if !p.Withdrawal && (last == nil || !sameAttrs(last, p.Attrs)) {
			attrs, last = g.attrs(p.Attrs, n.Prefix), p.Attrs
		}
		if p.Withdrawal || attrs == nil {
			if u == nil || u.Attrs != nil {
				next().Withdrawn = make([]NLRI, 0, room-i)
			}
			u.Withdrawn = append(u.Withdrawn, n)
			continue
		}
		if u == nil || u.Attrs != attrs {
			next().Announced = make([]NLRI, 0, room-i)
			u.Attrs = attrs
		}
		u.Announced = append(u.Announced, n)
	}
	return withdrawnFirst(events)
}

// withdrawnFirst keeps the meaning of an UPDATE that names a prefix both as
// withdrawn and as reachable: it is reachable (RFC 4271 section 4.3).
func withdrawnFirst(events []Event) []Event {
	if len(events) < 2 {
		return events
	}
	ordered := make([]Event, 0, len(events))
	for _, withdrawn := range []bool{true, false} {
		for _, e := range events {
			if (e.Update.Attrs == nil) == withdrawn {
				ordered = append(ordered, e)
			}
		}
	}
	return ordered
}

func sameAttrs(a, b []gobgp.PathAttributeInterface) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		// GoBGP makes one MP_REACH_NLRI for each prefix.
		x, ok1 := a[i].(*gobgp.PathAttributeMpReachNLRI)
		y, ok2 := b[i].(*gobgp.PathAttributeMpReachNLRI)
		if !ok1 || !ok2 || x.Nexthop != y.Nexthop || x.LinkLocalNexthop != y.LinkLocalNexthop {
			return false
		}
	}
	return true
}

func fromAttrs(list []gobgp.PathAttributeInterface) *caracal.Attrs {
	a := &caracal.Attrs{LocalPref: defaultLocalPref, Origin: caracal.OriginIncomplete}
	for _, attr := range list {
		switch v := attr.(type) {
		case *gobgp.PathAttributeOrigin:
			a.Origin = caracal.Origin(v.Value)
		case *gobgp.PathAttributeNextHop:
			a.NextHop = v.Value
		case *gobgp.PathAttributeMpReachNLRI:
			a.NextHop = v.Nexthop
			// On an unnumbered link a router has no global address: it leaves it
			// empty, or says the link-local one twice (RFC 2545 section 3).
			if ll := v.LinkLocalNexthop; ll.IsLinkLocalUnicast() && (!v.Nexthop.IsValid() || v.Nexthop.IsUnspecified()) {
				a.NextHop = ll
			}
		case *gobgp.PathAttributeAsPath:
			fromASPath(a, v)
		case *gobgp.PathAttributeLocalPref:
			a.LocalPref = v.Value
		case *gobgp.PathAttributeMultiExitDisc:
			a.MED, a.HasMED = v.Value, true
		case *gobgp.PathAttributeOriginatorId:
			a.OriginatorID = v.Value
		case *gobgp.PathAttributeClusterList:
			a.ClusterList = v.Value
		case *carried:
			a.OriginatorID, a.ClusterList = v.originatorID, v.clusterList
		case *gobgp.PathAttributeCommunities:
			a.Communities = v.Value
		case *gobgp.PathAttributeLargeCommunities:
			for _, c := range v.Values {
				a.LargeCommunities = append(a.LargeCommunities, [3]uint32{c.ASN, c.LocalData1, c.LocalData2})
			}
		}
	}
	return a
}

// fromASPath flattens the path, members of sets included: a loop may hide there.
func fromASPath(a *caracal.Attrs, path *gobgp.PathAttributeAsPath) {
	for _, segment := range path.Value {
		as := segment.GetAS()
		a.ASPath = append(a.ASPath, as...)
		switch segment.GetType() {
		case gobgp.BGP_ASPATH_ATTR_TYPE_SEQ:
			a.ASPathLen += len(as)
		case gobgp.BGP_ASPATH_ATTR_TYPE_SET:
			a.ASPathLen++
		}
	}
	a.ASPathText = strings.ReplaceAll(gobgp.AsPathString(path), ",", " ")
}

// change is a neighbor's change of state as GoBGP tells it.
type change struct {
	addr   netip.Addr
	state  State
	lost   bool // the connection ended, and GoBGP knows of no other cause
	failed bool // BFD or a link says so, and paths are to be kept
	reason string
	open   open // when Established
	local,
	remote netip.AddrPort
	device string // that has local; IPv6 only
	at     time.Time
}

func fromPeerEvent(e *apiutil.WatchEventMessage_PeerEvent, at time.Time) change {
	st := e.Peer.State
	c := change{
		addr:  st.NeighborAddress,
		state: fromState(st.SessionState),
		at:    at,
	}
	if c.state == Established {
		c.open = fromCapabilities(st.RemoteCap)
		c.open.ours = fromCapabilities(st.LocalCap).caps
		c.open.routerID, c.open.asn = st.RouterID, st.PeerASN
		c.local = netip.AddrPortFrom(e.Peer.Transport.LocalAddress, uint16(e.Peer.Transport.LocalPort))
		c.remote = netip.AddrPortFrom(st.NeighborAddress, uint16(e.Peer.Transport.RemotePort))
		return c
	}
	switch st.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART,
		api.PeerState_DISCONNECT_REASON_READ_FAILED,
		api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		c.lost, c.reason = true, reasonLost
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		c.reason = reasonHoldTime
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_SENT:
		c.reason = "we sent " + notification(st.DisconnectMessage)
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED:
		c.reason = "neighbor sent " + notification(st.DisconnectMessage)
	case api.PeerState_DISCONNECT_REASON_BAD_PEER_AS:
		c.reason = reasonBadAS
	case api.PeerState_DISCONNECT_REASON_INVALID_MSG:
		c.reason = reasonInvalid
	case api.PeerState_DISCONNECT_REASON_ADMIN_DOWN:
		c.reason = "disabled"
	}
	return c
}

func fromState(s gobgp.FSMState) State {
	switch s {
	case gobgp.BGP_FSM_CONNECT:
		return Connect
	case gobgp.BGP_FSM_ACTIVE:
		return Active
	case gobgp.BGP_FSM_OPENSENT:
		return OpenSent
	case gobgp.BGP_FSM_OPENCONFIRM:
		return OpenConfirm
	case gobgp.BGP_FSM_ESTABLISHED:
		return Established
	}
	return Idle
}

// counters is what GoBGP alone knows of a session.
type counters struct {
	hold, keepalive time.Duration
	sent, received  Messages
	deferring       bool   // announcements wait for the end of our own restart
	most            uint64 // prefixes received, of the family with more of them
	up, idle        bool   // Established, Idle
	known           bool   // GoBGP has the neighbor
}

func fromPeer(p *api.Peer) (netip.Addr, counters) {
	addr, _ := netip.ParseAddr(p.GetState().GetNeighborAddress())
	m := p.GetState().GetMessages()
	most := uint64(0)
	for _, af := range p.GetAfiSafis() {
		most = max(most, af.GetState().GetReceived())
	}
	return addr, counters{
		known:     true,
		most:      most,
		up:        p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED,
		idle:      p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_IDLE,
		hold:      time.Duration(p.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second,
		keepalive: time.Duration(p.GetTimers().GetState().GetKeepaliveInterval()) * time.Second,
		sent:      fromMessage(m.GetSent()),
		received:  fromMessage(m.GetReceived()),
		deferring: p.GetGracefulRestart().GetLocalRestarting(),
	}
}

func fromMessage(m *api.Message) Messages {
	return Messages{
		Open:         m.GetOpen(),
		Update:       m.GetUpdate(),
		Notification: m.GetNotification(),
		Keepalive:    m.GetKeepalive(),
		Refresh:      m.GetRefresh(),
	}
}
