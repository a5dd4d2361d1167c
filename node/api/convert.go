package api

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	pb "caracal.dev/caracal/proto"
)

// count narrows a counter for the wire; one that is too large stays at the end.
func count[N int | uint64](n N) uint32 {
	if n < 0 {
		return 0
	}
	return uint32(min(uint64(n), math.MaxUint32))
}

// text is the text of an address or prefix, empty where it is not valid.
func text[T interface {
	IsValid() bool
	String() string
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

func texts[T interface {
	IsValid() bool
	String() string
}](vs []T) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = text(v)
	}
	return out
}

// stamp is nil for the zero time.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func seconds(d time.Duration) float32 { return float32(d.Seconds()) }

func factMessage(f Fact) *pb.Fact { return &pb.Fact{Holds: f.Holds, Reason: f.Reason} }

func statusMessage(st Status) *pb.Status {
	return &pb.Status{
		Node: st.Node, Version: st.Version, Pid: count(st.PID),
		Asn: st.ASN, RouterId: text(st.RouterID), Started: stamp(st.Started),
		Generation: count(st.Generation), Digest: st.Digest,
		Configured: stamp(st.Configured), ConfigSource: st.ConfigSource,
		Ready: factMessage(st.Ready), Synced: factMessage(st.Synced),
		Converged: factMessage(st.Converged), Complete: factMessage(st.Complete),
		Problems: problemMessages(st.Problems),
		Counts:   countsMessage(st.Counts),
		Drain:    drainMessage(st.Drain),
		PodMtu:   count(st.PodMTU),
		Policy:   policyStatusMessage(st.Policy),
	}
}

func countsMessage(c Counts) *pb.Counts {
	return &pb.Counts{
		Neighbors: count(c.Neighbors), Established: count(c.Established),
		Nodes: count(c.Nodes), Pools: count(c.Pools), Blocks: count(c.Blocks), Peers: count(c.Peers),
		Workloads: count(c.Workloads), LocalWorkloads: count(c.LocalWorkloads),
		Prefixes: count(c.Prefixes), Paths: count(c.Paths), Refused: count(c.Refused), Originated: count(c.Originated),
		FibWanted: count(c.FIBWanted), FibInstalled: count(c.FIBInstalled), FibFailed: count(c.FIBFailed), FibStale: count(c.FIBStale),
		DriftRepaired: count(c.DriftRepaired), LastAudit: stamp(c.LastAudit),
	}
}

func problemMessages(problems []caracal.Problem) []*pb.Problem {
	out := make([]*pb.Problem, len(problems))
	for i, p := range problems {
		out[i] = &pb.Problem{
			Severity: p.Severity.String(), Source: p.Source, Kind: p.Kind, Name: p.Name,
			Message: p.Message, Since: stamp(p.Since),
		}
	}
	return out
}

func neighborMessage(n *Neighbor) *pb.Neighbor {
	m := &pb.Neighbor{
		Name: n.Name, Node: n.Node, Address: text(n.Addr), Port: uint32(n.Port), Asn: n.ASN,
		LocalAddress: text(n.Local), Passive: n.Passive, Families: families(n.IPv4, n.IPv6), Multihop: n.Multihop,
		State: n.State.String(), Since: stamp(n.Since),
		RouterId: text(n.RouterID), RemoteAsn: n.RemoteASN,
		LocalEndpoint: text(n.LocalAddr), RemoteEndpoint: text(n.RemoteAddr),
		Capabilities: n.Capabilities,
		HoldSeconds:  seconds(n.HoldTime), KeepaliveSeconds: seconds(n.KeepaliveTime),
		ConfiguredHoldSeconds: seconds(n.Neighbor.HoldTime),
		GracefulRestart:       n.GracefulRestart, RestartSeconds: seconds(n.NeighborRestartTime), Restarting: n.Restarting,
		EndOfRib: families(n.EndOfRIB4, n.EndOfRIB6),
		Sent:     messagesMessage(n.Sent), Received: messagesMessage(n.Received),
		Flaps: count(n.Flaps), LastError: n.LastError, LastErrorAt: stamp(n.LastErrorAt),
		Prefixes: &pb.PrefixCounts{
			Received: count(n.Prefixes.Received), Accepted: count(n.Prefixes.Accepted), Refused: count(n.Prefixes.Refused),
			Installed: count(n.Prefixes.Installed), Advertised: count(n.Prefixes.Advertised),
		},
		MaxPrefixes: n.MaxPrefixes,
	}
	fillNeighbor(m, n)
	return m
}

