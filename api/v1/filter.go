package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPFilter is a list of rules on what comes from a neighbor and what goes to
// it. It is in force for the BGPPeers that name it.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccfilter,categories=caracal
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type BGPFilter struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec has the rules by direction and family.
	// +kubebuilder:default={}
	// +optional
	Spec BGPFilterSpec `json:"spec"`
}

// BGPFilterSpec has the rules by direction and family. The first rule that
// matches decides; a path that none matches is judged as without a filter.
type BGPFilterSpec struct {
	// importV4 are the rules on IPv4 paths that come from the neighbor.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.cidr) || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4`,message="must be IPv4, as the rules of this list are",fieldPath=".cidr"
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.prefixLength) || (!has(self.prefixLength.min) || self.prefixLength.min <= 32) && (!has(self.prefixLength.max) || self.prefixLength.max <= 32)`,message="must be at most 32 in a list for IPv4",fieldPath=".prefixLength"
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.source) || self.source != 'Local'`,message="nothing that comes from a neighbor is Local; this rule would never match",fieldPath=".source"
	ImportV4 []BGPFilterRule `json:"importV4,omitempty"`
	// exportV4 are the rules on IPv4 paths that go to the neighbor.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.cidr) || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 4`,message="must be IPv4, as the rules of this list are",fieldPath=".cidr"
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.prefixLength) || (!has(self.prefixLength.min) || self.prefixLength.min <= 32) && (!has(self.prefixLength.max) || self.prefixLength.max <= 32)`,message="must be at most 32 in a list for IPv4",fieldPath=".prefixLength"
	ExportV4 []BGPFilterRule `json:"exportV4,omitempty"`
	// importV6 are the rules on IPv6 paths that come from the neighbor.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.cidr) || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 6`,message="must be IPv6, as the rules of this list are",fieldPath=".cidr"
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.source) || self.source != 'Local'`,message="nothing that comes from a neighbor is Local; this rule would never match",fieldPath=".source"
	ImportV6 []BGPFilterRule `json:"importV6,omitempty"`
	// exportV6 are the rules on IPv6 paths that go to the neighbor.
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:XValidation:rule=`!has(self.cidr) || !isCIDR(self.cidr) || cidr(self.cidr).ip().family() == 6`,message="must be IPv6, as the rules of this list are",fieldPath=".cidr"
	ExportV6 []BGPFilterRule `json:"exportV6,omitempty"`
}

// BGPFilterRule is one rule. It matches a path that all its conditions match.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.matchOperator) || has(self.cidr) && self.cidr.size() > 0`,message="is missing; matchOperator compares with it",fieldPath=".cidr"
// +kubebuilder:validation:XValidation:rule=`!has(self.cidr) || self.cidr.size() == 0 || has(self.matchOperator)`,message="is missing; it must be Equal, NotEqual, In or NotIn",fieldPath=".matchOperator"
// +kubebuilder:validation:XValidation:rule=`!has(self.prefixLength) || !has(self.matchOperator) || self.matchOperator != 'Equal'`,message="with matchOperator Equal there is one length only; remove it, or write In",fieldPath=".prefixLength"
// +kubebuilder:validation:XValidation:rule=`!has(self.prefixLength) || !has(self.matchOperator) || self.matchOperator != 'In' || !has(self.cidr) || !isCIDR(self.cidr) || (!has(self.prefixLength.min) || self.prefixLength.min >= cidr(self.cidr).prefixLength()) && (!has(self.prefixLength.max) || self.prefixLength.max >= cidr(self.cidr).prefixLength())`,message="must not be shorter than the cidr",fieldPath=".prefixLength"
// +kubebuilder:validation:XValidation:rule=`self.action != 'Reject' || !has(self.operations) || self.operations.size() == 0`,message="what is rejected cannot be changed; remove them, or write action: Accept",fieldPath=".operations"
type BGPFilterRule struct {
	// action is Accept or Reject.
	// +kubebuilder:validation:Enum=Accept;Reject
	Action string `json:"action"`
	// cidr is what matchOperator compares the prefix with.
	CIDR Prefix `json:"cidr,omitempty"`
	// matchOperator is Equal (the prefix is cidr), NotEqual, In (it is cidr or a part
	// of it) or NotIn.
	// +kubebuilder:validation:Enum=Equal;NotEqual;In;NotIn
	MatchOperator string `json:"matchOperator,omitempty"`
	// prefixLength bounds the length of the prefix.
	PrefixLength *PrefixLength `json:"prefixLength,omitempty"`
	// communities must all be on the path.
	Communities *CommunityMatch `json:"communities,omitempty"`
	// asPathPrefix is what the AS_PATH begins with, nearest AS first.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Format=int64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=4294967294
	// +kubebuilder:validation:XValidation:rule=`self.all(n, n != 23456 && n != 65535)`,message="must not have 23456 or 65535, which are reserved"
	ASPathPrefix []uint32 `json:"asPathPrefix,omitempty"`
	// source is RemotePeers (learned from a neighbor) or Local (this node's own).
	// +kubebuilder:validation:Enum=RemotePeers;Local
	Source string `json:"source,omitempty"`
	// peerType is eBGP or iBGP: the type of the session.
	// +kubebuilder:validation:Enum=eBGP;iBGP
	PeerType string `json:"peerType,omitempty"`
	// operations change a path that is accepted, in order.
	// +kubebuilder:validation:MaxItems=10
	Operations []FilterOperation `json:"operations,omitempty"`
}

