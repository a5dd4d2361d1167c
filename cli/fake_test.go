package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "caracal.dev/caracal/proto"
)

var now = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// ago is a time in the past of now.
func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }

// fakeDaemon answers as caracald does, with the sample data.
type fakeDaemon struct {
	pb.UnimplementedShowServer
	pb.UnimplementedInventoryServer
	pb.UnimplementedCommandServer
	pb.UnimplementedPeeringServer
	pb.UnimplementedTunnelsServer
	pb.UnimplementedServicesServer
	pb.UnimplementedPoliciesServer
	pb.UnimplementedIPAMServer
	pb.UnimplementedEndpointsServer
	mu     sync.Mutex
	done   []string
	silent bool // GetStatus never answers
	events chan *pb.EventList
	reply  *pb.ConfigureReply
	routes []*pb.RouteList // instead of the sample
}

func (d *fakeDaemon) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, what)
}

func (d *fakeDaemon) history() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.done, "; ")
}

func (d *fakeDaemon) GetStatus(ctx context.Context, _ *pb.StatusRequest) (*pb.Status, error) {
	if d.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return sampleStatus(), nil
}

// neighbors are the sample and two that are not told apart by the name of their
// peer.
func (d *fakeDaemon) neighbors() *pb.NeighborList {
	list := sampleNeighbors()
	for _, addr := range []string{"192.0.2.7", "192.0.2.8"} {
		list.Neighbors = append(list.Neighbors, &pb.Neighbor{Name: "peer/twin@" + addr, Address: addr, State: "Idle"})
	}
	return list
}

// known is the daemon's answer to a name that it does not know.
func (d *fakeDaemon) known(name string) error {
	for _, n := range d.neighbors().Neighbors {
		if n.Name == name {
			return nil
		}
	}
	return status.Errorf(codes.NotFound, "there is no neighbor %q", name)
}

