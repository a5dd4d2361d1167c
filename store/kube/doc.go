// Package kube takes the configuration, nodes, pods, policies and services from the
// API of Kubernetes and publishes them as Snapshots. What it last took is kept on
// disk, so that a node that starts while the API is away has what it had.
//
// It and the packages below it are the only ones that import client-go.
package kube
