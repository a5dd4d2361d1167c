// Package kube takes the configuration, nodes, pods, policies and services from the
// API of Kubernetes and publishes them as Snapshots. What it last took is kept on
// disk, so that a node that starts while the API is away has what it had.
//
// client-go's Reflectors follow each kind by streaming lists and watches. What comes
// is converted as soon as it is decoded (item.go, convert*.go), put into the world,
// which is pure (world*.go), and published by the store's one goroutine (run.go). A
// change of a Pod, NetworkPolicy or Service costs time in proportion to itself. A core
// Node with the NodeConfig of its name and its BlockAffinities becomes one NodeConfig,
// which package store judges with the resources of caracal.dev as it does files.
//
// While the API is away, or says no, everything stays as it was last known; a kind
// that was not listed since the start is Incomplete. What cannot be read or does not
// fit concerns its own object alone. Removals are believed, but for those in hold.go
// and depart.go.
//
// It and the packages below it are the only ones that import client-go.
package kube
