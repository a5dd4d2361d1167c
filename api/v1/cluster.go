package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The kinds that daemons write, in a store that the nodes share. They are not for
// users to write, and no file store takes them.
const (
	KindIPAMBlock         = "IPAMBlock"
	KindBlockAffinity     = "BlockAffinity"
	KindCaracalNodeStatus = "CaracalNodeStatus"
)

// IPAMBlock is a block of addresses: whose it is, and who has which address. The
// daemons write it by compare-and-swap of its resourceVersion; it is not for
// users to write.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccblock,categories=caracal
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=Node,type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name=Allocated,type=integer,JSONPath=`.spec.allocated`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type IPAMBlock struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec is the block's content.
	Spec IPAMBlockSpec `json:"spec"`
}

// IPAMBlockSpec is a block's content. The schema has its types only: package ipam
// judges it, and must always be able to write a repair.
type IPAMBlockSpec struct {
	// cidr is the block.
	CIDR string `json:"cidr"`
	// node has the block; empty for one that nobody has.
	Node string `json:"node,omitempty"`
	// allocated is how many of its addresses are given.
	Allocated int `json:"allocated"`
	// record is the block in the words of package ipam: one line about the block,
	// then one for each address.
	Record string `json:"record"`
}

// BlockAffinity says that a node has a block, or that it uses an address of another
// node's block. The daemons write it; users write only those that are static.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccaff,categories=caracal
// +kubebuilder:printcolumn:name=Node,type=string,JSONPath=`.spec.node`
// +kubebuilder:printcolumn:name=CIDR,type=string,JSONPath=`.spec.cidr`
// +kubebuilder:printcolumn:name=State,type=string,JSONPath=`.spec.state`
// +kubebuilder:printcolumn:name=Borrowed-From,type=string,JSONPath=`.spec.borrowedFrom`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type BlockAffinity struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// spec is one claim.
	Spec BlockAffinitySpec `json:"spec"`
}

// BlockAffinitySpec is one claim.
type BlockAffinitySpec struct {
	// node has the cidr: a block, or one address that it borrows.
	Node string `json:"node"`
	// cidr is what the node has.
	CIDR string `json:"cidr"`
	// state is pending, confirmed, releasing or static.
	State string `json:"state"`
	// borrowedFrom is the block of another node that the address is of; empty for a
	// block.
	BorrowedFrom string `json:"borrowedFrom,omitempty"`
	// record is the claim in the words of package ipam.
	Record string `json:"record"`
}

// CaracalNodeStatus is what the daemon of a node says of itself. It has the node's
// name.
//
// +kubebuilder:resource:scope=Cluster,shortName=ccstatus,categories=caracal
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name=Ready,type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name=Sessions,type=string,JSONPath=`.status.sessionsSummary`
// +kubebuilder:printcolumn:name=Announced,type=integer,JSONPath=`.status.announced`
// +kubebuilder:printcolumn:name=Routes,type=integer,JSONPath=`.status.routes`
// +kubebuilder:printcolumn:name=Policies,type=integer,JSONPath=`.status.policies`
// +kubebuilder:printcolumn:name=IPs,type=integer,JSONPath=`.status.ipam.allocated`
// +kubebuilder:printcolumn:name=Problems,type=integer,JSONPath=`.status.problemCount`
// +kubebuilder:printcolumn:name=Updated,type=date,JSONPath=`.status.updated`
// +kubebuilder:printcolumn:name=Version,type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name=Why-Not-Ready,type=string,priority=1,JSONPath=`.status.notReady`
type CaracalNodeStatus struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata"`
	// status is what the daemon says.
	// +optional
	Status NodeStatus `json:"status"`
}

// Meta returns the metadata.
func (o *IPAMBlock) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta returns the metadata.
func (o *BlockAffinity) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta returns the metadata.
func (o *CaracalNodeStatus) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }
