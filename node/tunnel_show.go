package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipip"
	"caracal.dev/caracal/node/api"
)

// Tunnel implements api.Tunnels.
func (a *Agent) Tunnel(ctx context.Context) (api.Tunnel, error) {
	up := a.up.Load()
	if up == nil {
		return api.Tunnel{}, a.errStarting()
	}
	snap, st := a.o.Store.Snapshot(), up.tunnel.state.Load()
	have, err := up.tunnel.device.Observe(ctx) // the counters of now
	if err != nil {
		return api.Tunnel{}, fmt.Errorf("node: show the tunnel: %w", err)
	}
	out := api.Tunnel{
		Device: ipip.Device, Wanted: st.wanted, Present: have.Exists, Up: have.Up, MTU: have.MTU,
		WantedMTU: st.want.MTU, PodMTU: st.podMTU, Uplink: st.uplink.name, UplinkMTU: st.uplink.mtu,
		Received: api.TunnelCounters(have.RX), Sent: api.TunnelCounters(have.TX),
	}
	if err := errors.Join(st.err, st.uplinkErr); err != nil {
		out.Problem = err.Error()
	}
	for _, addr := range have.Addrs {
		if addr.Ours {
			out.Addr = addr.Prefix.Addr()
		}
	}
	for _, p := range snap.Pools.All() {
		if p.CIDR.Addr().Is4() {
			out.Pools = append(out.Pools, p)
		}
	}
	byNode := map[string]*api.TunnelNode{}
	for name, n := range snap.Nodes.All() {
		if name != snap.Self && n.IPv4.IsValid() {
			byNode[name] = &api.TunnelNode{Node: name, Addr: n.IPv4.Addr(), TunnelAddr: n.Tunnel}
		}
	}
	if err := up.routes.query(ctx, func() { up.routes.countTunnels(byNode) }); err != nil {
		return api.Tunnel{}, err
	}
	for _, n := range byNode {
		out.Nodes = append(out.Nodes, *n)
	}
	slices.SortFunc(out.Nodes, func(a, b api.TunnelNode) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

// countTunnels counts the routes to what nodes own. It runs on the routes task.
func (t *routesTask) countTunnels(byNode map[string]*api.TunnelNode) {
	t.fib.All(func(s fib.RouteState) bool {
		if s.Want.Kind != fib.Learned || !s.Dst.Addr().Is4() {
			return true
		}
		n := byNode[t.owners.OwnerOf(s.Dst)]
		switch {
		case n == nil:
		case s.Want.Tunnel == "":
			n.Direct++
		default:
			n.Tunneled++
			if !s.Installed {
				n.Failed++
			}
		}
		return true
	})
}

// CheckTunnel implements api.Tunnels.
func (a *Agent) CheckTunnel(ctx context.Context, name string) (api.TunnelCheck, error) {
	up := a.up.Load()
	if up == nil {
		return api.TunnelCheck{}, a.errStarting()
	}
	snap, st := a.o.Store.Snapshot(), up.tunnel.state.Load()
	self, _ := snap.SelfNode()
	far, ok := snap.Nodes.Get(name)
	switch {
	case !ok:
		return api.TunnelCheck{}, fmt.Errorf("%w: node %q; caracal show nodes lists them", api.ErrNotFound, name)
	case name == snap.Self:
		return api.TunnelCheck{}, fmt.Errorf("%w: %s is this node", api.ErrRefused, name)
	case !self.IPv4.IsValid() || !far.IPv4.IsValid():
		return api.TunnelCheck{}, fmt.Errorf("%w: IPIP is for IPv4, and both nodes need an IPv4 address", api.ErrRefused)
	}
	c := api.TunnelCheck{Node: name, Addr: far.IPv4.Addr()}
	mtu := st.want.MTU
	if mtu == 0 { // nobody asks for the tunnel now
		mtu = tunnelMTU(snap.Dataplane, st.uplink, st.have)
	}
	c.NeededMTU = mtu + ipip.Overhead
	if routes, err := netlink.RouteGet(c.Addr.AsSlice()); err == nil && len(routes) > 0 {
		c.Source, _ = netip.AddrFromSlice(routes[0].Src.To4())
	}
	// A packet that does not fit the own interface is not sent, so more need not be
	// asked for.
	path, err := ipip.ProbePath(ctx, self.IPv4.Addr(), c.Addr, max(c.NeededMTU, st.uplink.mtu))
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	c.PathMTU, c.LimitedBy, c.RTT = path.MTU, path.Limit, path.RTT.Round(time.Microsecond)
	c.Advice = tunnelAdvice(c, self, st, err)
	c.Good = len(c.Advice) == 0
	return c, nil
}

// tunnelAdvice says what a probe found wrong, and what to do.
func tunnelAdvice(c api.TunnelCheck, self caracal.Node, st *tunnelState, failed error) []string {
	var out []string
	advise := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if st.wanted && !st.have.Up {
		advise("%s of this node is not up: see caracal show tunnels", ipip.Device)
	}
	if c.Source.IsValid() && c.Source != self.IPv4.Addr() {
		advise("the kernel sends to %s from %s, but this node's address is %s, the only one that other nodes let IPIP in from: correct the NodeConfig, or the source of the route (ip route get %s)",
			c.Addr, c.Source, self.IPv4.Addr(), c.Addr)
	}
	switch {
	case failed != nil:
		advise("%v", failed)
	case c.PathMTU < c.NeededMTU && c.LimitedBy.IsValid():
		advise("packets of more than %d bytes do not fit, says %s; the tunnel's need %d: raise the MTU there, or set tunnelMTU: %d in the DataplaneConfiguration, and the pods' MTU to no more than that",
			c.PathMTU, c.LimitedBy, c.NeededMTU, c.PathMTU-ipip.Overhead)
	case c.PathMTU < c.NeededMTU:
		advise("packets of more than %d bytes vanish without a word, so TCP hangs; the tunnel's need %d: have no firewall on the way drop ICMP \"fragmentation needed\" and raise the MTU there, or set tunnelMTU: %d in the DataplaneConfiguration, and the pods' MTU to no more than that",
			c.PathMTU, c.NeededMTU, c.PathMTU-ipip.Overhead)
	}
	return out
}
