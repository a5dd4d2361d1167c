package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// Topology is a lab as data: what there is, and nothing of how it is made.
type Topology struct {
	Name string
	// Pools are the ranges that the nodes' blocks are part of.
	Pools []PoolSpec
	// Switches are bridges, each in a namespace of its own.
	Switches []string
	Nodes    []NodeSpec
	// BGP is what the lab's BGPConfiguration says.
	BGP BGPSettings
	// Objects are further YAML documents of the cluster's configuration, such as
	// BGPPeers.
	Objects []string
}

// BGPSettings are fields of the default BGPConfiguration. What is zero is left
// out of it, for the daemon's own default.
type BGPSettings struct {
	ASNumber              uint32
	HoldTime, RestartTime time.Duration
	// NoMesh switches the node-to-node mesh off.
	NoMesh bool
}

// defaultASN is the daemon's own default, which BIRD and FRR have to be told.
const defaultASN = 64512

// ASN returns the AS number of the lab's nodes.
func (t Topology) ASN() uint32 {
	if t.BGP.ASNumber != 0 {
		return t.BGP.ASNumber
	}
	return defaultASN
}

// PoolSpec is an IPPool of the lab's configuration.
type PoolSpec struct {
	Name string
	CIDR netip.Prefix
	// BlockSize is the prefix length of a block.
	BlockSize int
	// IPIP is the pool's ipipMode; empty is Never.
	IPIP string
	// NATOutgoing is the pool's natOutgoing.
	NATOutgoing bool
}

// NodeSpec is one host or one router.
type NodeSpec struct {
	Name  string
	Links []Link
	// Blocks are what the node owns of the pools.
	Blocks []netip.Prefix
	// Routes are routes of the underlay, such as a default route to a router.
	// Routes to pods do not belong here.
	Routes []StaticRoute
	Pods   []PodSpec
	// Router says that it only forwards: it has no NodeConfig and no pods.
	Router bool
	// Loopback are addresses on lo. The first of a family is the node's own if no
	// link has one.
	Loopback []netip.Prefix
	// ASN of the node, if it is not that of the lab.
	ASN uint32
	// Cluster makes the node a route reflector (RFC 4456).
	Cluster netip.Addr
	// Tunnel is the address of the node's tunl0.
	Tunnel netip.Addr
	// Anycast are prefixes that the node serves together with others.
	Anycast []netip.Prefix
	Labels  map[string]string
	// Sessions is how many its daemon is to have; 0 is one with each other node.
	Sessions int
}

// Link joins a node to a switch, or to another node directly.
type Link struct {
	Name   string // the node's interface, "eth0"
	Switch string
	Addrs  []netip.Prefix
	// Peer is the node at the other end, instead of Switch; it comes earlier in
	// the topology. PeerName is its interface, PeerAddrs that one's addresses.
	Peer, PeerName string
	PeerAddrs      []netip.Prefix
}

// StaticRoute is a route of the underlay.
type StaticRoute struct {
	Dst netip.Prefix
	Via netip.Addr
}

// PodSpec is one pod. Its name is unique in the lab.
type PodSpec struct {
	Name  string
	Addrs []netip.Addr
	// Labels are those of its Workload, for NetworkPolicies.
	Labels map[string]string
}

// PodInterface returns the name of the node's end of a pod's link. It depends
// on the pod's name alone, so that it is the same after the pod was made anew.
func PodInterface(pod string) string {
	sum := sha256.Sum256([]byte("default/" + pod))
	return "cara" + hex.EncodeToString(sum[:])[:11] // IFNAMSIZ allows 15
}

// Family is an address family.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both.
func Families() []Family { return []Family{IPv4, IPv6} }

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// Of reports whether a is of the family.
func (f Family) Of(a netip.Addr) bool { return a.IsValid() && a.Is6() == (f == IPv6) }

// Addr returns the node's first address of the family; invalid if it has none.
func (n NodeSpec) Addr(f Family) netip.Addr { return n.prefix(f).Addr() }

// Block returns the node's first block of the family; invalid if it has none.
func (n NodeSpec) Block(f Family) netip.Prefix {
	for _, b := range n.Blocks {
		if f.Of(b.Addr()) {
			return b
		}
	}
	return netip.Prefix{}
}

func (n NodeSpec) prefix(f Family) netip.Prefix {
	for _, l := range n.Links {
		for _, p := range l.Addrs {
			if f.Of(p.Addr()) {
				return p
			}
		}
	}
	for _, p := range n.Loopback {
		if f.Of(p.Addr()) {
			return p
		}
	}
	return netip.Prefix{}
}

// Addr returns the pod's address of the family; invalid if it has none.
func (p PodSpec) Addr(f Family) netip.Addr {
	for _, a := range p.Addrs {
		if f.Of(a) {
			return a
		}
	}
	return netip.Addr{}
}

// MeshOptions are the sizes of [Mesh]. The zero value is three nodes with two
// pods each, IPv4 and IPv6.
type MeshOptions struct {
	Nodes, PodsPerNode int
	// NoIPv4 and NoIPv6 leave a family out everywhere.
	NoIPv4, NoIPv6 bool
}

// meshSwitch is the one switch of the mesh topology.
const meshSwitch = "sw"

// maxMesh is how many nodes the mesh's /24 has room for.
const maxMesh = 250

