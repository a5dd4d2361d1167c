package api

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

type commandServer struct {
	pb.UnimplementedCommandServer
	cmd Commander
	log *slog.Logger
}

// ChangeNeighbor implements the RPC.
func (s commandServer) ChangeNeighbor(ctx context.Context, req *pb.ChangeNeighborRequest) (*pb.ChangeNeighborReply, error) {
	verb := NeighborVerb(req.Verb)
	known := []NeighborVerb{NeighborEnable, NeighborDisable, NeighborRestart, NeighborReloadIn, NeighborReloadOut}
	if !slices.Contains(known, verb) {
		return nil, status.Errorf(codes.InvalidArgument, "caracald does not know the verb %q", req.Verb)
	}
	if req.Name == "" {
		return nil, status.Errorf(codes.InvalidArgument, "%s needs the name of a neighbor", req.Verb)
	}
	said, err := s.cmd.Neighbor(ctx, verb, req.Name)
	s.note(ctx, err, "neighbor command", "verb", req.Verb, "neighbor", req.Name)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.ChangeNeighborReply{Message: said}, nil
}

// Configure implements the RPC.
func (s commandServer) Configure(ctx context.Context, req *pb.ConfigureRequest) (*pb.ConfigureReply, error) {
	if req.Check && req.Confirm {
		return nil, status.Error(codes.InvalidArgument, "configure takes check or confirm, not both")
	}
	if req.Dir != "" && (!req.Check || !filepath.IsAbs(req.Dir)) {
		return nil, status.Error(codes.InvalidArgument, "another directory is only for a check, and takes a whole path")
	}
	res, err := s.cmd.Configure(ctx, ConfigureOptions{Check: req.Check, Confirm: req.Confirm, Dir: req.Dir})
	if !req.Check {
		s.note(ctx, err, "configure command", "confirm", req.Confirm, "changes", len(res.Changes))
	}
	if err != nil {
		return nil, statusOf(err)
	}
	return configureMessage(&res), nil
}

// Cleanup implements the RPC.
func (s commandServer) Cleanup(ctx context.Context, req *pb.CleanupRequest) (*pb.CleanupReply, error) {
	res, err := s.cmd.Cleanup(ctx, req.Yes)
	if req.Yes {
		s.note(ctx, err, "cleanup command", "deleted", res.Deleted, "failed", len(res.Failed))
	}
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.CleanupReply{
		Items: res.Items[:min(len(res.Items), CleanupItems)], Total: count(uint64(max(res.Total, len(res.Items)))),
		Deleted: count(uint64(res.Deleted)), Failed: res.Failed, Blocked: res.Blocked,
	}, nil
}

// longestWait bounds how long a drain can wait.
const longestWait = 24 * time.Hour

// Drain implements the RPC.
func (s commandServer) Drain(req *pb.DrainRequest, stream grpc.ServerStreamingServer[pb.DrainState]) error {
	ctx := stream.Context()
	wait := time.Duration(float64(req.WaitSeconds) * float64(time.Second))
	if wait < 0 || wait > longestWait {
		return status.Errorf(codes.InvalidArgument, "a drain waits up to %v, not %v", longestWait, wait)
	}
	s.note(ctx, nil, "drain command", "wait", wait, "force", req.Force)
	return statusOf(s.cmd.Drain(ctx, wait, req.Force, func(d Drain) error { return stream.Send(drainMessage(d)) }))
}

// Undrain implements the RPC.
func (s commandServer) Undrain(ctx context.Context, _ *pb.UndrainRequest) (*pb.DrainState, error) {
	was, err := s.cmd.Undrain(ctx)
	s.note(ctx, err, "undrain command", "was", was.Stage)
	if err != nil {
		return nil, statusOf(err)
	}
	if m := drainMessage(was); m != nil {
		return m, nil
	}
	return &pb.DrainState{Message: was.String()}, nil
}

// note logs who asked for a change: at 3 a.m. one wants to know.
func (s commandServer) note(ctx context.Context, err error, msg string, args ...any) {
	args = append(args, callerOf(ctx).attr())
	if err != nil {
		args = append(args, "err", err)
	}
	s.log.Info("api: "+msg, args...)
}

type inventoryServer struct {
	pb.UnimplementedInventoryServer
	inv Inventory
}

// ListNodes implements the RPC.
func (s inventoryServer) ListNodes(ctx context.Context, _ *pb.NodesRequest) (*pb.NodeList, error) {
	all, err := s.inv.Nodes(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	return nodesMessage(all), nil
}

// ListWorkloads implements the RPC.
func (s inventoryServer) ListWorkloads(ctx context.Context, _ *pb.WorkloadsRequest) (*pb.WorkloadList, error) {
	all, err := s.inv.Workloads(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	return workloadsMessage(all), nil
}

// ListInterfaces implements the RPC.
func (s inventoryServer) ListInterfaces(ctx context.Context, _ *pb.InterfacesRequest) (*pb.InterfaceList, error) {
	all, err := s.inv.Interfaces(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	return interfacesMessage(all), nil
}
