package node

import (
	"context"
	"net/netip"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

// Store is where Snapshots come from.
type Store interface {
	// Run watches the source until ctx ends.
	Run(ctx context.Context) error
	// Snapshot returns the newest Snapshot; never nil.
	Snapshot() *caracal.Snapshot
	// Subscribe returns a bell that rings when there is a new Snapshot.
	Subscribe() <-chan struct{}
}

// Reloader is what `caracal configure` needs of a store.
type Reloader interface {
	// Reload reads the source now; the Snapshot is published when it returns.
	Reload(ctx context.Context) ([]caracal.Problem, error)
	// Check reads the source and returns the Snapshot it would give.
	Check(ctx context.Context) (*caracal.Snapshot, error)
	// Confirm releases a removal that was held, like Reload.
	Confirm(ctx context.Context) ([]caracal.Problem, error)
}

// Viewer is what `caracal show tor-config` needs of a store.
type Viewer interface {
	// Views returns what the Snapshots of other nodes are, as far as this node can
	// tell: their Peers are those of that node, without secrets.
	Views(ctx context.Context, nodes []string) ([]*caracal.Snapshot, error)
}

// Speaker is [bgp.Speaker] as the tasks see it.
type Speaker interface {
	// Apply carries out a configuration as a difference to the last one.
	Apply(ctx context.Context, c bgp.Config) (bgp.Result, error)
	// Bell rings when Take has something.
	Bell() <-chan struct{}
	// Take returns what happened since the last call, in order.
	Take() []bgp.Event
	// Leave withdraws what was announced, closes the sessions and stops.
	Leave(ctx context.Context) error
	Sessions
	Failer
	Relayer
}

// Sessions is what operators ask of, and tell, the speaker. Neighbors are
// named as in bgp.Neighbor.
type Sessions interface {
	// Neighbors returns what is known of each session now.
	Neighbors(ctx context.Context) ([]bgp.NeighborStatus, error)
	// AdjOut calls fn for each path that a neighbor is sent, until it returns
	// false.
	AdjOut(ctx context.Context, name string, fn func(netip.Prefix, caracal.Attrs) bool) error
	// Enable, Disable and Restart act on one session, RefreshOut announces
	// everything to it again.
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name, reason string) error
	Restart(ctx context.Context, name string) error
	RefreshOut(ctx context.Context, name string) error
}

// Network is what the links of this host say that a configuration can depend
// on. It is read at any time, by any task.
type Network interface {
	// Gateways returns the next hops of the kernel's default routes, those of
	// ours aside, with a zone where they are link-local; invalid without one.
	Gateways() (v4, v6 netip.Addr)
	// Routers returns the link-local address, with its zone, of the router that
	// advertises itself on a device, by device. The map must not be changed.
	Routers() map[string]netip.Addr
	// Bell rings when one of these changes. It has one listener.
	Bell() <-chan struct{}
	// Advertise says on which devices routers are looked for, and this node
	// advertises itself as one, from now on.
	Advertise(devices []string)
}

// Failer is how a session is ended because the way to its neighbor is gone, and
// begun again when it is back.
type Failer interface {
	// Fail ends the session of a neighbor at once; graceful keeps its paths as
	// stale for its restart time (RFC 4724 section 4.2). A neighbor that is not
	// Established is left alone.
	Fail(ctx context.Context, name, reason string, graceful bool) error
	// Reachable says that the way to a neighbor is there again, so that it is
	// dialed soon. One that is Established is left alone.
	Reachable(name string)
}

// bell returns a channel that can hold one ring, and the function that rings
// it without ever blocking.
func bell() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	return c, func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// gate is the set of local prefixes whose routes are in the kernel. It is
// immutable; the routes task publishes a new one when it changes.
type gate map[netip.Prefix]struct{}

// backoff is the time to wait after failures in a row: 1 s doubling to 30 s.
func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures-1, 5), 30*time.Second)
}
