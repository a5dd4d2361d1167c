//go:build !race

package uml

// raced says that this binary has the race detector.
const raced = false
