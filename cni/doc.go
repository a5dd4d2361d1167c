// Package cni wires network namespaces to this node, and speaks the CNI protocol
// (containernetworking/cni, SPEC.md 1.1.0) with container runtimes.
//
// The daemon does what needs memory: it gives addresses, keeps records, writes
// routes. This package does what must be done by whoever sees the namespace:
// [Wire] makes the veth pair and sets up both of its ends. [Plugin] is the whole
// of caracal-cni; package cni/attach does the same without CNI. [Install] tells a
// runtime about it: caracald calls it for --install-cni with the directory of the
// runtime's configuration.
//
// The plugin is a process for each command, so what it imports costs time with
// every container: neither package grpc nor the generated messages (see rpc.go).
// github.com/containerd/ttrpc with generated messages was measured as well: a process
// that makes the two calls of an ADD takes 2.90 ms with it and 2.35 ms with rpc.go
// (shortest of 500 each, by turns; half of them within 4.13 and 3.31 ms). An ADD is
// ahead of that of ptp and host-local by 0.2 ms of 9.3 on a quiet node with ten
// containers (docs/PERFORMANCE.md), so it would be behind.
//
// What is wanted is a [Spec], what there is a [State]; [Plan] compares them, and
// applying a plan twice writes nothing the second time.
//
// The container's end has /32 and /128 addresses and a default route by a
// link-local address that nobody has. That address has a permanent neighbor
// entry in the container, and the container's addresses have one on the host, so
// the first packet of either side waits for nothing; proxy ARP and NDP on the
// host's end answer a container that lost its entry.
package cni
