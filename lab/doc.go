// Package lab builds small clusters on one machine: every node, switch and pod
// is a network namespace, joined by veth pairs, with the real daemons running
// in the nodes. Tests across rooms and the demo stand on it.
//
// A [Topology] is data. A pure planner turns it into steps, each of which is
// what one ip(8) command would do, and a thin applier carries the steps out.
// Pods are addressed as Calico addresses them: one /32 and one /128, a default
// route via 169.254.1.1 and a link-local address, proxy ARP on the node's end.
// The lab makes no route to a pod on any node: whatever carries packets
// between pods was put there by the daemon under test.
//
// What a lab is made of is written to /run/caracal-lab/ID/state.json before it
// is made, so that a lab whose process died is removed whole by [Prune], which
// [Up] calls first.
package lab
