// Package accepted keeps the last accepted version of every object on disk, so
// that a daemon started with a bad, missing or unreachable source of
// configuration can run on it. One object is one file, with a checksum over its
// content; it is written beside its place, synced and renamed into it, so a
// reader finds the old version or the new one and never half of one.
package accepted
