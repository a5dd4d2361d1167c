package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// latency is the distribution of one route's way from the peer's write to the
// kernel's notification of the route.
type latency struct {
	median, p95, longest time.Duration
}

// measureSingle announces routes one after the other, each when the one before
// is in the kernel, and takes them back.
func measureSingle(ctx context.Context, w *stand.World, p *stand.Peer, nextHop netip.Addr, routes []netip.Prefix) (l latency, err error) {
	if len(routes) == 0 {
		return l, nil
	}
	ns, err := netns.GetFromName(w.Router)
	if err != nil {
		return l, err
	}
	defer ns.Close()
	updates, done := make(chan netlink.RouteUpdate, 64), make(chan struct{})
	defer close(done)
	if err := netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{Namespace: &ns, ReceiveBufferSize: 4 << 20, ReceiveBufferForceSize: true}); err != nil {
		return l, fmt.Errorf("subscribe to routes: %w", err)
	}
	took := make([]time.Duration, 0, len(routes))
	for _, r := range routes {
		messages := sender.Encode([]netip.Prefix{r}, sender.Path{NextHop: nextHop, LocalPref: 100})
		start := time.Now()
		if err := p.Send(messages...); err != nil {
			return l, err
		}
		if err := await(ctx, updates, r); err != nil {
			return l, err
		}
		took = append(took, time.Since(start))
		// As far apart as single changes are: no daemon may gain from a burst.
		time.Sleep(5 * time.Millisecond)
	}
	if err := p.Send(sender.EncodeWithdraw(routes)...); err != nil {
		return l, err
	}
	slices.Sort(took)
	return latency{took[len(took)/2], took[len(took)*95/100], took[len(took)-1]}, nil
}

// await returns when the kernel says that it has the route.
func await(ctx context.Context, updates <-chan netlink.RouteUpdate, want netip.Prefix) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("route %s did not reach the kernel: %w", want, ctx.Err())
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("the kernel's notifications ended while waiting for %s", want)
			}
			if u.Type == unix.RTM_NEWROUTE && u.Dst != nil && u.Dst.String() == want.String() {
				return nil
			}
		}
	}
}
