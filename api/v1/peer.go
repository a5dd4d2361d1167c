package v1

import (
	"encoding/json"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer is a neighbor, or several, beside those of the mesh. Without node and
// nodeSelector every node peers with it. Where the neighbor is, is said by
// exactly one of peerIP, peerSelector and interface.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccpeer,categories=caracal
// +kubebuilder:printcolumn:name=Peer-IP,type=string,JSONPath=`.spec.peerIP`
// +kubebuilder:printcolumn:name=Peer-Selector,type=string,JSONPath=`.spec.peerSelector`
// +kubebuilder:printcolumn:name=Interface,type=string,JSONPath=`.spec.interface`
// +kubebuilder:printcolumn:name=AS,type=string,JSONPath=`.spec.asNumber`
// +kubebuilder:printcolumn:name=Node,type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name=Node-Selector,type=string,JSONPath=`.spec.nodeSelector`
// +kubebuilder:printcolumn:name=Filters,type=string,priority=1,JSONPath=`.spec.filters`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type BGPPeer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec describes the neighbor.
	Spec BGPPeerSpec `json:"spec"`
}

// BGPPeerSpec describes a neighbor.
//
// +kubebuilder:validation:XValidation:rule=`[has(self.peerIP) && self.peerIP.size() > 0, has(self.peerSelector) && self.peerSelector.size() > 0, has(self.interface) && self.interface.size() > 0].exists_one(set, set)`,message="exactly one of peerIP, peerSelector and interface must say where the neighbor is",fieldPath=".peerIP"
// +kubebuilder:validation:XValidation:rule=`!has(self.node) || self.node.size() == 0 || !has(self.nodeSelector) || self.nodeSelector.size() == 0`,message="must not be set together with spec.node",fieldPath=".nodeSelector"
// +kubebuilder:validation:XValidation:rule=`!has(self.reversePeering) || has(self.peerSelector) && self.peerSelector.size() > 0`,message="is for a peerSelector only; remove it",fieldPath=".reversePeering"
// +kubebuilder:validation:XValidation:rule=`has(self.peerSelector) && self.peerSelector.size() > 0 || has(self.asNumber) || has(self.asNumberFromLabel) && self.asNumberFromLabel.size() > 0`,message="is missing; it must be the AS number of the neighbor, internal or external",fieldPath=".asNumber"
// +kubebuilder:validation:XValidation:rule=`!has(self.peerSelector) || self.peerSelector.size() == 0 || !has(self.asNumber)`,message="must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs",fieldPath=".asNumber"
// +kubebuilder:validation:XValidation:rule=`!has(self.peerSelector) || self.peerSelector.size() == 0 || !has(self.asNumberFromLabel) || self.asNumberFromLabel.size() == 0`,message="must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs",fieldPath=".asNumberFromLabel"
// +kubebuilder:validation:XValidation:rule=`!has(self.peerSelector) || self.peerSelector.size() == 0 || !has(self.localASNumber)`,message="must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs",fieldPath=".localASNumber"
// +kubebuilder:validation:XValidation:rule=`!has(self.peerSelector) || self.peerSelector.size() == 0 || !has(self.localASNumberFromLabel) || self.localASNumberFromLabel.size() == 0`,message="must not be set together with spec.peerSelector: nodes have the AS numbers of their NodeConfigs",fieldPath=".localASNumberFromLabel"
// +kubebuilder:validation:XValidation:rule=`!has(self.asNumber) || !has(self.asNumberFromLabel) || self.asNumberFromLabel.size() == 0`,message="must not be set together with spec.asNumber",fieldPath=".asNumberFromLabel"
// +kubebuilder:validation:XValidation:rule=`!has(self.localASNumber) || !has(self.localASNumberFromLabel) || self.localASNumberFromLabel.size() == 0`,message="must not be set together with spec.localASNumber",fieldPath=".localASNumberFromLabel"
// +kubebuilder:validation:XValidation:rule=`!has(self.asNumber) || self.asNumber != 'internal' || !has(self.localASNumber) && (!has(self.localASNumberFromLabel) || self.localASNumberFromLabel.size() == 0)`,message="is for a neighbor in another AS; an internal one sees the node's own",fieldPath=".localASNumber"
// +kubebuilder:validation:XValidation:rule=`!has(self.asNumber) || !has(self.localASNumber) || self.asNumber != self.localASNumber`,message="is the neighbor's; a local AS number is for a neighbor in another AS",fieldPath=".localASNumber"
// +kubebuilder:validation:XValidation:rule=`!has(self.sourceAddress) || !isIP(self.sourceAddress) || has(self.peerIP) && self.peerIP != 'defaultGateway'`,message="must be UseNodeIP where the neighbor is not given by its address",fieldPath=".sourceAddress"
// +kubebuilder:validation:XValidation:rule=`!has(self.sourceAddress) || !isIP(self.sourceAddress) || !has(self.peerIP) || self.peerIP == 'defaultGateway' || (ip(self.sourceAddress).family() == 6) == (isIP(self.peerIP) ? ip(self.peerIP).family() == 6 : self.peerIP.startsWith('['))`,message="and the peerIP are not of the same family",fieldPath=".sourceAddress"
// +kubebuilder:validation:XValidation:rule=`!has(self.reachableBy) || self.reachableBy.size() == 0 || has(self.peerIP) && self.peerIP.size() > 0 && self.peerIP != 'defaultGateway'`,message="is for a neighbor that is given by its address; remove it",fieldPath=".reachableBy"
// +kubebuilder:validation:XValidation:rule=`!has(self.reachableBy) || !isIP(self.reachableBy) || !has(self.peerIP) || self.peerIP == 'defaultGateway' || (ip(self.reachableBy).family() == 6) == (isIP(self.peerIP) ? ip(self.peerIP).family() == 6 : self.peerIP.startsWith('['))`,message="and the peerIP are not of the same family",fieldPath=".reachableBy"
// +kubebuilder:validation:XValidation:rule=`!has(self.reachableBy) || self.reachableBy.size() == 0 || !has(self.peerIP) || self.peerIP != self.reachableBy`,message="is the neighbor itself; it must be the gateway to it",fieldPath=".reachableBy"
// +kubebuilder:validation:XValidation:rule=`!has(self.ebgpMultihop) || !self.ebgpMultihop || !has(self.interface) || self.interface.size() == 0`,message="a neighbor on an interface is one hop away; remove it",fieldPath=".ebgpMultihop"
// +kubebuilder:validation:XValidation:rule=`!has(self.passive) || !self.passive || !has(self.peerSelector) || self.peerSelector.size() == 0`,message="must not be set together with spec.peerSelector: of two nodes one dials by itself",fieldPath=".passive"
// +kubebuilder:validation:XValidation:rule=`!has(self.ttlSecurity) || self.ttlSecurity != 1 || !has(self.ebgpMultihop) || !self.ebgpMultihop`,message="1 lets in neighbors on the same network only, which ebgpMultihop is not for; remove one",fieldPath=".ttlSecurity"
// +kubebuilder:validation:XValidation:rule=`!has(self.ttlSecurity) || self.ttlSecurity <= 1 || !has(self.interface) || self.interface.size() == 0`,message="a neighbor on an interface is one hop away; write 1",fieldPath=".ttlSecurity"
// +kubebuilder:validation:XValidation:rule=`!has(self.holdTime) || !has(self.keepaliveTime) || [self.holdTime, self.keepaliveTime].exists(d, !d.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$')) || duration(self.keepaliveTime).getSeconds() * 3 <= duration(self.holdTime).getSeconds()`,message="must be at most a third of the hold time",fieldPath=".keepaliveTime"
type BGPPeerSpec struct {
	// node is the name of the one node that peers.
	Node Name `json:"node,omitempty"`
	// nodeSelector selects several nodes that peer, instead of node.
	NodeSelector Selector `json:"nodeSelector,omitempty"`

	// peerIP is the neighbor's address, with a port if it is not 179 (or, of a node
	// of the cluster, not the one that it listens on): 192.0.2.1, 192.0.2.1:1179,
	// 2001:db8::1, [2001:db8::1]:1179; or defaultGateway, the next hop of the node's
	// default route.
	// +kubebuilder:validation:MaxLength=56
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self in ['defaultGateway'] || isIP(self) || self.matches('^[0-9.]+:[0-9]+$') && isIP(self.split(':')[0]) || self.matches('^\\[[0-9a-fA-F:.]+\\](:[0-9]+)?$') && isIP(self.substring(1, self.indexOf(']'))) && ip(self.substring(1, self.indexOf(']'))).family() == 6`,message="must be an address with an optional port, such as 192.0.2.1, 192.0.2.1:1179 or [2001:db8::1]:1179, or the word defaultGateway"
	// +kubebuilder:validation:XValidation:rule=`isIP(self) || !self.matches('(^[0-9.]+|\\]):[0-9]+$') || self.matches(':0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$')`,message="must have a port from 1 to 65535, if any"
	// +kubebuilder:validation:XValidation:rule=`!self.matches('^\\[?[fF][eE][89abAB][0-9a-fA-F]:')`,message="is a link-local address; name the device with interface, and the neighbor is found on it"
	// +kubebuilder:validation:XValidation:rule=`[isIP(self) ? self : self.matches('^[0-9.]+:[0-9]+$') ? self.split(':')[0] : self.matches('^\\[.*\\]') ? self.substring(1, self.indexOf(']')) : self].all(a, !isIP(a) || ip(a).isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(ip(a)) && !cidr('240.0.0.0/4').containsIP(ip(a)))`,message="must be the address of a host, not loopback, link-local, multicast or reserved"
	PeerIP string `json:"peerIP,omitempty"`
	// peerSelector selects other nodes as neighbors. Each gets the reverse session
	// by itself, unless reversePeering is Manual.
	PeerSelector Selector `json:"peerSelector,omitempty"`
	// reversePeering is Auto, the default with peerSelector, or Manual: then the
	// selected nodes need a BGPPeer of their own.
	// +kubebuilder:validation:Enum=Auto;Manual
	ReversePeering string `json:"reversePeering,omitempty"`
	// interface asks for an unnumbered session on this device.
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || size(bytes(self)) <= 15 && self.matches('^[^\\x00-\\x20/:\\x7f]+$') && !(self in ['.', '..'])`,message="must be the name of an interface: at most 15 bytes, no blanks, no / and no :"
	Interface string `json:"interface,omitempty"`

	// asNumber is the neighbor's AS number, internal (the node's own) or external
	// (any other). A node that peerSelector finds has its own.
	ASNumber PeerAS `json:"asNumber,omitempty"`
	// asNumberFromLabel is the label of the node whose value is the neighbor's AS
	// number.
	ASNumberFromLabel LabelKey `json:"asNumberFromLabel,omitempty"`
	// localASNumber is our AS number towards this neighbor; the node's own by
	// default.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967294
	// +kubebuilder:validation:XValidation:rule=`!(self in [23456, 65535])`,message="must not be 23456 or 65535, which are reserved"
	LocalASNumber *uint32 `json:"localASNumber,omitempty"`
	// localASNumberFromLabel is the label of the node whose value is localASNumber.
	LocalASNumberFromLabel LabelKey `json:"localASNumberFromLabel,omitempty"`
	// numAllowedLocalASNumbers is how often our own AS number may be in the AS_PATH
	// of a path that is accepted; 0 by default.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	NumAllowedLocalASNumbers *int `json:"numAllowedLocalASNumbers,omitempty"`

	// sourceAddress is our end of the session: UseNodeIP (the node's address of the
	// same family; the default) or an address of the node.
	// +kubebuilder:validation:MaxLength=45
	// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self in ['UseNodeIP'] || isIP(self)`,message="must be UseNodeIP or an address of the node"
	// +kubebuilder:validation:XValidation:rule=`!isIP(self) || ip(self).isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(ip(self)) && !cidr('240.0.0.0/4').containsIP(ip(self))`,message="must be the address of a host, not loopback, link-local, multicast or reserved"
	// +kubebuilder:default=UseNodeIP
	SourceAddress string `json:"sourceAddress,omitempty"`
	// reachableBy is the gateway through which the neighbor is reached.
	ReachableBy Address `json:"reachableBy,omitempty"`
	// ebgpMultihop allows a neighbor in another AS that is not on a network of the
	// node.
	EBGPMultihop bool `json:"ebgpMultihop,omitempty"`
	// ttlSecurity is the number of hops between the two ends, 1 for neighbors on one
	// network: packets from farther away are ignored (GTSM, RFC 5082). 0 is off.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=254
	TTLSecurity *int `json:"ttlSecurity,omitempty"`
	// passive leaves it to the neighbor to open the connection.
	Passive bool `json:"passive,omitempty"`
	// password protects the session (TCP-MD5, RFC 2385).
	Password *Password `json:"password,omitempty"`

	// holdTime overrides that of the BGPConfiguration.
	HoldTime HoldTime `json:"holdTime,omitempty"`
	// keepaliveTime overrides that of the BGPConfiguration.
	KeepaliveTime KeepaliveTime `json:"keepaliveTime,omitempty"`
	// bfd watches the neighbor with BFD (RFC 5880).
	BFD *PeerBFD `json:"bfd,omitempty"`
	// gracefulRestart overrides that of the BGPConfiguration.
	GracefulRestart *PeerGracefulRestart `json:"gracefulRestart,omitempty"`

	// nextHopMode is Auto, Self (the node is the next hop of all it sends) or Keep
	// (next hops are passed on as they came).
	// +kubebuilder:validation:Enum=Auto;Self;Keep
	// +kubebuilder:default=Auto
	NextHopMode string `json:"nextHopMode,omitempty"`
	// extendedNextHop offers IPv6 next hops for IPv4 prefixes (RFC 8950); true by
	// default with interface, else false.
	ExtendedNextHop *bool `json:"extendedNextHop,omitempty"`
	// addPath allows several paths for a prefix (RFC 7911).
	AddPath *AddPath `json:"addPath,omitempty"`

	// maxPrefixes bounds what the neighbor may send of each family: beyond it the
	// session is closed.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +kubebuilder:default=10000
	MaxPrefixes *uint32 `json:"maxPrefixes,omitempty"`
	// maxPrefixesWarning is the percentage of maxPrefixes from which on there is a
	// warning.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +kubebuilder:default=75
	MaxPrefixesWarning *int `json:"maxPrefixesWarning,omitempty"`
	// maxPrefixesRetry is when a session that was closed for too many prefixes is
	// tried again; 0s means never.
	// +kubebuilder:default="5m"
	MaxPrefixesRetry Delay `json:"maxPrefixesRetry,omitempty"`

	// filters are names of BGPFilters, in the order in which they are asked.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:XValidation:rule=`self.all(f, self.exists_one(g, g == f))`,message="one is listed twice"
	Filters []Name `json:"filters,omitempty"`
	// acceptRanges lets in what these ranges cover and no filter spoke of.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	AcceptRanges []Prefix `json:"acceptRanges,omitempty"`
	// acceptPools lets the neighbor carry prefixes of the pools.
	AcceptPools bool `json:"acceptPools,omitempty"`
	// acceptDefaultRoute lets in 0.0.0.0/0 and ::/0.
	AcceptDefaultRoute bool `json:"acceptDefaultRoute,omitempty"`
}

