package main

import (
	"context"
	"fmt"
	"net/netip"
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

// blocks is how many of the default size the node has: room for all, so that no
// address has to be used again.
const blocks = 32

// node is the lab: one node with many blocks.
func node(o options) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 1, NoIPv6: !o.ipv6})
	n := &top.Nodes[0]
	n.Pods = nil
	var all []netip.Prefix
	for _, b := range n.Blocks {
		for range blocks {
			all = append(all, b)
			b = next(b)
		}
	}
	n.Blocks = all
	return top
}

// next returns the block after b.
func next(b netip.Prefix) netip.Prefix {
	a := b.Addr()
	for range 1 << (a.BitLen() - b.Bits()) {
		a = a.Next()
	}
	return netip.PrefixFrom(a, b.Bits())
}

// dirOf is the directory of a plugin, in which the runtime finds it.
func dirOf(o options) string { return filepath.Dir(o.plugin) }
