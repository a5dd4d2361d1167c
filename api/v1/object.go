package v1

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion is the apiVersion of every resource here but those of Kubernetes.
const APIVersion = "caracal.dev/v1"

// The kinds.
const (
	KindNodeConfig             = "NodeConfig"
	KindIPPool                 = "IPPool"
	KindBGPConfiguration       = "BGPConfiguration"
	KindBGPPeer                = "BGPPeer"
	KindBGPFilter              = "BGPFilter"
	KindWorkload               = "Workload"
	KindDataplaneConfiguration = "DataplaneConfiguration"
	KindIPAMConfiguration      = "IPAMConfiguration"
	KindIPReservation          = "IPReservation"
)

// DefaultName is the name of the BGPConfiguration that is the base for all
// nodes, and of the only DataplaneConfiguration and IPAMConfiguration.
const DefaultName = "default"

// Kinds lists every kind in alphabetical order.
func Kinds() []string {
	return []string{
		KindBGPConfiguration, KindBGPFilter, KindBGPPeer, KindDataplaneConfiguration,
		KindIPAMConfiguration, KindIPPool, KindIPReservation, KindNamespace, KindNetworkPolicy,
		KindNodeConfig, KindWorkload,
	}
}

// New returns an empty object of a kind; nil if there is no such kind.
func New(kind string) Object {
	switch kind {
	case KindNodeConfig:
		return &NodeConfig{}
	case KindIPPool:
		return &IPPool{}
	case KindBGPConfiguration:
		return &BGPConfiguration{}
	case KindBGPPeer:
		return &BGPPeer{}
	case KindBGPFilter:
		return &BGPFilter{}
	case KindWorkload:
		return &Workload{}
	case KindDataplaneConfiguration:
		return &DataplaneConfiguration{}
	case KindIPAMConfiguration:
		return &IPAMConfiguration{}
	case KindIPReservation:
		return &IPReservation{}
	case KindNamespace:
		return &Namespace{}
	case KindNetworkPolicy:
		return &NetworkPolicy{}
	}
	return nil
}

// Object is a resource of any kind. After [Decode] it must not be changed.
type Object interface {
	// ResourceKind is the kind, as written in YAML.
	ResourceKind() string
	// Meta is the object's metadata.
	Meta() *metav1.ObjectMeta
	// Default fills in what is absent and brings addresses, prefixes, durations
	// and selectors that can be parsed into their canonical form, so that two
	// objects that mean the same are equal.
	Default()
	// Validate reports everything that is wrong with the object by itself.
	Validate() Errors
	// Warnings reports what is valid but likely not meant so.
	Warnings() Errors
}

// ObjectName returns the name by which an object is known among those of its
// kind: "namespace/name" for kinds that live in a namespace, else the name.
func ObjectName(o Object) string {
	if ns := o.Meta().Namespace; ns != "" {
		return ns + "/" + o.Meta().Name
	}
	return o.Meta().Name
}

// FieldError says what is wrong with one field.
type FieldError struct {
	// Path is the field as a user would write it: "spec.ports[0].port".
	Path string
	// Msg says what is wrong, and what would be right.
	Msg string
}

// Error implements error: "spec.asNumber: must not be 0".
func (e FieldError) Error() string { return e.Path + ": " + e.Msg }

// Errors are all that is wrong with one object.
type Errors []FieldError

// Error implements error. Of many it lists the first ten.
func (e Errors) Error() string {
	const most = 10
	var all []string
	for i, f := range e {
		if i == most {
			all = append(all, fmt.Sprintf("and %d more errors", len(e)-most))
			break
		}
		all = append(all, f.Error())
	}
	return strings.Join(all, "; ")
}
