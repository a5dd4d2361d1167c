// Package ipip keeps the IPIP tunnel device of a node as it must be.
//
// The device is tunl0, which the kernel makes in every network namespace as soon
// as its module ipip is there: it has no remote address of its own, so the next
// hop of each route on it is the outer destination (RFC 2003). It is adopted and
// set up, never deleted; of its addresses only those with our label are removed.
// [Plan] compares what is wanted with what the kernel has, and [Tunnel.Apply]
// carries out the difference, reading the kernel back each time. IPIP carries
// IPv4 in IPv4 only.
package ipip
