package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeConfig is a host of the cluster. Its metadata.name is the name that the
// daemon is started with (--node, by default the hostname); its metadata.labels
// are what node selectors look at. In Kubernetes it is optional: a Node gives
// name, labels, addresses and podCIDRs, and a NodeConfig of the same name
// overrides what it sets.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccnode,categories=caracal
// +kubebuilder:printcolumn:name=Addresses,type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name=AS,type=integer,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name=Reflector,type=string,JSONPath=`.spec.routeReflectorClusterID`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type NodeConfig struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec says where the node is and what it owns.
	// +kubebuilder:default={}
	// +optional
	Spec NodeConfigSpec `json:"spec"`
}

// NodeConfigSpec says where a node is and what it owns.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.tunnelAddress) || !isIP(self.tunnelAddress) || ip(self.tunnelAddress).family() == 4`,message="must be an IPv4 address",fieldPath=".tunnelAddress"
// +kubebuilder:validation:XValidation:rule=`(has(self.podCIDRs) ? self.podCIDRs : []).all(p, !isCIDR(p) || (has(self.podCIDRs) ? self.podCIDRs : []).all(q, !isCIDR(q) || cidr(p) == cidr(q) || !cidr(p).containsCIDR(cidr(q))))`,message="two of the ranges overlap",fieldPath=".podCIDRs"
// +kubebuilder:validation:XValidation:rule=`(has(self.blocks) ? self.blocks : []).all(p, !isCIDR(p) || (has(self.blocks) ? self.blocks : []).all(q, !isCIDR(q) || cidr(p) == cidr(q) || !cidr(p).containsCIDR(cidr(q))))`,message="two of the ranges overlap",fieldPath=".blocks"
// +kubebuilder:validation:XValidation:rule=`(has(self.blocks) ? self.blocks : []).all(p, !isCIDR(p) || (has(self.podCIDRs) ? self.podCIDRs : []).all(q, !isCIDR(q) || cidr(p) == cidr(q) || !cidr(p).containsCIDR(cidr(q)) && !cidr(q).containsCIDR(cidr(p))))`,message="a block overlaps one of the podCIDRs of the same node",fieldPath=".blocks"
// +kubebuilder:validation:XValidation:rule=`(has(self.anycastPrefixes) ? self.anycastPrefixes : []).all(p, !isCIDR(p) || (has(self.blocks) ? self.blocks : []).all(q, !isCIDR(q) || !cidr(p).containsCIDR(cidr(q)) && !cidr(q).containsCIDR(cidr(p))) && (has(self.podCIDRs) ? self.podCIDRs : []).all(q, !isCIDR(q) || !cidr(p).containsCIDR(cidr(q)) && !cidr(q).containsCIDR(cidr(p))))`,message="one overlaps a podCIDR or block, which belongs to this node alone; an anycast prefix lies outside of all pools",fieldPath=".anycastPrefixes"
// +kubebuilder:validation:XValidation:rule=`(has(self.anycastPrefixes) ? self.anycastPrefixes : []).all(p, !isCIDR(p) || (has(self.addresses) ? self.addresses : []).all(a, !isCIDR(a) || !cidr(p).containsIP(cidr(a).ip())))`,message="one contains the node's own address",fieldPath=".anycastPrefixes"
type NodeConfigSpec struct {
	// addresses are the node's own addresses, each with the prefix length of the
	// network it is on: one of IPv4, one of IPv6, or both. In the file store they
	// are required; in Kubernetes they are the Node's if absent.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule=`self.size() < 2 || !self.all(a, isCIDR(a)) || cidr(self[0]).ip().family() != cidr(self[1]).ip().family()`,message="a node has one address of each family"
	Addresses []NodeAddress `json:"addresses"`
	// asNumber overrides that of the BGPConfiguration.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967294
	// +kubebuilder:validation:XValidation:rule=`!(self in [23456, 65535])`,message="must not be 23456 or 65535, which are reserved"
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// routeReflectorClusterID makes the node a route reflector of this cluster
	// (RFC 4456 section 7); written as an IPv4 address.
	RouteReflectorClusterID ClusterID `json:"routeReflectorClusterID,omitempty"`
	// tunnelAddress is the IPv4 address of the node's IPIP tunnel device.
	TunnelAddress Address `json:"tunnelAddress,omitempty"`
	// podCIDRs are ranges that the node's pods have addresses from. The node
	// announces them.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	PodCIDRs []PodRange `json:"podCIDRs,omitempty"`
	// blocks are ranges like podCIDRs, and mean the same: podCIDRs is the word of
	// Kubernetes, blocks that for parts of an IPPool.
	// +listType=set
	// +kubebuilder:validation:MaxItems=128
	Blocks []PodRange `json:"blocks,omitempty"`
	// anycastPrefixes are prefixes that the node serves together with other nodes:
	// it announces them, and several nodes may list the same.
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	AnycastPrefixes []PodRange `json:"anycastPrefixes,omitempty"`
}

