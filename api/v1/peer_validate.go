package v1

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"caracal.dev/caracal"
)

// Validate implements [Object].
func (o *BGPPeer) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	s := o.Spec
	if s.Node != "" {
		c.name("spec.node", s.Node)
		if s.NodeSelector != "" {
			c.failf("spec.nodeSelector", "must not be set together with spec.node")
		}
	}
	c.selector("spec.nodeSelector", s.NodeSelector)
	c.peerPlace(s)
	c.peerNumbers(s)
	c.peerSession(s)
	c.timers(s.HoldTime, s.KeepaliveTime)
	c.password("spec.password", s.Password)
	if b := s.BFD; b != nil {
		c.bfd(b.TransmitInterval, b.ReceiveInterval, b.Multiplier)
	}
	c.peerRestart(s.GracefulRestart)
	c.oneOf("spec.nextHopMode", s.NextHopMode, string(caracal.NextHopAuto), string(caracal.NextHopSelf), string(caracal.NextHopKeep))
	if a := s.AddPath; a != nil && (a.SendMax < 0 || a.SendMax > 255) {
		c.failf("spec.addPath.sendMax", "%d must be from 0 to 255", a.SendMax)
	}
	c.peerLimits(s)
	c.peerAccepts(s)
	return c.errs
}

// peerPlace checks where the neighbor is.
func (c *checker) peerPlace(s BGPPeerSpec) {
	given := 0
	for _, v := range []string{s.PeerIP, s.PeerSelector, s.Interface} {
		if v != "" {
			given++
		}
	}
	switch {
	case given == 0:
		c.failf("spec.peerIP", "is missing; it, peerSelector or interface must say where the neighbor is")
	case given > 1:
		c.failf("spec.peerIP", "only one of peerIP, peerSelector and interface must say where the neighbor is")
	}
	c.selector("spec.peerSelector", s.PeerSelector)
	if s.Interface != "" {
		c.interfaceName("spec.interface", s.Interface)
	}
	switch {
	case s.PeerSelector != "":
		c.oneOf("spec.reversePeering", s.ReversePeering, ReverseAuto, ReverseManual)
	case s.ReversePeering != "":
		c.failf("spec.reversePeering", "is for a peerSelector only; remove it")
	}
	if s.PeerIP == "" || s.PeerIP == DefaultGateway {
		return
	}
	ap, err := parsePeerIP(s.PeerIP)
	switch {
	case err == nil && ap.Addr().IsLinkLocalUnicast():
		c.failf("spec.peerIP", "%s is a link-local address; name the device with interface, and the neighbor is found on it", ap.Addr().WithZone(""))
	case err != nil || ap.Addr().Zone() != "":
		c.failf("spec.peerIP", "%q is not an address with an optional port, such as 192.0.2.1, 192.0.2.1:1179 or [2001:db8::1]:1179, nor the word %s", clip(s.PeerIP), DefaultGateway)
	case ap.Addr().Is4In6():
		c.failf("spec.peerIP", "%s is an IPv4 address in IPv6; write %s", ap.Addr(), ap.Addr().Unmap())
	default:
		c.unicast("spec.peerIP", ap.Addr())
	}
}

// peerNumbers checks the AS numbers.
func (c *checker) peerNumbers(s BGPPeerSpec) {
	remote, known := s.ASNumber.Number()
	if known {
		c.asn("spec.asNumber", &remote)
	}
	c.asn("spec.localASNumber", s.LocalASNumber)
	c.label("spec.asNumberFromLabel", s.ASNumberFromLabel)
	c.label("spec.localASNumberFromLabel", s.LocalASNumberFromLabel)
	if n := s.NumAllowedLocalASNumbers; n != nil && (*n < 0 || *n > 10) {
		c.failf("spec.numAllowedLocalASNumbers", "%d must be from 0 to 10", *n)
	}
	hasLocal := s.LocalASNumber != nil || s.LocalASNumberFromLabel != ""
	switch {
	case s.PeerSelector != "":
		for _, f := range []struct {
			name string
			set  bool
		}{{"asNumber", s.ASNumber != ""}, {"asNumberFromLabel", s.ASNumberFromLabel != ""}, {"localASNumber", s.LocalASNumber != nil}, {"localASNumberFromLabel", s.LocalASNumberFromLabel != ""}} {
			if f.set {
				c.failf("spec."+f.name, "must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs")
			}
		}
		return
	case s.ASNumber == "" && s.ASNumberFromLabel == "":
		c.failf("spec.asNumber", "is missing; it must be the AS number of the neighbor, internal or external")
	case s.ASNumber != "" && s.ASNumberFromLabel != "":
		c.failf("spec.asNumberFromLabel", "must not be set together with spec.asNumber")
	}
	if s.LocalASNumber != nil && s.LocalASNumberFromLabel != "" {
		c.failf("spec.localASNumberFromLabel", "must not be set together with spec.localASNumber")
	}
	switch {
	case hasLocal && s.ASNumber == ASInternal:
		c.failf("spec.localASNumber", "is for a neighbor in another AS; an internal one sees the node's own")
	case known && s.LocalASNumber != nil && *s.LocalASNumber == remote:
		c.failf("spec.localASNumber", "is %d as the neighbor's; a local AS number is for a neighbor in another AS", remote)
	}
}

