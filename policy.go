package caracal

import (
	"net/netip"
	"slices"
)

// Namespace groups workloads and policies. One that is only mentioned by others
// exists too, with the label that Kubernetes gives each: [NamespaceNameLabel].
type Namespace struct {
	Name   string
	Labels map[string]string
}

// NamespaceNameLabel is the label that each Namespace has, with its name as value
// (Kubernetes: "Well-Known Labels, Annotations and Taints").
const NamespaceNameLabel = "kubernetes.io/metadata.name"

// Policy is a NetworkPolicy of networking.k8s.io/v1 with every default filled in.
type Policy struct {
	Namespace, Name string
	// Pods selects, in the policy's Namespace, the workloads that it isolates.
	Pods LabelSelector
	// Ingress and Egress say for which directions it does: policyTypes.
	Ingress, Egress bool
	// IngressRules and EgressRules are what is allowed; any one of them suffices.
	IngressRules, EgressRules []PolicyRule
	// Invalid says why the policy was rejected and no earlier version of it is
	// known; empty for one in force. An invalid one isolates, in both directions,
	// all that it may select, and allows nothing.
	Invalid string
	// Source is the file it comes from.
	Source string
}

// Key returns the policy's key in a Snapshot: "namespace/name".
func (p Policy) Key() string { return p.Namespace + "/" + p.Name }

// PolicyRule allows traffic with any of its peers on any of its ports.
type PolicyRule struct {
	// Peers are the sources of ingress or the destinations of egress; empty means
	// everybody.
	Peers []PolicyPeer
	// Ports are those of the destination; empty means all of every protocol.
	Ports []PolicyPort
}

// PolicyPeer is either workloads, by one selector or two, or a range of addresses.
type PolicyPeer struct {
	// Pods selects workloads; nil means all of the Namespaces.
	Pods *LabelSelector
	// Namespaces selects the namespaces of the Pods; nil means the policy's own.
	Namespaces *LabelSelector
	// Net is valid, and Pods and Namespaces are nil, for a range of addresses.
	// Except lies within it.
	Net    netip.Prefix
	Except []netip.Prefix
}

// PolicyPort is one port, or a range, or a name, or all of one protocol.
type PolicyPort struct {
	Protocol string // "TCP", "UDP" or "SCTP"
	// Name is that of a port of the destination; empty where numbers are given.
	Name string
	// Port to EndPort, both included; both 0 with an empty Name means all ports.
	Port, EndPort uint16
}

// LabelSelector is a metav1.LabelSelector: all requirements must hold, so one
// without any selects everything. They are sorted by key, operator and values,
// matchLabels being In with one value: two selectors that are equal in meaning but
// for redundancy are equal.
type LabelSelector struct{ Requirements []LabelRequirement }

// LabelOperator compares a label with values.
type LabelOperator string

// The operators of metav1.LabelSelectorRequirement.
const (
	LabelIn           LabelOperator = "In"
	LabelNotIn        LabelOperator = "NotIn"
	LabelExists       LabelOperator = "Exists"
	LabelDoesNotExist LabelOperator = "DoesNotExist"
)

// LabelRequirement is one condition on one label. Values are sorted.
type LabelRequirement struct {
	Key    string
	Op     LabelOperator
	Values []string
}

// Matches reports whether labels meet all requirements.
func (s LabelSelector) Matches(labels map[string]string) bool {
	for _, r := range s.Requirements {
		if !r.Matches(labels) {
			return false
		}
	}
	return true
}

// Matches reports whether labels meet the requirement. As in Kubernetes, NotIn
// holds for what lacks the label; an unknown operator never holds.
func (r LabelRequirement) Matches(labels map[string]string) bool {
	v, there := labels[r.Key]
	switch r.Op {
	case LabelIn:
		return there && slices.Contains(r.Values, v)
	case LabelNotIn:
		return !there || !slices.Contains(r.Values, v)
	case LabelExists:
		return there
	case LabelDoesNotExist:
		return !there
	}
	return false
}
