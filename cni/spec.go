package cni

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// Spec is how one interface of a container is to be wired.
type Spec struct {
	// ContainerID and IfName, the name inside the container, identify it.
	ContainerID, IfName string
	// HostInterface is the name of the host's end of the veth pair. An interface
	// that has this name but leads elsewhere is removed only if the name is
	// [caracal.HostInterface] of this container and interface.
	HostInterface string
	// HostMAC and MAC are those of the host's and of the container's end.
	HostMAC, MAC net.HardwareAddr
	// Addrs are the container's addresses, each a /32 or /128.
	Addrs []netip.Addr
	// Gateways are the next hops of the default routes, at most one per family.
	Gateways []netip.Addr
	// MTU of both ends in bytes; 0 leaves it to the kernel.
	MTU int
}

// SpecOf returns what a daemon's answer means for a container's interface. A MAC
// that the daemon leaves open is derived from the host interface's name, so that
// it is the same when the same container is wired again.
func SpecOf(containerID, ifname string, w Wiring) (Spec, error) {
	s := Spec{ContainerID: containerID, IfName: ifname, HostInterface: w.HostInterface, MTU: w.MTU}
	fail := func(err error) (Spec, error) {
		return Spec{}, fmt.Errorf("cni: read the daemon's answer for %s of %s: %w (are caracald and caracal-cni of the same version?)", ifname, containerID, err)
	}
	if s.HostInterface == "" {
		return fail(fmt.Errorf("it names no host interface"))
	}
	var err error
	if s.HostMAC, err = net.ParseMAC(w.HostMAC); err != nil {
		return fail(err)
	}
	s.MAC = macOf(s.HostInterface)
	if w.MAC != "" {
		if s.MAC, err = net.ParseMAC(w.MAC); err != nil {
			return fail(err)
		}
	}
	for _, text := range w.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Bits() != p.Addr().BitLen() {
			return fail(fmt.Errorf("%q is no /32 or /128 address", text))
		}
		s.Addrs = append(s.Addrs, p.Addr())
	}
	for _, text := range w.Gateways {
		g, err := netip.ParseAddr(text)
		if err != nil {
			return fail(err)
		}
		s.Gateways = append(s.Gateways, g)
	}
	if len(s.Addrs) == 0 {
		return fail(fmt.Errorf("it has no address"))
	}
	return s, nil
}

// macOf returns a locally administered unicast address (IEEE 802, bits 1 and 0
// of the first byte) that only this host interface has.
func macOf(hostInterface string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("mac/" + hostInterface))
	mac := net.HardwareAddr(sum[:6:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// has reports whether the container has an address of the family.
func (s Spec) has(v6 bool) bool {
	return slices.ContainsFunc(s.Addrs, func(a netip.Addr) bool { return a.Is6() == v6 })
}

// gateway returns the gateway of an address's family; the zero Addr if there is
// none.
func (s Spec) gateway(v6 bool) netip.Addr {
	for _, g := range s.Gateways {
		if g.Is6() == v6 {
			return g
		}
	}
	return netip.Addr{}
}

// ownsHostInterface reports whether an interface with the host interface's name
// can only be of this very container.
func (s Spec) ownsHostInterface() bool {
	return s.HostInterface == caracal.HostInterface(s.ContainerID, s.IfName)
}
