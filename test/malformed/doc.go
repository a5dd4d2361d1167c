// Package malformed sends a speaker messages that no speaker should send, and
// holds what it makes of them against the RFCs. It has no code of its own: the
// cases are tables in its tests, each with the clause it is about.
//
// Every case has a neighbor of its own in one shared speaker, with the mirror
// and the writer of routes behind it as in the daemon. What the RFCs ask and
// the speaker does not do is listed, with the reason, in deviations_test.go,
// and for people in docs/RFC7606.md.
package malformed
