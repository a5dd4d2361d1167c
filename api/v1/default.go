package v1

import (
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/selector"
)

// What is in force where no resource says otherwise.
const (
	// DefaultASN is the first AS number for private use (RFC 6996) that
	// container networks commonly take.
	DefaultASN = 64512
	// DefaultPort is BGP's own (RFC 4271 section 4.1).
	DefaultPort = 179
	// DefaultHoldTime is how long a neighbor may be silent before its session
	// ends, and DefaultKeepaliveTime, a third of it, how often we make ourselves
	// heard: the values of RFC 4271 section 10.
	//
	// Container hosts gain nothing from shorter ones. When a daemon stops, its
	// TCP connection ends at once and graceful restart takes over, whatever the
	// hold time. When a whole host dies, its pods die with it, so a route that
	// lives 90 s longer leads nowhere that a shorter one would have led. What
	// short timers do cost is real: a host that is starved of CPU, frozen for a
	// live migration or swapping stays silent for 10 to 30 s while its kernel
	// forwards on, and would lose all its routes; and in a full mesh of n nodes
	// each sends and receives n keepalives in each interval. Where failures must
	// be noticed in less than seconds BFD does it better than any hold time can.
	DefaultHoldTime      = 90 * time.Second
	DefaultKeepaliveTime = DefaultHoldTime / 3
	// DefaultRestartTime is how long neighbors keep our routes while the daemon
	// is away: enough for an upgrade of the package, and the usual value.
	DefaultRestartTime = 120 * time.Second
	// DefaultBFDInterval and DefaultBFDMultiplier notice a dead neighbor within
	// 0.9 s, and leave a busy host as long to answer.
	DefaultBFDInterval   = 300 * time.Millisecond
	DefaultBFDMultiplier = 3
	// DefaultMaxPrefixes of a BGPPeer, and when it warns and tries again.
	DefaultMaxPrefixes        = 10000
	DefaultMaxPrefixesWarning = 75 // percent
	DefaultMaxPrefixesRetry   = 5 * time.Minute

	// DefaultTable is the kernel's main table.
	DefaultTable = 254
	// DefaultProtocol is a routing protocol number that no other program is
	// known to use.
	DefaultProtocol = 67
	// DefaultMetric differs from what other programs and the kernel use.
	DefaultMetric = 427
	// DefaultAuditInterval is the time between whole comparisons.
	DefaultAuditInterval = 60 * time.Second

	// DefaultBlockSize4 and DefaultBlockSize6 hold 64 addresses each.
	DefaultBlockSize4 = 26
	DefaultBlockSize6 = 122
	// DefaultNamespace is the namespace of a Workload or NetworkPolicy that names
	// none.
	DefaultNamespace = "default"

	// UseNodeIP as a BGPPeer's sourceAddress means the node's address of the
	// neighbor's family.
	UseNodeIP = "UseNodeIP"
	// DefaultGateway as a BGPPeer's peerIP means the next hop of the node's default
	// route.
	DefaultGateway = "defaultGateway"
	// ReverseAuto and ReverseManual are the values of a BGPPeer's reversePeering.
	ReverseAuto   = "Auto"
	ReverseManual = "Manual"
	// IptablesAuto, IptablesLegacy and IptablesNFT are the values of a
	// DataplaneConfiguration's policy.iptablesBackend.
	IptablesAuto   = "Auto"
	IptablesLegacy = "Legacy"
	IptablesNFT    = "NFT"
	// RouterIDAddress and RouterIDHash are sources of a router ID.
	RouterIDAddress = "address"
	RouterIDHash    = "hash"
)

// Default implements [Object].
func (o *NodeConfig) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	o.Spec.Addresses = canonicalList(o.Spec.Addresses, canonicalPrefix)
	o.Spec.PodCIDRs = canonicalList(o.Spec.PodCIDRs, canonicalPrefix)
	o.Spec.Blocks = canonicalList(o.Spec.Blocks, canonicalPrefix)
	o.Spec.AnycastPrefixes = canonicalList(o.Spec.AnycastPrefixes, canonicalPrefix)
	o.Spec.TunnelAddress = canonicalAddr(o.Spec.TunnelAddress)
	if len(o.Labels) == 0 {
		o.Labels = nil
	}
}

// Default implements [Object].
func (o *IPPool) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	s := &o.Spec
	s.CIDR = canonicalPrefix(s.CIDR)
	if p, err := netip.ParsePrefix(s.CIDR); err == nil && s.BlockSize == 0 {
		s.BlockSize = DefaultBlockSize4
		if p.Addr().Is6() {
			s.BlockSize = DefaultBlockSize6
		}
		s.BlockSize = max(s.BlockSize, p.Bits())
	}
	setIfEmpty(&s.IPIPMode, string(caracal.IPIPNever))
	setIfEmpty(&s.Advertise, string(caracal.AdvertiseBlocks))
	s.NodeSelector = canonicalSelector(s.NodeSelector)
}

