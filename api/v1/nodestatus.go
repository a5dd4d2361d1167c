package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeStatus is what an operator asks of a node first.
type NodeStatus struct {
	// version is that of the daemon.
	Version string `json:"version,omitempty"`
	// since is when the daemon was started.
	// +nullable
	Since metav1.Time `json:"since,omitempty"`
	// updated is when this was written: rarely, and late if nothing changed.
	// +nullable
	Updated metav1.Time `json:"updated,omitempty"`
	// ready says that routes and policy are in force.
	Ready bool `json:"ready"`
	// notReady says why not.
	NotReady string `json:"notReady,omitempty"`
	// sessions counts the BGP sessions.
	Sessions int `json:"sessions"`
	// established counts those that are up.
	Established int `json:"established"`
	// sessionsSummary is both for a table: 3/3.
	SessionsSummary string `json:"sessionsSummary,omitempty"`
	// neighbors are the sessions one by one.
	Neighbors []NeighborStatus `json:"neighbors,omitempty"`
	// announced counts the prefixes of this node.
	Announced int `json:"announced"`
	// routes counts those in the kernel that lead to others.
	Routes int `json:"routes"`
	// policies counts those in force for pods of this node.
	Policies int `json:"policies"`
	// policyProblem says what is not in force.
	PolicyProblem string `json:"policyProblem,omitempty"`
	// ipam is how many addresses of the node's blocks are in use.
	IPAM IPAMStatus `json:"ipam,omitempty"`
	// problems are refused objects with the reason, and what else is wrong; the first
	// 50 of problemCount.
	Problems []ProblemStatus `json:"problems,omitempty"`
	// problemCount counts them all.
	ProblemCount int `json:"problemCount"`
}

// NeighborStatus is one BGP session.
type NeighborStatus struct {
	// name says where the neighbor comes from: mesh/b, or peer/tor@192.0.2.1.
	Name string `json:"name"`
	// address is the neighbor's.
	Address string `json:"address"`
	// asNumber is the neighbor's.
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	ASNumber uint32 `json:"asNumber"`
	// state is that of the session (RFC 4271 section 8.2.2).
	State string `json:"state"`
	// received counts the prefixes that came.
	Received int `json:"received"`
	// accepted counts those that are in use.
	Accepted int `json:"accepted"`
	// reason says why the session is not up.
	Reason string `json:"reason,omitempty"`
}

// IPAMStatus is the use of a node's blocks.
type IPAMStatus struct {
	// blocks counts the node's blocks.
	Blocks int `json:"blocks"`
	// allocated counts the addresses in use.
	Allocated int `json:"allocated"`
	// borrowed counts those of them that are of blocks of other nodes.
	Borrowed int `json:"borrowed"`
}

// ProblemStatus is a Problem of the node.
type ProblemStatus struct {
	// severity is warning or error.
	Severity string `json:"severity"`
	// object is what the problem is about.
	Object string `json:"object,omitempty"`
	// message says what is wrong, and what to do.
	Message string `json:"message"`
	// since is when it began.
	// +nullable
	Since metav1.Time `json:"since,omitempty"`
}
