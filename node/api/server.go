package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/ipam"
	pb "caracal.dev/caracal/proto"
)

const (
	// stopGrace is how long requests may go on when the server is to stop.
	stopGrace = time.Second
	// streamsPerClient bounds what one connection can have running.
	streamsPerClient = 16
)

// Server is the gRPC server. Make one with [New], then [Server.Run] it.
type Server struct {
	backend Backend
	opts    Options
	sock    *socket
	// stopping is closed when Run is to end, so that monitors let go.
	stopping chan struct{}
}

// New returns a server that asks backend. Nothing is opened yet.
func New(backend Backend, opts Options) *Server {
	if opts.Socket == "" {
		opts.Socket = DefaultSocket
	}
	return &Server{backend: backend, opts: opts, stopping: make(chan struct{})}
}

// Listen makes the socket. It fails if another daemon listens on it, so a
// daemon calls it before it touches anything else; [Server.Run] does it if it
// has not been done.
func (s *Server) Listen() error {
	if s.sock != nil {
		return nil
	}
	sock, err := listen(s.opts)
	if err != nil {
		return fmt.Errorf("api: listen on %s: %w", s.opts.Socket, err)
	}
	s.sock = sock
	return nil
}

// String names the task in logs and errors.
func (s *Server) String() string { return "api on " + s.opts.Socket }

// Run serves until ctx ends; then what is running may go on for a second, and
// the socket file is removed. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	defer s.sock.remove()
	g := grpc.NewServer(
		grpc.Creds(unixCreds{}),
		grpc.MaxConcurrentStreams(streamsPerClient),
		grpc.UnaryInterceptor(s.survive),
		grpc.StreamInterceptor(s.surviveStream),
	)
	s.register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(s.sock) }()
	select {
	case err := <-served:
		return fmt.Errorf("api: serve on %s: %w", s.opts.Socket, err)
	case <-ctx.Done():
	}
	close(s.stopping)
	hard := time.AfterFunc(stopGrace, g.Stop)
	defer hard.Stop()
	g.GracefulStop()
	<-served
	return nil
}

// register leaves out what the backend does not have: its callers are told
// that the service is not known here.
func (s *Server) register(g *grpc.Server) {
	if s.backend.Source != nil {
		pb.RegisterShowServer(g, showServer{src: s.backend.Source, peering: s.backend.Peering, stopping: s.stopping})
	}
	if s.backend.Inventory != nil {
		pb.RegisterInventoryServer(g, inventoryServer{inv: s.backend.Inventory})
	}
	if s.backend.Peering != nil {
		pb.RegisterPeeringServer(g, peeringServer{src: s.backend.Peering})
	}
	if s.backend.Tunnels != nil {
		pb.RegisterTunnelsServer(g, tunnelServer{src: s.backend.Tunnels})
	}
	if s.backend.Services != nil {
		pb.RegisterServicesServer(g, serviceServer{src: s.backend.Services})
	}
	if s.backend.Policies != nil {
		pb.RegisterPoliciesServer(g, policyServer{src: s.backend.Policies})
	}
	if s.backend.Endpoints != nil && s.backend.Addresses != nil {
		pb.RegisterEndpointsServer(g, endpointServer{eps: s.backend.Endpoints, addrs: s.backend.Addresses, log: s.opts.Log})
		pb.RegisterIPAMServer(g, ipamServer{addrs: s.backend.Addresses, log: s.opts.Log})
	}
	if s.backend.Commander != nil {
		pb.RegisterCommandServer(g, commandServer{cmd: s.backend.Commander, log: s.opts.Log})
	}
}

// survive turns a panic of one request into its error: what only shows
// something must not end what carries traffic.
func (s *Server) survive(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(ctx, req)
}

func (s *Server) surviveStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(srv, stream)
}

func (s *Server) recovered(method string, err *error) {
	if r := recover(); r != nil {
		s.opts.Log.Error("api: request failed by a bug in caracald", "method", method, "panic", fmt.Sprint(r),
			slog.String("stack", string(debug.Stack())))
		*err = status.Errorf(codes.Internal, "a bug in caracald: %v (its log has the stack; please report it)", r)
	}
}

// statusOf gives an implementation's error the code that the CLI's exit code
// and advice depend on; the text stays what it is.
func statusOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound), errors.Is(err, endpoint.ErrNotFound), errors.Is(err, ipam.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, endpoint.ErrNotReady):
		return status.Error(codes.Unavailable, err.Error())
	case errors.Is(err, endpoint.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, ipam.ErrExhausted):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, ipam.ErrTaken):
		return status.Error(codes.AlreadyExists, err.Error())
	case errors.Is(err, ErrRefused), errors.Is(err, endpoint.ErrInUse), errors.Is(err, ipam.ErrUnavailable):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}