// IPPool is a range that pod addresses come from.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccpool,categories=caracal
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=Block-Size,type=integer,JSONPath=`.spec.blockSize`
// +kubebuilder:printcolumn:name=IPIP,type=string,JSONPath=`.spec.ipipMode`
// +kubebuilder:printcolumn:name=NAT,type=boolean,JSONPath=`.spec.natOutgoing`
// +kubebuilder:printcolumn:name=Disabled,type=boolean,JSONPath=`.spec.disabled`
// +kubebuilder:printcolumn:name=Nodes,type=string,priority=1,JSONPath=`.spec.nodeSelector`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type IPPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec describes the pool.
	Spec IPPoolSpec `json:"spec"`
}

// IPPoolSpec describes a pool.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.blockSize) || self.blockSize == 0 || !isCIDR(self.cidr) || self.blockSize >= cidr(self.cidr).prefixLength() && self.blockSize <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)`,message="must be from the pool's own prefix length to 32 for IPv4, or 128 for IPv6",fieldPath=".blockSize"
// +kubebuilder:validation:XValidation:rule=`!has(self.ipipMode) || self.ipipMode == 'Never' || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4`,message="must be Never for an IPv6 pool; IPIP carries IPv4 only",fieldPath=".ipipMode"
type IPPoolSpec struct {
	// cidr is the range itself.
	CIDR PodRange `json:"cidr"`
	// blockSize is the prefix length of a block: 26 for IPv4, 122 for IPv6, or the
	// pool's own length where that is longer.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	BlockSize int `json:"blockSize,omitempty"`
	// ipipMode says when packets to pods on other nodes are sent in IPIP: Never,
	// Always, or CrossSubnet (to nodes on another network only).
	// +kubebuilder:validation:Enum=Never;Always;CrossSubnet
	// +kubebuilder:default=Never
	IPIPMode string `json:"ipipMode,omitempty"`
	// natOutgoing asks for source NAT of what leaves the pools.
	NATOutgoing bool `json:"natOutgoing,omitempty"`
	// nodeSelector says which nodes take blocks of this pool; all if absent.
	NodeSelector Selector `json:"nodeSelector,omitempty"`
	// disabled stops new addresses from being taken from the pool.
	Disabled bool `json:"disabled,omitempty"`
	// disableBGPExport keeps the pool's prefixes from being announced.
	DisableBGPExport bool `json:"disableBGPExport,omitempty"`
	// advertise is blocks (one prefix for each block) or hosts (a /32 or /128 for
	// each workload).
	// +kubebuilder:validation:Enum=blocks;hosts
	// +kubebuilder:default=blocks
	Advertise string `json:"advertise,omitempty"`
}

