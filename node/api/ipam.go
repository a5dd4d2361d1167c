package api

import (
	"context"
	"log/slog"
	"net/netip"

	"google.golang.org/protobuf/types/known/timestamppb"

	"caracal.dev/caracal/endpoint"
	pb "caracal.dev/caracal/proto"
)

// Addresses shows who has which address. It is [endpoint.Registry].
type Addresses interface {
	Status(ctx context.Context) error
	Use(ctx context.Context) (endpoint.Use, error)
	Lookup(ctx context.Context, a netip.Addr) (endpoint.Address, error)
	CheckUse(ctx context.Context) (allocated, endpoints int, problems []endpoint.Problem, err error)
	ReleaseAddress(ctx context.Context, a netip.Addr, force bool) (handle string, err error)
}

type ipamServer struct {
	pb.UnimplementedIPAMServer
	addrs Addresses
	log   *slog.Logger
}

// GetIPAM implements the RPC.
func (s ipamServer) GetIPAM(ctx context.Context, m *pb.IPAMRequest) (*pb.IPAMUse, error) {
	u, err := s.addrs.Use(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	out := &pb.IPAMUse{Mode: string(u.Mode)}
	for _, p := range u.Pools {
		out.Pools = append(out.Pools, &pb.PoolUse{
			Name: p.Name, Cidr: text(p.CIDR), Size: p.Size, Allocated: uint64(p.Allocated), Reserved: uint64(p.Reserved),
			Cooling: uint64(p.Cooling), Blocks: count(p.Blocks), Disabled: p.Disabled,
		})
	}
	if !m.Blocks {
		return out, nil
	}
	for _, b := range u.Blocks {
		out.Blocks = append(out.Blocks, &pb.BlockUse{
			Cidr: text(b.CIDR), Pool: b.Pool, Node: b.Node, Affinity: string(b.Affinity), Size: b.Size,
			Allocated: uint64(b.Allocated), Reserved: uint64(b.Reserved), Cooling: uint64(b.Cooling), Borrowed: uint64(b.Borrowed),
		})
	}
	return out, nil
}

// GetAddress implements the RPC.
func (s ipamServer) GetAddress(ctx context.Context, m *pb.AddressRequest) (*pb.Address, error) {
	a, err := addrOf(m.Address)
	if err != nil {
		return nil, err
	}
	found, err := s.addrs.Lookup(ctx, a)
	if err != nil {
		return nil, statusOf(err)
	}
	return addressMessage(found), nil
}

func addressMessage(a endpoint.Address) *pb.Address {
	out := &pb.Address{Address: a.Addr.String(), Pool: a.Pool, Block: text(a.Block), State: string(a.State), Note: a.Note}
	if l := a.Allocation; l.Handle != "" {
		out.Handle, out.Node, out.Kind, out.ContainerId, out.Ifname = l.Handle, l.Node, l.Owner.Kind, l.Owner.ContainerID, l.Owner.Interface
		out.Netns = l.Owner.NetNS
		if l.Owner.Name != "" {
			out.Workload = l.Owner.Namespace + "/" + l.Owner.Name
		}
		if !l.Since.IsZero() {
			out.Since = timestamppb.New(l.Since)
		}
	}
	if e := a.Endpoint; e != nil {
		out.Handle, out.Kind, out.ContainerId, out.Ifname = e.Handle(), e.Kind, e.ContainerID, e.Interface
		out.Workload, out.Netns, out.HostInterface = e.Key(), e.NetNS, e.HostInterface()
	}
	return out
}

// CheckIPAM implements the RPC.
func (s ipamServer) CheckIPAM(ctx context.Context, _ *pb.CheckIPAMRequest) (*pb.IPAMCheck, error) {
	allocated, endpoints, problems, err := s.addrs.CheckUse(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	out := &pb.IPAMCheck{Allocated: uint64(allocated), Endpoints: uint64(endpoints)}
	for _, p := range problems {
		out.Problems = append(out.Problems, &pb.IPAMProblem{Address: text(p.Addr), Handle: p.Handle, Problem: p.Problem, Advice: p.Advice})
	}
	return out, nil
}

// ReleaseAddress implements the RPC.
func (s ipamServer) ReleaseAddress(ctx context.Context, m *pb.ReleaseAddressRequest) (*pb.ReleaseAddressReply, error) {
	if err := rootOnly(ctx); err != nil {
		return nil, err
	}
	a, err := addrOf(m.Address)
	if err != nil {
		return nil, err
	}
	handle, err := s.addrs.ReleaseAddress(ctx, a, m.Force)
	s.log.Info("release address command", "address", a.String(), "handle", handle, "force", m.Force, "err", err, callerOf(ctx).attr())
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.ReleaseAddressReply{Handle: handle}, nil
}
