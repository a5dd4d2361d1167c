// Kube measures what a cluster of some size costs one daemon's store of the API of
// Kubernetes, and what the store costs the API: it fills a real etcd and
// kube-apiserver with nodes, pods, policies, services and blocks as large as those of
// a real cluster, and starts a process of its own that follows them as caracald does,
// with the index of owners and the compiler of policies fed from it.
//
//	make kube-programs
//	go run ./bench/kube --nodes 1000 --pods 30000
//	go run ./bench/kube --nodes 5000 --pods 100000 --policies 1000
//	go run ./bench/kube --nodes 1000 --pods 30000 --caracald bin/caracald
//
// It prints: the time from the process's start to its first whole Snapshot, without
// and with what an earlier run kept on disk; resident memory then (and at its peak),
// and after the runtime gave back what it could; processor time; requests, and bytes
// on the wire; what the API server itself says of the same time (its requests, its
// processor time, its memory); the same per second while pods come and go; and how
// long a NetworkPolicy takes from before its write to a Snapshot that has it.
//
// With --caracald it measures a whole daemon first: in a namespace of its own, as the
// first node, with a reflector's session that announces all other nodes' blocks, and a
// container for each Pod of its node.
//
// The API server, etcd and the filler share the machine with the process that is
// measured, so times are those of a busy machine. 5,000 nodes and 100,000 pods need
// 6 GB of memory and several minutes to be filled in.
package main
