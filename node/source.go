package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/node/api"
	"caracal.dev/caracal/rib"
)

// page is how many prefixes of a listing are read at a time: changes go through
// in between, and a slow client holds up nobody.
const page = 512

// Routes implements api.Source.
func (a *Agent) Routes(ctx context.Context, q api.RouteQuery, fn func(api.RoutePath) bool) error {
	up := a.up.Load()
	if up == nil {
		return a.errStarting()
	}
	if q.Neighbor != "" && !slices.ContainsFunc(up.bgp.state.Load().config.Neighbors, func(n bgp.Neighbor) bool { return n.Name == q.Neighbor }) {
		return notFound(q.Neighbor, up.bgp.state.Load().config.Neighbors)
	}
	if q.Table == api.AdjRIBOut {
		return up.adjOut(ctx, q, fn)
	}
	var locals []netip.Prefix
	var refs []rib.Ref
	if err := up.routes.query(ctx, func() { locals, refs = up.routes.matching(q) }); err != nil {
		return err
	}
	for len(locals)+len(refs) > 0 {
		var out []api.RoutePath
		err := up.routes.query(ctx, func() {
			n := min(page, len(locals))
			for _, p := range locals[:n] {
				out = up.routes.localPath(out, p)
			}
			locals = locals[n:]
			n = min(page, len(refs))
			for _, r := range refs[:n] {
				out = up.routes.paths(out, r, q)
			}
			refs = refs[n:]
		})
		if err != nil {
			return err
		}
		for _, p := range out {
			if !fn(p) {
				return nil
			}
		}
	}
	return nil
}

// matching returns what a query asks for: local prefixes and learned ones.
func (t *routesTask) matching(q api.RouteQuery) (locals []netip.Prefix, refs []rib.Ref) {
	withLocal := q.Neighbor == "" && q.Table == api.LocRIB
	switch {
	case q.Prefix.IsValid():
		if r, ok := t.mirror.Ref(q.Prefix); ok {
			refs = []rib.Ref{r}
		}
		if _, ok := t.local.wants[q.Prefix]; ok && withLocal {
			locals = []netip.Prefix{q.Prefix}
		}
	case q.For.IsValid():
		locals, refs = t.longest(q.For, withLocal)
	case q.Neighbor != "":
		refs = t.mirror.RefsOf(q.Neighbor)
	default:
		refs = t.mirror.Refs()
		if withLocal {
			for p, w := range t.local.wants {
				if w.Kind != fib.Pinned { // which is a way, not a path
					locals = append(locals, p)
				}
			}
			slices.SortFunc(locals, netip.Prefix.Compare)
		}
	}
	return locals, refs
}

// longest finds the longest prefix, local or learned, that covers an address.
func (t *routesTask) longest(a netip.Addr, withLocal bool) (locals []netip.Prefix, refs []rib.Ref) {
	best := -1
	if r, ok := t.mirror.RefFor(a); ok {
		best, refs = r.Prefix().Bits(), []rib.Ref{r}
	}
	if !withLocal {
		return nil, refs
	}
	for p := range t.local.wants {
		if p.Contains(a) && p.Bits() >= best {
			if p.Bits() > best {
				refs = nil
			}
			best, locals = p.Bits(), []netip.Prefix{p}
		}
	}
	return locals, refs
}

func (t *routesTask) localPath(out []api.RoutePath, p netip.Prefix) []api.RoutePath {
	w, ok := t.local.wants[p]
	if !ok {
		return out
	}
	r := api.RoutePath{Path: caracal.Path{NLRI: p}, Source: sourceOf(w), Best: true}
	t.explain(&r)
	return append(out, r)
}

