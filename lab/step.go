package lab

import (
	"fmt"
	"net/netip"
)

// step is one change of the kernel's state. String is the ip(8) command that
// does the same.
type step interface {
	fmt.Stringer
	apply(k *kernel) error
}

// addNS makes a namespace under /run/netns.
type addNS struct{ NS string }

// sysctl writes a file under /proc/sys, as seen in the namespace.
type sysctl struct{ NS, Key, Value string }

// addBridge makes a bridge that forwards at once, without spanning tree.
type addBridge struct{ NS, Name string }

// addVeth makes a veth pair with one end in each of two namespaces.
type addVeth struct {
	NS, Name string
	MAC      string // of this end; the kernel's choice if empty
	Master   string // a bridge in NS that this end joins; may be empty
	PeerNS   string
	Peer     string
}

// addAddr gives a link an address, without duplicate address detection.
type addAddr struct {
	NS, Dev string
	Addr    netip.Prefix
}

// setUp brings a link up.
type setUp struct{ NS, Dev string }

// addRoute adds a route to the main table.
type addRoute struct {
	NS  string
	Dst netip.Prefix
	Via netip.Addr // invalid: on link
	Dev string     // may be empty where Via says enough
}

// addNeigh adds a permanent neighbor entry.
type addNeigh struct {
	NS, Dev string
	Addr    netip.Addr
	MAC     string
}

// delNS removes a namespace; one that is not there is no error.
type delNS struct{ NS string }

// delLink deletes a link, and its peer with it. That of a namespace that was
// deleted goes too, but some time later.
type delLink struct{ NS, Dev string }

func (s delNS) String() string   { return "ip netns del " + s.NS }
func (s delLink) String() string { return fmt.Sprintf("ip -n %s link del %s", s.NS, s.Dev) }
func (s addNS) String() string   { return "ip netns add " + s.NS }
func (s sysctl) String() string  { return fmt.Sprintf("[%s] sysctl -w %s=%s", s.NS, s.Key, s.Value) }
func (s addBridge) String() string {
	return fmt.Sprintf("ip -n %s link add %s type bridge mcast_snooping 0", s.NS, s.Name)
}

func (s addVeth) String() string {
	out := fmt.Sprintf("ip -n %s link add %s", s.NS, s.Name)
	if s.MAC != "" {
		out += " address " + s.MAC
	}
	if s.Master != "" {
		out += " master " + s.Master
	}
	return fmt.Sprintf("%s type veth peer %s netns %s", out, s.Peer, s.PeerNS)
}

func (s addAddr) String() string {
	return fmt.Sprintf("ip -n %s addr add %s dev %s nodad", s.NS, s.Addr, s.Dev)
}
func (s setUp) String() string { return fmt.Sprintf("ip -n %s link set %s up", s.NS, s.Dev) }

func (s addRoute) String() string {
	out := fmt.Sprintf("ip -n %s route add %s", s.NS, s.Dst)
	if s.Via.IsValid() {
		out += " via " + s.Via.String()
	}
	if s.Dev != "" {
		out += " dev " + s.Dev
	}
	return out
}

func (s addNeigh) String() string {
	return fmt.Sprintf("ip -n %s neigh add %s lladdr %s dev %s nud permanent", s.NS, s.Addr, s.MAC, s.Dev)
}
