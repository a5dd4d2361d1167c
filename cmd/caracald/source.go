package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"caracal.dev/caracal"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/node"
	"caracal.dev/caracal/store/file"
)

// source is where this node's configuration comes from, and all that differs with it.
type source struct {
	store configuration
	// says is where it is, for status.
	says string
	// ipam gives addresses; shared, that the nodes keep them together.
	ipam   endpoint.Allocator
	shared bool
	// knows reports whether a Pod is in the store; nil for one without Pods.
	knows func(ctx context.Context, namespace, name, uid string) bool
	// beside are the tasks that only this source has.
	beside func(endpoints *endpoint.Registry) []func(context.Context, *node.Agent) error
	// problems are those of these tasks; nil without.
	problems func() []caracal.Problem
}

// tasks are those of beside.
func (s source) tasks(endpoints *endpoint.Registry) []func(context.Context, *node.Agent) error {
	if s.beside == nil {
		return nil
	}
	return s.beside(endpoints)
}

// configuration is a store with all that it can be asked.
type configuration interface {
	node.Store
	node.Reloader
	node.Viewer
}

// The values of --store.
const (
	storeFile       = "file"
	storeKubernetes = "kubernetes"
)

// newSource opens nothing yet.
func newSource(f flags, name, nameFrom string, log *slog.Logger) (source, error) {
	switch f.store {
	case storeKubernetes:
		return kubeSource(f, name, log)
	case storeFile:
		return fileSource(f, name, nameFrom, log), nil
	}
	return source{}, errors.New("there is no store " + f.store)
}

// fileSource is a directory of this host.
func fileSource(f flags, name, nameFrom string, log *slog.Logger) source {
	return source{
		store: file.New(file.Options{Dir: f.config, StateDir: filepath.Join(f.state, "accepted"), Node: name, NodeFrom: nameFrom, Log: log}),
		says:  f.config,
		ipam:  ipam.New(&lateStore{path: filepath.Join(f.state, "ipam")}),
	}
}

// nodeName returns the name of this node and where it is from.
func nodeName(flagged string) (name, from string, err error) {
	if flagged != "" {
		return flagged, "--node", nil
	}
	if name = os.Getenv("NODE_NAME"); name != "" {
		return name, "NODE_NAME", nil
	}
	name, err = os.Hostname()
	if err != nil {
		return "", "", fmt.Errorf("the hostname is not known (%w); give the node's name with --node", err)
	}
	return name, "hostname", nil
}
