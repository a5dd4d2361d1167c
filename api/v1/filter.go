package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPFilter is a list of rules on what comes from a neighbor and what goes to
// it. It is in force for the BGPPeers that name it.
type BGPFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BGPFilterSpec `json:"spec"`
}

// BGPFilterSpec has the rules by direction and family. The first rule that
// matches decides; a path that none matches is judged as without a filter.
type BGPFilterSpec struct {
	ImportV4 []BGPFilterRule `json:"importV4,omitempty"`
	ExportV4 []BGPFilterRule `json:"exportV4,omitempty"`
	ImportV6 []BGPFilterRule `json:"importV6,omitempty"`
	ExportV6 []BGPFilterRule `json:"exportV6,omitempty"`
}

// BGPFilterRule is one rule. It matches a path that all its conditions match.
type BGPFilterRule struct {
	// Action is Accept or Reject.
	Action string `json:"action"`
	// CIDR and MatchOperator (Equal, NotEqual, In or NotIn) compare the prefix.
	CIDR          string `json:"cidr,omitempty"`
	MatchOperator string `json:"matchOperator,omitempty"`
	// PrefixLength bounds the length of the prefix.
	PrefixLength *PrefixLength `json:"prefixLength,omitempty"`
	// Communities must all be on the path.
	Communities *CommunityMatch `json:"communities,omitempty"`
	// ASPathPrefix is what the AS_PATH begins with, nearest AS first.
	ASPathPrefix []uint32 `json:"asPathPrefix,omitempty"`
	// Source is RemotePeers (learned from a neighbor) or Local (this node's own).
	Source string `json:"source,omitempty"`
	// PeerType is eBGP or iBGP: the type of the session.
	PeerType string `json:"peerType,omitempty"`
	// Operations change a path that is accepted, in order.
	Operations []FilterOperation `json:"operations,omitempty"`
}

// PrefixLength bounds a prefix length; both ends count. An absent Min is the
// length of the rule's cidr (0 without one), an absent Max that of an address.
type PrefixLength struct {
	Min *int `json:"min,omitempty"`
	Max *int `json:"max,omitempty"`
}

// CommunityMatch lists communities that a path must have, all of them.
type CommunityMatch struct {
	Values []string `json:"values"`
}

// FilterOperation changes a path. Exactly one of its fields is set.
type FilterOperation struct {
	AddCommunity       *AddCommunity  `json:"addCommunity,omitempty"`
	PrependASPath      *PrependASPath `json:"prependASPath,omitempty"`
	SetLocalPreference *SetNumber     `json:"setLocalPreference,omitempty"`
	SetMED             *SetNumber     `json:"setMED,omitempty"`
}

// AddCommunity adds a community.
type AddCommunity struct {
	Value string `json:"value"`
}

// PrependASPath puts AS numbers before the AS_PATH, the first nearest to us.
type PrependASPath struct {
	Prefix []uint32 `json:"prefix"`
}

// SetNumber sets an attribute to a number.
type SetNumber struct {
	Value *uint32 `json:"value"`
}

// Meta implements [Object].
func (o *BGPFilter) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*BGPFilter) ResourceKind() string { return KindBGPFilter }