// PeerBFD watches a neighbor with BFD (RFC 5880). What is absent is as in the
// BGPConfiguration.
type PeerBFD struct {
	// enabled is true where the group is there.
	// +kubebuilder:default=true
	Enabled *bool `json:"enabled,omitempty"`
	// transmitInterval is how often packets are sent.
	TransmitInterval BFDInterval `json:"transmitInterval,omitempty"`
	// receiveInterval is how often packets are wanted.
	ReceiveInterval BFDInterval `json:"receiveInterval,omitempty"`
	// multiplier is how many packets may be lost.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=255
	Multiplier *int `json:"multiplier,omitempty"`
}

// PeerGracefulRestart overrides the BGPConfiguration's for a neighbor.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.longLivedStaleTime) || self.longLivedStaleTime.size() == 0 || !has(self.enabled) || self.enabled`,message="needs graceful restart, which enabled: false turns off",fieldPath=".longLivedStaleTime"
type PeerGracefulRestart struct {
	// enabled is that of the BGPConfiguration if absent.
	Enabled *bool `json:"enabled,omitempty"`
	// restartTime is that of the BGPConfiguration if absent.
	RestartTime RestartTime `json:"restartTime,omitempty"`
	// longLivedStaleTime is how long the paths of a neighbor that does not come back
	// are kept as a last resort (RFC 9494); they are not by default.
	LongLivedStaleTime StaleTime `json:"longLivedStaleTime,omitempty"`
}

