package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal/fib"
)

// hostGround asks the kernel of this host.
type hostGround struct{ kernel Kernel }

// Places implements ground: an address is on the link its zone names, or that
// has an address in the same network, the smallest one.
func (g hostGround) Places(addrs []netip.Addr) (map[netip.Addr]place, error) {
	var nets []netlink.Addr
	out := map[netip.Addr]place{}
	for _, a := range addrs {
		var l netlink.Link
		var err error
		if a.Zone() != "" {
			l, err = netlink.LinkByName(a.Zone())
		} else {
			if nets == nil {
				if nets, err = netlink.AddrList(nil, netlink.FAMILY_ALL); err != nil {
					return nil, fmt.Errorf("node: list addresses: %w", err)
				}
			}
			index := connected(nets, a)
			if index == 0 {
				continue
			}
			l, err = netlink.LinkByIndex(index)
		}
		switch {
		case isNoLink(err):
			continue
		case err != nil:
			return nil, fmt.Errorf("node: look at the link of %s: %w", a, err)
		}
		attrs := l.Attrs()
		const running = net.FlagUp | net.FlagRunning
		out[a] = place{attrs.Name, attrs.Index, attrs.Flags&net.FlagUp != 0, attrs.Flags&running == running}
	}
	return out, nil
}

// connected returns the link with the smallest network that an address is in, 0
// without one.
func connected(nets []netlink.Addr, a netip.Addr) (index int) {
	longest := -1
	for _, n := range nets {
		p, ok := networkOf(n)
		if ok && p.Contains(a) && p.Bits() > longest && p.Bits() < p.Addr().BitLen() {
			longest, index = p.Bits(), n.LinkIndex
		}
		// The other end of a point-to-point link has no network around it.
		if far, ok := netip.AddrFromSlice(peerOf(n)); ok && far.Unmap() == a {
			return n.LinkIndex
		}
	}
	return index
}

func networkOf(n netlink.Addr) (netip.Prefix, bool) {
	of := n.IPNet
	if n.Peer != nil {
		of = n.Peer
	}
	if of == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(of.IP)
	bits, _ := of.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits).Masked(), ok
}

// peerOf returns the other end's address, if it is not the own.
func peerOf(n netlink.Addr) net.IP {
	if n.Peer == nil || n.IPNet == nil || n.Peer.IP.Equal(n.IPNet.IP) {
		return nil
	}
	return n.Peer.IP
}

func isNoLink(err error) bool {
	_, ok := err.(netlink.LinkNotFoundError)
	return ok
}

// Gateways implements ground: the default routes of table main with the lowest
// metric, ours aside. Of a multipath route all hops are returned.
func (g hostGround) Gateways(ctx context.Context) (v4, v6 []gatewayHop, err error) {
	const mainTable = 254
	var best4, best6 uint32
	_, err = g.kernel.Dump(ctx, fib.Filter{Table: mainTable}, func(r fib.Read) {
		if r.Dst.Bits() != 0 || r.Kind != fib.Unicast {
			return
		}
		hops, best := &v4, &best4
		if r.Dst.Addr().Is6() {
			hops, best = &v6, &best6
		}
		var found []gatewayHop
		for _, h := range r.Hops {
			if h.Gateway.IsValid() {
				found = append(found, gatewayHop{h.Gateway, h.Link})
			}
		}
		if len(found) > 0 && (len(*hops) == 0 || r.Metric < *best) {
			*hops, *best = found, r.Metric
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("node: look for default gateways: %w", err)
	}
	return zoned(v4), zoned(v6), nil
}

// zoned gives link-local gateways their device as the zone. One whose device is
// gone meanwhile is left out.
func zoned(hops []gatewayHop) []gatewayHop {
	out := hops[:0]
	for _, h := range hops {
		if h.addr.IsLinkLocalUnicast() && h.addr.Is6() {
			l, err := netlink.LinkByIndex(h.link)
			if err != nil {
				continue
			}
			h.addr = h.addr.WithZone(l.Attrs().Name)
		}
		out = append(out, h)
	}
	return out
}
