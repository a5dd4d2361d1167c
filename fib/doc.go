// Package fib keeps the kernel's routing table as the daemon wants it. The
// caller says what it wants for each prefix ([FIB.Set], [FIB.Unset]); [Resolve]
// turns that into a route through the kernel's own and foreign routes; and
// [FIB.Apply] writes what differs, in batches, with an answer for each route.
// What the kernel has is read back at start ([FIB.Adopt]) and at each audit
// ([FIB.NewAudit]), and kept current from its notifications ([FIB.Notify]), so
// a route that somebody deletes or changes is repaired at once. Only routes
// that carry our [Mark] are ever written or deleted.
//
// A FIB belongs to one goroutine and has no locks. Only [Audit.Read] and the
// reader behind [Netlink.Watch] run beside it, and they share no state with it.
// Every cost is proportional to what changed: next hops are interned and
// counted, a route is 64 bytes and an index, and a change of a next hop visits
// the routes that use it and no others.
package fib
