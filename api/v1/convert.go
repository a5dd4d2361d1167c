package v1

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// HostnameLabel is a label that every node has for selectors, whether it is in
// its metadata or not: its value is the node's name.
const HostnameLabel = "kubernetes.io/hostname"

// Ranges returns the podCIDRs and the blocks of a valid NodeConfig, sorted and
// without repetition.
func (o *NodeConfig) Ranges() []netip.Prefix {
	var all []netip.Prefix
	for _, list := range [][]string{o.Spec.PodCIDRs, o.Spec.Blocks} {
		for _, s := range list {
			all = append(all, mustPrefix(s))
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// Anycast returns the anycast prefixes of a valid NodeConfig, sorted.
func (o *NodeConfig) Anycast() []netip.Prefix {
	all := parsePrefixes(o.Spec.AnycastPrefixes)
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}

// Addrs returns the node's addresses with the lengths of their networks; the
// zero Prefix where it has none.
func (o *NodeConfig) Addrs() (v4, v6 netip.Prefix) {
	for _, s := range o.Spec.Addresses {
		if p := mustPrefix(s); p.Addr().Is4() {
			v4 = p
		} else {
			v6 = p
		}
	}
	return v4, v6
}

// Node returns the noun of a valid NodeConfig, with the settings that
// [ResolveBGP] gave for it.
func (o *NodeConfig) Node(s NodeBGP) caracal.Node {
	n := caracal.Node{
		Name: o.Name, ASN: s.ASN, Port: s.Port, MeshEnabled: s.BGP.MeshEnabled,
		RouterID: o.RouterID(s.RouterID), PodCIDRs: o.Ranges(), Labels: o.Labels,
	}
	n.IPv4, n.IPv6 = o.Addrs()
	if o.Spec.ASNumber != nil {
		n.ASN = *o.Spec.ASNumber
	}
	n.ClusterID, _ = netip.ParseAddr(o.Spec.RouteReflectorClusterID)
	n.Tunnel, _ = netip.ParseAddr(o.Spec.TunnelAddress)
	n.Anycast = o.Anycast()
	return n
}

// RouterID returns the node's BGP identifier, given the routerID of the
// BGPConfiguration in force for it.
func (o *NodeConfig) RouterID(source string) netip.Addr {
	if a, err := netip.ParseAddr(source); err == nil {
		return a
	}
	if v4, _ := o.Addrs(); v4.IsValid() && source != RouterIDHash {
		return v4.Addr()
	}
	return HashRouterID(o.Name)
}

// HashRouterID derives a BGP identifier from the name of a node, for nodes
// without an IPv4 address. It is never an address of no host (0.0.0.0/8,
// multicast, reserved), so that it looks like any other in every tool.
func HashRouterID(name string) netip.Addr {
	sum := sha256.Sum256([]byte(name))
	for i := 0; ; i = (i + 4) % len(sum) {
		if v := binary.BigEndian.Uint32(sum[i:]); v>>24 > 0 && v>>24 < 224 && v>>24 != 127 {
			return netip.AddrFrom4([4]byte(sum[i : i+4]))
		}
		if i == len(sum)-4 {
			sum = sha256.Sum256(sum[:])
		}
	}
}

// Pool returns the noun of a valid IPPool.
func (o *IPPool) Pool() caracal.Pool {
	s := o.Spec
	return caracal.Pool{
		Name: o.Name, CIDR: mustPrefix(s.CIDR), BlockSize: s.BlockSize,
		IPIP: caracal.IPIPMode(s.IPIPMode), NATOutgoing: s.NATOutgoing,
		NodeSelector: s.NodeSelector, Disabled: s.Disabled,
		DisableBGPExport: s.DisableBGPExport, Advertise: caracal.Advertise(s.Advertise),
	}
}

// Workload returns the noun of a valid Workload; source says where it comes
// from.
func (o *Workload) Workload(source string) caracal.Workload {
	w := caracal.Workload{
		Namespace: o.Namespace, Name: o.Name, Node: o.Spec.Node,
		Labels: o.Labels, Source: source, HostNetwork: o.Spec.HostNetwork, Completed: o.Spec.Completed,
	}
	if !w.HostNetwork && !w.Completed {
		w.Interface, w.Addrs = o.Spec.InterfaceName, o.Addrs()
	}
	for _, p := range o.Spec.Ports {
		w.Ports = append(w.Ports, caracal.Port{Name: p.Name, Protocol: p.Protocol, Port: uint16(p.Port)})
	}
	return w
}

// Addrs returns the addresses of a valid Workload, sorted; none where they are not
// its own ([WorkloadSpec.HostNetwork]).
func (o *Workload) Addrs() []netip.Addr {
	if o.Spec.HostNetwork || o.Spec.Completed {
		return nil
	}
	var addrs []netip.Addr
	for _, s := range o.Spec.IPNetworks {
		a, _ := parseHost(s)
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// Dataplane returns the noun of a valid DataplaneConfiguration.
func (o *DataplaneConfiguration) Dataplane() caracal.Dataplane {
	s := o.Spec
	d := caracal.Dataplane{
		Table: int(*s.Table), Protocol: uint8(*s.Protocol), Metric: uint32(*s.Metric),
		AuditInterval: parsedDuration(s.AuditInterval), SetSysctls: *s.SetSysctls,
	}
	if s.TunnelMTU != nil {
		d.TunnelMTU = *s.TunnelMTU
	}
	d.Policy = caracal.PolicySettings{Disabled: !*s.Policy.Enabled, FlushConntrack: *s.Policy.FlushConntrack}
	switch s.Policy.IptablesBackend {
	case IptablesLegacy:
		d.Policy.Backend = "legacy"
	case IptablesNFT:
		d.Policy.Backend = "nft"
	}
	return d
}

// DefaultDataplane is what is in force without a DataplaneConfiguration.
func DefaultDataplane() caracal.Dataplane {
	o := &DataplaneConfiguration{}
	o.Default()
	return o.Dataplane()
}

// mustPrefix parses what validation has let through; the zero Prefix if it did
// not.
func mustPrefix(s string) netip.Prefix {
	p, _ := netip.ParsePrefix(s)
	return p
}

func parsedDuration(s string) time.Duration {
	d, _ := time.ParseDuration(s)
	return d
}
