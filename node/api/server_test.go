package api

import (
	"context"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal"
	pb "caracal.dev/caracal/proto"
)

func TestStatus(t *testing.T) {
	f := &fakeAgent{status: Status{
		Node: "a", PID: 42, RouterID: netip.MustParseAddr("192.0.2.1"), Started: at,
		Converged: Fact{Reason: "waiting for End-of-RIB from mesh/b"},
		Problems:  []caracal.Problem{{Severity: caracal.Rejected, Source: "x.yaml", Message: "m", Since: at}},
		Counts:    Counts{Paths: 3},
	}}
	conn, _ := serve(t, f)
	st, err := pb.NewShowClient(conn).GetStatus(t.Context(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if st.Node != "a" || st.Pid != 42 || st.RouterId != "192.0.2.1" || !st.Started.AsTime().Equal(at) ||
		st.Converged.Reason != "waiting for End-of-RIB from mesh/b" || st.Problems[0].Severity != "rejected" ||
		st.Counts.Paths != 3 || st.Configured != nil {
		t.Errorf("got %v", st)
	}
}

func TestNeighbors(t *testing.T) {
	f := &fakeAgent{neighbors: []Neighbor{testNeighbor("mesh/c"), testNeighbor("mesh/b")}}
	conn, _ := serve(t, f)
	show := pb.NewShowClient(conn)
	list, err := show.ListNeighbors(t.Context(), &pb.NeighborsRequest{})
	if err != nil || len(list.Neighbors) != 2 || list.Neighbors[0].Name != "mesh/b" {
		t.Fatalf("got %v, %v", list, err)
	}
	n := list.Neighbors[0]
	if n.HoldSeconds != 30 || n.ConfiguredHoldSeconds != 90 || n.State != "Established" || n.Prefixes.Received != math.MaxUint32 {
		t.Errorf("got %v", n)
	}
	if list, err = show.ListNeighbors(t.Context(), &pb.NeighborsRequest{Name: "mesh/c"}); err != nil || len(list.Neighbors) != 1 {
		t.Errorf("one: %v, %v", list, err)
	}
	_, err = show.ListNeighbors(t.Context(), &pb.NeighborsRequest{Name: "mesh/x"})
	wantStatus(t, err, codes.NotFound, `there is no neighbor "mesh/x"; there are mesh/b, mesh/c`)
}

func wantStatus(t *testing.T, err error, code codes.Code, msg string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code || !strings.Contains(st.Message(), msg) {
		t.Errorf("got %v %q, want %v %q", st.Code(), st.Message(), code, msg)
	}
}

func TestRoutesComeInPages(t *testing.T) {
	f := &fakeAgent{routes: 2*pageSize + 1}
	conn, _ := serve(t, f)
	stream, err := pb.NewShowClient(conn).ListRoutes(t.Context(), &pb.RoutesRequest{Prefix: "10.0.0.1/8", Neighbor: "mesh/b", Table: "adj-rib-in"})
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	var last *pb.Path
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Paths))
		last = page.Paths[len(page.Paths)-1]
	}
	if len(sizes) != 3 || sizes[0] != pageSize || sizes[2] != 1 {
		t.Errorf("pages of %v", sizes)
	}
	if last.Prefix != "10.0.3.232/32" || last.Attributes.NextHop != "192.0.2.2" || last.Attributes.Communities[0] != "64512:7" ||
		last.Attributes.LargeCommunities[0] != "1:2:3" || last.Attributes.Med != nil {
		t.Errorf("last path %v", last)
	}
	want := RouteQuery{Table: AdjRIBIn, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Neighbor: "mesh/b"}
	if f.query != want {
		t.Errorf("query %+v, want %+v", f.query, want)
	}
}

func TestRoutesErrors(t *testing.T) {
	conn, _ := serve(t, &fakeAgent{err: errors.New("the rib is on fire")})
	show := pb.NewShowClient(conn)
	for _, tc := range []struct {
		req  *pb.RoutesRequest
		code codes.Code
		msg  string
	}{
		{&pb.RoutesRequest{Table: "fib"}, codes.InvalidArgument, "there is no table"},
		{&pb.RoutesRequest{Table: "adj-rib-out"}, codes.InvalidArgument, "needs the name of a neighbor"},
		{&pb.RoutesRequest{Prefix: "x"}, codes.InvalidArgument, "x"},
		{&pb.RoutesRequest{For: "10.0.0.0/8"}, codes.InvalidArgument, "10.0.0.0/8"},
		{&pb.RoutesRequest{}, codes.Unknown, "the rib is on fire"},
	} {
		stream, err := show.ListRoutes(t.Context(), tc.req)
		if err == nil {
			_, err = stream.Recv()
		}
		wantStatus(t, err, tc.code, tc.msg)
	}
}

