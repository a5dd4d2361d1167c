package node

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
	"caracal.dev/caracal/ipip"
)

// tunnel makes the task that keeps the IPIP device of this host, and joins it to
// the routes task.
func (a *Agent) tunnel(up *running, events <-chan fib.Events) (closing func(), err error) {
	kernel, err := ipip.NewNetlink()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	openGuard := func() (tunnelGuard, error) {
		f, err := ipip.NewNetfilter() // its sockets end with the process
		if err != nil {
			return nil, err
		}
		return ipip.NewGuard(f), nil
	}
	bell, ring := bell()
	t := newTunnel(a.o.Store, ipip.New(kernel), openGuard, a.o.Log, a.pulse.beat("tunnel"), ring)
	t.events = events
	up.tunnel = t
	up.routes.tunnelTried, up.routes.tunnelBell = t.tried, bell
	return kernel.Close, nil
}

// findUplink returns the interface that has the node's address, IPv4 before
// IPv6. Where that is the loopback, as on hosts whose uplinks have no addresses,
// it is the one with the smallest MTU of those that lead to the other nodes.
func findUplink(self caracal.Node, nodes *caracal.Table[string, caracal.Node]) (uplink, error) {
	addr := self.IPv4.Addr()
	if !addr.IsValid() {
		addr = self.IPv6.Addr()
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return uplink{}, fmt.Errorf("node: list addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a); !ok || p.Addr() != addr {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return uplink{}, fmt.Errorf("node: look at the interface of %s: %w", addr, err)
		}
		if l.Attrs().Flags&net.FlagLoopback != 0 {
			return narrowest(addr, nodes), nil
		}
		return uplink{l.Attrs().Name, l.Attrs().Index, l.Attrs().MTU}, nil
	}
	return uplink{}, fmt.Errorf("node: no interface has this node's address %s: the MTU of the tunnel cannot follow it; give the address to an interface, or correct the NodeConfig", addr)
}

// narrowest returns the interface with the smallest MTU of those that lead to
// the other nodes; none while there is no route to any.
func narrowest(self netip.Addr, nodes *caracal.Table[string, caracal.Node]) uplink {
	const most = 64 // nodes to ask for: they are behind the same few uplinks
	var found uplink
	asked := 0
	for _, n := range nodes.All() {
		far := n.Addr(self.Is6())
		if !far.IsValid() || far == self {
			continue
		}
		if asked++; asked > most {
			break
		}
		routes, err := netlink.RouteGet(far.AsSlice())
		if err != nil {
			continue // away for now
		}
		for _, r := range routes {
			l, err := netlink.LinkByIndex(r.LinkIndex)
			if err == nil && (found.mtu == 0 || l.Attrs().MTU < found.mtu) {
				// Of several the index stands for none, so that each is looked at.
				found = uplink{name: l.Attrs().Name, mtu: l.Attrs().MTU}
			}
		}
	}
	return found
}
