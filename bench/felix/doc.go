// Command felix measures what NetworkPolicies cost. For a small, a middling and a
// large cluster ([cluster.Sizes]) and both backends of iptables it takes the time and
// the CPU from a Snapshot to all rules in the kernel, of a start that finds them there
// already, and of single changes: labels, pods and policies. The programs of iptables
// and ipset get the same rules and sets from files in the same run, so that it shows
// what the kernel takes. Each is done by a process of its own in a namespace of its
// own. Then it sends packets between two pods of a node whose rules know few or many
// others. It prints tables in Markdown.
//
//	felix --only rules --sizes a,b
//	felix --only packets
//
// It needs root, iproute2, util-linux, iptables and ipset.
package main
