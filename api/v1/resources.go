package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeConfig is a host of the cluster. Its metadata.name is the name that the
// daemon is started with (--node, by default the hostname); its
// metadata.labels are what node selectors look at.
type NodeConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NodeConfigSpec `json:"spec"`
}

// NodeConfigSpec says where a node is and what it owns.
type NodeConfigSpec struct {
	// Addresses are the node's own addresses, each with the prefix length of the
	// network it is on: one of IPv4, one of IPv6, or both.
	Addresses []string `json:"addresses"`
	// ASNumber overrides that of the BGPConfiguration.
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// RouteReflectorClusterID makes the node a route reflector of this cluster
	// (RFC 4456 section 7); written as an IPv4 address.
	RouteReflectorClusterID string `json:"routeReflectorClusterID,omitempty"`
	// TunnelAddress is the IPv4 address of the node's IPIP tunnel device.
	TunnelAddress string `json:"tunnelAddress,omitempty"`
	// PodCIDRs and Blocks are the ranges that the node's pods have addresses
	// from. The node announces them. PodCIDRs is the Kubernetes word, Blocks
	// the one for parts of an IPPool; they mean the same here.
	PodCIDRs []string `json:"podCIDRs,omitempty"`
	Blocks   []string `json:"blocks,omitempty"`
	// AnycastPrefixes are prefixes that the node serves together with other nodes:
	// it announces them, and several nodes may list the same.
	AnycastPrefixes []string `json:"anycastPrefixes,omitempty"`
}

// IPPool is a range that pod addresses come from.
type IPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              IPPoolSpec `json:"spec"`
}

// IPPoolSpec describes a pool.
type IPPoolSpec struct {
	CIDR string `json:"cidr"`
	// BlockSize is the prefix length of a block: 26 for IPv4, 122 for IPv6, or
	// the pool's own length where that is longer.
	BlockSize int `json:"blockSize,omitempty"`
	// IPIPMode is Never, Always or CrossSubnet.
	IPIPMode string `json:"ipipMode,omitempty"`
	// NATOutgoing asks for source NAT of what leaves the pools.
	NATOutgoing bool `json:"natOutgoing,omitempty"`
	// NodeSelector says which nodes take blocks of this pool; all if absent.
	NodeSelector string `json:"nodeSelector,omitempty"`
	// Disabled stops new addresses from being taken from the pool.
	Disabled bool `json:"disabled,omitempty"`
	// DisableBGPExport keeps the pool's prefixes from being announced.
	DisableBGPExport bool `json:"disableBGPExport,omitempty"`
	// Advertise is "blocks" (one prefix for each block) or "hosts" (a /32 or
	// /128 for each workload).
	Advertise string `json:"advertise,omitempty"`
}

// BGPConfiguration configures the speakers. The one named "default" is the base
// for every node and has no nodeSelector; each other one has a nodeSelector and
// overrides, for the nodes it selects, the fields that it sets.
type BGPConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BGPConfigurationSpec `json:"spec"`
}

