// Package node is the daemon: it wires the store, the speaker, the RIB mirror
// and the FIB together and answers what operators ask.
//
// Three tasks run alone and share only immutable values and bells (channels of
// capacity 1 that say "look"): the store's own; "routes", which owns the mirror
// and the FIB and so is the one place where a path becomes a kernel route; and
// "speaker", which carries bgp.Plan into GoBGP. Between the last two stands a
// gate: a prefix is announced only once its route is in the kernel. A slow
// listing, a slow speaker or a slow store delays no route.
package node
