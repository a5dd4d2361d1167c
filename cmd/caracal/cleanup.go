package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"caracal.dev/caracal/cni"
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
	if err != nil {
		return all, err
	}
	res, err = node.CleanupPolicy(ctx, yes)
	add(all, res)
	if err != nil {
		return all, err
	}
	res, err = cleanupCNI(stateDir, yes)
	add(all, res)
	return all, err
}

// cleanupCNI takes the network's configuration back that caracald --install-cni
// wrote. The links of containers stay with them.
func cleanupCNI(stateDir string, yes bool) (res api.CleanupResult, err error) {
	dirs, err := node.RecordedCNI(stateDir)
	if err != nil {
		return res, err
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, cni.ConflistName)
		if b, err := os.ReadFile(file); err != nil || !bytes.Contains(b, []byte(`"`+cni.PluginType+`"`)) {
			continue // not there, or somebody else's
		}
		res.Items = append(res.Items, "CNI configuration "+file)
		res.Total++
		if !yes {
			continue
		}
		switch removed, err := cni.Uninstall(dir); {
		case err != nil:
			res.Failed = append(res.Failed, err.Error())
		case removed:
			res.Deleted++
		}
	}
	return res, nil
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
