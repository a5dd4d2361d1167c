package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node"
	"caracal.dev/caracal/node/api"
	pb "caracal.dev/caracal/proto"
	"caracal.dev/caracal/store/file"
)

// Where caracald reads its configuration and keeps its state unless told
// otherwise.
const (
	configDir = "/etc/caracal"
	stateDir  = "/var/lib/caracal"
)

// cleanup is what `caracal cleanup` does while no daemon runs.
func cleanup(ctx context.Context, yes bool) (*pb.CleanupReply, error) {
	all := &pb.CleanupReply{}
	for _, m := range marks() {
		k, err := fib.OpenKernel(m)
		if err != nil {
			return nil, err
		}
		res, err := node.Cleanup(ctx, k, yes)
		k.Close()
		if err != nil {
			return nil, fmt.Errorf("%w (after %d deleted)", err, int(all.Deleted)+res.Deleted)
		}
		add(all, res)
	}
	res, err := node.CleanupTunnel(ctx, yes)
	add(all, res)
	return all, err
}

func add(all *pb.CleanupReply, res api.CleanupResult) {
	all.Items = append(all.Items, res.Items...)
	all.Total += uint32(res.Total)
	all.Deleted += uint32(res.Deleted)
	all.Failed = append(all.Failed, res.Failed...)
}

// marks are the default one, those that the daemon on this host has written
// down, and the one that its configuration asks for: routes of all are ours.
func marks() []fib.Mark {
	out := []fib.Mark{fib.DefaultMark}
	add := func(m fib.Mark) {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if recorded, err := node.ReadMarks(stateDir); err == nil {
		for _, m := range recorded {
			add(m)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return out
	}
	if snap, err := file.Load(configDir, host); err == nil {
		add(fib.MarkOf(snap.Dataplane))
	}
	return out
}
