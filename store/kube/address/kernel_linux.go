package address

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kernel reads the addresses of this host.
type Kernel struct{}

// Addrs returns the addresses of all interfaces that are up.
func (Kernel) Addrs() ([]On, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("address: list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		if a := l.Attrs(); a.RawFlags&unix.IFF_UP != 0 {
			names[a.Index] = a.Name
		}
	}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("address: list addresses: %w", err)
	}
	var out []On
	for _, a := range list {
		name, up := names[a.LinkIndex]
		ip, ok := netip.AddrFromSlice(a.IP)
		if !up || !ok {
			continue
		}
		bits, _ := a.Mask.Size()
		ip = ip.Unmap()
		const fleeting = unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED
		on := On{Link: name, Prefix: netip.PrefixFrom(ip, bits), Lasting: a.Flags&fleeting == 0}
		// The same bit says "secondary" of an IPv4 address and "temporary" of an IPv6 one.
		if ip.Is6() && a.Flags&unix.IFA_F_TEMPORARY != 0 {
			on.Lasting = false
		}
		out = append(out, on)
	}
	return out, nil
}

// Source returns the address from which the kernel sends to another; the zero Addr
// where it has no route.
func (Kernel) Source(to netip.Addr) netip.Addr {
	routes, err := netlink.RouteGet(to.AsSlice())
	if err != nil {
		return netip.Addr{}
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Src); ok {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}
