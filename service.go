package caracal

import "net/netip"

// Service is a Service of Kubernetes as far as routing has to do with it: addresses
// that a proxy on every node turns into those of pods.
type Service struct {
	Namespace, Name string
	// ClusterIPs are reached from anywhere; ExternalIPs are those that the operator
	// lists, LoadBalancerIPs those that a load balancer has given it. Each sorted.
	ClusterIPs, ExternalIPs, LoadBalancerIPs []netip.Addr
	// InternalLocal and ExternalLocal say that only a node with a ready endpoint
	// serves the ClusterIPs, or the others (internalTrafficPolicy and
	// externalTrafficPolicy: Local).
	InternalLocal, ExternalLocal bool
	// ReadyHere4 and ReadyHere6 say that this node has a ready endpoint of it, by the
	// family: a Service of both may have endpoints of one alone on a node.
	ReadyHere4, ReadyHere6 bool
}

// ReadyHere reports whether this node has a ready endpoint to which it can take what
// comes to an address of the service.
func (s Service) ReadyHere(a netip.Addr) bool {
	return a.Is4() && s.ReadyHere4 || a.Is6() && s.ReadyHere6
}

// Key returns the service's key in a Snapshot: "namespace/name".
func (s Service) Key() string { return s.Namespace + "/" + s.Name }

// ExcludeFromLoadBalancers is the label of a node that load balancers are not to
// send anything to (Kubernetes: "Well-Known Labels, Annotations and Taints").
const ExcludeFromLoadBalancers = "node.kubernetes.io/exclude-from-external-load-balancers"

// ServiceRanges are the prefixes that Services' addresses are announced of, each
// sorted.
type ServiceRanges struct {
	ClusterIPs, ExternalIPs, LoadBalancerIPs []netip.Prefix
}
