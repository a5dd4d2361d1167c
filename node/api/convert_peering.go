package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	pb "caracal.dev/caracal/proto"
)

// fillNeighbor adds what of a neighbor is not about its session alone: what it
// is to us, how it is protected and watched, and what its limits are.
func fillNeighbor(m *pb.Neighbor, n *Neighbor) {
	m.ConfiguredKeepaliveSeconds = seconds(n.Neighbor.KeepaliveTime)
	m.LocalCapabilities = n.LocalCapabilities
	m.WarnPrefixes, m.Warned = n.WarnPrefixes, n.Warned
	m.Held, m.HeldUntil, m.MaxPrefixesRetrySeconds = n.Held, stamp(n.HeldUntil), seconds(n.MaxPrefixesRetry)
	m.CountedPrefixes = count(n.NeighborStatus.Prefixes)
	m.Deferring = n.Deferring
	m.StaleUntil, m.LongLivedStale, m.LongLivedSeconds = stamp(n.StaleUntil), n.LongLivedStale, seconds(n.LongLived)
	m.OwnRestartSeconds = seconds(n.RestartTime)
	m.LastNotification = notificationMessage(n.LastNotification)
	if n.BFD != nil {
		m.Bfd = bfdMessage(n.BFD)
	}
	m.Md5, m.Secret = n.Password.From != "" || !n.Password.Secret.IsZero(), n.Password.From
	m.Unusable, m.TtlSecurity = n.NeighborStatus.Refused, uint32(n.TTLSecurity)
	m.Role, m.Peer = role(n.Neighbor), n.Peer
	if n.Filters != "" {
		m.Filters = strings.Split(n.Filters, ",")
	}
	m.Interface, m.LocalAsn, m.AllowLocalAs = n.Interface, n.LocalASN, uint32(n.AllowLocalAS)
	m.NextHop, m.ExtendedNextHop = string(n.NextHop), n.ExtendedNextHop
	m.AddPathReceive, m.AddPathSend = n.AddPathReceive, uint32(n.AddPathSend)
	for _, r := range n.Refusals {
		m.Refusals = append(m.Refusals, &pb.Refusal{Reason: r.Reason, Paths: count(r.Paths)})
	}
}

// role is what a neighbor is to us, in one word.
func role(n bgp.Neighbor) string {
	switch {
	case n.External:
		return "external"
	case n.Client:
		return "client"
	case n.Reflector:
		return "reflector"
	case n.Peer == "":
		return "mesh"
	}
	return "internal"
}

func notificationMessage(n bgp.Notification) *pb.Notification {
	if n.At.IsZero() && n.Code == 0 {
		return nil
	}
	return &pb.Notification{
		Sent: n.Sent, Code: uint32(n.Code), Subcode: uint32(n.Subcode), Name: n.String(), Text: n.Text, At: stamp(n.At),
	}
}

func milliseconds(d time.Duration) float32 { return float32(d.Seconds() * 1000) }

func bfdMessage(b *BFDSession) *pb.BFDSession {
	return &pb.BFDSession{
		Neighbor: b.Neighbor, Address: text(b.Addr), LocalAddress: text(b.Local), Interface: b.Interface, Multihop: b.Multihop,
		State: b.State, Since: stamp(b.Since), Diagnostic: b.Diagnostic, RemoteState: b.RemoteState, RemoteDiagnostic: b.RemoteDiagnostic,
		ConfiguredTransmitMs: milliseconds(b.Configured.Transmit), ConfiguredReceiveMs: milliseconds(b.Configured.Receive),
		ConfiguredMultiplier: uint32(b.Configured.Multiplier),
		TransmitMs:           milliseconds(b.Transmit), DetectionMs: milliseconds(b.Detection),
		RemoteTransmitMs: milliseconds(b.RemoteTransmit), RemoteReceiveMs: milliseconds(b.RemoteReceive),
		RemoteMultiplier: uint32(b.RemoteMultiplier), RemoteControlPlaneIndependent: b.RemoteIndependent,
		Sent: count(b.Sent), Received: count(b.Received), Discarded: count(b.Discarded), Flaps: count(b.Flaps),
		LocalDiscriminator: b.LocalDiscriminator, RemoteDiscriminator: b.RemoteDiscriminator,
	}
}

func filterMessage(f *Filter) *pb.Filter {
	m := &pb.Filter{Name: f.Name, Neighbors: slices.Sorted(slices.Values(f.Neighbors)), Missing: f.Missing}
	for _, part := range []struct {
		direction, family string
		rules             []caracal.Rule
	}{
		{"import", "ipv4", f.Import4}, {"import", "ipv6", f.Import6}, {"export", "ipv4", f.Export4}, {"export", "ipv6", f.Export6},
	} {
		for _, r := range part.rules {
			m.Rules = append(m.Rules, ruleMessage(part.direction, part.family, r))
		}
	}
	return m
}

func ruleMessage(direction, family string, r caracal.Rule) *pb.FilterRule {
	m := &pb.FilterRule{
		Direction: direction, Family: family, Cidr: text(r.CIDR), AsPathPrefix: r.ASPathPrefix,
		Source: string(r.Source), PeerType: string(r.PeerType), Action: "reject",
	}
	if r.CIDR.IsValid() {
		m.Match = string(r.Match)
	}
	if r.HasLen {
		lowest, highest := count(r.MinLen), count(r.MaxLen)
		m.MinLength, m.MaxLength = &lowest, &highest
	}
	for _, c := range r.Communities {
		m.Communities = append(m.Communities, c.String())
	}
	if r.Accept {
		m.Action = "accept"
		for _, o := range r.Operations {
			m.Operations = append(m.Operations, operationText(o))
		}
	}
	return m
}

func operationText(o caracal.Operation) string {
	switch {
	case o.AddCommunity != nil:
		return "add community " + o.AddCommunity.String()
	case len(o.PrependASPath) > 0:
		return "prepend " + strings.Trim(fmt.Sprint(o.PrependASPath), "[]")
	case o.SetLocalPref != nil:
		return fmt.Sprintf("set local preference %d", *o.SetLocalPref)
	case o.SetMED != nil:
		return fmt.Sprintf("set MED %d", *o.SetMED)
	}
	return "nothing"
}

// drainMessage is nil for a node that serves.
func drainMessage(d Drain) *pb.DrainState {
	if d.Stage == DrainServing {
		return nil
	}
	return &pb.DrainState{
		Stage: string(d.Stage), Since: stamp(d.Since), Until: stamp(d.Until), Force: d.Force,
		Workloads: count(d.Workloads), Sessions: count(d.Sessions), Problem: d.Problem, Message: d.String(),
	}
}
