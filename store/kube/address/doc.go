// Package address chooses the addresses that a node is known by in the cluster, with
// the length of the network that they are on. They are chosen once, kept in the
// daemon's state directory, and told to the other nodes as annotations of the Node.
// An address never moves by itself: where it no longer fits, that is said.
package address
