// Package shelf keeps lists of small things in files, to be read back after a
// restart: one JSON line for each, checksummed as a whole and renamed into place, and
// written and read as a stream, since a list may be longer than what anybody wants in
// memory twice.
package shelf
