// Package cli is the command line of Caracal: a grammar as data, from which
// parsing, abbreviation, `?` and completion all follow; renderers from wire
// messages to tables; and an interactive shell. [Run] is the whole program; it
// talks to the daemon over its socket and touches nothing else, except by the
// functions that its caller puts into [Options].
//
// Exit codes are part of the interface, see [ExitOK] and its neighbors.
package cli
