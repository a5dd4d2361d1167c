package v1

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
)

// noAddresses is wrong in the file store, where no Node has them.
var noAddresses = FieldError{"spec.addresses", "is missing; it needs the node's IPv4 or IPv6 address with the prefix length of its network, such as 192.0.2.1/24"}

// Validate implements [Object].
func (o *NodeConfig) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	s := o.Spec
	if len(s.Addresses) == 0 {
		c.errs = append(c.errs, noAddresses)
	}
	var seen [2]string
	for i, a := range s.Addresses {
		path := fmt.Sprintf("spec.addresses[%d]", i)
		p, ok := c.anyPrefix(path, a)
		if !ok || !c.unicast(path, p.Addr()) {
			continue
		}
		if p.Bits() == 0 {
			c.failf(path, "%s has the prefix length 0; give that of the network the address is on", p)
		}
		family := familyIndex(p.Addr())
		if seen[family] != "" {
			c.failf(path, "%s is a second %s address beside %s; a node has one of each family", p, familyName(p.Addr()), seen[family])
		}
		seen[family] = a
	}
	c.asn("spec.asNumber", s.ASNumber)
	if s.RouteReflectorClusterID != "" {
		c.identifier("spec.routeReflectorClusterID", s.RouteReflectorClusterID)
	}
	if s.TunnelAddress != "" {
		if a, ok := c.addr("spec.tunnelAddress", s.TunnelAddress); ok && c.unicast("spec.tunnelAddress", a) && !a.Is4() {
			c.failf("spec.tunnelAddress", "%s must be an IPv4 address", a)
		}
	}
	c.ranges(s)
	c.anycast(s)
	return c.errs
}

// anycast checks prefixes that several nodes serve: none of them is a range of
// the node's own, nor holds its address.
func (c *checker) anycast(s NodeConfigSpec) {
	own := append(parsePrefixes(s.PodCIDRs), parsePrefixes(s.Blocks)...)
	for i, text := range s.AnycastPrefixes {
		path := fmt.Sprintf("spec.anycastPrefixes[%d]", i)
		p, ok := c.prefix(path, text)
		if ok && p.Bits() == 0 {
			c.failf(path, "%s is the default route; list the prefixes of the services", p)
			continue
		}
		if !ok || !c.unicast(path, p.Addr()) {
			continue
		}
		for _, o := range own {
			if p.Overlaps(o) {
				c.failf(path, "%s overlaps %s, which belongs to this node alone; an anycast prefix lies outside of all pools", p, o)
			}
		}
		for _, a := range parsePrefixes(s.Addresses) {
			if p.Contains(a.Addr()) {
				c.failf(path, "%s contains %s, the node's own address", p, a.Addr())
			}
		}
		if slices.Contains(s.AnycastPrefixes[:i], text) {
			c.failf(path, "%s is listed twice", p)
		}
	}
}

// parsePrefixes leaves out what is none.
func parsePrefixes(list []string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// ranges checks that the node's own ranges are apart from each other; the same
// one as podCIDR and as block is one range said twice.
func (c *checker) ranges(s NodeConfigSpec) {
	var all []netip.Prefix
	for _, list := range []struct {
		name string
		of   []string
	}{{"podCIDRs", s.PodCIDRs}, {"blocks", s.Blocks}} {
		for i, r := range list.of {
			path := fmt.Sprintf("spec.%s[%d]", list.name, i)
			p, ok := c.prefix(path, r)
			if !ok || !c.poolRange(path, p) {
				continue
			}
			for _, other := range all {
				if p != other && p.Overlaps(other) {
					c.failf(path, "%s overlaps %s of the same node", p, other)
				}
			}
			all = append(all, p)
		}
	}
}

// poolRange checks that pods can have addresses in a range.
func (c *checker) poolRange(path string, p netip.Prefix) bool {
	if p.Bits() == 0 {
		c.failf(path, "%s is the default route; pods need a range of their own", p)
		return false
	}
	return c.unicast(path, p.Addr())
}

func familyIndex(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func familyName(a netip.Addr) string { return [...]string{"IPv4", "IPv6"}[familyIndex(a)] }

// identifier checks 32 bits that are written as an IPv4 address and are not 0: a
// cluster ID may be any of them (RFC 4456 section 7).
func (c *checker) identifier(path, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		c.failf(path, "%q must be written as an IPv4 address, such as 192.0.2.1", clip(s))
	case !a.Is4():
		c.failf(path, "%s is an IPv6 address; it has 32 bits and is written as an IPv4 address, such as 192.0.2.1", a)
	case a.IsUnspecified():
		c.failf(path, "must not be 0.0.0.0 (RFC 6286)")
	default:
		return a, true
	}
	return a, false
}

// routerID checks a BGP identifier: any IPv4 address but 0.0.0.0 (RFC 6286
// section 2.1); those that are no host's address are refused as certain
// mistakes.
func (c *checker) routerID(path, s string) {
	if a, ok := c.identifier(path, s); ok && (a.IsMulticast() || a.As4()[0] >= 240 || a.As4()[0] == 0) {
		c.failf(path, "%s is no host's address; take one that is unique in the cluster, such as an address of the node", a)
	}
}

// Validate implements [Object].
func (o *IPPool) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	s := o.Spec
	if p, ok := c.prefix("spec.cidr", s.CIDR); ok && c.poolRange("spec.cidr", p) {
		lo, hi := p.Bits(), p.Addr().BitLen()
		switch {
		case s.BlockSize < 0 || s.BlockSize > hi:
			c.failf("spec.blockSize", "%d must be a prefix length from %d to %d", s.BlockSize, lo, hi)
		case s.BlockSize < lo:
			c.failf("spec.blockSize", "a /%d block does not fit into %s; it must be from %d to %d", s.BlockSize, p, lo, hi)
		}
		if p.Addr().Is6() && s.IPIPMode != string(caracal.IPIPNever) {
			c.failf("spec.ipipMode", "must be Never for an IPv6 pool; IPIP carries IPv4 only")
		}
	}
	c.oneOf("spec.ipipMode", s.IPIPMode, string(caracal.IPIPNever), string(caracal.IPIPAlways), string(caracal.IPIPCrossSubnet))
	c.oneOf("spec.advertise", s.Advertise, string(caracal.AdvertiseBlocks), string(caracal.AdvertiseHosts))
	c.selector("spec.nodeSelector", s.NodeSelector)
	return c.errs
}

