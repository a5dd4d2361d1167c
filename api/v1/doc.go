// Package v1 holds the resources that users write, group caracal.dev/v1: their
// Go types, strict decoding, defaults, validation with field paths, and their
// conversion to the nouns of package caracal. The same YAML is a file in the
// file store and a custom resource in Kubernetes. Where Calico has the same
// thing, kinds and fields are named as there.
//
// The definitions of the custom resources (manifests/base/crds.yaml) are made of
// the types here and their comments: `make crds`.
//
// +groupName=caracal.dev
package v1
