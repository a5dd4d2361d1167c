package cni

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"caracal.dev/caracal"
)

// resultOf is what the runtime, and the plugins after this one, are told: both
// ends, the addresses of the container's, and its routes. What a plugin before
// this one did stays in it.
func resultOf(prev *current.Result, s Spec, netns string, dns types.DNS) *current.Result {
	r := &current.Result{CNIVersion: current.ImplementedSpecVersion, DNS: dns}
	if prev != nil {
		r.Interfaces, r.IPs, r.Routes = prev.Interfaces, prev.IPs, prev.Routes
		if r.DNS.IsEmpty() {
			r.DNS = prev.DNS
		}
	}
	pod := len(r.Interfaces) + 1
	r.Interfaces = append(r.Interfaces,
		&current.Interface{Name: s.HostInterface, Mac: s.HostMAC.String(), Mtu: s.MTU},
		&current.Interface{Name: s.IfName, Mac: s.MAC.String(), Mtu: s.MTU, Sandbox: netns})
	for _, a := range s.Addrs {
		c := &current.IPConfig{Interface: current.Int(pod), Address: *ipNet(caracal.HostPrefix(a))}
		if g := s.gateway(a.Is6()); g.IsValid() {
			c.Gateway = g.AsSlice()
		}
		r.IPs = append(r.IPs, c)
	}
	for _, g := range s.Gateways {
		if !s.has(g.Is6()) {
			continue
		}
		for _, step := range routesBy(g) {
			route := &types.Route{Dst: *ipNet(step.Dst)}
			if step.Gateway.IsValid() {
				route.GW = step.Gateway.AsSlice()
			} else {
				link := 253 // RT_SCOPE_LINK (rtnetlink(7))
				route.Scope = &link
			}
			r.Routes = append(r.Routes, route)
		}
	}
	return r
}

// prevResult reads the result of the plugins before this one; nil without one.
func (c conf) prevResult() (*current.Result, error) {
	if len(c.PrevResult) == 0 || string(c.PrevResult) == "null" {
		return nil, nil
	}
	var p *current.Result
	r, err := create.Create(c.CNIVersion, withVersion(c.PrevResult, c.CNIVersion))
	if err == nil {
		p, err = current.NewResultFromResult(r)
	}
	if err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("caracal-cni: network %s: the prevResult that the runtime gives cannot be read: %v", c.Name, err), "")
	}
	return p, nil
}

// withVersion adds the version to a prevResult, which may come without: it is
// that of the network configuration (SPEC.md, "prevResult").
func withVersion(b []byte, version string) []byte {
	var m map[string]json.RawMessage
	if json.Unmarshal(b, &m) != nil || m == nil {
		return b
	}
	m["cniVersion"], _ = json.Marshal(version)
	if b2, err := json.Marshal(m); err == nil {
		return b2
	}
	return b
}

// attachment is what a result says of one interface of a container.
type attachment struct {
	mac   net.HardwareAddr
	mtu   int
	addrs []netip.Addr
}

// find returns what a result says of an interface in a namespace; false if it
// does not have it.
func find(r *current.Result, ifname, netns string) (attachment, bool) {
	for i, link := range r.Interfaces {
		if link.Name != ifname || link.Sandbox == "" || netns != "" && link.Sandbox != netns {
			continue
		}
		a := attachment{mtu: link.Mtu}
		a.mac, _ = net.ParseMAC(link.Mac)
		for _, ip := range r.IPs {
			if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok && ip.Interface != nil && *ip.Interface == i {
				a.addrs = append(a.addrs, addr.Unmap())
			}
		}
		return a, true
	}
	return attachment{}, false
}
