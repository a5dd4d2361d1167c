package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"caracal.dev/caracal/ipam"
)

// look finds the nodes that have records and that may be gone. total is how many have
// records.
func (c *Collector) look(ctx context.Context) (seen []sight, total int, err error) {
	with, err := c.nodesWithRecords(ctx)
	if err != nil {
		return nil, 0, err
	}
	// Whom a cache knows is there; whom it does not is asked for.
	known, err := c.names(ctx, schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, func(o metav1.Object) string { return o.GetName() })
	if err != nil {
		return nil, 0, fmt.Errorf("list nodes: %w", err)
	}
	for _, node := range slices.Sorted(maps.Keys(with)) {
		if known[node] {
			continue
		}
		gone, err := c.gone(ctx, node)
		if err != nil {
			return nil, 0, err
		}
		if !gone {
			continue
		}
		e, err := c.estate(ctx, node)
		if err != nil {
			return nil, 0, err
		}
		seen = append(seen, sight{node: node, gone: true, records: e.revisions()})
	}
	return seen, len(with), nil
}

// nodesWithRecords are the names of the nodes that claims and blocks are of.
func (c *Collector) nodesWithRecords(ctx context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	for _, prefix := range []string{"affinity/", "borrowed/"} {
		records, _, err := c.records.List(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if s, ok := ipam.Summarize(r); ok && s.Node != "" {
				out[s.Node] = true
			}
		}
	}
	blocks, err := c.names(ctx, schema.GroupVersionResource{Group: "caracal.dev", Version: "v1", Resource: "ipamblocks"}, nodeOf)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	maps.Copy(out, blocks)
	delete(out, "")
	return out, nil
}

// names lists what the metadata of all objects of a kind say, as the API's cache has
// it.
func (c *Collector) names(ctx context.Context, kind schema.GroupVersionResource, of func(metav1.Object) string) (map[string]bool, error) {
	client, err := metadata.NewForConfig(c.o.Client.Config)
	if err != nil {
		return nil, err
	}
	list, err := client.Resource(kind).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for i := range list.Items {
		out[of(&list.Items[i])] = true
	}
	return out, nil
}

// gone asks the API itself, and not its cache, whether there is neither a Node nor a
// Pod on it.
func (c *Collector) gone(ctx context.Context, node string) (bool, error) {
	_, err := c.o.Client.Core.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("get node %s: %w", node, err)
	}
	pods, err := c.o.Client.Core.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node, Limit: 1})
	if err != nil {
		return false, fmt.Errorf("list pods of node %s: %w", node, err)
	}
	return len(pods.Items) == 0, nil
}

// estate reads all that a node has.
func (c *Collector) estate(ctx context.Context, node string) (estate, error) {
	e := estate{node: node}
	var bad []ipam.Damaged
	var err error
	if e.claims, bad, err = c.records.ListNode(ctx, node); err != nil {
		return e, err
	}
	c.tellDamaged(bad)
	if e.blocks, bad, err = c.records.ListBlocks(ctx, node); err != nil {
		return e, err
	}
	c.tellDamaged(bad)
	for _, d := range bad {
		if s, ok := ipam.SubjectOf(d.Key); ok {
			e.leave(s.CIDR)
		}
	}
	have := map[string]bool{}
	for _, r := range e.blocks {
		have[r.Key] = true
	}
	for _, r := range e.claims {
		s, _ := ipam.SubjectOf(r.Key)
		if sum, _ := ipam.Summarize(r); s.Kind == ipam.BorrowedSubject {
			s.CIDR = sum.Borrowed
		}
		key := ipam.BlockKey(s.CIDR)
		if !s.CIDR.IsValid() || have[key] || e.unread[s.CIDR] {
			continue
		}
		have[key] = true
		b, err := c.records.Get(ctx, key)
		if errors.Is(err, ipam.ErrNotFound) {
			continue
		}
		if errors.Is(err, ipam.ErrDamaged) {
			e.leave(s.CIDR)
			continue
		}
		if err != nil {
			return e, err
		}
		e.blocks = append(e.blocks, b)
	}
	return e, nil
}

// revisions stand for what the node itself wrote: of others' blocks, which others
// write, only what the node has of them.
func (e estate) revisions() string {
	var b strings.Builder
	for _, r := range e.claims {
		fmt.Fprintf(&b, "%s %s\n", r.Key, r.Revision)
	}
	for _, r := range e.blocks {
		h, err := ipam.ReadBlock(r)
		if err != nil {
			fmt.Fprintf(&b, "%s %s\n", r.Key, r.Revision)
			continue
		}
		fmt.Fprintf(&b, "%s %s:", r.Key, h.Node)
		for _, a := range h.Allocations {
			if a.Node == e.node {
				fmt.Fprintf(&b, " %s %s", a.Addr, a.Handle)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