// BGPConfiguration configures the speakers. The one named "default" is the base
// for every node and has no nodeSelector; each other one has a nodeSelector and
// overrides, for the nodes it selects, the fields that it sets.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccbgp,categories=caracal
// +kubebuilder:printcolumn:name=AS,type=integer,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name=Mesh,type=boolean,JSONPath=`.spec.nodeToNodeMeshEnabled`
// +kubebuilder:printcolumn:name=Nodes,type=string,JSONPath=`.spec.nodeSelector`
// +kubebuilder:printcolumn:name=Hold-Time,type=string,priority=1,JSONPath=`.spec.holdTime`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule=`self.metadata.name != 'default' || !has(self.spec.nodeSelector) || self.spec.nodeSelector.size() == 0`,message="the BGPConfiguration default is for all nodes; give one with a nodeSelector another name",fieldPath=".spec.nodeSelector"
// +kubebuilder:validation:XValidation:rule=`self.metadata.name != 'default' || !has(self.spec.keepaliveTime) || has(self.spec.holdTime) && self.spec.holdTime.size() > 0 || !self.spec.keepaliveTime.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') || duration(self.spec.keepaliveTime) <= duration('30s')`,message="must be at most a third of the hold time, which is 90s by default",fieldPath=".spec.keepaliveTime"
// +kubebuilder:validation:XValidation:rule=`self.metadata.name == 'default' || has(self.spec.nodeSelector) && self.spec.nodeSelector.size() > 0`,message="is missing; only the BGPConfiguration named default is for all nodes",fieldPath=".spec.nodeSelector"
type BGPConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec has only optional fields. What "default" does not set is built in; the
	// defaults are not written into the object, since in one with a nodeSelector an
	// absent field means that it is not overridden.
	// +kubebuilder:default={}
	// +optional
	Spec BGPConfigurationSpec `json:"spec"`
}

// BGPConfigurationSpec has only optional fields.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.holdTime) || !has(self.keepaliveTime) || [self.holdTime, self.keepaliveTime].exists(d, !d.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$')) || duration(self.keepaliveTime).getSeconds() * 3 <= duration(self.holdTime).getSeconds()`,message="must be at most a third of the hold time",fieldPath=".keepaliveTime"
// +kubebuilder:validation:XValidation:rule=`!has(self.prefixAdvertisements) || self.prefixAdvertisements.all(a, a.communities.all(c, c in ['no-export', 'no-advertise', 'graceful-shutdown', 'llgr-stale', 'no-llgr'] || c.contains(':') || has(self.communities) && self.communities.exists(n, n.name == c)))`,message="each must be a community, or a name in spec.communities of this object",fieldPath=".prefixAdvertisements"
type BGPConfigurationSpec struct {
	// nodeSelector says which nodes this object is for; only the one named
	// "default" has none.
	NodeSelector Selector `json:"nodeSelector,omitempty"`
	// asNumber is the AS number of the nodes; 64512 by default.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967294
	// +kubebuilder:validation:XValidation:rule=`!(self in [23456, 65535])`,message="must not be 23456 or 65535, which are reserved"
	ASNumber *uint32 `json:"asNumber,omitempty"`
	// nodeToNodeMeshEnabled lets every two nodes peer directly; true by default.
	NodeToNodeMeshEnabled *bool `json:"nodeToNodeMeshEnabled,omitempty"`
	// listenPort is the TCP port for sessions; 179 by default.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	ListenPort *int `json:"listenPort,omitempty"`
	// listenAddresses are the addresses to accept sessions on; the node's own
	// addresses by default.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:items:XValidation:rule=`isIP(self) && !cidr('224.0.0.0/4').containsIP(ip(self)) && !cidr('ff00::/8').containsIP(ip(self))`,message="must be an address without a prefix length, such as 192.0.2.1 or 2001:db8::1, and not multicast"
	ListenAddresses []string `json:"listenAddresses,omitempty"`
	// routerID is where the BGP identifier comes from: "address" (the node's IPv4
	// address, or the hash of its name where it has none; the default), "hash" (of
	// its name), or the identifier itself, written as an IPv4 address.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self in ['address', 'hash'] || isIP(self) && ip(self).family() == 4 && !cidr('0.0.0.0/8').containsIP(ip(self)) && !cidr('224.0.0.0/3').containsIP(ip(self))`,message="must be address, hash, or an identifier written as an IPv4 address that is unique in the cluster and not 0.0.0.0, multicast or reserved"
	RouterID string `json:"routerID,omitempty"`
	// holdTime is how long a neighbor may be silent before its session ends, in
	// whole seconds from 3s; 90s by default.
	HoldTime HoldTime `json:"holdTime,omitempty"`
	// keepaliveTime is how often neighbors hear of us; a third of the hold time by
	// default, and at most.
	KeepaliveTime KeepaliveTime `json:"keepaliveTime,omitempty"`
	// gracefulRestart lets neighbors keep the routes while the daemon restarts.
	GracefulRestart *GracefulRestart `json:"gracefulRestart,omitempty"`
	// nodeMeshPassword protects the sessions of the mesh (TCP-MD5, RFC 2385).
	NodeMeshPassword *Password `json:"nodeMeshPassword,omitempty"`
	// bfd has the timers of neighbors that name none of their own.
	BFD *BFDDefaults `json:"bfd,omitempty"`
	// communities gives names to communities for prefixAdvertisements.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Communities []NamedCommunity `json:"communities,omitempty"`
	// prefixAdvertisements adds communities to what the nodes announce.
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=128
	PrefixAdvertisements []PrefixAdvertisement `json:"prefixAdvertisements,omitempty"`
	// serviceClusterIPs are the ranges that the nodes announce cluster IPs of
	// Services from: each range as one prefix, and the addresses of Services with
	// the policy Local by themselves, from the nodes that have a ready endpoint.
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=256
	ServiceClusterIPs []ServiceRange `json:"serviceClusterIPs,omitempty"`
	// serviceExternalIPs are the same for the external IPs of Services.
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=256
	ServiceExternalIPs []ServiceRange `json:"serviceExternalIPs,omitempty"`
	// serviceLoadBalancerIPs are the same for the addresses of load balancers.
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=256
	ServiceLoadBalancerIPs []ServiceRange `json:"serviceLoadBalancerIPs,omitempty"`
}

