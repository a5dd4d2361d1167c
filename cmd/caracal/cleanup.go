package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node"
	pb "caracal.dev/caracal/proto"
	"caracal.dev/caracal/store/file"
)

// configDir is where caracald reads its configuration unless told otherwise.
const configDir = "/etc/caracal"

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
		all.Items = append(all.Items, res.Items...)
		all.Total += uint32(res.Total)
		all.Deleted += uint32(res.Deleted)
		all.Failed = append(all.Failed, res.Failed...)
	}
	return all, nil
}

// marks are the default one and the one that the configuration on this host
// asks for, if it can be read: routes of either are ours.
func marks() []fib.Mark {
	out := []fib.Mark{fib.DefaultMark}
	host, err := os.Hostname()
	if err != nil {
		return out
	}
	snap, err := file.Load(configDir, host)
	if err != nil {
		return out
	}
	if m := fib.MarkOf(snap.Dataplane); !slices.Contains(out, m) {
		out = append(out, m)
	}
	return out
}