// BGPConfigurationSpec has only optional fields.
type BGPConfigurationSpec struct {
	NodeSelector string `json:"nodeSelector,omitempty"`
	// ASNumber is 64512 by default.
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// NodeToNodeMeshEnabled lets every two nodes peer directly; true by default.
	NodeToNodeMeshEnabled *bool `json:"nodeToNodeMeshEnabled,omitempty"`
	// ListenPort is 179 by default.
	ListenPort *int `json:"listenPort,omitempty"`
	// ListenAddresses are the addresses to accept sessions on; the node's own
	// addresses by default.
	ListenAddresses []string `json:"listenAddresses,omitempty"`
	// RouterID is where the BGP identifier comes from: "address" (the node's IPv4
	// address, or the hash of its name where it has none; the default), "hash"
	// (of its name), or the identifier itself, written as an IPv4 address.
	RouterID string `json:"routerID,omitempty"`
	// HoldTime and KeepaliveTime: see [DefaultHoldTime].
	HoldTime        string           `json:"holdTime,omitempty"`
	KeepaliveTime   string           `json:"keepaliveTime,omitempty"`
	GracefulRestart *GracefulRestart `json:"gracefulRestart,omitempty"`
	// NodeMeshPassword protects the sessions of the mesh (RFC 2385).
	NodeMeshPassword *Password `json:"nodeMeshPassword,omitempty"`
	// BFD has the timers of neighbors that name none of their own.
	BFD *BFDDefaults `json:"bfd,omitempty"`
	// Communities gives names to communities for PrefixAdvertisements.
	Communities []NamedCommunity `json:"communities,omitempty"`
	// PrefixAdvertisements adds communities to what the nodes announce.
	PrefixAdvertisements []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`
	// ServiceClusterIPs, ServiceExternalIPs and ServiceLoadBalancerIPs are the
	// ranges that the nodes announce addresses of Services from: each range as one
	// prefix, and the addresses of Services with the policy Local by themselves,
	// from the nodes that have a ready endpoint.
	ServiceClusterIPs      []ServiceRange `json:"serviceClusterIPs,omitempty"`
	ServiceExternalIPs     []ServiceRange `json:"serviceExternalIPs,omitempty"`
	ServiceLoadBalancerIPs []ServiceRange `json:"serviceLoadBalancerIPs,omitempty"`
}

// BFDDefaults configures BFD (RFC 5880) where a BGPPeer does not.
type BFDDefaults struct {
	// NodeMeshEnabled watches the neighbors of the mesh; false by default.
	NodeMeshEnabled *bool `json:"nodeMeshEnabled,omitempty"`
	// TransmitInterval and ReceiveInterval are 300ms, Multiplier is 3 by default.
	TransmitInterval string `json:"transmitInterval,omitempty"`
	ReceiveInterval  string `json:"receiveInterval,omitempty"`
	Multiplier       *int   `json:"multiplier,omitempty"`
}

// NamedCommunity gives a community a name.
type NamedCommunity struct {
	Name string `json:"name"`
	// Value is a standard community, "65000:1", or a large one, "65000:1:2".
	Value string `json:"value"`
}

// PrefixAdvertisement adds communities to what is announced of a range.
type PrefixAdvertisement struct {
	CIDR string `json:"cidr"`
	// Communities are values, or names that the same object gives.
	Communities []string `json:"communities"`
}

// Password says where the password of a TCP-MD5 session is (RFC 2385). It is
// never written into a resource itself.
type Password struct {
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef is one key of a secret. In the file store it is the file
// local/secrets/NAME/KEY of the configuration directory.
type SecretKeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// GracefulRestart configures RFC 4724.
type GracefulRestart struct {
	// Enabled is true by default.
	Enabled *bool `json:"enabled,omitempty"`
	// RestartTime is how long neighbors keep our routes while we are away; 120s
	// by default, at most 4095s (12 bits in the capability, RFC 4724 section 3).
	RestartTime string `json:"restartTime,omitempty"`
}

// Workload is a pod, VM or container that the operator connected by hand. Its
// metadata.namespace is "default" if absent.
type Workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              WorkloadSpec `json:"spec"`
}

// WorkloadSpec says where a workload is.
type WorkloadSpec struct {
	Node string `json:"node"`
	// InterfaceName is the host's end of the link to the workload.
	InterfaceName string `json:"interfaceName,omitempty"`
	// IPNetworks are the workload's addresses, plain or as /32 and /128.
	IPNetworks []string       `json:"ipNetworks,omitempty"`
	Ports      []WorkloadPort `json:"ports,omitempty"`
	// HostNetwork says that the workload uses the network of its node: it has
	// neither an interface nor addresses of its own, and no policy selects it.
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// Completed says that the workload has ended for good: its interface and
	// addresses are no longer its own, and no policy selects it.
	Completed bool `json:"completed,omitempty"`
}

// WorkloadPort is a named port.
type WorkloadPort struct {
	Name string `json:"name"`
	// Protocol is TCP (the default), UDP or SCTP.
	Protocol string `json:"protocol,omitempty"`
	Port     int    `json:"port"`
}

// DataplaneConfiguration says how routes are written to the kernel. There is
// one, named "default".
type DataplaneConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              DataplaneConfigurationSpec `json:"spec"`
}

// DataplaneConfigurationSpec has only optional fields.
type DataplaneConfigurationSpec struct {
	// Table is the kernel's routing table; 254, the main one, by default.
	Table *int64 `json:"table,omitempty"`
	// Protocol is the routing protocol number that marks our routes, 67 by
	// default (rtnetlink(7), rtm_protocol).
	Protocol *int `json:"protocol,omitempty"`
	// Metric is the metric of our routes, 427 by default. With a metric of our
	// own a foreign route to the same prefix survives beside ours.
	Metric *int64 `json:"metric,omitempty"`
	// AuditInterval is the time between whole comparisons with the kernel, 60s by
	// default.
	AuditInterval string `json:"auditInterval,omitempty"`
	// TunnelMTU is the MTU of the IPIP device in bytes; by default it follows the
	// interface with the node's address, less the 20 bytes of the outer header.
	TunnelMTU *int `json:"tunnelMTU,omitempty"`
	// SetSysctls says whether ip_forward and its friends are set, or only
	// reported when they are wrong; true by default.
	SetSysctls *bool `json:"setSysctls,omitempty"`
	// Policy says how NetworkPolicies and the NAT of pools are put into force.
	Policy *PolicyOptions `json:"policy,omitempty"`
}

// PolicyOptions has only optional fields.
type PolicyOptions struct {
	// Enabled is true by default; false leaves iptables alone: no policy, no NAT,
	// no protection of BGP.
	Enabled *bool `json:"enabled,omitempty"`
	// IptablesBackend is Auto, the default, Legacy or NFT; Auto takes the one that
	// the host's other programs use.
	IptablesBackend string `json:"iptablesBackend,omitempty"`
	// FlushConntrack ends established connections that a policy forbids from now
	// on; true by default.
	FlushConntrack *bool `json:"flushConntrack,omitempty"`
}

// Meta implements [Object].
func (o *NodeConfig) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *IPPool) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *BGPConfiguration) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *Workload) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *DataplaneConfiguration) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*NodeConfig) ResourceKind() string { return KindNodeConfig }

// ResourceKind implements [Object].
func (*IPPool) ResourceKind() string { return KindIPPool }

// ResourceKind implements [Object].
func (*BGPConfiguration) ResourceKind() string { return KindBGPConfiguration }

// ResourceKind implements [Object].
func (*Workload) ResourceKind() string { return KindWorkload }

// ResourceKind implements [Object].
func (*DataplaneConfiguration) ResourceKind() string { return KindDataplaneConfiguration }