// Validate implements [Object].
func (o *BGPConfiguration) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	s := o.Spec
	switch {
	case o.Name == DefaultName && s.NodeSelector != "":
		c.failf("spec.nodeSelector", "the BGPConfiguration %q is for all nodes; give one with a nodeSelector another name", DefaultName)
	case o.Name != DefaultName && s.NodeSelector == "":
		c.failf("spec.nodeSelector", "is missing; only the BGPConfiguration named %q is for all nodes", DefaultName)
	}
	c.selector("spec.nodeSelector", s.NodeSelector)
	c.asn("spec.asNumber", s.ASNumber)
	if s.ListenPort != nil && (*s.ListenPort < 1 || *s.ListenPort > 65535) {
		c.failf("spec.listenPort", "%d must be from 1 to 65535", *s.ListenPort)
	}
	for i, l := range s.ListenAddresses {
		path := fmt.Sprintf("spec.listenAddresses[%d]", i)
		if a, ok := c.addr(path, l); ok && a.IsMulticast() {
			c.failf(path, "%s is a multicast address", a)
		}
	}
	if s.RouterID != "" && s.RouterID != RouterIDAddress && s.RouterID != RouterIDHash {
		if _, err := netip.ParseAddr(s.RouterID); err != nil {
			c.failf("spec.routerID", "%q must be %s, %s, or an identifier written as an IPv4 address", clip(s.RouterID), RouterIDAddress, RouterIDHash)
		} else {
			c.routerID("spec.routerID", s.RouterID)
		}
	}
	c.timers(s.HoldTime, s.KeepaliveTime)
	if s.GracefulRestart != nil && s.GracefulRestart.RestartTime != "" {
		c.duration("spec.gracefulRestart.restartTime", s.GracefulRestart.RestartTime, time.Second, maxRestartTime)
	}
	c.password("spec.nodeMeshPassword", s.NodeMeshPassword)
	if s.BFD != nil {
		c.bfd(s.BFD.TransmitInterval, s.BFD.ReceiveInterval, s.BFD.Multiplier)
	}
	c.advertisements(s)
	c.services(s)
	return c.errs
}

// maxRestartTime has 12 bits in the capability (RFC 4724 section 3),
// maxStaleTime 24 (RFC 9494 section 3.1).
const (
	maxRestartTime = 4095 * time.Second
	maxStaleTime   = (1<<24 - 1) * time.Second
)

// bfd checks timers of BFD. Below 10 ms no host keeps them; the multiplier has 8
// bits and is never 0 (RFC 5880 section 4.1).
func (c *checker) bfd(transmit, receive string, multiplier *int) {
	for _, i := range []struct{ field, of string }{{"transmitInterval", transmit}, {"receiveInterval", receive}} {
		if i.of == "" {
			continue
		}
		path := "spec.bfd." + i.field
		switch d, err := time.ParseDuration(i.of); {
		case err != nil:
			c.failf(path, "%q is not a duration, such as \"300ms\" or \"1s\"", clip(i.of))
		case d%time.Millisecond != 0:
			c.failf(path, "%s must be whole milliseconds", d)
		case d < 10*time.Millisecond || d > time.Minute:
			c.failf(path, "%s must be from 10ms to 60s", d)
		}
	}
	if multiplier != nil && (*multiplier < 1 || *multiplier > 255) {
		c.failf("spec.bfd.multiplier", "%d must be from 1 to 255", *multiplier)
	}
}

