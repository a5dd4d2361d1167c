//go:build race

package uml

// raced says that this binary has the race detector, whose shadow of the memory
// does not fit into the address space of a process in user-mode-linux.
const raced = true
