// Package kubetest gives tests a Kubernetes API of their own: a real etcd and a
// real kube-apiserver with RBAC, whose certificates, users and ServiceAccount
// tokens are made on the spot. `make kube-programs` builds the two once from the
// module in test/kube, into bin/kube; the environment variable KUBE_PROGRAMS names
// another directory that has them. A test that misses them fails and says so.
//
// There are no controllers: no default ServiceAccounts, no garbage collection, and
// a Namespace that is deleted stays "Terminating". A test that needs those starts
// kube-controller-manager itself ([API.Program] finds it).
package kubetest