func (d *fakeDaemon) ListNeighbors(_ context.Context, req *pb.NeighborsRequest) (*pb.NeighborList, error) {
	list := d.neighbors()
	if req.Name == "" {
		return list, nil
	}
	for _, n := range list.Neighbors {
		if n.Name == req.Name {
			return &pb.NeighborList{Neighbors: []*pb.Neighbor{n}}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "there is no neighbor %q; there are mesh/b", req.Name)
}

func (d *fakeDaemon) ListRoutes(req *pb.RoutesRequest, stream grpc.ServerStreamingServer[pb.RouteList]) error {
	d.note(strings.Join(strings.Fields("routes "+req.Table+" "+req.Prefix+" "+req.For+" "+req.Neighbor), " "))
	if req.Neighbor != "" && d.known(req.Neighbor) != nil {
		return d.known(req.Neighbor)
	}
	if req.Prefix == "10.9.9.0/24" || req.For == "10.9.9.9" {
		return nil
	}
	pages := d.routes
	if pages == nil {
		all := sampleRoutes().Paths
		pages = []*pb.RouteList{{Paths: all[:2]}, {Paths: all[2:]}}
	}
	for _, page := range pages {
		if err := stream.Send(page); err != nil {
			return err
		}
	}
	return nil
}

func (d *fakeDaemon) ListFIB(_ *pb.FIBRequest, stream grpc.ServerStreamingServer[pb.FIBList]) error {
	return stream.Send(sampleFIB())
}

func (d *fakeDaemon) Monitor(req *pb.MonitorRequest, stream grpc.ServerStreamingServer[pb.EventList]) error {
	d.note("monitor " + strings.Join(req.Kinds, ","))
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		select {
		case list, ok := <-d.events:
			if !ok {
				return status.Error(codes.Unavailable, "caracald is stopping")
			}
			if err := stream.Send(list); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (d *fakeDaemon) ListNodes(context.Context, *pb.NodesRequest) (*pb.NodeList, error) {
	return sampleNodes(), nil
}

func (d *fakeDaemon) ListWorkloads(context.Context, *pb.WorkloadsRequest) (*pb.WorkloadList, error) {
	return sampleWorkloads(), nil
}

func (d *fakeDaemon) ListInterfaces(context.Context, *pb.InterfacesRequest) (*pb.InterfaceList, error) {
	return sampleInterfaces(), nil
}

func (d *fakeDaemon) ChangeNeighbor(_ context.Context, req *pb.ChangeNeighborRequest) (*pb.ChangeNeighborReply, error) {
	d.note(req.Verb + " " + req.Name)
	if err := d.known(req.Name); err != nil {
		return nil, err
	}
	return &pb.ChangeNeighborReply{Message: req.Name + ": done"}, nil
}

func (d *fakeDaemon) Configure(_ context.Context, req *pb.ConfigureRequest) (*pb.ConfigureReply, error) {
	d.note(strings.TrimSpace("configure" + map[bool]string{true: " check"}[req.Check] + map[bool]string{true: " confirm"}[req.Confirm] + " " + req.Dir))
	if d.reply != nil {
		return d.reply, nil
	}
	return &pb.ConfigureReply{Generation: 7}, nil
}

func (d *fakeDaemon) Cleanup(_ context.Context, req *pb.CleanupRequest) (*pb.CleanupReply, error) {
	if req.Yes {
		d.note("cleanup")
		return &pb.CleanupReply{Total: 2, Deleted: 2}, nil
	}
	return &pb.CleanupReply{Items: []string{"route 10.64.1.0/26 via 192.0.2.2 dev eth0", "route 10.64.2.0/26 via 192.0.2.3 dev eth0"}, Total: 2}, nil
}

func (d *fakeDaemon) ListBFD(context.Context, *pb.BFDRequest) (*pb.BFDList, error) {
	return sampleBFD(), nil
}

func (d *fakeDaemon) ListFilters(_ context.Context, req *pb.FiltersRequest) (*pb.FilterList, error) {
	d.note(strings.TrimSpace("filters " + req.Name))
	return sampleFilters(), nil
}

func (d *fakeDaemon) GetTorConfig(_ context.Context, req *pb.TorConfigRequest) (*pb.TorConfig, error) {
	d.note(fmt.Sprintf("tor-config node=%s selector=%s peer=%s format=%s as=%d", req.Node, req.Selector, req.Peer, req.Format, req.Asn))
	return &pb.TorConfig{Text: "router bgp 65001\n"}, nil
}

func (d *fakeDaemon) Drain(req *pb.DrainRequest, stream grpc.ServerStreamingServer[pb.DrainState]) error {
	d.note(fmt.Sprintf("drain %g %t", req.WaitSeconds, req.Force))
	moving := &pb.DrainState{Stage: "moving", Message: "services and transit are the last choice"}
	last := sampleDrain()
	if req.Force {
		last = &pb.DrainState{Stage: "closed", Message: "drained", Problem: "the speaker is gone"}
	}
	for _, m := range []*pb.DrainState{moving, moving, last} {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (d *fakeDaemon) Undrain(context.Context, *pb.UndrainRequest) (*pb.DrainState, error) {
	d.note("undrain")
	if strings.Contains(d.history(), "drain 0 false") {
		return sampleDrain(), nil
	}
	return &pb.DrainState{}, nil
}

// serve runs d on a socket of its own and returns the path.
func serve(t *testing.T, d *fakeDaemon) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	serveAt(t, d, path)
	return path
}

// serveAt runs d on a socket; the function that it returns ends it.
func serveAt(t *testing.T, d *fakeDaemon, path string) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterShowServer(g, d)
	pb.RegisterInventoryServer(g, d)
	pb.RegisterCommandServer(g, d)
	pb.RegisterPeeringServer(g, d)
	pb.RegisterTunnelsServer(g, d)
	pb.RegisterServicesServer(g, d)
	pb.RegisterPoliciesServer(g, d)
	pb.RegisterIPAMServer(g, d)
	pb.RegisterEndpointsServer(g, d)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return g.Stop
}

// testSession is a session with d, or with nobody.
func testSession(t *testing.T, d *fakeDaemon) (s *session, stdout, stderr *bytes.Buffer) {
	t.Helper()
	path := "/nonexistent/caracal.sock"
	if d != nil {
		path = serve(t, d)
	}
	c, err := newClient(path, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	o := testOptions("")
	o.Stdout, o.Stderr = stdout, stderr
	return &session{opts: o, root: Grammar(), client: c, flags: flags{format: Table, socket: path, timeout: 5 * time.Second}}, stdout, stderr
}

func testOptions(stdin string) Options {
	return Options{
		Stdin: strings.NewReader(stdin), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
		Now: func() time.Time { return now }, Version: "v0.1.0",
	}
}

// runWith runs the whole program.
func runWith(t *testing.T, o Options, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	o.Stdout, o.Stderr = &out, &errs
	code = Run(t.Context(), args, o)
	return code, out.String(), errs.String()
}
