package fib

import (
	"context"
	"net/netip"
	"syscall"
)

// Kernel is the machine's routing table. [Netlink] is the real one, [Fake]
// behaves like it. Dump may be called beside the other methods; those are
// called by one goroutine.
type Kernel interface {
	// Mark returns what Write marks its routes with, and Dump looks for.
	Mark() Mark
	// Write carries out ops in order, all of them, and returns those that
	// failed. An error means that the outcome of all of them is unknown.
	Write(ctx context.Context, ops []Op) ([]Failure, error)
	// Dump calls fn for each route of the filter. Read and its Hops are valid
	// only during the call. whole is false if the table changed meanwhile, so
	// that routes may be missing from the listing.
	Dump(ctx context.Context, filter Filter, fn func(Read)) (whole bool, err error)
	// Lookup asks for the way to each address.
	Lookup(ctx context.Context, addrs []netip.Addr) ([]Answer, error)
	// Links lists the devices.
	Links(ctx context.Context) ([]Link, error)
}

// Verb is what an [Op] does.
type Verb uint8

// The verbs of [Op].
const (
	// Create fails with EEXIST if any route has the same prefix and metric,
	// also a foreign one: it can destroy nothing.
	Create Verb = iota + 1
	// Replace puts the route in the place of ours; it creates it if need be.
	Replace
	// Delete removes our route of the prefix and fails with ESRCH without one.
	Delete
)

// Op is one change of the kernel's table.
type Op struct {
	Verb  Verb
	Route Route
}

// Failure is the kernel's refusal of one [Op].
type Failure struct {
	Index int // of the op
	Errno syscall.Errno
	// Text is the kernel's own explanation (NLMSGERR_ATTR_MSG), often empty.
	Text string
}

// Filter says which routes to list. Own lists those with our mark, in both
// families; otherwise all routes of Table except ours.
type Filter struct {
	Own   bool
	Table int
}

// Read is a route as it was read.
type Read struct {
	Route
	Protocol uint8
	Metric   uint32
	Type     uint8 // rtm_type
}
