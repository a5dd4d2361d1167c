// Package apiserver is the way to the API of Kubernetes: where it is, who we are
// there, and how fast we may ask.
package apiserver
