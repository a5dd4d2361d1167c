package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

func sampleServices() *pb.ServiceList {
	return &pb.ServiceList{
		Ranges: []*pb.ServiceRange{
			{Range: "10.96.0.0/16", Kind: "ClusterIP", Announced: true},
			{Range: "203.0.113.0/24", Kind: "LoadBalancerIP", Announced: true},
			{Range: "2001:db8:113::/64", Kind: "LoadBalancerIP", Why: "node b has no address of that family to be its next hop"},
		},
		Addresses: []*pb.ServiceAddress{
			{Service: "default/api", Kind: "ClusterIP", Address: "10.96.0.1", Announced: "10.96.0.0/16"},
			{Service: "default/web", Kind: "ClusterIP", Address: "10.96.0.10", Announced: "10.96.0.0/16"},
			{Service: "default/web", Kind: "LoadBalancerIP", Address: "203.0.113.10", Local: true, Announced: "203.0.113.10/32"},
			{Service: "shop/cart", Kind: "LoadBalancerIP", Address: "203.0.113.11", Local: true, Why: "its policy is Local, and no endpoint on this node is ready"},
		},
	}
}

func (d *fakeDaemon) ListServices(_ context.Context, req *pb.ServicesRequest) (*pb.ServiceList, error) {
	switch req.Service {
	case "":
		return sampleServices(), nil
	case "shop/cart":
		return &pb.ServiceList{Addresses: sampleServices().Addresses[3:]}, nil
	}
	return nil, status.Errorf(codes.NotFound, "there is no Service %s with addresses; see: show services", req.Service)
}

func TestRenderServices(t *testing.T) {
	for name, list := range map[string]*pb.ServiceList{"services": sampleServices(), "services-none": {Addresses: sampleServices().Addresses[:1]}} {
		var out bytes.Buffer
		renderServices(&out, list)
		golden(t, name, out.String())
	}
}

func TestServicesCommand(t *testing.T) {
	socket := serve(t, &fakeDaemon{})
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"show services":           {ExitOK, "203.0.113.10/32"},
		"show services shop/cart": {ExitOK, "no endpoint on this node is ready"},
		"show serv -o json":       {ExitOK, `"announced": "203.0.113.10/32"`},
		"show services nobody":    {ExitFailed, "there is no Service nobody"},
	} {
		code, out, errs := runWith(t, testOptions(""), append([]string{"--socket", socket}, strings.Fields(line)...)...)
		if code != want.code || !strings.Contains(out+errs, want.text) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", line, code, want.code, want.text, out, errs)
		}
	}
}
