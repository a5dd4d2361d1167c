package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"caracal.dev/caracal/proto"
	"caracal.dev/caracal/test/runtimes"
)

// adopt implements [subject]: kill -9, and a new process.
func (caracal) adopt(ctx context.Context, h *runtimes.Host, pods int) ([]adoption, error) {
	if err := h.Node.Kill(os.Kill); err != nil {
		return nil, err
	}
	a := adoption{pods: pods}
	begin := time.Now()
	if _, err := h.Node.Restart(os.Kill); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+h.Node.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := poll(ctx, func() string {
		// A connection that failed is not tried again for a second: each look has its own.
		s, err := status(ctx, h.Node.Socket())
		if err != nil {
			return err.Error()
		}
		return s.GetReason()
	}); err != nil {
		return nil, err
	}
	a.ready = time.Since(begin)
	err = poll(ctx, func() string {
		check, err := proto.NewIPAMClient(conn).CheckIPAM(ctx, &proto.CheckIPAMRequest{}, grpc.WaitForReady(true))
		switch {
		case err != nil:
			return err.Error()
		case int(check.GetEndpoints()) != pods || len(check.GetProblems()) > 0:
			return fmt.Sprintf("%d endpoints of %d; problems: %v", check.GetEndpoints(), pods, check.GetProblems())
		}
		return missing(h, pods)
	})
	a.whole = time.Since(begin)
	return []adoption{a}, err
}

// missing says what the kernel's routes lack.
func missing(h *runtimes.Host, pods int) string {
	routes, err := h.Node.OwnRoutes()
	if err != nil {
		return err.Error()
	}
	hosts := 0
	for _, r := range routes {
		if r.Dst.IsSingleIP() && slices.ContainsFunc(h.Node.Blocks, r.Dst.Overlaps) {
			hosts++
		}
	}
	if want := pods * len(h.Node.Blocks) / blocks; hosts != want {
		return fmt.Sprintf("%d routes to containers of %d", hosts, want)
	}
	return ""
}

// status asks the daemon at a socket whether an ADD would work.
func status(ctx context.Context, socket string) (*proto.EndpointStatus, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	s, err := proto.NewEndpointsClient(conn).GetEndpointStatus(ctx, &proto.EndpointStatusRequest{})
	if err == nil && !s.GetReady() && s.GetReason() == "" {
		return nil, fmt.Errorf("not ready, without a reason")
	}
	return s, err
}

// poll waits until look says nothing.
func poll(ctx context.Context, look func() string) error {
	for {
		wrong := look()
		if wrong == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("caracald has not taken up its containers: %s", wrong)
		case <-time.After(2 * time.Millisecond):
		}
	}
}
