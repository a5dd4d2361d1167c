package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NodeStatus is what an operator asks of a node first.
type NodeStatus struct {
	// Version is that of the daemon, Since when it was started.
	Version string      `json:"version,omitempty"`
	Since   metav1.Time `json:"since,omitempty"`
	// Updated is when this was written: rarely, and late if nothing changed.
	Updated metav1.Time `json:"updated,omitempty"`
	// Ready says that routes and policy are in force; NotReady says why not.
	Ready    bool   `json:"ready"`
	NotReady string `json:"notReady,omitempty"`
	// Sessions counts the BGP sessions, Established those that are up: "3/3" is
	// their summary for a table.
	Sessions        int              `json:"sessions"`
	Established     int              `json:"established"`
	SessionsSummary string           `json:"sessionsSummary,omitempty"`
	Neighbors       []NeighborStatus `json:"neighbors,omitempty"`
	// Announced are the prefixes of this node; Routes counts those in the kernel that
	// lead to others.
	Announced int `json:"announced"`
	Routes    int `json:"routes"`
	// Policies are in force for pods of this node, and PolicyProblem says what is not.
	Policies      int    `json:"policies"`
	PolicyProblem string `json:"policyProblem,omitempty"`
	// IPAM is how many addresses of the node's blocks are in use.
	IPAM IPAMStatus `json:"ipam,omitempty"`
	// Problems are refused objects with the reason, and what else is wrong; the first
	// 50 of ProblemCount.
	Problems     []ProblemStatus `json:"problems,omitempty"`
	ProblemCount int             `json:"problemCount"`
}

// NeighborStatus is one BGP session.
type NeighborStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	ASNumber uint32 `json:"asNumber"`
	State    string `json:"state"`
	// Received and Accepted count the prefixes that came and that are in use.
	Received int    `json:"received"`
	Accepted int    `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
}

// IPAMStatus is the use of a node's blocks.
type IPAMStatus struct {
	Blocks    int `json:"blocks"`
	Allocated int `json:"allocated"`
	Borrowed  int `json:"borrowed"`
}

// ProblemStatus is a Problem of the node.
type ProblemStatus struct {
	Severity string      `json:"severity"`
	Object   string      `json:"object,omitempty"`
	Message  string      `json:"message"`
	Since    metav1.Time `json:"since,omitempty"`
}
