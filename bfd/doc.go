// Package bfd finds out quickly that a neighbor is gone: bidirectional
// forwarding detection (RFC 5880) in asynchronous mode, over one hop (RFC 5881)
// and over several (RFC 5883), for IPv4 and IPv6, without authentication or
// echo. [Process.Apply] takes the sessions there are to be, and changes of their
// states come back as [Event] values behind a bell.
//
// # What to do with an event
//
// BFD here serves BGP, which has an opinion of its own of what is up. So:
//
//   - Only an event whose [Event.Failure] is true is news of a failure, and it
//     resets an Established neighbor only. While BGP is in any other state there
//     is nothing to reset, and a reset kept for later would kill the next session.
//   - A session that is not Up, or never was, means nothing: the neighbor may
//     have no BFD (RFC 5882 section 3.2). BGP does not wait for it.
//   - RemoteAdminDown means that somebody took BFD down at the other end, and
//     nothing else: BGP goes on by its hold time (RFC 5882 section 3.2). The same
//     holds for Removed.
//   - RemoteCPI decides when graceful restart was negotiated (RFC 5882 section
//     4.3). Set, the neighbor's BFD does not die with its BGP, so a failure is one
//     of forwarding: its routes go at once, also while it is restarting. Clear,
//     the failure may be a side effect of a restart: the session is reset, but as
//     a lost connection, so that the neighbor's routes stay as stale for its
//     restart time; and a restart that is under way is not aborted. Then BFD finds
//     no failure of forwarding that comes together with the end of BGP, so such
//     stale routes should give way to any other path there is.
//
// Our own C bit is always 0: the worker ends with the control plane.
//
// All sessions there are to be are given to Apply as soon as they are known, also
// before BGP is Established: those that are resumed must go on at once.
//
// # Restart and end
//
// A daemon has a [Process], not a [Server] of its own: see there why. However the
// daemon ends, its worker asks the neighbors to bear a longer silence (RFC 5882
// section 4.3.2.2), which takes milliseconds, and the next worker goes on with the
// same sessions. To the neighbors they are Up all the time, and BGP's graceful
// restart takes its course. AdminDown would not do for that: BIRD before 2.14 and
// FRR before 10.7 take it for a failure, and reset BGP.
//
// A daemon that is to stay away calls Close(true), which says AdminDown, after
// it has closed its BGP sessions with a Cease: then nothing is left that a neighbor
// could take for a failure.
//
// # Under load
//
// The kernel stamps what arrives, and before a session is declared Down the
// sockets are read until they are empty: a late thread sees no failure in its own
// lateness. Sending must be punctual, for the neighbor knows nothing of our load:
// it is done by a thread in the real-time class, where that is allowed, and by
// any other if that one is late. See turn.go.
package bfd
