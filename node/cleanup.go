package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

// Cleanup lists the routes in the kernel that carry our mark and, with yes,
// deletes them. Nothing else of the machine is touched. For a running daemon
// it must not be used with yes: the routes would come back.
func Cleanup(ctx context.Context, k fib.Kernel, yes bool) (api.CleanupResult, error) {
	res, _, err := removeMarked(ctx, k, func(dsts []netip.Prefix) ([]netip.Prefix, error) {
		if yes {
			return dsts, nil
		}
		return nil, nil
	})
	return res, err
}

// removeMarked lists the routes with the mark of k and deletes those that
// choose picks; kept is the number of the others.
func removeMarked(ctx context.Context, k fib.Kernel, choose func([]netip.Prefix) ([]netip.Prefix, error)) (res api.CleanupResult, kept int, err error) {
	var dsts []netip.Prefix
	kinds := map[netip.Prefix]fib.Kind{}
	_, err = k.Dump(ctx, fib.Filter{Own: true, Table: k.Mark().Table}, func(r fib.Read) {
		res.Total++
		if len(res.Items) < api.CleanupItems {
			res.Items = append(res.Items, fmt.Sprintf("route %s table %d protocol %d metric %d", named(r.Route), k.Mark().Table, r.Protocol, r.Metric))
		}
		dsts = append(dsts, r.Dst)
		kinds[r.Dst] = r.Kind
	})
	if err != nil {
		return res, 0, fmt.Errorf("node: list routes to clean up: %w", err)
	}
	picked, err := choose(dsts)
	if err != nil {
		return res, 0, err
	}
	const batch = 256
	for chunk := range slices.Chunk(picked, batch) {
		ops := make([]fib.Op, len(chunk))
		for i, dst := range chunk {
			ops[i] = fib.Op{Verb: fib.Delete, Route: fib.Route{Dst: dst, Kind: kinds[dst]}}
		}
		failed, err := k.Write(ctx, ops)
		if err != nil {
			return res, 0, fmt.Errorf("node: clean up routes: %w", err)
		}
		res.Deleted += len(ops) - len(failed)
		for _, f := range failed {
			res.Failed = append(res.Failed, fmt.Sprintf("route %s: %s", ops[f.Index].Route.Dst, f.Errno))
		}
	}
	return res, len(dsts) - len(picked), nil
}

// named returns the route with the names of its devices, for people.
func named(r fib.Route) fib.Route {
	r.Hops = slices.Clone(r.Hops)
	for i := range r.Hops {
		if link, err := net.InterfaceByIndex(r.Hops[i].Link); err == nil {
			r.Hops[i].Device = link.Name
		}
	}
	return r
}