func families(v4, v6 bool) []string {
	var out []string
	if v4 {
		out = append(out, "ipv4")
	}
	if v6 {
		out = append(out, "ipv6")
	}
	return out
}

func messagesMessage(m bgp.Messages) *pb.Messages {
	return &pb.Messages{
		Open: count(m.Open), Update: count(m.Update), Notification: count(m.Notification),
		Keepalive: count(m.Keepalive), Refresh: count(m.Refresh),
	}
}

// attrsKept bounds the conversions that a pathConverter remembers.
const attrsKept = 1024

// pathConverter converts the attributes that many paths share only once.
type pathConverter struct {
	attrs map[*caracal.Attrs]*pb.Attributes
}

func (c *pathConverter) message(p *RoutePath) *pb.Path {
	return &pb.Path{
		Prefix: text(p.NLRI), PathId: p.ID, Neighbor: p.Neighbor, Source: string(p.Source), Received: stamp(p.Received),
		Best: p.Best, Multipath: p.Multipath, Refused: p.Refused, Stale: p.Stale, Installed: p.Installed, Why: p.Why,
		Hops: hopMessages(p.Hops), Kernel: p.Kernel, KernelAt: stamp(p.KernelAt),
		Attributes: c.attributes(p.Attrs),
	}
}

func (c *pathConverter) attributes(a *caracal.Attrs) *pb.Attributes {
	if a == nil {
		return nil
	}
	if m, ok := c.attrs[a]; ok {
		return m
	}
	if c.attrs == nil || len(c.attrs) >= attrsKept {
		c.attrs = make(map[*caracal.Attrs]*pb.Attributes, attrsKept)
	}
	m := attributesMessage(a)
	c.attrs[a] = m
	return m
}

func attributesMessage(a *caracal.Attrs) *pb.Attributes {
	m := &pb.Attributes{
		NextHop: text(a.NextHop), Origin: a.Origin.String(), AsPath: a.ASPathText, LocalPref: a.LocalPref,
		OriginatorId: text(a.OriginatorID), ClusterList: texts(a.ClusterList),
	}
	if a.HasMED {
		m.Med = &a.MED
	}
	for _, c := range a.Communities {
		m.Communities = append(m.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
	}
	for _, c := range a.LargeCommunities {
		m.LargeCommunities = append(m.LargeCommunities, fmt.Sprintf("%d:%d:%d", c[0], c[1], c[2]))
	}
	return m
}

func hopMessages(hops []Hop) []*pb.Hop {
	out := make([]*pb.Hop, len(hops))
	for i, h := range hops {
		out[i] = &pb.Hop{Gateway: text(h.Gateway), Link: h.Link, OnLink: h.OnLink}
	}
	return out
}

func fibMessage(e *FIBEntry) *pb.FIBEntry {
	return &pb.FIBEntry{
		Prefix: text(e.Prefix), Type: e.Type, Hops: hopMessages(e.Hops),
		Table: count(e.Table), Protocol: uint32(e.Protocol), Metric: e.Metric,
		Source: string(e.Source), Neighbors: e.Neighbors, State: string(e.State), Reason: e.Reason, Since: stamp(e.Since),
	}
}

func eventMessage(e *MonitorEvent) *pb.Event {
	return &pb.Event{
		At: stamp(e.At), Kind: string(e.Kind), Neighbor: e.Neighbor, Prefix: text[netip.Prefix](e.Prefix),
		Action: e.Action, Detail: e.Detail,
	}
}

func configureMessage(r *ConfigureResult) *pb.ConfigureReply {
	m := &pb.ConfigureReply{
		Applied: r.Applied, Generation: count(r.Generation), Digest: r.Digest, Changes: r.Changes,
		Ends: r.Ends, Starts: r.Starts, Restart: r.Restart, Held: r.Held, Problems: problemMessages(r.Problems),
	}
	for _, reset := range r.Resets {
		m.Resets = append(m.Resets, &pb.Reset{Neighbor: reset.Neighbor, Reason: reset.Reason})
	}
	return m
}
