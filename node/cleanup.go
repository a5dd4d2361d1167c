package node

import (
	"context"
	"fmt"
	"net"
	"slices"

	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
)

// Cleanup lists the routes in the kernel that carry our mark and, with yes,
// deletes them. Nothing else of the machine is touched. For a running daemon
// it must not be used with yes: the routes would come back.
func Cleanup(ctx context.Context, k fib.Kernel, yes bool) (api.CleanupResult, error) {
	var res api.CleanupResult
	var ops []fib.Op
	_, err := k.Dump(ctx, fib.Filter{Own: true, Table: k.Mark().Table}, func(r fib.Read) {
		res.Total++
		if len(res.Items) < api.CleanupItems {
			res.Items = append(res.Items, fmt.Sprintf("route %s table %d protocol %d metric %d", named(r.Route), k.Mark().Table, r.Protocol, r.Metric))
		}
		if yes {
			ops = append(ops, fib.Op{Verb: fib.Delete, Route: fib.Route{Dst: r.Dst, Kind: r.Kind}})
		}
	})
	if err != nil {
		return res, fmt.Errorf("node: list routes to clean up: %w", err)
	}
	const batch = 256
	for len(ops) > 0 {
		n := min(batch, len(ops))
		failed, err := k.Write(ctx, ops[:n])
		if err != nil {
			return res, fmt.Errorf("node: clean up routes: %w", err)
		}
		res.Deleted += n - len(failed)
		for _, f := range failed {
			res.Failed = append(res.Failed, fmt.Sprintf("route %s: %s", ops[f.Index].Route.Dst, f.Errno))
		}
		ops = ops[n:]
	}
	return res, nil
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
