// Package cluster is a small Kubernetes cluster on this machine: a control plane,
// nodes with real kubelets, containerd and kube-proxy, and a machine outside, each a
// network namespace of a lab. A node is also a PID, mount and host name namespace of
// its own, so everything that runs on it ends with it. Images are packed on the spot;
// there is no registry.
//
// Its tests install Caracal from manifests/, as an operator does. `make test-cluster`
// runs them; they need Kubernetes' programs (make kube-programs PROGRAMS=all).
package cluster