// TestSlowReaderStopsTheSource: a client that does not read must not make the
// server collect the whole table in memory.
func TestSlowReaderStopsTheSource(t *testing.T) {
	f := &fakeAgent{routes: 1_000_000}
	path := t.TempDir() + "/s"
	stop := start(t, f, path)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := pb.NewShowClient(dial(t, path)).ListRoutes(ctx, &pb.RoutesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // let it run into the flow control
	cancel()
	stop()
	if f.given == f.routes {
		t.Error("the source was asked for everything though nobody read")
	}
}

func TestCommands(t *testing.T) {
	f := &fakeAgent{}
	conn, _ := serve(t, f)
	cmd := pb.NewCommandClient(conn)
	ctx := t.Context()
	reply, err := cmd.ChangeNeighbor(ctx, &pb.ChangeNeighborRequest{Verb: "reload-in", Name: "mesh/b"})
	if err != nil || reply.Message != "mesh/b: done" {
		t.Errorf("got %v, %v", reply, err)
	}
	_, err = cmd.ChangeNeighbor(ctx, &pb.ChangeNeighborRequest{Verb: "explode", Name: "mesh/b"})
	wantStatus(t, err, codes.InvalidArgument, "explode")
	_, err = cmd.ChangeNeighbor(ctx, &pb.ChangeNeighborRequest{Verb: "enable"})
	wantStatus(t, err, codes.InvalidArgument, "needs the name")
	_, err = cmd.ChangeNeighbor(ctx, &pb.ChangeNeighborRequest{Verb: "enable", Name: "mesh/x"})
	wantStatus(t, err, codes.NotFound, `there is no neighbor "mesh/x"`)
	conf, err := cmd.Configure(ctx, &pb.ConfigureRequest{Check: true})
	if err != nil || conf.Applied || conf.Generation != 7 || conf.Resets[0].Reason != "port" || conf.Ends[0] != "mesh/c" || conf.Starts[0] != "mesh/d" {
		t.Errorf("got %v, %v", conf, err)
	}
	_, err = cmd.Configure(ctx, &pb.ConfigureRequest{Check: true, Confirm: true})
	wantStatus(t, err, codes.InvalidArgument, "not both")
	if _, err = cmd.Configure(ctx, &pb.ConfigureRequest{Check: true, Dir: "/new"}); err != nil {
		t.Error(err)
	}
	for _, req := range []*pb.ConfigureRequest{{Dir: "/new"}, {Check: true, Dir: "new"}} {
		_, err = cmd.Configure(ctx, req)
		wantStatus(t, err, codes.InvalidArgument, "only for a check")
	}
	clean, err := cmd.Cleanup(ctx, &pb.CleanupRequest{Yes: true})
	if err != nil || clean.Total != 1 {
		t.Errorf("got %v, %v", clean, err)
	}
	want := "reload-in mesh/b; configure true false; configure true false/new; cleanup true"
	if got := strings.Join(f.done, "; "); got != want {
		t.Errorf("done %q, want %q", got, want)
	}
	f.err = ErrRefused
	_, err = cmd.Cleanup(ctx, &pb.CleanupRequest{})
	wantStatus(t, err, codes.FailedPrecondition, "refused")
}

func TestPanicIsAnError(t *testing.T) {
	f := &fakeAgent{panics: true}
	conn, _ := serve(t, f)
	show := pb.NewShowClient(conn)
	_, err := show.GetStatus(t.Context(), &pb.StatusRequest{})
	wantStatus(t, err, codes.Internal, "a bug in caracald")
	if _, err := show.ListNeighbors(t.Context(), &pb.NeighborsRequest{}); err != nil {
		t.Errorf("the server did not survive: %v", err)
	}
}

func TestInventory(t *testing.T) {
	f := &fakeAgent{nodes: []Node{
		{Node: caracal.Node{Name: "b"}},
		{Node: caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), ASN: 64512}, Self: true, Blocks: []netip.Prefix{netip.MustParsePrefix("10.64.0.0/26")}},
	}, fib: []FIBEntry{{Prefix: netip.MustParsePrefix("10.64.0.0/26"), Type: "blackhole", State: FIBInstalled, Hops: []Hop{{Link: "lo"}}}}}
	conn, _ := serve(t, f)
	nodes, err := pb.NewInventoryClient(conn).ListNodes(t.Context(), &pb.NodesRequest{})
	if err != nil || nodes.Nodes[0].Name != "a" || nodes.Nodes[0].Ipv4 != "192.0.2.1/24" || nodes.Nodes[1].Ipv4 != "" || nodes.Nodes[0].Blocks[0] != "10.64.0.0/26" {
		t.Errorf("got %v, %v", nodes, err)
	}
	stream, err := pb.NewShowClient(conn).ListFIB(t.Context(), &pb.FIBRequest{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := stream.Recv()
	if err != nil || page.Entries[0].Type != "blackhole" || page.Entries[0].Hops[0].Link != "lo" {
		t.Errorf("got %v, %v", page, err)
	}
}
