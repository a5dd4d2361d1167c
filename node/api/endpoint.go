package api

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/endpoint"
	pb "caracal.dev/caracal/proto"
)

// Endpoints is what callers that wire workloads up ask for. It is
// [endpoint.Registry].
type Endpoints interface {
	Add(ctx context.Context, req endpoint.Request) (endpoint.Wiring, error)
	Ready(ctx context.Context, id endpoint.ID) error
	Remove(ctx context.Context, id endpoint.ID) ([]netip.Addr, error)
	Check(ctx context.Context, id endpoint.ID) ([]string, endpoint.Wiring, error)
	Collect(ctx context.Context, network string, keep []endpoint.ID) ([]endpoint.ID, error)
}

type endpointServer struct {
	pb.UnimplementedEndpointsServer
	eps   Endpoints
	addrs Addresses
	log   *slog.Logger
}

// rootOnly refuses callers that may look, but not change what containers have.
func rootOnly(ctx context.Context) error {
	if c := callerOf(ctx); c.known && c.uid == 0 {
		return nil
	}
	return status.Error(codes.PermissionDenied, "only root may change endpoints and addresses")
}

func idOf(m *pb.EndpointID) endpoint.ID {
	return endpoint.ID{ContainerID: m.GetContainerId(), Interface: m.GetIfname(), Network: m.GetNetwork()}
}

func idMessage(id endpoint.ID) *pb.EndpointID {
	return &pb.EndpointID{ContainerId: id.ContainerID, Ifname: id.Interface, Network: id.Network}
}

func wiringMessage(w endpoint.Wiring) *pb.Wiring {
	m := &pb.Wiring{
		HostInterface: w.HostInterface, HostMac: w.HostMAC, Gateways: texts(w.Gateways), Mtu: count(w.MTU), Mac: w.MAC,
		Node: w.Node, PoolOf: w.Pools,
	}
	for _, a := range w.Addrs {
		m.Addresses = append(m.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
	}
	return m
}

// AddEndpoint implements the RPC.
func (s endpointServer) AddEndpoint(ctx context.Context, m *pb.AddEndpointRequest) (*pb.Wiring, error) {
	if err := rootOnly(ctx); err != nil {
		return nil, err
	}
	req := endpoint.Request{
		ID: idOf(m.GetId()), NetNS: m.Netns, Kind: m.Kind, Namespace: m.Namespace, WorkloadName: m.Name, UID: m.Uid,
		Labels: m.Labels, MAC: m.Mac, Pools: m.Pools, WantIPv4: m.WantIpv4, WantIPv6: m.WantIpv6, MTU: int(m.Mtu),
	}
	for _, text := range m.Addresses {
		a, err := addrOf(text)
		if err != nil {
			return nil, err
		}
		req.Addrs = append(req.Addrs, a)
	}
	w, err := s.eps.Add(ctx, req)
	if err != nil {
		return nil, statusOf(err)
	}
	return wiringMessage(w), nil
}

// addrOf reads an address, with or without the length of a host prefix.
func addrOf(text string) (netip.Addr, error) {
	bare, _, _ := strings.Cut(text, "/")
	a, err := netip.ParseAddr(bare)
	if err != nil {
		return a, status.Errorf(codes.InvalidArgument, "%q is no IP address", text)
	}
	if p, err := netip.ParsePrefix(text); bare != text && (err != nil || !p.IsSingleIP()) {
		return a, status.Errorf(codes.InvalidArgument, "%q is not a single address", text)
	}
	return a.Unmap(), nil
}

// ReadyEndpoint implements the RPC.
func (s endpointServer) ReadyEndpoint(ctx context.Context, m *pb.EndpointID) (*pb.ReadyReply, error) {
	if err := rootOnly(ctx); err != nil {
		return nil, err
	}
	if err := s.eps.Ready(ctx, idOf(m)); err != nil {
		return nil, statusOf(err)
	}
	return &pb.ReadyReply{}, nil
}

// RemoveEndpoint implements the RPC.
func (s endpointServer) RemoveEndpoint(ctx context.Context, m *pb.EndpointID) (*pb.RemoveReply, error) {
	if err := rootOnly(ctx); err != nil {
		return nil, err
	}
	if m.ContainerId == "" {
		return nil, status.Error(codes.InvalidArgument, "the container's ID is missing")
	}
	freed, err := s.eps.Remove(ctx, idOf(m))
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.RemoveReply{Addresses: texts(freed)}, nil
}

// CheckEndpoint implements the RPC.
func (s endpointServer) CheckEndpoint(ctx context.Context, m *pb.EndpointID) (*pb.EndpointCheck, error) {
	problems, w, err := s.eps.Check(ctx, idOf(m))
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.EndpointCheck{Problems: problems, Wiring: wiringMessage(w)}, nil
}

// CollectEndpoints implements the RPC.
func (s endpointServer) CollectEndpoints(ctx context.Context, m *pb.CollectRequest) (*pb.CollectReply, error) {
	if err := rootOnly(ctx); err != nil {
		return nil, err
	}
	if m.Network == "" {
		return nil, status.Error(codes.InvalidArgument, "the network's name is missing")
	}
	var keep []endpoint.ID
	for _, id := range m.Keep {
		keep = append(keep, idOf(id))
	}
	removed, err := s.eps.Collect(ctx, m.Network, keep)
	if err != nil {
		return nil, statusOf(err)
	}
	reply := &pb.CollectReply{}
	for _, id := range removed {
		reply.Removed = append(reply.Removed, idMessage(id))
	}
	return reply, nil
}

// GetEndpointStatus implements the RPC.
func (s endpointServer) GetEndpointStatus(ctx context.Context, _ *pb.EndpointStatusRequest) (*pb.EndpointStatus, error) {
	if err := s.addrs.Status(ctx); err != nil {
		return &pb.EndpointStatus{Reason: err.Error()}, nil
	}
	return &pb.EndpointStatus{Ready: true}, nil
}