// Mesh returns nodes named a, b, c… in one subnet, 192.168.77.0/24 and
// fd00:77::/64, each with one block of 10.244.0.0/16 and of fd00:244::/48.
func Mesh(o MeshOptions) Topology {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	t := Topology{Name: "mesh", Switches: []string{meshSwitch}}
	if !o.NoIPv4 {
		t.Pools = append(t.Pools, PoolSpec{Name: "pods-v4", CIDR: netip.MustParsePrefix("10.244.0.0/16"), BlockSize: 26})
	}
	if !o.NoIPv6 {
		t.Pools = append(t.Pools, PoolSpec{Name: "pods-v6", CIDR: netip.MustParsePrefix("fd00:244::/48"), BlockSize: 122})
	}
	for i := range o.Nodes {
		t.Nodes = append(t.Nodes, MeshNode(i, o))
	}
	return t
}

// MeshNode returns the node number i, from 0, of a mesh, for [Lab.AddNode].
func MeshNode(i int, o MeshOptions) NodeSpec {
	if o.PodsPerNode == 0 {
		o.PodsPerNode = 2
	}
	n := NodeSpec{Name: meshName(i), Links: []Link{{Name: "eth0", Switch: meshSwitch}}}
	host := byte(i + 1)
	block4 := netip.AddrFrom4([4]byte{10, 244, host, 0})
	block6 := netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x02, 3: 0x44, 7: host})
	if !o.NoIPv4 {
		addr := netip.AddrFrom4([4]byte{192, 168, 77, host})
		n.Links[0].Addrs = append(n.Links[0].Addrs, netip.PrefixFrom(addr, 24))
		n.Blocks = append(n.Blocks, netip.PrefixFrom(block4, 26))
	}
	if !o.NoIPv6 {
		addr := netip.AddrFrom16([16]byte{0: 0xfd, 3: 0x77, 15: host})
		n.Links[0].Addrs = append(n.Links[0].Addrs, netip.PrefixFrom(addr, 64))
		n.Blocks = append(n.Blocks, netip.PrefixFrom(block6, 122))
	}
	for j := range o.PodsPerNode {
		p := PodSpec{Name: fmt.Sprintf("%s%d", n.Name, j+1)}
		for _, b := range n.Blocks {
			p.Addrs = append(p.Addrs, nth(b.Addr(), 2+j))
		}
		n.Pods = append(n.Pods, p)
	}
	return n
}

// meshName counts a, b, … z, n27, n28…
func meshName(i int) string {
	if i < 26 {
		return string(rune('a' + i))
	}
	return fmt.Sprintf("n%d", i+1)
}

// nth returns the n-th address after a.
func nth(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// labName is what a node, switch or pod may be called: its name becomes part
// of an interface name of at most 15 characters, and of a namespace's name.
var labName = regexp.MustCompile(`^[a-z][a-z0-9]{0,8}$`)

// Validate reports the first thing in t that cannot be built.
func (t Topology) Validate() error {
	seen := map[string]string{}
	claim := func(kind, name string) error {
		if !labName.MatchString(name) {
			return fmt.Errorf("%s %q: a name is a letter and up to 8 letters or digits, lower case", kind, name)
		}
		if other := seen[name]; other != "" {
			return fmt.Errorf("%s %q: there is already a %s of that name", kind, name, other)
		}
		seen[name] = kind
		return nil
	}
	for _, s := range t.Switches {
		if err := claim("switch", s); err != nil {
			return err
		}
	}
	if len(t.Nodes) > maxMesh {
		return fmt.Errorf("topology %s: %d nodes are more than the %d that its subnet has room for", t.Name, len(t.Nodes), maxMesh)
	}
	addrs := map[netip.Addr]string{}
	for i, n := range t.Nodes {
		if err := claim("node", n.Name); err != nil {
			return err
		}
		if err := n.validateLinks(t, t.Nodes[:i]); err != nil {
			return err
		}
		for _, p := range n.Pods {
			if err := claim("pod", p.Name); err != nil {
				return err
			}
		}
		if err := n.validate(addrs); err != nil {
			return err
		}
	}
	return nil
}

// validateLinks wants the other end of each link to be there before the node.
func (n NodeSpec) validateLinks(t Topology, before []NodeSpec) error {
	for _, l := range n.Links {
		switch {
		case l.Peer != "":
			if !slices.ContainsFunc(before, func(other NodeSpec) bool { return other.Name == l.Peer }) {
				return fmt.Errorf("node %s: link %s: there is no node %q before it", n.Name, l.Name, l.Peer)
			}
		case !slices.Contains(t.Switches, l.Switch):
			return fmt.Errorf("node %s: link %s: there is no switch %q", n.Name, l.Name, l.Switch)
		}
	}
	return nil
}

func (n NodeSpec) validate(addrs map[netip.Addr]string) error {
	use := func(owner string, a netip.Addr) error {
		if other := addrs[a]; other != "" {
			return fmt.Errorf("%s: address %s is also that of %s", owner, a, other)
		}
		addrs[a] = owner
		return nil
	}
	for _, l := range n.Links {
		for _, p := range slices.Concat(l.Addrs, l.PeerAddrs) {
			if err := use("node "+n.Name, p.Addr()); err != nil {
				return err
			}
		}
	}
	for _, p := range n.Loopback {
		if shared := slices.ContainsFunc(n.Anycast, func(a netip.Prefix) bool { return a.Contains(p.Addr()) }); shared {
			continue
		}
		if err := use("node "+n.Name, p.Addr()); err != nil {
			return err
		}
	}
	for _, p := range n.Pods {
		for _, a := range p.Addrs {
			if err := use("pod "+p.Name, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// Node returns the node of that name.
func (t Topology) Node(name string) (NodeSpec, bool) {
	i := slices.IndexFunc(t.Nodes, func(n NodeSpec) bool { return n.Name == name })
	if i < 0 {
		return NodeSpec{}, false
	}
	return t.Nodes[i], true
}
