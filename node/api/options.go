package api

import (
	"io/fs"
	"log/slog"
)

// DefaultSocket is where the daemon listens and the CLI calls.
const DefaultSocket = "/run/caracal/caracal.sock"

// Backend is what the server asks. Where a field is nil, the commands that need
// it answer that this daemon does not have them.
type Backend struct {
	Source    Source
	Inventory Inventory
	Commander Commander
	Peering   Peering
	Tunnels   Tunnels
	Services  Services
	Policies  Policies
	Endpoints Endpoints
	Addresses Addresses
}

// Options say where and for whom the server listens.
type Options struct {
	// Socket is the path; empty means [DefaultSocket].
	Socket string
	// Mode of the socket; 0 means 0660, and no mode looser than that is taken.
	Mode fs.FileMode
	// Group, a name or a number, owns the socket and its directory; empty means
	// the process's own.
	Group string
	// Log must not be nil.
	Log *slog.Logger
}