// paths appends the paths of one prefix that the query asks for.
func (t *routesTask) paths(out []api.RoutePath, ref rib.Ref, q api.RouteQuery) []api.RoutePath {
	first := true
	for _, v := range t.mirror.View(ref) {
		if q.Neighbor != "" && v.Neighbor != q.Neighbor {
			first = first && !v.Best
			continue
		}
		r := api.RoutePath{
			Path: v.Path, Source: api.FromBGP, Best: v.Best && first, Multipath: v.Best && !first,
			Refused: v.Verdict.Code != rib.Accepted, Stale: v.Stale, Why: v.Why,
		}
		first = first && !v.Best
		if v.Best {
			t.explain(&r)
		} else if r.Why == "" {
			r.Why = "not decided yet"
		}
		out = append(out, r)
	}
	return out
}

// explain adds what the FIB knows: whether the route is in the kernel, and if
// not, why and what the kernel answered.
func (t *routesTask) explain(r *api.RoutePath) {
	s, ok := t.fib.State(r.NLRI)
	if !ok {
		r.Why = join(r.Why, "not handed to the FIB yet")
		return
	}
	r.Installed = s.Installed
	r.Hops = hops(s.Route.Hops)
	switch {
	case s.Err != nil:
		r.Kernel, r.KernelAt = s.Err.Error(), s.Since
	case s.Installed:
		r.Kernel, r.KernelAt = "ok", s.Since
	}
	if !s.Installed {
		r.Why = join(r.Why, s.Reason)
	}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func (up *running) adjOut(ctx context.Context, q api.RouteQuery, fn func(api.RoutePath) bool) error {
	err := up.speaker.AdjOut(ctx, q.Neighbor, func(p netip.Prefix, attrs caracal.Attrs) bool {
		if q.Prefix.IsValid() && p != q.Prefix || q.For.IsValid() && !p.Contains(q.For) {
			return true
		}
		return fn(api.RoutePath{Path: caracal.Path{NLRI: p, Attrs: &attrs}, Source: api.FromBGP})
	})
	if err != nil {
		return fmt.Errorf("node: list adj-rib-out of %s: %w", q.Neighbor, err)
	}
	return nil
}

// FIB implements api.Source.
func (a *Agent) FIB(ctx context.Context, fn func(api.FIBEntry) bool) error {
	up := a.up.Load()
	if up == nil {
		return a.errStarting()
	}
	var dsts []netip.Prefix
	err := up.routes.query(ctx, func() {
		dsts = make([]netip.Prefix, 0, up.routes.fib.Len())
		up.routes.fib.All(func(s fib.RouteState) bool { dsts = append(dsts, s.Dst); return true })
	})
	if err != nil {
		return err
	}
	for len(dsts) > 0 {
		n := min(page, len(dsts))
		var out []api.FIBEntry
		err := up.routes.query(ctx, func() {
			for _, dst := range dsts[:n] {
				if s, ok := up.routes.fib.State(dst); ok {
					out = append(out, up.routes.fibEntry(s))
				}
			}
		})
		if err != nil {
			return err
		}
		dsts = dsts[n:]
		for _, e := range out {
			if !fn(e) {
				return nil
			}
		}
	}
	return nil
}

func (t *routesTask) fibEntry(s fib.RouteState) api.FIBEntry {
	mark := t.kernel.Mark()
	e := api.FIBEntry{
		Prefix: s.Dst, Type: s.Route.Kind.String(), Hops: hops(s.Route.Hops), Table: mark.Table, Protocol: mark.Protocol, Metric: mark.Metric,
		Source: sourceOf(s.Want), Reason: s.Reason, Since: s.Since,
	}
	switch {
	case s.Adopted:
		e.State = api.FIBStale
	case s.Installed:
		e.State = api.FIBInstalled
	case errors.Is(s.Err, syscall.EEXIST):
		e.State = api.FIBConflict
	case s.Err != nil || s.Reason != "" && !s.Pending:
		e.State = api.FIBFailed
	default:
		e.State = api.FIBPending
	}
	if s.Want.Kind == fib.Learned {
		if ref, ok := t.mirror.Ref(s.Dst); ok {
			for _, v := range t.mirror.View(ref) {
				if v.Best {
					e.Neighbors = append(e.Neighbors, v.Neighbor)
				}
			}
		}
	}
	return e
}
