package v1

import (
	"encoding/json"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The kinds of Kubernetes that are read as they are, and their apiVersions.
const (
	KindNamespace     = "Namespace"
	KindNetworkPolicy = "NetworkPolicy"

	// NamespaceAPIVersion and NetworkPolicyAPIVersion are those of Kubernetes.
	NamespaceAPIVersion     = "v1"
	NetworkPolicyAPIVersion = "networking.k8s.io/v1"
)

// apiVersionOf returns the apiVersion of a kind; that of our own kinds for one
// that is not known.
func apiVersionOf(kind string) string {
	switch kind {
	case KindNamespace:
		return NamespaceAPIVersion
	case KindNetworkPolicy:
		return NetworkPolicyAPIVersion
	}
	return APIVersion
}

// Namespace is a core/v1 Namespace: its name and its labels, which the
// namespaceSelectors of NetworkPolicies look at.
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec and Status are accepted, as a cluster writes them, and not read.
	Spec   ignored `json:"spec,omitzero"`
	Status ignored `json:"status,omitzero"`
}

// NetworkPolicy is one of networking.k8s.io/v1. The types below have the fields
// and the meaning of k8s.io/api/networking/v1, which would add six megabytes of
// core/v1 to each program that reads them.
type NetworkPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NetworkPolicySpec `json:"spec"`
	// Status is accepted, as some clusters have it, and not read.
	Status ignored `json:"status,omitzero"`
}

// NetworkPolicySpec says which pods are isolated, and what they may do.
type NetworkPolicySpec struct {
	// PodSelector selects in the policy's namespace the pods that it applies to;
	// empty, all of them.
	PodSelector metav1.LabelSelector       `json:"podSelector"`
	Ingress     []NetworkPolicyIngressRule `json:"ingress,omitempty"`
	Egress      []NetworkPolicyEgressRule  `json:"egress,omitempty"`
	// PolicyTypes are "Ingress" and "Egress". Absent, it is Ingress, and Egress too
	// if there are egress rules.
	PolicyTypes []string `json:"policyTypes,omitempty"`
}

// NetworkPolicyIngressRule allows traffic that matches one of its ports and one of
// its sources; an absent or empty list matches all.
type NetworkPolicyIngressRule struct {
	Ports []NetworkPolicyPort `json:"ports,omitempty"`
	From  []NetworkPolicyPeer `json:"from,omitempty"`
}

// NetworkPolicyEgressRule allows traffic that matches one of its ports and one of
// its destinations; an absent or empty list matches all.
type NetworkPolicyEgressRule struct {
	Ports []NetworkPolicyPort `json:"ports,omitempty"`
	To    []NetworkPolicyPeer `json:"to,omitempty"`
}

// NetworkPolicyPort is a port of the destination.
type NetworkPolicyPort struct {
	// Protocol is TCP, the default, UDP or SCTP.
	Protocol *string `json:"protocol,omitempty"`
	// Port is a number or the name of a port; absent, all ports.
	Port *PortOrName `json:"port,omitempty"`
	// EndPort makes a range of a numeric Port; both ends belong to it.
	EndPort *int32 `json:"endPort,omitempty"`
}

// NetworkPolicyPeer is pods, namespaces, pods in namespaces, or addresses.
type NetworkPolicyPeer struct {
	PodSelector       *metav1.LabelSelector `json:"podSelector,omitempty"`
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	IPBlock           *IPBlock              `json:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses without some ranges within it.
type IPBlock struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except,omitempty"`
}

// PortOrName is what Kubernetes calls an IntOrString.
type PortOrName struct {
	Number int32  `json:"-"`
	Name   string `json:"-"`
	// ByName says that it was written as a string, be it empty.
	ByName bool `json:"-"`
}

// String returns it as it is written.
func (p PortOrName) String() string {
	if p.ByName {
		return p.Name
	}
	return strconv.Itoa(int(p.Number))
}

// MarshalJSON implements json.Marshaler.
func (p PortOrName) MarshalJSON() ([]byte, error) {
	if p.ByName {
		return json.Marshal(p.Name)
	}
	return json.Marshal(p.Number)
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *PortOrName) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		p.ByName = true
		return json.Unmarshal(text, &p.Name)
	}
	return json.Unmarshal(text, &p.Number)
}

func (PortOrName) checkTree(path string, v any) Errors {
	switch v := v.(type) {
	case string:
		return nil
	case json.Number:
		if _, err := strconv.ParseInt(v.String(), 10, 32); err == nil {
			return nil
		}
		return Errors{{path, fmt.Sprintf("must be a port from 1 to 65535, not %s", clip(v.String()))}}
	}
	return Errors{{path, "must be the number of a port, or a port's name, not " + nounOf(v)}}
}

// ignored is a field that other programs write and nobody here reads.
type ignored struct{}

func (ignored) checkTree(string, any) Errors { return nil }

// UnmarshalJSON implements json.Unmarshaler.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// Meta implements [Object].
func (o *Namespace) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *NetworkPolicy) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*Namespace) ResourceKind() string { return KindNamespace }

// ResourceKind implements [Object].
func (*NetworkPolicy) ResourceKind() string { return KindNetworkPolicy }