// AddPath configures RFC 7911.
type AddPath struct {
	// receive takes several paths for a prefix.
	Receive bool `json:"receive,omitempty"`
	// sendMax is how many paths for a prefix are sent at most; 0 sends one, without
	// add-path.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	SendMax int `json:"sendMax,omitempty"`
}

// PeerAS is the AS number of a neighbor: a number in decimal, [ASInternal] or
// [ASExternal]. In YAML and JSON a number is written as one.
//
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XValidation:rule=`type(self) == int ? self >= 1 && self <= 4294967294 && !(self in [23456, 65535]) : self in ['internal', 'external']`,message="must be a whole number (not 0, 23456, 65535 or 4294967295), internal or external"
type PeerAS string

// The words that stand for an AS number.
const (
	// ASInternal is the node's own AS.
	ASInternal PeerAS = "internal"
	// ASExternal is any other one.
	ASExternal PeerAS = "external"
)

// Number returns the AS number; false for a word.
func (a PeerAS) Number() (uint32, bool) {
	n, err := strconv.ParseUint(string(a), 10, 32)
	return uint32(n), err == nil
}

// MarshalJSON implements [json.Marshaler].
func (a PeerAS) MarshalJSON() ([]byte, error) {
	if n, ok := a.Number(); ok {
		return strconv.AppendUint(nil, uint64(n), 10), nil
	}
	return json.Marshal(string(a))
}

// UnmarshalJSON implements [json.Unmarshaler]. What it lets through, Decode has
// checked before.
func (a *PeerAS) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(a))
	}
	if string(b) != "null" {
		*a = PeerAS(b)
	}
	return nil
}

// checkTree says what is wrong with a decoded value in place of a PeerAS; its
// errors have the path of the field.
func (PeerAS) checkTree(path string, v any) Errors {
	fail := func(format string, args ...any) Errors {
		return Errors{{path, fmt.Sprintf(format, args...)}}
	}
	switch v := v.(type) {
	case json.Number:
		if _, ok := PeerAS(v).Number(); !ok {
			return fail("must be a whole number from 0 to 4294967295, not %s", clip(v.String()))
		}
	case string:
		if _, ok := PeerAS(v).Number(); ok {
			return fail("must be a whole number without quotes, not the string %q", clip(v))
		}
		if PeerAS(v) != ASInternal && PeerAS(v) != ASExternal {
			return fail("must be a whole number, internal or external, not %s", nounOf(v))
		}
	default:
		return fail("must be a whole number, internal or external, not %s", nounOf(v))
	}
	return nil
}

// Meta implements [Object].
func (o *BGPPeer) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*BGPPeer) ResourceKind() string { return KindBGPPeer }
