package api

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	pb "caracal.dev/caracal/proto"
)

// Tunnels answers what is about the IPIP device.
type Tunnels interface {
	// Tunnel is the device of this node, and who is reached through it.
	Tunnel(ctx context.Context) (Tunnel, error)
	// CheckTunnel sends probes to a node. An unknown one is [ErrNotFound].
	CheckTunnel(ctx context.Context, node string) (TunnelCheck, error)
}

// Tunnel is the IPIP device of a node.
type Tunnel struct {
	Device string
	// Wanted says that a pool asks for it, or that the node has an address for it;
	// Present that the kernel has it.
	Wanted, Present, Up bool
	Addr                netip.Addr // ours; invalid without one
	// MTU is what it has, WantedMTU what it is to have; PodMTU is the largest that
	// pods can have, 0 while that is not known. In bytes.
	MTU, WantedMTU, PodMTU int
	// Uplink is the interface whose MTU it follows.
	Uplink    string
	UplinkMTU int
	Problem   string
	// Received and Sent are those of the whole device: the kernel does not count by
	// node.
	Received, Sent TunnelCounters
	Pools          []caracal.Pool // those of IPv4, sorted by name
	Nodes          []TunnelNode   // sorted by name
}

// TunnelCounters count since the device was made.
type TunnelCounters struct{ Packets, Bytes, Errors, Dropped uint64 }

// TunnelNode is another node with an IPv4 address.
type TunnelNode struct {
	Node string
	// Addr is where packets to it go, TunnelAddr that of its own device.
	Addr, TunnelAddr netip.Addr
	// Tunneled and Direct count the routes to what it owns; Failed those of
	// Tunneled that are not in the kernel.
	Tunneled, Direct, Failed int
}

// TunnelCheck is the way to a node as probes found it.
type TunnelCheck struct {
	Node string
	// Addr was probed, from Source.
	Addr, Source netip.Addr
	// PathMTU is the largest packet that arrives, 0 without any answer; NeededMTU
	// what full packets of the tunnel need, outer header included.
	PathMTU, NeededMTU int
	// LimitedBy is the router that said that more does not fit.
	LimitedBy netip.Addr
	RTT       time.Duration
	// Good says that nothing is wrong; else Advice says what is, and what to do.
	Good   bool
	Advice []string
}

type tunnelServer struct {
	pb.UnimplementedTunnelsServer
	src Tunnels
}

// GetTunnel implements the RPC.
func (s tunnelServer) GetTunnel(ctx context.Context, _ *pb.TunnelRequest) (*pb.Tunnel, error) {
	t, err := s.src.Tunnel(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	m := &pb.Tunnel{
		Device: t.Device, Wanted: t.Wanted, Present: t.Present, Up: t.Up, Address: text(t.Addr),
		Mtu: count(t.MTU), WantedMtu: count(t.WantedMTU), PodMtu: count(t.PodMTU), Uplink: t.Uplink, UplinkMtu: count(t.UplinkMTU),
		Problem: t.Problem, Received: tunnelCounters(t.Received), Sent: tunnelCounters(t.Sent),
	}
	for _, p := range t.Pools {
		m.Pools = append(m.Pools, &pb.TunnelPool{Name: p.Name, Cidr: text(p.CIDR), Mode: string(p.IPIP)})
	}
	for _, n := range t.Nodes {
		m.Nodes = append(m.Nodes, &pb.TunnelNode{
			Node: n.Node, Address: text(n.Addr), TunnelAddress: text(n.TunnelAddr),
			Tunneled: count(n.Tunneled), Direct: count(n.Direct), Failed: count(n.Failed),
		})
	}
	return m, nil
}

// CheckTunnel implements the RPC.
func (s tunnelServer) CheckTunnel(ctx context.Context, req *pb.CheckTunnelRequest) (*pb.TunnelCheck, error) {
	if req.Node == "" {
		return nil, status.Error(codes.InvalidArgument, "say the way to which node is to be checked: check tunnel NODE")
	}
	c, err := s.src.CheckTunnel(ctx, req.Node)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.TunnelCheck{
		Node: c.Node, Address: text(c.Addr), Source: text(c.Source), PathMtu: count(c.PathMTU), NeededMtu: count(c.NeededMTU),
		LimitedBy: text(c.LimitedBy), RttMs: milliseconds(c.RTT), Good: c.Good, Advice: c.Advice,
	}, nil
}

func tunnelCounters(c TunnelCounters) *pb.TunnelCounters {
	return &pb.TunnelCounters{Packets: c.Packets, Bytes: c.Bytes, Errors: c.Errors, Dropped: c.Dropped}
}