// BFDDefaults configures BFD (RFC 5880) where a BGPPeer does not.
type BFDDefaults struct {
	// nodeMeshEnabled watches the neighbors of the mesh; false by default.
	NodeMeshEnabled *bool `json:"nodeMeshEnabled,omitempty"`
	// transmitInterval is how often packets are sent; 300ms by default.
	TransmitInterval BFDInterval `json:"transmitInterval,omitempty"`
	// receiveInterval is how often packets are wanted; 300ms by default.
	ReceiveInterval BFDInterval `json:"receiveInterval,omitempty"`
	// multiplier is how many packets may be lost; 3 by default.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=255
	Multiplier *int `json:"multiplier,omitempty"`
}

// NamedCommunity gives a community a name.
type NamedCommunity struct {
	// name is any word that is no community itself.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.size() > 0 && !self.contains(':') && !(self in ['no-export', 'no-advertise', 'graceful-shutdown', 'llgr-stale', 'no-llgr'])`,message="is missing, or is a community itself; take another name"
	Name string `json:"name"`
	// value is a standard community, 65000:1, or a large one, 65000:1:2.
	Value Community `json:"value"`
}

// PrefixAdvertisement adds communities to what is announced of a range.
type PrefixAdvertisement struct {
	// cidr is the range.
	// +kubebuilder:validation:MinLength=1
	CIDR Prefix `json:"cidr"`
	// communities are values, or names that spec.communities of the same object
	// gives.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule=`!self.contains(':') || self.matches('^((0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-4])(:(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])){2})$')`,message="as a community it must be two numbers up to 65535 (65000:1), or three numbers up to 4294967295 (65000:1:2) of which the first is not 4294967295"
	Communities []string `json:"communities"`
}

// Password says where the password of a TCP-MD5 session is (RFC 2385). It is
// never written into a resource itself.
type Password struct {
	// secretKeyRef names the secret and the key in it.
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef"`
}

// SecretKeyRef is one key of a secret. In Kubernetes the Secret is in the
// namespace of the daemon. In the file store it is the file
// local/secrets/NAME/KEY of the configuration directory.
//
// The rules stand here and not at the fields, for a message about a group of fields
// does not repeat what was written, which may be the password.
//
// +kubebuilder:validation:XValidation:rule=`self.name.matches('^[-A-Za-z0-9_][-A-Za-z0-9_.]*$')`,message="is missing, or no name of a secret: letters, digits, -, _ and ., the first one no .",fieldPath=".name"
// +kubebuilder:validation:XValidation:rule=`self.key.matches('^[-A-Za-z0-9_][-A-Za-z0-9_.]*$')`,message="is missing, or no key of a secret: letters, digits, -, _ and ., the first one no .",fieldPath=".key"
type SecretKeyRef struct {
	// name is the name of the Secret, in the namespace of the daemon.
	Name SecretPart `json:"name"`
	// key is the key in it whose value is the password.
	Key SecretPart `json:"key"`
}

