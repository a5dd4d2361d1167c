// Package caracal holds the nouns of the project: the cluster as an immutable
// [Snapshot] of nodes, pools, blocks, peers and workloads, and the BGP [Path]
// as it travels between the rooms. Values here are plain and comparable where
// that is possible; nothing in this package does I/O. Every other room imports
// it, and it imports only the standard library.
package caracal
