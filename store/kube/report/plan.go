package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// Bounds of a CaracalNodeStatus: in a mesh of 1,000 nodes all sessions of all nodes
// would be 150 MB in the API's store. Those that are down come first.
const (
	maxNeighbors = 50
	maxProblems  = 50
)

// facts are what a status is made of.
type facts struct {
	status    api.Status
	neighbors []api.Neighbor
	// down are the sessions that are, and since when.
	down map[string]time.Time
	ipam v1.IPAMStatus
	// extra are what Events tell of besides.
	extra []Notice
}

// build makes the status of a node. since is when each problem was seen first.
func build(f facts, since func(key string) time.Time, now time.Time) v1.NodeStatus {
	st := f.status
	out := v1.NodeStatus{
		Version: st.Version, Since: metav1.NewTime(st.Started.Truncate(time.Second)), Updated: metav1.NewTime(now.Truncate(time.Second)),
		Ready: st.Ready.Holds, Sessions: st.Counts.Neighbors, Established: st.Counts.Established,
		SessionsSummary: fmt.Sprintf("%d/%d", st.Counts.Established, st.Counts.Neighbors),
		Announced:       st.Counts.Originated, Routes: min(st.Counts.Prefixes, st.Counts.FIBInstalled),
		Policies: st.Policy.Ingress + st.Policy.Egress, PolicyProblem: policyProblem(st.Policy), IPAM: f.ipam,
	}
	if !out.Ready {
		out.NotReady = st.Ready.Reason
	}
	out.Neighbors = neighborsOf(f.neighbors)
	for _, p := range st.Problems {
		out.Problems = append(out.Problems, v1.ProblemStatus{Severity: p.Severity.String(), Object: objectOf(p), Message: p.Message})
	}
	slices.SortStableFunc(out.Problems, func(a, b v1.ProblemStatus) int {
		return cmp.Or(-cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
	})
	out.ProblemCount = len(out.Problems)
	out.Problems = out.Problems[:min(len(out.Problems), maxProblems)]
	for i, p := range out.Problems {
		out.Problems[i].Since = metav1.NewTime(since(p.Object + "\n" + p.Message).Truncate(time.Second))
	}
	return out
}

// rank puts what is refused before what is a warning.
func rank(severity string) int {
	if severity == caracal.Warning.String() {
		return 0
	}
	return 1
}

func objectOf(p caracal.Problem) string {
	switch {
	case p.Kind == "":
		return p.Source
	case p.Name == "":
		return p.Kind
	}
	return p.Kind + " " + p.Name
}

func policyProblem(p api.PolicyStatus) string {
	switch {
	case p.Problem != "":
		return p.Problem
	case p.Off:
		return "disabled in DataplaneConfiguration: no NetworkPolicy is enforced"
	}
	return p.Waiting
}

// neighborsOf lists the sessions, those that are down first.
func neighborsOf(list []api.Neighbor) []v1.NeighborStatus {
	list = slices.Clone(list)
	up := func(n api.Neighbor) int {
		if n.State == bgp.Established {
			return 1
		}
		return 0
	}
	slices.SortFunc(list, func(a, b api.Neighbor) int { return cmp.Or(cmp.Compare(up(a), up(b)), cmp.Compare(a.Name, b.Name)) })
	var out []v1.NeighborStatus
	for _, n := range list[:min(len(list), maxNeighbors)] {
		s := v1.NeighborStatus{Name: n.Name, Address: address(n.Addr), ASNumber: n.ASN, State: n.State.String(),
			Received: int(n.Prefixes.Received), Accepted: int(n.Prefixes.Accepted)}
		if n.State != bgp.Established {
			s.Reason = n.LastError
		}
		out = append(out, s)
	}
	return out
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// matters is a status without what changes all the time and by itself.
func matters(s v1.NodeStatus) v1.NodeStatus {
	s.Updated, s.Routes, s.IPAM = metav1.Time{}, 0, v1.IPAMStatus{}
	s.Neighbors = slices.Clone(s.Neighbors)
	for i := range s.Neighbors {
		s.Neighbors[i].Received, s.Neighbors[i].Accepted = 0, 0
	}
	s.Problems = slices.Clone(s.Problems)
	for i := range s.Problems {
		s.Problems[i].Since = metav1.Time{}
	}
	return s
}

// How often a status is written.
const (
	// soonest is the least time between two writes, whatever happens.
	soonest = 5 * time.Second
	// changed is that for a change that matters, regular that without one; a random
	// half more or less.
	changed = 30 * time.Second
	regular = 10 * time.Minute
)

// written is what is remembered of the last write.
type written struct {
	at     time.Time // zero before the first
	status v1.NodeStatus
	// changed and regular are the times drawn for the next one.
	changed, regular time.Duration
}

// due reports whether a status is to be written now: the first, a change of ready,
// another change that matters, or the regular one.
func (w written) due(cur v1.NodeStatus, now time.Time) bool {
	age := now.Sub(w.at)
	switch {
	case w.at.IsZero():
		return true
	case age < soonest:
		return false
	case cur.Ready != w.status.Ready:
		return true
	case age >= w.changed && !reflect.DeepEqual(matters(cur), matters(w.status)):
		return true
	}
	return age >= w.regular
}

// inForce reports whether routes and policy are in.
func inForce(st api.Status) bool {
	return st.Converged.Holds && (st.Policy.Off || !st.Policy.Since.IsZero())
}
