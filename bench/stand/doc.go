// Package stand is what the benchmarks set a routing daemon on: a namespace for
// the daemon and one for its peers, a daemon of either make as a node of a full
// mesh, the sessions of its peers, and what /proc says of the process.
package stand
