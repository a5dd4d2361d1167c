package v1

import (
	"fmt"
	"net/netip"
	"strconv"

	"caracal.dev/caracal"
)

// Default implements [Object].
func (o *BGPPeer) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	s := &o.Spec
	s.NodeSelector = canonicalSelector(s.NodeSelector)
	s.PeerSelector = canonicalSelector(s.PeerSelector)
	if s.PeerSelector != "" {
		setIfEmpty(&s.ReversePeering, ReverseAuto)
	}
	if ap, err := parsePeerIP(s.PeerIP); err == nil {
		s.PeerIP = ap.Addr().String()
		if ap.Port() != DefaultPort {
			s.PeerIP = ap.String()
		}
	}
	setIfEmpty(&s.SourceAddress, UseNodeIP)
	s.SourceAddress = canonicalAddr(s.SourceAddress)
	s.ReachableBy = canonicalAddr(s.ReachableBy)
	s.HoldTime, s.KeepaliveTime = canonicalDuration(s.HoldTime), canonicalDuration(s.KeepaliveTime)
	if b := s.BFD; b != nil {
		setIfNil(&b.Enabled, true)
		b.TransmitInterval, b.ReceiveInterval = canonicalDuration(b.TransmitInterval), canonicalDuration(b.ReceiveInterval)
	}
	if g := s.GracefulRestart; g != nil {
		g.RestartTime, g.LongLivedStaleTime = canonicalDuration(g.RestartTime), canonicalDuration(g.LongLivedStaleTime)
	}
	setIfEmpty(&s.NextHopMode, string(caracal.NextHopAuto))
	setIfNil(&s.ExtendedNextHop, s.Interface != "")
	setIfNil(&s.MaxPrefixes, DefaultMaxPrefixes)
	setIfNil(&s.MaxPrefixesWarning, DefaultMaxPrefixesWarning)
	setIfEmpty(&s.MaxPrefixesRetry, DefaultMaxPrefixesRetry.String())
	s.MaxPrefixesRetry = canonicalDuration(s.MaxPrefixesRetry)
	s.AcceptRanges = canonicalList(s.AcceptRanges, canonicalPrefix)
}

// Warnings implements [Object].
func (o *BGPPeer) Warnings() Errors { return nil }

// Address returns the address of the neighbor of a valid BGPPeer, and whether a
// port stands with it; invalid where it is given in another way.
func (o *BGPPeer) Address() (addr netip.AddrPort, withPort bool) {
	ap, err := parsePeerIP(o.Spec.PeerIP)
	return ap, err == nil && ap.Port() != DefaultPort
}

// SecretRef returns where the password of a valid BGPPeer is; nil without one.
func (o *BGPPeer) SecretRef() *SecretKeyRef {
	if o.Spec.Password == nil {
		return nil
	}
	return o.Spec.Password.SecretKeyRef
}

// Peer returns the noun of a valid BGPPeer for the node n with the settings s,
// but for the password; with a peerSelector also but for Node, Addr, Port and
// ASN, which [Towards] fills in. The error says why the node has no such peer.
func (o *BGPPeer) Peer(n caracal.Node, s NodeBGP) (caracal.Peer, error) {
	spec := o.Spec
	p := caracal.Peer{
		Name: o.Name, Interface: spec.Interface, DefaultGateway: spec.PeerIP == DefaultGateway,
		HoldTime: parsedDuration(spec.HoldTime), KeepaliveTime: parsedDuration(spec.KeepaliveTime),
		Multihop: spec.EBGPMultihop, Passive: spec.Passive,
		GracefulRestart: s.BGP.GracefulRestart, RestartTime: s.BGP.RestartTime,
		NextHop: caracal.NextHopMode(spec.NextHopMode), ExtendedNextHop: *spec.ExtendedNextHop,
		MaxPrefixes: *spec.MaxPrefixes, MaxPrefixesRetry: parsedDuration(spec.MaxPrefixesRetry),
		Filters: spec.Filters, AcceptRanges: parsePrefixes(spec.AcceptRanges),
		AcceptPools: spec.AcceptPools, AcceptDefault: spec.AcceptDefaultRoute,
		Port: DefaultPort,
	}
	if ap, err := parsePeerIP(spec.PeerIP); err == nil {
		p.Addr, p.Port = ap.Addr(), ap.Port()
	}
	if p.HoldTime > 0 {
		p.KeepaliveTime = keepaliveFor(p.HoldTime, p.KeepaliveTime)
	}
	// Rounded up, so that a small limit does not warn from the start.
	p.WarnPrefixes = uint32((uint64(*spec.MaxPrefixes)*uint64(*spec.MaxPrefixesWarning) + 99) / 100)
	p.SourceAddr, _ = netip.ParseAddr(spec.SourceAddress)
	p.ReachableBy, _ = netip.ParseAddr(spec.ReachableBy)
	if spec.TTLSecurity != nil {
		p.TTLSecurity = uint8(*spec.TTLSecurity)
		p.Multihop = p.Multihop || p.TTLSecurity > 1
	}
	if spec.NumAllowedLocalASNumbers != nil {
		p.AllowLocalAS = uint8(*spec.NumAllowedLocalASNumbers)
	}
	if b := spec.BFD; b != nil && *b.Enabled {
		p.BFD = bfdOf(b.TransmitInterval, b.ReceiveInterval, b.Multiplier, s.BFD)
		p.BFD.Enabled = true
	}
	if g := spec.GracefulRestart; g != nil {
		if g.Enabled != nil {
			p.GracefulRestart = *g.Enabled
		}
		if g.RestartTime != "" {
			p.RestartTime = parsedDuration(g.RestartTime)
		}
		p.LongLived = parsedDuration(g.LongLivedStaleTime)
	}
	if a := spec.AddPath; a != nil {
		p.AddPathReceive, p.AddPathSend = a.Receive, uint8(a.SendMax)
	}
	return p, o.numbers(&p, n)
}

