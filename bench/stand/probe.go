package stand

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Probe asks the kernel of the router's namespace for single routes. That takes
// microseconds whatever the table holds, where [KernelRoutes] walks all of it:
// a benchmark that counts while the daemon works takes a processor away from it.
type Probe struct {
	handle *netlink.Handle
}

// NewProbe opens a Probe; Close ends it.
func (w *World) NewProbe() (*Probe, error) {
	ns, err := netns.GetFromName(w.Router)
	if err != nil {
		return nil, fmt.Errorf("stand: open namespace %s: %w", w.Router, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("stand: open netlink in %s: %w", w.Router, err)
	}
	return &Probe{h}, nil
}

// Close releases the Probe's socket.
func (p *Probe) Close() { p.handle.Close() }

// Has reports whether the kernel has a route to exactly the host prefix dst.
func (p *Probe) Has(dst netip.Prefix) (bool, error) {
	routes, err := p.handle.RouteGetWithOptions(net.IP(dst.Addr().AsSlice()), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("stand: look up %s: %w", dst, err)
	}
	return len(routes) == 1 && routes[0].Dst != nil && routes[0].Dst.String() == dst.String(), nil
}
