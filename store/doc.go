// Package store is what all stores share: it judges which of the proposed
// resources fit together with those in force, and builds from those accepted
// the Snapshot that every other room reads. It is pure; reading and watching a
// source is the work of the packages below it.
package store
