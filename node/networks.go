package node

import (
	"net/netip"

	"caracal.dev/caracal"
	"caracal.dev/caracal/fib"
)

// networks remembers the networks that the host is on until an address changes
// that may be of one: those of the links of containers are link-local, and a
// container that starts must not cost a listing of all addresses.
type networks struct {
	ask   func() []netip.Prefix
	have  []netip.Prefix
	known bool
	links map[int]bool // of containers, by index
}

func newNetworks(ask func() []netip.Prefix) *networks {
	return &networks{ask: ask, links: map[int]bool{}}
}

// list returns the networks; the result must not be changed.
func (n *networks) list() []netip.Prefix {
	if !n.known {
		n.have = n.ask()
		n.known = n.have != nil // nil: the kernel did not say
	}
	return n.have
}

// notify takes in what happened, and reports whether the networks may be others.
func (n *networks) notify(ev fib.Events) bool {
	changed := ev.Lost
	for _, l := range ev.Links {
		switch ours := caracal.IsHostInterface(l.Link.Name); {
		case !ours:
			changed = true
			delete(n.links, l.Link.Index)
		case l.Gone:
			delete(n.links, l.Link.Index)
		default:
			n.links[l.Link.Index] = true
		}
	}
	for _, a := range ev.Addrs {
		changed = changed || a.IPv4 || !n.links[a.Link]
	}
	n.known = n.known && !changed
	return changed
}