func (c *checker) label(path, key string) {
	if key == "" {
		return
	}
	for _, msg := range validation.IsQualifiedName(key) {
		c.failf(path, "%q is not a label: %s", clip(key), msg)
	}
}

// peerSession checks how packets travel.
func (c *checker) peerSession(s BGPPeerSpec) {
	ap, _ := parsePeerIP(s.PeerIP)
	if s.SourceAddress != UseNodeIP {
		a, err := netip.ParseAddr(s.SourceAddress)
		switch {
		case err != nil || a.Zone() != "":
			c.failf("spec.sourceAddress", "%q must be %s or an address of the node", clip(s.SourceAddress), UseNodeIP)
		case !c.unicast("spec.sourceAddress", a):
		case s.PeerSelector != "" || s.Interface != "" || s.PeerIP == DefaultGateway:
			c.failf("spec.sourceAddress", "must be %s where the neighbor is not given by its address", UseNodeIP)
		case ap.IsValid() && a.Is4() != ap.Addr().Is4():
			c.failf("spec.sourceAddress", "%s and the peerIP %s are not of the same family", a, ap.Addr())
		}
	}
	if s.ReachableBy != "" {
		a, ok := c.addr("spec.reachableBy", s.ReachableBy)
		switch {
		case !ok || !c.unicast("spec.reachableBy", a):
		case !ap.IsValid():
			c.failf("spec.reachableBy", "is for a neighbor that is given by its address; remove it")
		case a.Is4() != ap.Addr().Is4():
			c.failf("spec.reachableBy", "%s and the peerIP %s are not of the same family", a, ap.Addr())
		case a == ap.Addr():
			c.failf("spec.reachableBy", "%s is the neighbor itself; it must be the gateway to it", a)
		}
	}
	if s.EBGPMultihop && s.Interface != "" {
		c.failf("spec.ebgpMultihop", "a neighbor on an interface is one hop away; remove it")
	}
	if s.Passive && s.PeerSelector != "" {
		c.failf("spec.passive", "must not be set together with spec.peerSelector: of two nodes one dials by itself")
	}
	c.ttlSecurity(s)
}

// ttlSecurity is the number of hops: packets are sent with a TTL of 255, and
// those received with less than 256 - hops are dropped (RFC 5082 section 3).
func (c *checker) ttlSecurity(s BGPPeerSpec) {
	const path = "spec.ttlSecurity"
	switch t := s.TTLSecurity; {
	case t == nil:
	case *t < 0 || *t > 254:
		c.failf(path, "%d must be from 1 (a neighbor on the same network) to 254, or 0 for off", *t)
	case *t == 1 && s.EBGPMultihop:
		c.failf(path, "1 lets in neighbors on the same network only, which ebgpMultihop is not for; remove one")
	case *t > 1 && s.Interface != "":
		c.failf(path, "a neighbor on an interface is one hop away; write 1")
	}
}

func (c *checker) peerRestart(g *PeerGracefulRestart) {
	if g == nil {
		return
	}
	if g.RestartTime != "" {
		c.duration("spec.gracefulRestart.restartTime", g.RestartTime, time.Second, maxRestartTime)
	}
	if g.LongLivedStaleTime == "" {
		return
	}
	if _, ok := c.duration("spec.gracefulRestart.longLivedStaleTime", g.LongLivedStaleTime, 0, maxStaleTime); ok && g.Enabled != nil && !*g.Enabled {
		c.failf("spec.gracefulRestart.longLivedStaleTime", "needs graceful restart, which enabled: false turns off")
	}
}

func (c *checker) peerLimits(s BGPPeerSpec) {
	if *s.MaxPrefixes == 0 {
		c.failf("spec.maxPrefixes", "must be 1 or more; a neighbor without a limit could fill the memory")
	}
	if w := *s.MaxPrefixesWarning; w < 1 || w > 100 {
		c.failf("spec.maxPrefixesWarning", "%d must be a percentage from 1 to 100", w)
	}
	c.duration("spec.maxPrefixesRetry", s.MaxPrefixesRetry, 0, 24*time.Hour)
}

func (c *checker) peerAccepts(s BGPPeerSpec) {
	for i, f := range s.Filters {
		path := fmt.Sprintf("spec.filters[%d]", i)
		c.name(path, f)
		if slices.Contains(s.Filters[:i], f) {
			c.failf(path, "%s is listed twice", clip(f))
		}
	}
	for i, r := range s.AcceptRanges {
		c.prefix(fmt.Sprintf("spec.acceptRanges[%d]", i), r)
	}
}