// Validate implements [Object].
func (o *Workload) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, true)
	s := o.Spec
	c.name("spec.node", s.Node)
	own := !s.HostNetwork && !s.Completed
	if s.InterfaceName == "" && own {
		c.failf("spec.interfaceName", "is missing; it is the host's end of the workload's link")
	} else if s.InterfaceName != "" {
		c.podInterface("spec.interfaceName", s.InterfaceName)
	}
	if len(s.IPNetworks) == 0 && own {
		c.failf("spec.ipNetworks", "is missing; a workload needs an address")
	}
	seen := map[netip.Addr]bool{}
	for i, n := range s.IPNetworks {
		path := fmt.Sprintf("spec.ipNetworks[%d]", i)
		a, err := parseHost(n)
		switch {
		case err != nil && canParsePrefix(n):
			c.failf(path, "%s is more than one address; write the address alone, or with /32 or /128", n)
		case err != nil || a.Zone() != "" || a.Is4In6():
			c.failf(path, "%q is not an address, such as 10.0.0.1, 10.0.0.1/32 or 2001:db8::1", clip(n))
		case seen[a]:
			c.failf(path, "%s is listed twice", a)
		case c.unicast(path, a):
			seen[a] = true
		}
	}
	c.ports(s.Ports)
	return c.errs
}

// interfaceName applies the kernel's rules: dev_valid_name in net/core/dev.c.
func (c *checker) interfaceName(path, n string) {
	if n == "" || len(n) > 15 || n == "." || n == ".." || slices.ContainsFunc([]rune(n), badInInterface) {
		c.failf(path, "%q is not a name of an interface: at most 15 bytes, no blanks, no / and no :", clip(n))
	}
}

// podInterface is stricter: the rules of policies name the interface, and iptables
// takes some names for options and a + at the end for any interface that begins so.
func (c *checker) podInterface(path, n string) {
	before := len(c.errs)
	c.interfaceName(path, n)
	if len(c.errs) == before && (n == "lo" || strings.ContainsAny(n[:1], "-!.") || strings.ContainsFunc(n, badInRule)) {
		c.failf(path, "%q cannot be named in a rule of iptables, so policies could not protect the workload: use letters, digits and - _ . @, beginning with a letter or digit", clip(n))
	}
}

func badInRule(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.@", r))
}

func badInInterface(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == 0x7f }

func (c *checker) ports(ports []WorkloadPort) {
	names := map[string]bool{}
	for i, p := range ports {
		path := fmt.Sprintf("spec.ports[%d]", i)
		if p.Port < 1 || p.Port > 65535 {
			c.failf(path+".port", "%d must be from 1 to 65535", p.Port)
		}
		c.oneOf(path+".protocol", p.Protocol, "TCP", "UDP", "SCTP")
		switch {
		case p.Name == "":
			c.failf(path+".name", "is missing")
		case names[p.Name+"/"+p.Protocol]:
			c.failf(path+".name", "%q is used twice for %s", clip(p.Name), p.Protocol)
		}
		names[p.Name+"/"+p.Protocol] = true
	}
}

// Validate implements [Object].
func (o *DataplaneConfiguration) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	if o.Name != DefaultName && o.Name != "" {
		c.failf("metadata.name", "%q must be %q; there is one %s", clip(o.Name), DefaultName, o.Kind)
	}
	s := o.Spec
	switch t := *s.Table; {
	case t < 1 || t > 4294967295:
		c.failf("spec.table", "%d must be from 1 to 4294967295", t)
	case t == 255:
		c.failf("spec.table", "255 is the kernel's own table of local addresses")
	}
	c.protocol(*s.Protocol)
	if m := *s.Metric; m < 1 || m > 4294967295 {
		c.failf("spec.metric", "%d must be from 1 to 4294967295", m)
	}
	c.duration("spec.auditInterval", s.AuditInterval, time.Second, 24*time.Hour)
	// What every host must take (RFC 791), and the longest packet less the outer
	// header.
	if m := s.TunnelMTU; m != nil && (*m < 576 || *m > 65515) {
		c.failf("spec.tunnelMTU", "%d must be from 576 to 65515", *m)
	}
	c.oneOf("spec.policy.iptablesBackend", s.Policy.IptablesBackend, IptablesAuto, IptablesLegacy, IptablesNFT)
	return c.errs
}

// protocol refuses routing protocol numbers of the kernel and of other programs
// (/etc/iproute2/rt_protos): their routes would be taken for ours.
func (c *checker) protocol(n int) {
	const path = "spec.protocol"
	switch {
	case n < 5 || n > 255:
		c.failf(path, "%d must be from 5 to 255; lower ones are the kernel's", n)
	case n == 12, n == 16, n == 17, n == 80, n == 99:
		owner := map[int]string{12: "BIRD", 16: "DHCP clients", 17: "kube-router", 80: "Felix", 99: "Open/R"}[n]
		c.failf(path, "%d is used by %s, whose routes would be taken for ours", n, owner)
	case n >= 186 && n <= 192, n == 11:
		c.failf(path, "%d is used by FRR, whose routes would be taken for ours", n)
	}
}
