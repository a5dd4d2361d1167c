package api

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/endpoint"
	pb "caracal.dev/caracal/proto"
)

// touched counts what got through to the registry.
type touched struct {
	Endpoints
	Addresses
	n int
}

func (b *touched) Add(context.Context, endpoint.Request) (endpoint.Wiring, error) {
	b.n++
	return endpoint.Wiring{}, nil
}

func (b *touched) Ready(context.Context, endpoint.ID) error { b.n++; return nil }

func (b *touched) Remove(context.Context, endpoint.ID) ([]netip.Addr, error) { b.n++; return nil, nil }

func (b *touched) Collect(context.Context, string, []endpoint.ID) ([]endpoint.ID, error) {
	b.n++
	return nil, nil
}

func (b *touched) ReleaseAddress(context.Context, netip.Addr, bool) (string, error) {
	b.n++
	return "", nil
}

// TestOnlyRootChangesEndpoints: who may use the socket by its group may look.
func TestOnlyRootChangesEndpoints(t *testing.T) {
	id := &pb.EndpointID{ContainerId: "c1", Ifname: "eth0", Network: "net"}
	calls := map[string]func(context.Context, endpointServer, ipamServer) error{
		"AddEndpoint": func(ctx context.Context, e endpointServer, _ ipamServer) error {
			_, err := e.AddEndpoint(ctx, &pb.AddEndpointRequest{Id: id})
			return err
		},
		"ReadyEndpoint": func(ctx context.Context, e endpointServer, _ ipamServer) error {
			_, err := e.ReadyEndpoint(ctx, id)
			return err
		},
		"RemoveEndpoint": func(ctx context.Context, e endpointServer, _ ipamServer) error {
			_, err := e.RemoveEndpoint(ctx, id)
			return err
		},
		"CollectEndpoints": func(ctx context.Context, e endpointServer, _ ipamServer) error {
			_, err := e.CollectEndpoints(ctx, &pb.CollectRequest{Network: "net"})
			return err
		},
		"ReleaseAddress": func(ctx context.Context, _ endpointServer, i ipamServer) error {
			_, err := i.ReleaseAddress(ctx, &pb.ReleaseAddressRequest{Address: "10.0.0.1", Force: true})
			return err
		},
	}
	as := func(c caller) context.Context {
		return peer.NewContext(context.Background(), &peer.Peer{AuthInfo: c})
	}
	for _, c := range []struct {
		who  string
		ctx  context.Context
		want codes.Code
	}{
		{"root", as(caller{uid: 0, pid: 1, known: true}), codes.OK},
		{"root of the host, seen from a container", as(caller{uid: 0, pid: 0, known: true}), codes.OK},
		{"another user", as(caller{uid: 1000, pid: 1, known: true}), codes.PermissionDenied},
		{"nobody knows who", as(caller{}), codes.PermissionDenied},
		{"no peer at all", context.Background(), codes.PermissionDenied},
	} {
		for name, call := range calls {
			b := &touched{}
			err := call(c.ctx, endpointServer{eps: b, addrs: b}, ipamServer{addrs: b, log: slog.New(slog.DiscardHandler)})
			if status.Code(err) != c.want || (b.n > 0) != (c.want == codes.OK) {
				t.Errorf("%s by %s: %v, %d changes; want %v", name, c.who, err, b.n, c.want)
			}
		}
	}
}
