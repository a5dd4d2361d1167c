// Package file is the store of plain hosts: it reads a directory of YAML
// documents, watches it, and publishes Snapshots of it.
//
// A settled batch of changes is one transaction. Of one that goes on for longer
// than [Options] MaxWait additions and changes are taken meanwhile, but removals
// only when it has settled: an object may be between two files. What is wrong with a file
// concerns only the objects in it: their last accepted versions stay in force,
// also over a restart, and a Problem says what is wrong and where. A removal that
// is too large to be believed is held until it is confirmed, and while the
// directory or a part of it cannot be read the kinds in question are Incomplete,
// so that nobody deletes anything on their account.
//
// Scanning and watching touch the machine; deciding what a scan means (plan.go)
// is pure.
package file
