// Package felix isolates workloads: it turns the NetworkPolicies of a Snapshot
// into ipsets and iptables rules, with the NAT of pools and the protection of the
// node's own protocols, and keeps the kernel's rules so.
//
// [Compiler] is pure: it takes Snapshots and says what changes of the sets and
// chains that are wanted, in time proportional to what changed. [Filter] writes
// that, reads the kernel back, and repairs what others did to it.
//
// The way of a packet through the rules is drawn in chains.go.
package felix
