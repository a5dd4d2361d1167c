// Package report tells the cluster how a node is doing: its CaracalNodeStatus, the
// Node's condition NetworkUnavailable, and Events for what an operator must see.
//
// All of it is rare, at moments that differ from node to node, and late rather than
// at the cost of anything: a report that cannot be written is tried again, and
// nothing in the daemon waits for it. Nothing secret is in it.
package report
