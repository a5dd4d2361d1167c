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
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BGPPeerSpec `json:"spec"`
}

// BGPPeerSpec describes a neighbor.
type BGPPeerSpec struct {
	// Node is the name of the one node that peers; NodeSelector selects several.
	Node         string `json:"node,omitempty"`
	NodeSelector string `json:"nodeSelector,omitempty"`

	// PeerIP is the neighbor's address, with a port if it is not 179 (or, of a node
	// of the cluster, not the one that it listens on): "192.0.2.1",
	// "192.0.2.1:1179", "2001:db8::1", "[2001:db8::1]:1179"; or [DefaultGateway].
	PeerIP string `json:"peerIP,omitempty"`
	// PeerSelector selects other nodes as neighbors. Each gets the reverse session
	// by itself, unless ReversePeering is "Manual".
	PeerSelector   string `json:"peerSelector,omitempty"`
	ReversePeering string `json:"reversePeering,omitempty"`
	// Interface asks for an unnumbered session on this device.
	Interface string `json:"interface,omitempty"`

	// ASNumber is the neighbor's AS number; ASNumberFromLabel is the label of the
	// node whose value it is. A node that PeerSelector finds has its own.
	ASNumber          PeerAS `json:"asNumber,omitempty"`
	ASNumberFromLabel string `json:"asNumberFromLabel,omitempty"`
	// LocalASNumber is our AS number towards this neighbor, LocalASNumberFromLabel
	// the label of the node whose value it is; the node's own by default.
	LocalASNumber          *uint32 `json:"localASNumber,omitempty"`
	LocalASNumberFromLabel string  `json:"localASNumberFromLabel,omitempty"`
	// NumAllowedLocalASNumbers is how often our own AS number may be in the AS_PATH
	// of a path that is accepted; 0 by default.
	NumAllowedLocalASNumbers *int `json:"numAllowedLocalASNumbers,omitempty"`

	// SourceAddress is our end of the session: "UseNodeIP" (the node's address of
	// the same family; the default) or an address of the node.
	SourceAddress string `json:"sourceAddress,omitempty"`
	// ReachableBy is the gateway through which the neighbor is reached.
	ReachableBy string `json:"reachableBy,omitempty"`
	// EBGPMultihop allows a neighbor in another AS that is not on a network of
	// the node.
	EBGPMultihop bool `json:"ebgpMultihop,omitempty"`
	// TTLSecurity is the number of hops between the two ends, 1 for neighbors on
	// one network: packets from farther away are ignored (GTSM, RFC 5082).
	TTLSecurity *int `json:"ttlSecurity,omitempty"`
	// Passive leaves it to the neighbor to open the connection.
	Passive bool `json:"passive,omitempty"`
	// Password protects the session (TCP-MD5, RFC 2385).
	Password *Password `json:"password,omitempty"`

	// HoldTime and KeepaliveTime override those of the BGPConfiguration.
	HoldTime        string               `json:"holdTime,omitempty"`
	KeepaliveTime   string               `json:"keepaliveTime,omitempty"`
	BFD             *PeerBFD             `json:"bfd,omitempty"`
	GracefulRestart *PeerGracefulRestart `json:"gracefulRestart,omitempty"`

	// NextHopMode is Auto, Self or Keep.
	NextHopMode string `json:"nextHopMode,omitempty"`
	// ExtendedNextHop offers IPv6 next hops for IPv4 prefixes (RFC 8950); true by
	// default with Interface, else false.
	ExtendedNextHop *bool    `json:"extendedNextHop,omitempty"`
	AddPath         *AddPath `json:"addPath,omitempty"`

	// MaxPrefixes per family: beyond it the session is closed, 10000 by default.
	// A warning comes at MaxPrefixesWarning percent of it, 75 by default. After
	// MaxPrefixesRetry, 5m by default, the session is tried again; 0s means never.
	MaxPrefixes        *uint32 `json:"maxPrefixes,omitempty"`
	MaxPrefixesWarning *int    `json:"maxPrefixesWarning,omitempty"`
	MaxPrefixesRetry   string  `json:"maxPrefixesRetry,omitempty"`

	// Filters are names of BGPFilters, in the order in which they are asked.
	Filters []string `json:"filters,omitempty"`
	// AcceptRanges lets in what these ranges cover and no filter spoke of.
	AcceptRanges []string `json:"acceptRanges,omitempty"`
	// AcceptPools lets the neighbor carry prefixes of the pools.
	AcceptPools bool `json:"acceptPools,omitempty"`
	// AcceptDefaultRoute lets in 0.0.0.0/0 and ::/0.
	AcceptDefaultRoute bool `json:"acceptDefaultRoute,omitempty"`
}

// PeerBFD watches a neighbor with BFD (RFC 5880).
type PeerBFD struct {
	// Enabled is true where the group is there.
	Enabled *bool `json:"enabled,omitempty"`
	// What is absent here is as in the BGPConfiguration.
	TransmitInterval string `json:"transmitInterval,omitempty"`
	ReceiveInterval  string `json:"receiveInterval,omitempty"`
	Multiplier       *int   `json:"multiplier,omitempty"`
}

// PeerGracefulRestart overrides the BGPConfiguration's for a neighbor.
type PeerGracefulRestart struct {
	Enabled     *bool  `json:"enabled,omitempty"`
	RestartTime string `json:"restartTime,omitempty"`
	// LongLivedStaleTime is how long the paths of a neighbor that does not come
	// back are kept as a last resort (RFC 9494); they are not by default.
	LongLivedStaleTime string `json:"longLivedStaleTime,omitempty"`
}

// AddPath configures RFC 7911.
type AddPath struct {
	// Receive takes several paths for a prefix.
	Receive bool `json:"receive,omitempty"`
	// SendMax is how many paths for a prefix are sent at most; 0 sends one, without
	// add-path.
	SendMax int `json:"sendMax,omitempty"`
}

// PeerAS is the AS number of a neighbor: a number in decimal, [ASInternal] or
// [ASExternal]. In YAML and JSON a number is written as one.
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
