package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
	"caracal.dev/caracal/selector"
	"caracal.dev/caracal/torconfig"
)

// Drained implements api.Peering.
func (a *Agent) Drained() api.Drain { return a.drain.status(a.o.Store.Snapshot()) }

// Filters implements api.Peering.
func (a *Agent) Filters(context.Context) ([]api.Filter, error) {
	var neighbors []bgp.Neighbor
	if up := a.up.Load(); up != nil {
		neighbors = up.bgp.state.Load().config.Neighbors
	}
	return filters(a.o.Store.Snapshot(), neighbors), nil
}

// filters are those that there are, and those that a neighbor names in vain.
func filters(snap *caracal.Snapshot, neighbors []bgp.Neighbor) []api.Filter {
	byName := map[string]*api.Filter{}
	for name, f := range snap.Filters.All() {
		byName[name] = &api.Filter{Filter: f}
	}
	for _, n := range neighbors {
		for name := range strings.SplitSeq(n.Filters, ",") {
			if name == "" {
				continue
			}
			if byName[name] == nil {
				byName[name] = &api.Filter{Filter: caracal.Filter{Name: name}, Missing: true}
			}
			byName[name].Neighbors = append(byName[name].Neighbors, n.Name)
		}
	}
	out := make([]api.Filter, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out
}

// TorConfig implements api.Peering.
func (a *Agent) TorConfig(ctx context.Context, q api.TorQuery) (string, error) {
	if a.o.Viewer == nil {
		return "", fmt.Errorf("%w: this store cannot say what is configured for other nodes", api.ErrRefused)
	}
	nodes, err := selected(a.o.Store.Snapshot(), q)
	if err != nil {
		return "", err
	}
	views, err := a.o.Viewer.Views(ctx, nodes)
	if err != nil {
		return "", fmt.Errorf("node: view other nodes: %w", err)
	}
	config, err := torconfig.Plan(views, torconfig.Query{Peer: q.Peer, ASN: q.ASN})
	if err != nil {
		return "", fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	text, err := config.Render(torconfig.Format(q.Format))
	if err != nil {
		return "", fmt.Errorf("%w: %w", api.ErrRefused, err)
	}
	return text, nil
}

// selected are the names of the nodes that a query is about, in order.
func selected(snap *caracal.Snapshot, q api.TorQuery) ([]string, error) {
	if q.Node != "" {
		if _, ok := snap.Nodes.Get(q.Node); !ok {
			return nil, fmt.Errorf("%w: node %q; caracal show nodes lists them", api.ErrNotFound, q.Node)
		}
		return []string{q.Node}, nil
	}
	sel, err := selector.Parse(q.Selector)
	if err != nil {
		return nil, fmt.Errorf("%w: --selector: %w", api.ErrRefused, err)
	}
	var names []string
	for name, n := range snap.Nodes.All() {
		labels := maps.Clone(n.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		if _, ok := labels[v1.HostnameLabel]; !ok {
			labels[v1.HostnameLabel] = name
		}
		if sel.Matches(labels) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: a node that the selector %s selects; caracal show nodes lists them with their labels", api.ErrNotFound, q.Selector)
	}
	return names, nil
}

// refusals are the reasons of a neighbor's refused paths, the most frequent
// first.
func refusals(c rib.Counts) []api.Refusal {
	var out []api.Refusal
	for code, n := range c.Refused {
		out = append(out, api.Refusal{Reason: code.String(), Paths: n})
	}
	slices.SortFunc(out, func(a, b api.Refusal) int {
		return cmp.Or(cmp.Compare(b.Paths, a.Paths), strings.Compare(a.Reason, b.Reason))
	})
	return out
}