// PrefixLength bounds a prefix length; both ends count. An absent min is the
// length of the rule's cidr (0 without one), an absent max that of an address.
//
// +kubebuilder:validation:XValidation:rule=`has(self.min) || has(self.max)`,message="must have min, max or both"
// +kubebuilder:validation:XValidation:rule=`!has(self.min) || !has(self.max) || self.min <= self.max`,message="must not be less than min",fieldPath=".max"
type PrefixLength struct {
	// min is the shortest length.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Min *int `json:"min,omitempty"`
	// max is the longest length.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	Max *int `json:"max,omitempty"`
}

// CommunityMatch lists communities that a path must have, all of them.
type CommunityMatch struct {
	// values are the communities.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Values []FilterCommunity `json:"values"`
}

// FilterOperation changes a path. Exactly one of its fields is set.
//
// +kubebuilder:validation:XValidation:rule=`[has(self.addCommunity), has(self.prependASPath), has(self.setLocalPreference), has(self.setMED)].exists_one(set, set)`,message="must have exactly one of addCommunity, prependASPath, setLocalPreference and setMED; write one operation for each change"
type FilterOperation struct {
	// addCommunity adds a community.
	AddCommunity *AddCommunity `json:"addCommunity,omitempty"`
	// prependASPath puts AS numbers before the AS_PATH.
	PrependASPath *PrependASPath `json:"prependASPath,omitempty"`
	// setLocalPreference sets LOCAL_PREF.
	SetLocalPreference *SetNumber `json:"setLocalPreference,omitempty"`
	// setMED sets MULTI_EXIT_DISC.
	SetMED *SetNumber `json:"setMED,omitempty"`
}

// AddCommunity adds a community.
type AddCommunity struct {
	// value is the community.
	Value FilterCommunity `json:"value"`
}

// PrependASPath puts AS numbers before the AS_PATH, the first nearest to us.
type PrependASPath struct {
	// prefix lists the AS numbers, the first nearest to us.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:Format=int64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=4294967294
	// +kubebuilder:validation:XValidation:rule=`self.all(n, n != 23456 && n != 65535)`,message="must not have 23456 or 65535, which are reserved"
	Prefix []uint32 `json:"prefix"`
}

// SetNumber sets an attribute to a number.
type SetNumber struct {
	// value is the number.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Value *uint32 `json:"value"`
}

// Meta implements [Object].
func (o *BGPFilter) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*BGPFilter) ResourceKind() string { return KindBGPFilter }
