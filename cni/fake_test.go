package cni

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	"caracal.dev/caracal/proto"
)

// fakeDaemon is caracald's Endpoints as the plugin sees them: it remembers
// endpoints and gives them addresses.
type fakeDaemon struct {
	proto.UnimplementedEndpointsServer
	t      testing.TB
	socket string
	server *grpc.Server

	mu        sync.Mutex
	endpoints map[string]*proto.AddEndpointRequest
	ready     map[string]bool
	given     map[string]int // number of the address
	last      int
	requests  []*proto.AddEndpointRequest
	collected []*proto.CollectRequest

	// unlink removes a link on the node, as the daemon does with an endpoint.
	unlink func(name string)

	// What the daemon does instead, if set; before is called with the method's
	// name at its beginning.
	before func(ctx context.Context, method string) error
	status *proto.EndpointStatus
	check  []string
	v6     bool
}

// newFakeDaemon starts a daemon that listens until the test ends.
func newFakeDaemon(t testing.TB, socket string) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{t: t, socket: socket, endpoints: map[string]*proto.AddEndpointRequest{}, ready: map[string]bool{}, given: map[string]int{}, v6: true, unlink: func(string) {}}
	d.start()
	t.Cleanup(func() { d.server.Stop() })
	return d
}

func (d *fakeDaemon) start() {
	d.t.Helper()
	os.Remove(d.socket)
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.server = grpc.NewServer(grpc.WaitForHandlers(true)) // or one that is cut off may still write, after the next start
	proto.RegisterEndpointsServer(d.server, d)
	go d.server.Serve(l)
}

// stop is the daemon's sudden end: calls that wait are cut off.
func (d *fakeDaemon) stop() { d.server.Stop() }

func key(id *proto.EndpointID) string { return id.ContainerId + "/" + id.Ifname }

func (d *fakeDaemon) enter(ctx context.Context, method string) error {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, method)
}

// on sets what happens at the beginning of a call.
func (d *fakeDaemon) on(before func(ctx context.Context, method string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

func (d *fakeDaemon) wiring(id *proto.EndpointID) *proto.Wiring {
	req, n := d.endpoints[key(id)], d.given[key(id)]
	w := &proto.Wiring{
		HostInterface: caracal.HostInterface(id.ContainerId, id.Ifname), HostMac: "ee:ee:ee:ee:ee:ee",
		Addresses: []string{fmt.Sprintf("10.65.%d.%d/32", n/256, n%256)}, Gateways: []string{"169.254.1.1"},
		Mtu: 1450, Mac: req.Mac,
	}
	if req.Mtu != 0 {
		w.Mtu = req.Mtu
	}
	if d.v6 {
		w.Addresses = append(w.Addresses, fmt.Sprintf("fd00:65::%x/128", n))
		w.Gateways = append(w.Gateways, "fe80::ecee:eeff:feee:eeee")
	}
	return w
}

func (d *fakeDaemon) AddEndpoint(ctx context.Context, r *proto.AddEndpointRequest) (*proto.Wiring, error) {
	if err := d.enter(ctx, "add"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := key(r.Id)
	if d.endpoints[k] == nil {
		d.last++
		d.given[k] = d.last
	}
	d.endpoints[k] = r
	d.requests = append(d.requests, r)
	return d.wiring(r.Id), nil
}

func (d *fakeDaemon) ReadyEndpoint(ctx context.Context, id *proto.EndpointID) (*proto.ReadyReply, error) {
	if err := d.enter(ctx, "ready"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.endpoints[key(id)] == nil {
		return nil, status.Error(codes.NotFound, "no such endpoint")
	}
	d.ready[key(id)] = true
	return &proto.ReadyReply{}, nil
}

func (d *fakeDaemon) RemoveEndpoint(ctx context.Context, id *proto.EndpointID) (*proto.RemoveReply, error) {
	if err := d.enter(ctx, "remove"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.endpoints[key(id)]; e != nil && e.GetId() != nil && e.Id.Network != id.Network {
		return &proto.RemoveReply{}, nil
	}
	d.forget(key(id))
	d.unlink(caracal.HostInterface(id.ContainerId, id.Ifname))
	return &proto.RemoveReply{}, nil
}

func (d *fakeDaemon) forget(k string) {
	delete(d.endpoints, k)
	delete(d.ready, k)
	delete(d.given, k)
}

func (d *fakeDaemon) CheckEndpoint(ctx context.Context, id *proto.EndpointID) (*proto.EndpointCheck, error) {
	if err := d.enter(ctx, "check"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.endpoints[key(id)] == nil {
		return nil, status.Error(codes.NotFound, "no such endpoint")
	}
	return &proto.EndpointCheck{Problems: d.check, Wiring: d.wiring(id)}, nil
}

func (d *fakeDaemon) CollectEndpoints(ctx context.Context, r *proto.CollectRequest) (*proto.CollectReply, error) {
	if err := d.enter(ctx, "collect"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.collected = append(d.collected, r)
	reply := &proto.CollectReply{}
	for k, e := range d.endpoints {
		if e.Id.Network == r.Network && !slices.ContainsFunc(r.Keep, func(id *proto.EndpointID) bool { return key(id) == k }) {
			reply.Removed = append(reply.Removed, e.Id)
			d.forget(k)
			d.unlink(caracal.HostInterface(e.Id.ContainerId, e.Id.Ifname))
		}
	}
	return reply, nil
}

func (d *fakeDaemon) GetEndpointStatus(ctx context.Context, _ *proto.EndpointStatusRequest) (*proto.EndpointStatus, error) {
	if err := d.enter(ctx, "status"); err != nil {
		return nil, err
	}
	if d.status != nil {
		return d.status, nil
	}
	return &proto.EndpointStatus{Ready: true}, nil
}

// counts returns how many endpoints there are, and how many of them are ready.
func (d *fakeDaemon) counts() (all, ready int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.endpoints), len(d.ready)
}

// lastRequest returns the newest AddEndpoint.
func (d *fakeDaemon) lastRequest() *proto.AddEndpointRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.requests) == 0 {
		return nil
	}
	return d.requests[len(d.requests)-1]
}

// socketIn returns a short path for a socket: they have at most 107 bytes.
func socketIn(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cni")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}
