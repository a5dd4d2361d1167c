// Package rib is the mirror of everything that BGP neighbors announced, and
// the place where it is decided what of that may reach the kernel.
//
// A [Mirror] keeps every path of every neighbor, accepted or not. [Owners]
// knows from the Snapshot whose prefix is whose, and judges each path by who
// owns its next hop. Among the accepted paths of a prefix the best ones are
// chosen by RFC 4271 section 9.1.2.2, and only a change of the choice is handed
// on. Accepting, and so installing, is thus independent of GoBGP's own route
// selection: a hijacked prefix that would win it hides nothing here.
//
// Everything in this package is pure and belongs to one task; nothing here
// locks, waits or does I/O.
package rib
