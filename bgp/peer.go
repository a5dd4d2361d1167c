package bgp

import (
	"net/netip"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// This file makes of a Neighbor what GoBGP is told of it.

const (
	// allowAnyLoop keeps GoBGP from dropping paths with our AS number in the
	// AS_PATH unseen. A drop would also leave an older path of the same prefix
	// standing; the consumer judges loops instead.
	allowAnyLoop = 255
	multihopTTL  = 255
	// maxHops is one more than the most hops that a TTL of 8 bits can have taken.
	maxHops = 256
	// connectTime is announced beside the restart time. GoBGP first connects 1.5 to
	// 2 s after its start, and what an operator counts as the time of a restart ends
	// before that.
	connectTime    = 1 * time.Second
	maxRestartTime = 1<<12 - 1 // RFC 4724 section 3
	maxLongLived   = 1<<24 - 1 // RFC 9494 section 3.1
	// idleAfterReset is how long a session that we reset stays down.
	idleAfterReset = 1 * time.Second
)

// peerOptions is what a neighbor is told beside its configuration.
type peerOptions struct {
	restarting bool // set the R and F bits, and defer announcements
	started    bool // restarting since this process has just started
	deferral   time.Duration
	down       bool
	dial       bool // though it is the neighbor that should (see Speaker.dial)
	// limit makes GoBGP itself hold to the prefix limit. It then counts the
	// whole table for each UPDATE, so it is set only to have it act on a limit
	// that is passed already (see tracker.checkLimit).
	limit bool
}

// toPeer is the configuration of a neighbor. AllowLocalAS, NextHop,
// ExtendedNextHop, Filters and the roles are not in it: the consumer of the
// events judges the first, the export policy does the others (GoBGP announces
// the capability of RFC 8950 to everyone it carries IPv4 with).
func toPeer(n Neighbor, o peerOptions) *api.Peer {
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: n.Addr.String(),
			PeerAsn:         n.ASN,
			LocalAsn:        n.LocalASN,
			AuthPassword:    n.Password.Secret.Reveal(),
			AllowOwnAsn:     allowAnyLoop,
			AdminDown:       o.down,
		},
		Transport: toTransport(n, o),
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry:           seconds(o.connectRetry(n)),
			HoldTime:               seconds(n.HoldTime),
			KeepaliveInterval:      seconds(n.KeepaliveTime),
			IdleHoldTimeAfterReset: seconds(idleAfterReset),
		}},
		GracefulRestart: &api.GracefulRestart{
			Enabled:          n.GracefulRestart,
			RestartTime:      uint32(min(seconds(n.RestartTime+connectTime), maxRestartTime)),
			DeferralTime:     uint32(seconds(o.deferral)),
			LocalRestarting:  n.GracefulRestart && o.restarting,
			LonglivedEnabled: n.longLived(),
		},
	}
	switch {
	case n.TTLSecurity > 0: // sends with 255 by itself (RFC 5082 section 3)
		p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: maxHops - uint32(n.TTLSecurity)}
	case n.Multihop:
		p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: multihopTTL}
	}
	for _, f := range n.families() {
		p.AfiSafis = append(p.AfiSafis, toFamily(n, f, o))
	}
	return p
}

func toTransport(n Neighbor, o peerOptions) *api.Transport {
	t := &api.Transport{RemotePort: uint32(n.Port), PassiveMode: n.Passive && !o.dial}
	if n.Local.IsValid() {
		t.LocalAddress = n.Local.String()
	}
	switch {
	case !n.linkLocal():
		t.BindInterface = n.Interface
	default:
		// GoBGP takes the link-local address of the device if it is told none. It
		// cannot listen on one, so such a session comes up only if we dial.
		t.PassiveMode = false
		if n.Local.Is6() {
			t.LocalAddress = n.Local.WithZone(n.device()).String()
		}
	}
	return t
}

func toFamily(n Neighbor, f gobgp.Family, o peerOptions) *api.AfiSafi {
	limit := &api.PrefixLimit{}
	if o.limit {
		limit.MaxPrefixes = n.MaxPrefixes
	}
	return &api.AfiSafi{
		Config:            &api.AfiSafiConfig{Family: apiutil.ToApiFamily(f.Afi(), f.Safi()), Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: n.GracefulRestart}},
		LongLivedGracefulRestart: &api.LongLivedGracefulRestart{Config: &api.LongLivedGracefulRestartConfig{
			Enabled:     n.longLived(),
			RestartTime: uint32(min(seconds(n.LongLived), maxLongLived)),
		}},
		AddPaths:     &api.AddPaths{Config: &api.AddPathsConfig{Receive: n.AddPathReceive, SendMax: uint32(n.AddPathSend)}},
		PrefixLimits: limit,
	}
}

// longLived reports whether long-lived graceful restart is offered, which RFC
// 9494 section 4.1 allows only beside graceful restart.
func (n Neighbor) longLived() bool { return n.GracefulRestart && n.LongLived > 0 }

// linkLocal reports whether the session is between link-local addresses.
func (n Neighbor) linkLocal() bool { return n.Addr.IsLinkLocalUnicast() && n.Addr.Is6() }

// device is the one that link-local addresses of the session belong to; empty
// if the configuration does not say.
func (n Neighbor) device() string {
	if zone := n.Addr.Zone(); zone != "" {
		return zone
	}
	return n.Interface
}

// external reports whether a neighbor is in another AS than ours is towards it.
func (n Neighbor) external(asn uint32) bool {
	if n.LocalASN != 0 {
		asn = n.LocalASN
	}
	return n.ASN != asn
}

// of is n with the AS number that the neighbor has.
func (n Neighbor) of(asn uint32) Neighbor {
	n.ASN = asn
	return n
}

// seconds rounds up, so that a time below a second does not become GoBGP's
// default.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }

func (n Neighbor) families() []gobgp.Family {
	var list []gobgp.Family
	if n.IPv4 {
		list = append(list, gobgp.RF_IPv4_UC)
	}
	if n.IPv6 {
		list = append(list, gobgp.RF_IPv6_UC)
	}
	return list
}

// carries reports whether the session carries the prefix's family.
func (n Neighbor) carries(p netip.Prefix) bool {
	if p.Addr().Is6() {
		return n.IPv6
	}
	return n.IPv4
}
