// Package cluster makes clusters for measurements of NetworkPolicies: the same
// Snapshot for the same [Size] at all times, of a shape that is met in practice.
//
// A cluster has namespaces of 200 pods (small clusters: of a third), each of a team
// and of an environment, and one named monitoring and one kube-system. A pod has six
// labels; it belongs to one of ten applications of its namespace, which have a tier
// each, and has three named ports. Pods are dealt to the nodes at random, Local to
// each, so that those of a node come from many namespaces. Addresses are of the
// node's /24.
//
// Of 20 policies of a namespace, one denies all ingress, one allows only DNS and what
// is outside as egress, nine allow one application to reach another on some ports,
// three allow a tier of all namespaces of a team on a named port, two let monitoring
// in on a range of ports, two let an address range in that has exceptions, one allows
// the whole namespace, and one combines all of it with matchExpressions.
//
// Policies either are dealt to all namespaces, so that a node has to do with a tenth
// of them, or, [Size.Hard], all select a pod of this node.
package cluster