// GracefulRestart configures RFC 4724.
type GracefulRestart struct {
	// enabled is true by default.
	Enabled *bool `json:"enabled,omitempty"`
	// restartTime is how long neighbors keep our routes while we are away; 120s by
	// default, at most 4095s (12 bits in the capability, RFC 4724 section 3).
	RestartTime RestartTime `json:"restartTime,omitempty"`
}

// Workload is a pod, VM or container that the operator connected by hand. Its
// metadata.namespace is "default" if absent. In Kubernetes pods take its place.
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
//
// +kubebuilder:resource:scope=Cluster,shortName=ccdp,categories=caracal
// +kubebuilder:printcolumn:name=Table,type=integer,JSONPath=`.spec.table`
// +kubebuilder:printcolumn:name=Metric,type=integer,JSONPath=`.spec.metric`
// +kubebuilder:printcolumn:name=Policy,type=boolean,JSONPath=`.spec.policy.enabled`
// +kubebuilder:printcolumn:name=Iptables,type=string,JSONPath=`.spec.policy.iptablesBackend`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule=`self.metadata.name == 'default'`,message="metadata.name must be default; there is one DataplaneConfiguration"
type DataplaneConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec has only optional fields.
	// +kubebuilder:default={}
	// +optional
	Spec DataplaneConfigurationSpec `json:"spec"`
}

// DataplaneConfigurationSpec has only optional fields.
type DataplaneConfigurationSpec struct {
	// table is the kernel's routing table; 254, the main one, by default.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:validation:XValidation:rule=`self != 255`,message="255 is the kernel's own table of local addresses"
	// +kubebuilder:default=254
	Table *int64 `json:"table,omitempty"`
	// protocol is the routing protocol number that marks our routes, 67 by default
	// (rtnetlink(7), rtm_protocol).
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=255
	// +kubebuilder:validation:XValidation:rule=`!(self in [11, 12, 16, 17, 80, 99]) && (self < 186 || self > 192)`,message="is used by another program (11 and 186 to 192 FRR, 12 BIRD, 16 DHCP clients, 17 kube-router, 80 Felix, 99 Open/R), whose routes would be taken for ours"
	// +kubebuilder:default=67
	Protocol *int `json:"protocol,omitempty"`
	// metric is the metric of our routes, 427 by default. With a metric of our own a
	// foreign route to the same prefix survives beside ours.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:default=427
	Metric *int64 `json:"metric,omitempty"`
	// auditInterval is the time between whole comparisons with the kernel, 60s by
	// default.
	// +kubebuilder:default="60s"
	AuditInterval Interval `json:"auditInterval,omitempty"`
	// tunnelMTU is the MTU of the IPIP device in bytes; by default it follows the
	// interface with the node's address, less the 20 bytes of the outer header.
	// +kubebuilder:validation:Minimum=576
	// +kubebuilder:validation:Maximum=65515
	TunnelMTU *int `json:"tunnelMTU,omitempty"`
	// setSysctls says whether ip_forward and its friends are set, or only reported
	// when they are wrong; true by default.
	// +kubebuilder:default=true
	SetSysctls *bool `json:"setSysctls,omitempty"`
	// policy says how NetworkPolicies and the NAT of pools are put into force.
	// +kubebuilder:default={}
	Policy *PolicyOptions `json:"policy,omitempty"`
}

// PolicyOptions has only optional fields.
type PolicyOptions struct {
	// enabled is true by default; false leaves iptables alone: no policy, no NAT, no
	// protection of BGP.
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`
	// iptablesBackend is Auto, the default, Legacy or NFT; Auto takes the one that
	// the host's other programs use.
	// +kubebuilder:validation:Enum=Auto;Legacy;NFT
	// +kubebuilder:default=Auto
	IptablesBackend string `json:"iptablesBackend,omitempty"`
	// flushConntrack ends established connections that a policy forbids from now on;
	// true by default.
	// +kubebuilder:default=true
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
