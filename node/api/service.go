package api

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/bgp"
	pb "caracal.dev/caracal/proto"
)

// Services answers what is about addresses of Kubernetes' Services.
type Services interface {
	// Services says what this node announces of each range and of each address, or
	// why it does not, in the order of [bgp.Services].
	Services(ctx context.Context) ([]bgp.ServiceRoute, error)
}

type serviceServer struct {
	pb.UnimplementedServicesServer
	src Services
}

// ListServices implements the RPC.
func (s serviceServer) ListServices(ctx context.Context, req *pb.ServicesRequest) (*pb.ServiceList, error) {
	all, err := s.src.Services(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	list := &pb.ServiceList{}
	for _, r := range all {
		name := r.Service[strings.IndexByte(r.Service, '/')+1:]
		switch {
		case req.Service != "" && r.Service != req.Service && (name != req.Service || r.Service == ""):
		case r.Service == "":
			list.Ranges = append(list.Ranges, &pb.ServiceRange{Range: text(r.Range), Kind: r.Kind.String(), Announced: r.Announced.IsValid(), Why: r.Why})
		default:
			list.Addresses = append(list.Addresses, &pb.ServiceAddress{
				Service: r.Service, Kind: r.Kind.String(), Address: text(r.Addr), Local: r.Local, Announced: text(r.Announced), Why: r.Why,
			})
		}
	}
	if req.Service != "" && len(list.Addresses) == 0 {
		return nil, status.Errorf(codes.NotFound, "there is no Service %s with addresses; see: show services", req.Service)
	}
	return list, nil
}
