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
// daemons write it by compare-and-swap of its resourceVersion.
type IPAMBlock struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              IPAMBlockSpec `json:"spec"`
}

// IPAMBlockSpec is a block's content.
type IPAMBlockSpec struct {
	CIDR string `json:"cidr"`
	// Node has the block; empty for one that nobody has.
	Node string `json:"node,omitempty"`
	// Allocated is how many of its addresses are given.
	Allocated int `json:"allocated"`
	// Record is the block in the words of package ipam: one line about the block,
	// then one for each address.
	Record string `json:"record"`
}

// BlockAffinity says that a node has a block, or that it uses an address of another
// node's block.
type BlockAffinity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BlockAffinitySpec `json:"spec"`
}

// BlockAffinitySpec is one claim.
type BlockAffinitySpec struct {
	// Node has the CIDR: a block, or one address that it borrows.
	Node string `json:"node"`
	CIDR string `json:"cidr"`
	// State is pending, confirmed, releasing or static.
	State string `json:"state"`
	// BorrowedFrom is the block of another node that the address is of; empty for a
	// block.
	BorrowedFrom string `json:"borrowedFrom,omitempty"`
	// Record is the claim in the words of package ipam.
	Record string `json:"record"`
}

// CaracalNodeStatus is what the daemon of a node says of itself. It has the node's
// name.
type CaracalNodeStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Status            NodeStatus `json:"status"`
}

// Meta returns the metadata.
func (o *IPAMBlock) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta returns the metadata.
func (o *BlockAffinity) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }

// Meta returns the metadata.
func (o *CaracalNodeStatus) Meta() *metav1.ObjectMeta { return &o.ObjectMeta }
