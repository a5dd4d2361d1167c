package v1

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
)

// The values of an IPAMConfiguration's mode.
const (
	// IPAMBlocks lets nodes claim blocks of the pools as they need them.
	IPAMBlocks = "blocks"
	// IPAMPodCIDR lets a node give out of its own podCIDRs and blocks, and nothing
	// else.
	IPAMPodCIDR = "podCIDR"
)

// DefaultCooldown is how long an address rests after its release: longer than a
// connection to the one who had it is tried again (RFC 6298: 1, 2, 4, 8 and 16 s
// after the first SYN), so that no stranger answers it.
const DefaultCooldown = 30 * time.Second

// IPAMConfiguration says how nodes give addresses to workloads. There is one,
// named "default".
//
// +kubebuilder:resource:scope=Cluster,shortName=ccipam,categories=caracal
// +kubebuilder:printcolumn:name=Mode,type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name=Strict,type=boolean,JSONPath=`.spec.strictAffinity`
// +kubebuilder:printcolumn:name=Max-Blocks,type=integer,JSONPath=`.spec.maxBlocksPerHost`
// +kubebuilder:printcolumn:name=Cooldown,type=string,JSONPath=`.spec.cooldown`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule=`self.metadata.name == 'default'`,message="metadata.name must be default; there is one IPAMConfiguration"
type IPAMConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec has only optional fields.
	// +kubebuilder:default={}
	// +optional
	Spec IPAMConfigurationSpec `json:"spec"`
}

// IPAMConfigurationSpec has only optional fields.
type IPAMConfigurationSpec struct {
	// mode is blocks (nodes claim blocks of the pools as they need them) or podCIDR
	// (a node gives out of its own podCIDRs, and nothing else). If absent it is
	// blocks in Kubernetes, and podCIDR in the file store.
	// +kubebuilder:validation:Enum=blocks;podCIDR
	Mode string `json:"mode,omitempty"`
	// strictAffinity forbids a node to take addresses from blocks of other nodes once
	// its own and the pools are used up; false by default.
	StrictAffinity bool `json:"strictAffinity,omitempty"`
	// maxBlocksPerHost bounds the blocks that a node claims of each family; 0, the
	// default, is no bound.
	// +kubebuilder:validation:Minimum=0
	MaxBlocksPerHost int `json:"maxBlocksPerHost,omitempty"`
	// cooldown is how long an address rests before it is given again; 30s by default.
	// +kubebuilder:default="30s"
	Cooldown Delay `json:"cooldown,omitempty"`
}

// IPReservation lists addresses that are given to nobody who does not ask for
// them by name.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccres,categories=caracal
// +kubebuilder:printcolumn:name=Reserved,type=string,JSONPath=`.spec.reservedCIDRs`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type IPReservation struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec says what is reserved.
	Spec IPReservationSpec `json:"spec"`
}

// IPReservationSpec says what is reserved.
type IPReservationSpec struct {
	// reservedCIDRs are ranges, or single addresses.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	ReservedCIDRs []ReservedRange `json:"reservedCIDRs"`
}

// Meta implements [Object].
func (o *IPAMConfiguration) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta implements [Object].
func (o *IPReservation) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// ResourceKind implements [Object].
func (*IPAMConfiguration) ResourceKind() string { return KindIPAMConfiguration }

// ResourceKind implements [Object].
func (*IPReservation) ResourceKind() string { return KindIPReservation }

// Default implements [Object]. The mode is left as it is: what it is by default
// depends on the store.
func (o *IPAMConfiguration) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	o.Spec.Cooldown = canonicalDuration(o.Spec.Cooldown)
	setIfEmpty(&o.Spec.Cooldown, DefaultCooldown.String())
}

// Default implements [Object].
func (o *IPReservation) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	o.Spec.ReservedCIDRs = canonicalList(o.Spec.ReservedCIDRs, func(s string) string {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return caracal.HostPrefix(a).String()
		}
		return canonicalPrefix(s)
	})
}

// Validate implements [Object].
func (o *IPAMConfiguration) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	if o.Name != DefaultName && o.Name != "" {
		c.failf("metadata.name", "%q must be %q; there is one %s", clip(o.Name), DefaultName, o.Kind)
	}
	s := o.Spec
	if s.Mode != "" {
		c.oneOf("spec.mode", s.Mode, IPAMBlocks, IPAMPodCIDR)
	}
	if s.MaxBlocksPerHost < 0 {
		c.failf("spec.maxBlocksPerHost", "%d must be 0, which is no bound, or more", s.MaxBlocksPerHost)
	}
	c.duration("spec.cooldown", s.Cooldown, 0, 24*time.Hour)
	return c.errs
}

// Validate implements [Object].
func (o *IPReservation) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	list := o.Spec.ReservedCIDRs
	if len(list) == 0 {
		c.failf("spec.reservedCIDRs", "is missing; it lists ranges or addresses, such as 10.244.0.0/29 or 10.244.0.1")
	}
	for i, text := range list {
		path := fmt.Sprintf("spec.reservedCIDRs[%d]", i)
		p, ok := c.prefix(path, text)
		switch {
		case !ok:
		case p.Bits() == 0:
			c.failf(path, "%s is every address there is; to give none at all, set disabled: true in the IPPools", p)
		case slices.Contains(list[:i], text):
			c.failf(path, "%s is listed twice", p)
		default:
			c.unicast(path, p.Addr())
		}
	}
	return c.errs
}

// Warnings implements [Object].
func (o *IPAMConfiguration) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *IPReservation) Warnings() Errors { return nil }

// IPAM returns the noun of a valid IPAMConfiguration, without what is reserved.
// Its Mode is empty where the object names none.
func (o *IPAMConfiguration) IPAM() caracal.IPAM {
	s := o.Spec
	return caracal.IPAM{
		Mode: s.Mode, StrictAffinity: s.StrictAffinity,
		MaxBlocks: s.MaxBlocksPerHost, Cooldown: parsedDuration(s.Cooldown),
	}
}

// DefaultIPAM is what is in force without an IPAMConfiguration.
func DefaultIPAM() caracal.IPAM {
	o := &IPAMConfiguration{}
	o.Default()
	return o.IPAM()
}

// Reserved returns the ranges of a valid IPReservation, sorted.
func (o *IPReservation) Reserved() []netip.Prefix {
	all := parsePrefixes(o.Spec.ReservedCIDRs)
	slices.SortFunc(all, netip.Prefix.Compare)
	return all
}