// Default implements [Object]. Only the one named "default" is filled in: in the
// others an absent field means that they do not override it.
func (o *BGPConfiguration) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	s := &o.Spec
	s.NodeSelector = canonicalSelector(s.NodeSelector)
	s.ListenAddresses = canonicalList(s.ListenAddresses, canonicalAddr)
	s.HoldTime, s.KeepaliveTime = canonicalDuration(s.HoldTime), canonicalDuration(s.KeepaliveTime)
	if s.GracefulRestart != nil {
		s.GracefulRestart.RestartTime = canonicalDuration(s.GracefulRestart.RestartTime)
	}
	if s.BFD != nil {
		s.BFD.TransmitInterval, s.BFD.ReceiveInterval = canonicalDuration(s.BFD.TransmitInterval), canonicalDuration(s.BFD.ReceiveInterval)
	}
	for i := range s.Communities {
		s.Communities[i].Value = canonicalCommunity(s.Communities[i].Value)
	}
	for i := range s.PrefixAdvertisements {
		a := &s.PrefixAdvertisements[i]
		a.CIDR = canonicalPrefix(a.CIDR)
		a.Communities = canonicalList(a.Communities, canonicalCommunity)
	}
	s.ServiceClusterIPs = canonicalRanges(s.ServiceClusterIPs)
	s.ServiceExternalIPs = canonicalRanges(s.ServiceExternalIPs)
	s.ServiceLoadBalancerIPs = canonicalRanges(s.ServiceLoadBalancerIPs)
	if o.Name != DefaultName {
		return
	}
	setIfNil(&s.ASNumber, DefaultASN)
	setIfNil(&s.NodeToNodeMeshEnabled, true)
	setIfNil(&s.ListenPort, DefaultPort)
	setIfEmpty(&s.RouterID, RouterIDAddress)
	setIfEmpty(&s.HoldTime, DefaultHoldTime.String())
	if s.GracefulRestart == nil {
		s.GracefulRestart = &GracefulRestart{}
	}
	setIfNil(&s.GracefulRestart.Enabled, true)
	setIfEmpty(&s.GracefulRestart.RestartTime, DefaultRestartTime.String())
	if s.BFD == nil {
		s.BFD = &BFDDefaults{}
	}
	setIfNil(&s.BFD.NodeMeshEnabled, false)
	setIfEmpty(&s.BFD.TransmitInterval, DefaultBFDInterval.String())
	setIfEmpty(&s.BFD.ReceiveInterval, DefaultBFDInterval.String())
	setIfNil(&s.BFD.Multiplier, DefaultBFDMultiplier)
}

// Default implements [Object].
func (o *Workload) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	setIfEmpty(&o.Namespace, DefaultNamespace)
	o.Spec.IPNetworks = canonicalList(o.Spec.IPNetworks, func(s string) string {
		if a, err := parseHost(s); err == nil {
			return a.String()
		}
		return s
	})
	for i := range o.Spec.Ports {
		setIfEmpty(&o.Spec.Ports[i].Protocol, "TCP")
	}
	if len(o.Labels) == 0 {
		o.Labels = nil
	}
}

// Default implements [Object].
func (o *DataplaneConfiguration) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	s := &o.Spec
	setIfNil(&s.Table, DefaultTable)
	setIfNil(&s.Protocol, DefaultProtocol)
	setIfNil(&s.Metric, DefaultMetric)
	s.AuditInterval = canonicalDuration(s.AuditInterval)
	setIfEmpty(&s.AuditInterval, DefaultAuditInterval.String())
	setIfNil(&s.SetSysctls, true)
	if s.Policy == nil {
		s.Policy = &PolicyOptions{}
	}
	setIfNil(&s.Policy.Enabled, true)
	setIfEmpty(&s.Policy.IptablesBackend, IptablesAuto)
	setIfNil(&s.Policy.FlushConntrack, true)
}

func setType(o Object, kind, apiVersion *string) {
	*kind, *apiVersion = o.ResourceKind(), apiVersionOf(o.ResourceKind())
}

func setIfEmpty(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

func setIfNil[T any](p **T, def T) {
	if *p == nil {
		*p = &def
	}
}

// canonicalList brings each element into its canonical form, and the list into
// order: in none of our lists of addresses does the order mean anything.
func canonicalList(list []string, canonical func(string) string) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = canonical(s)
	}
	slices.Sort(out)
	return out
}

func canonicalPrefix(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.String()
	}
	return s
}

func canonicalAddr(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.String()
	}
	return s
}

func canonicalDuration(s string) string {
	if d, err := time.ParseDuration(s); err == nil {
		return d.String()
	}
	return s
}

func canonicalSelector(s string) string {
	if s == "" {
		return ""
	}
	if sel, err := selector.Parse(s); err == nil {
		return sel.String()
	}
	return s
}