// numbers fills in the AS numbers of both ends.
func (o *BGPPeer) numbers(p *caracal.Peer, n caracal.Node) error {
	spec := o.Spec
	if spec.PeerSelector != "" {
		return nil
	}
	var err error
	switch asn, isNumber := spec.ASNumber.Number(); {
	case isNumber:
		p.ASN = asn
	case spec.ASNumber == ASInternal:
		p.ASN = n.ASN
	case spec.ASNumberFromLabel != "":
		if p.ASN, err = labelASN("spec.asNumberFromLabel", spec.ASNumberFromLabel, n); err != nil {
			return err
		}
	}
	if spec.LocalASNumber != nil {
		p.LocalASN = *spec.LocalASNumber
	}
	if spec.LocalASNumberFromLabel != "" {
		if p.LocalASN, err = labelASN("spec.localASNumberFromLabel", spec.LocalASNumberFromLabel, n); err != nil {
			return err
		}
	}
	if p.LocalASN == n.ASN {
		p.LocalASN = 0
	}
	switch {
	case p.LocalASN == 0:
		return nil
	case p.ASN == p.LocalASN:
		return fmt.Errorf("the local AS number and the neighbor's are both %d on node %s, so it does not peer; a local AS number is for a neighbor in another AS", p.ASN, n.Name)
	case p.ASN == n.ASN:
		return fmt.Errorf("the neighbor is in AS %d, that of node %s, which is to be AS %d towards it; so it does not peer: remove the local AS number", p.ASN, n.Name, p.LocalASN)
	}
	return nil
}

// labelASN reads an AS number from a label of a node.
func labelASN(field, label string, n caracal.Node) (uint32, error) {
	v, ok := n.Labels[label]
	if !ok {
		return 0, fmt.Errorf("%s: node %s has no label %s, so it does not peer; add the label to its NodeConfig", field, n.Name, label)
	}
	asn, err := strconv.ParseUint(v, 10, 32)
	c := &checker{}
	if n := uint32(asn); err == nil {
		c.asn(field, &n)
	}
	if err != nil || len(c.errs) > 0 {
		return 0, fmt.Errorf("%s: the label %s of node %s is %q, which is no AS number, so it does not peer", field, label, n.Name, v)
	}
	return uint32(asn), nil
}

// Towards returns the Peer that p, a peerSelector's, is for the node other, as
// seen by the node self; false if the two have no address family in common.
func Towards(p caracal.Peer, self, other caracal.Node) (caracal.Peer, bool) {
	v4 := self.IPv4.IsValid() && other.IPv4.IsValid()
	v6 := self.IPv6.IsValid() && other.IPv6.IsValid()
	p.Node, p.Selected = other.Name, true
	p.Addr, p.Port, p.ASN = other.Addr(!v4), other.Port, other.ASN
	p.Multihop = p.Multihop || self.ASN != other.ASN
	return p, v4 || v6
}
