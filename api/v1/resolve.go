package v1

import (
	"net/netip"
	"reflect"
	"time"

	"caracal.dev/caracal"
)

// NodeBGP is what the BGPConfigurations say for one node.
type NodeBGP struct {
	ASN  uint32
	Port uint16
	// RouterID is the source of the router ID: see [NodeConfig.RouterID].
	RouterID string
	BGP      caracal.BGP
	// BFD has the timers of peers that name none; it is not Enabled.
	BFD caracal.BFD
	// MeshPassword is where the mesh's password is; nil without one. BGP does not
	// have it yet.
	MeshPassword *SecretKeyRef
}

// ResolveBGP returns what is in force for a node, given the BGPConfigurations
// that select it in any order. Two that disagree must not both be given
// ([Disagreement]); if they are, the later one wins.
func ResolveBGP(selected []*BGPConfiguration) NodeBGP {
	merged := &BGPConfiguration{}
	merged.Name = DefaultName
	merged.Default()
	s := &merged.Spec
	for _, c := range selected {
		if c.Name == DefaultName {
			override(s, c.Spec)
		}
	}
	for _, c := range selected {
		if c.Name != DefaultName {
			override(s, c.Spec)
		}
	}
	n := NodeBGP{
		ASN: *s.ASNumber, Port: uint16(*s.ListenPort), RouterID: s.RouterID,
		BGP: caracal.BGP{
			HoldTime:        parsedDuration(s.HoldTime),
			KeepaliveTime:   parsedDuration(s.KeepaliveTime),
			GracefulRestart: *s.GracefulRestart.Enabled,
			RestartTime:     parsedDuration(s.GracefulRestart.RestartTime),
			MeshEnabled:     *s.NodeToNodeMeshEnabled,
		},
	}
	for _, l := range s.ListenAddresses {
		if a, err := netip.ParseAddr(l); err == nil {
			n.BGP.ListenAddrs = append(n.BGP.ListenAddrs, a)
		}
	}
	n.BGP.KeepaliveTime = keepaliveFor(n.BGP.HoldTime, n.BGP.KeepaliveTime)
	n.BGP.Advertisements = s.advertisements()
	n.BGP.Services = s.serviceRanges()
	n.BFD = bfdOf(s.BFD.TransmitInterval, s.BFD.ReceiveInterval, s.BFD.Multiplier, caracal.BFD{})
	if *s.BFD.NodeMeshEnabled {
		n.BGP.MeshBFD = n.BFD
		n.BGP.MeshBFD.Enabled = true
	}
	if s.NodeMeshPassword != nil {
		n.MeshPassword = s.NodeMeshPassword.SecretKeyRef
	}
	return n
}

// bfdOf returns timers of BFD, those of def where they are absent.
func bfdOf(transmit, receive string, multiplier *int, def caracal.BFD) caracal.BFD {
	b := def
	if transmit != "" {
		b.Transmit = parsedDuration(transmit)
	}
	if receive != "" {
		b.Receive = parsedDuration(receive)
	}
	if multiplier != nil {
		b.Multiplier = uint8(*multiplier)
	}
	return b
}

// keepaliveFor is a third of the hold time (RFC 4271 section 4.4) unless a
// shorter one was asked for: one resource may set the one and another the other.
func keepaliveFor(hold, keepalive time.Duration) time.Duration {
	third := (hold / 3).Truncate(time.Second)
	if keepalive == 0 || keepalive > third {
		return third
	}
	return keepalive
}

