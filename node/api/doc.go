// Package api is the daemon's gRPC server on a unix socket. It asks what it
// shows through three small interfaces, [Source], [Inventory] and [Commander],
// that the agent implements; it holds no state of its own, and a slow or stuck
// client costs the daemon at most one page of routes or one bounded queue of
// events.
package api
