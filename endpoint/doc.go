// Package endpoint keeps the local workloads that a container runtime (by CNI)
// or an operator (by attach) adds: which addresses each has, and whether it is
// still there.
//
// A [Registry] has one record on disk for each endpoint, written before it
// answers; an [Overlay] puts the endpoints that are ready into the Snapshots of
// a store, as Workloads, so that the rest of the daemon routes and announces them
// like those of the configuration. What is gone without a word is found out by
// looking, and given back.
package endpoint
