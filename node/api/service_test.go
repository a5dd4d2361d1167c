package api

import (
	"context"
	"net/netip"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/bgp"
	pb "caracal.dev/caracal/proto"
)

type fakeServices []bgp.ServiceRoute

func (f fakeServices) Services(context.Context) ([]bgp.ServiceRoute, error) { return f, nil }

func TestListServices(t *testing.T) {
	r := netip.MustParsePrefix("10.96.0.0/16")
	address := func(service, addr string) bgp.ServiceRoute {
		return bgp.ServiceRoute{Service: service, Addr: netip.MustParseAddr(addr), Range: r, Announced: r}
	}
	s := serviceServer{src: fakeServices{
		{Kind: bgp.ClusterIP, Range: r, Announced: r},
		address("default/web", "10.96.0.1"), address("shop/web", "10.96.0.2"), address("shop/cart", "10.96.0.3"),
	}}
	for name, want := range map[string][2]int{"": {1, 3}, "web": {0, 2}, "shop/web": {0, 1}, "cart": {0, 1}} {
		list, err := s.ListServices(context.Background(), &pb.ServicesRequest{Service: name})
		if err != nil || len(list.Ranges) != want[0] || len(list.Addresses) != want[1] {
			t.Errorf("%q: %v %v, want %v", name, list, err, want)
		}
	}
	if _, err := s.ListServices(context.Background(), &pb.ServicesRequest{Service: "shop"}); status.Code(err) != codes.NotFound {
		t.Errorf("a Service that is not there: %v", err)
	}
}
