package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// network is the name of the one that containers are in.
const network = "bench"

// subject is a plugin that can be measured.
type subject interface {
	name() string
	// start makes it ready for ADDs on a host.
	start(ctx context.Context, h *runtimes.Host, o options) error
	// adopt measures how a daemon takes up what there is; nothing without a daemon.
	adopt(ctx context.Context, h *runtimes.Host, pods int) ([]adoption, error)
}

// reference is ptp with host-local.
type reference struct{}

func (reference) name() string { return "ptp + host-local" }

func (reference) start(_ context.Context, h *runtimes.Host, _ options) error {
	return h.Configure(network, runtimes.CNI10, h.PTP())
}

func (reference) adopt(context.Context, *runtimes.Host, int) ([]adoption, error) { return nil, nil }

// caracal is caracal-cni with its daemon.
type caracal struct{}

func (caracal) name() string { return "caracal-cni" }

func (caracal) start(ctx context.Context, h *runtimes.Host, o options) error {
	if err := h.Configure(network, runtimes.CNI11, h.Caracal()); err != nil {
		return err
	}
	if _, err := h.Node.StartCaracald(); err != nil {
		return err
	}
	return untilReady(ctx, h)
}

// untilReady waits until an ADD would work.
func untilReady(ctx context.Context, h *runtimes.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := h.Status(ctx, network)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("caracald is not ready: %w; its log:\n%s", err, h.Node.Process("caracald").Log())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// node is the lab: one node whose block has room for all.
func node(o options) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 1, NoIPv6: !o.ipv6})
	for i := range top.Pools {
		// 4,094 addresses, so that none has to be used again.
		top.Pools[i].BlockSize = top.Pools[i].CIDR.Addr().BitLen() - 12
	}
	n := &top.Nodes[0]
	n.Pods = nil
	for i, b := range n.Blocks {
		n.Blocks[i] = prefix(top.Pools[i].CIDR.Addr(), b.Addr().BitLen()-12)
	}
	return top
}

// dirOf is the directory of a plugin, in which the runtime finds it.
func dirOf(o options) string { return filepath.Dir(o.plugin) }
