// Package bgp is the speaker: it announces what this node originates, and hands
// on what neighbors announce. [Plan] is pure and makes a [Config] from a
// Snapshot; [Speaker.Apply] carries it out as a difference to what is applied;
// what happens comes back as [Event] values behind a bell.
//
// The speaker selects nothing. GoBGP, which does the protocol, is kept from
// learning routes by one import policy, so its Loc-RIB holds what this node
// originates and nothing is passed on between neighbors; every path that a
// neighbor announced goes to the consumer of the events before any policy,
// refused ones and those with an AS loop included. To "reload in" is therefore
// to judge the mirror of those paths again; GoBGP cannot send ROUTE-REFRESH.
//
// This is the only room that imports GoBGP: engine.go drives it, peer.go makes
// of a [Neighbor] what it is told, gobgp.go and capability.go convert its values,
// and guard.go looks again at the UPDATEs that it accepted (docs/RFC7606.md).
// Nothing of it shows in the exported interface.
//
// What GoBGP does not do, or not well enough, is done beside it: how long stale
// paths are kept (longlived.go), prefix limits (limit.go), ending a session at
// once and beginning it anew (fail.go, revive.go), and what protects the
// listening sockets (sockets.go, secret.go, hops.go).
package bgp