func override(s *BGPConfigurationSpec, by BGPConfigurationSpec) {
	setIf(&s.ASNumber, by.ASNumber)
	setIf(&s.NodeToNodeMeshEnabled, by.NodeToNodeMeshEnabled)
	setIf(&s.ListenPort, by.ListenPort)
	if len(by.ListenAddresses) > 0 {
		s.ListenAddresses = by.ListenAddresses
	}
	setIfSaid(&s.RouterID, by.RouterID)
	setIfSaid(&s.HoldTime, by.HoldTime)
	setIfSaid(&s.KeepaliveTime, by.KeepaliveTime)
	if g := by.GracefulRestart; g != nil {
		setIf(&s.GracefulRestart.Enabled, g.Enabled)
		setIfSaid(&s.GracefulRestart.RestartTime, g.RestartTime)
	}
	if b := by.BFD; b != nil {
		setIf(&s.BFD.NodeMeshEnabled, b.NodeMeshEnabled)
		setIfSaid(&s.BFD.TransmitInterval, b.TransmitInterval)
		setIfSaid(&s.BFD.ReceiveInterval, b.ReceiveInterval)
		setIf(&s.BFD.Multiplier, b.Multiplier)
	}
	setIf(&s.NodeMeshPassword, by.NodeMeshPassword)
	if len(by.PrefixAdvertisements) > 0 {
		// The names in it are those of its own object.
		s.PrefixAdvertisements, s.Communities = by.PrefixAdvertisements, by.Communities
	}
	setIfListed(&s.ServiceClusterIPs, by.ServiceClusterIPs)
	setIfListed(&s.ServiceExternalIPs, by.ServiceExternalIPs)
	setIfListed(&s.ServiceLoadBalancerIPs, by.ServiceLoadBalancerIPs)
}

func setIf[T any](p **T, v *T) {
	if v != nil {
		*p = v
	}
}

func setIfSaid(p *string, v string) {
	if v != "" {
		*p = v
	}
}

func setIfListed[T any](p *[]T, v []T) {
	if len(v) > 0 {
		*p = v
	}
}

// Disagreement returns the path of a field that both set, to different values;
// empty if there is none. It must be asked only of two that are not "default".
func Disagreement(a, b *BGPConfiguration) string {
	x, y := flatten(a), flatten(b)
	for _, path := range sortedKeys(x) {
		if v, ok := y[path]; ok && !reflect.DeepEqual(x[path], v) {
			return path
		}
	}
	return ""
}

// flatten lists the fields that an override sets.
func flatten(o *BGPConfiguration) map[string]any {
	s, set := o.Spec, map[string]any{}
	if s.ASNumber != nil {
		set["spec.asNumber"] = *s.ASNumber
	}
	if s.NodeToNodeMeshEnabled != nil {
		set["spec.nodeToNodeMeshEnabled"] = *s.NodeToNodeMeshEnabled
	}
	if s.ListenPort != nil {
		set["spec.listenPort"] = *s.ListenPort
	}
	if len(s.ListenAddresses) > 0 {
		set["spec.listenAddresses"] = s.ListenAddresses
	}
	for path, v := range map[string]string{"spec.routerID": s.RouterID, "spec.holdTime": s.HoldTime, "spec.keepaliveTime": s.KeepaliveTime} {
		if v != "" {
			set[path] = v
		}
	}
	if g := s.GracefulRestart; g != nil {
		if g.Enabled != nil {
			set["spec.gracefulRestart.enabled"] = *g.Enabled
		}
		if g.RestartTime != "" {
			set["spec.gracefulRestart.restartTime"] = g.RestartTime
		}
	}
	if b := s.BFD; b != nil {
		if b.NodeMeshEnabled != nil {
			set["spec.bfd.nodeMeshEnabled"] = *b.NodeMeshEnabled
		}
		if b.Multiplier != nil {
			set["spec.bfd.multiplier"] = *b.Multiplier
		}
		for path, v := range map[string]string{"spec.bfd.transmitInterval": b.TransmitInterval, "spec.bfd.receiveInterval": b.ReceiveInterval} {
			if v != "" {
				set[path] = v
			}
		}
	}
	if s.NodeMeshPassword != nil {
		set["spec.nodeMeshPassword"] = *s.NodeMeshPassword.SecretKeyRef
	}
	if len(s.PrefixAdvertisements) > 0 {
		set["spec.prefixAdvertisements"] = s.advertisements()
	}
	for _, l := range s.serviceLists() {
		if len(l.of) > 0 {
			set[l.field] = l.of
		}
	}
	return set
}
