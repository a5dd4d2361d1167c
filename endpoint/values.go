package endpoint

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// Kinds of endpoints, in [Request.Kind] and in the Source of their Workloads.
const (
	KindCNI    = "cni"
	KindAttach = "attach"
)

// HostMAC is the hardware address of every host interface that we make: fixed,
// so that a container's neighbor entry for its gateway outlives the interface.
const HostMAC = "ee:ee:ee:ee:ee:ee"

// The next hops of a container's default routes. The one of IPv6 is the
// link-local address that belongs to [HostMAC] (RFC 4291 appendix A).
var (
	Gateway4 = netip.MustParseAddr("169.254.1.1")
	Gateway6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
)

// Errors that callers tell apart with errors.Is, beside those of ipam.
var (
	// ErrNotReady: the daemon cannot do it yet, or not now; the message says what
	// it waits for. CNI's error 11.
	ErrNotReady = errors.New("try again later")
	// ErrNotFound: there is no such endpoint.
	ErrNotFound = errors.New("no such endpoint")
	// ErrInvalid: the request makes no sense.
	ErrInvalid = errors.New("invalid request")
	// ErrInUse: what was to be released by hand is somebody's who still exists.
	ErrInUse = errors.New("still in use")
)

// ID is an interface of a container. A container has an interface of a name once,
// so Network is what it is a part of, and not what tells it apart.
type ID struct {
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"` // in the container
	Network     string `json:"network,omitempty"`
}

// key is what identifies an endpoint.
type key struct{ containerID, ifname string }

func (id ID) key() key { return key{id.ContainerID, id.Interface} }

// String returns the ID as messages name it.
func (id ID) String() string {
	s := id.ContainerID
	if len(s) > 13 && id.Network != "" {
		s = s[:13]
	}
	return s + "/" + id.Interface
}

// Request asks for an endpoint.
type Request struct {
	ID
	NetNS string // path
	Kind  string // "cni" or "attach"
	// Namespace and WorkloadName are "default" and the container's ID if empty.
	Namespace, WorkloadName string
	UID                     string // of the Pod, where there is one
	Labels                  map[string]string
	// Addrs and MAC are asked for; Pools are the names of those to take addresses
	// from. Empty: any.
	Addrs []netip.Addr
	MAC   string
	Pools []string
	// WantIPv4 and WantIPv6: neither is what the node has addresses of.
	WantIPv4, WantIPv6 bool
	MTU                int // bytes; 0: the daemon's
}

// Wiring is how an endpoint is to be connected.
type Wiring struct {
	HostInterface string
	HostMAC       string
	Addrs         []netip.Addr
	// Gateways are the link-local next hops of the default routes, one for each
	// family of Addrs.
	Gateways []netip.Addr
	MTU      int    // bytes
	MAC      string // of the container's end; empty: any
	Node     string
	Pools    []string // of each address; empty outside of every pool
}

// State is how far an endpoint is.
type State string

// The states of an [Endpoint].
const (
	// Pending: it has addresses, and is not wired up yet.
	Pending State = "pending"
	// Ready: packets flow, or did.
	Ready State = "ready"
	// Deleting: it is being taken away; a crash does not stop that.
	Deleting State = "deleting"
)

// Endpoint is a container's interface with its addresses, as it is on record.
type Endpoint struct {
	ID
	Kind         string            `json:"kind"`
	State        State             `json:"state"`
	NetNS        string            `json:"netns"`
	NetNSID      string            `json:"netnsID,omitempty"` // device and inode; empty if it was not seen
	BootID       string            `json:"bootID"`
	Namespace    string            `json:"namespace"`
	WorkloadName string            `json:"name"`
	UID          string            `json:"uid,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Addrs        []netip.Addr      `json:"addresses"`
	Pools        []string          `json:"pools,omitempty"` // of each address
	MAC          string            `json:"mac,omitempty"`
	MTU          int               `json:"mtu"`
	Added        time.Time         `json:"added"`
	ReadyAt      time.Time         `json:"readyAt,omitzero"`
}

// HostInterface returns the name of the host's end.
func (e *Endpoint) HostInterface() string {
	return caracal.HostInterface(e.ContainerID, e.Interface)
}

// Handle returns the name of its allocation.
func (e *Endpoint) Handle() string { return handleOf(e.Kind, e.ID) }

// handleOf is the name under which ipam keeps the addresses of an endpoint.
func handleOf(kind string, id ID) string {
	if kind == KindAttach {
		return KindAttach + "/" + id.ContainerID
	}
	return KindCNI + "/" + id.Network + "/" + id.ContainerID + "/" + id.Interface
}

// Key returns that of the Workload it is: "namespace/name".
func (e *Endpoint) Key() string { return e.Namespace + "/" + e.WorkloadName }

func (e *Endpoint) owner() ipam.Owner {
	return ipam.Owner{
		Kind: e.Kind, ContainerID: e.ContainerID, Interface: e.Interface,
		Namespace: e.Namespace, Name: e.WorkloadName, NetNS: e.NetNS,
	}
}

// workload is the endpoint as a noun of the Snapshot.
func (e *Endpoint) workload(node string) caracal.Workload {
	return caracal.Workload{
		Namespace: e.Namespace, Name: e.WorkloadName, Node: node, Interface: e.HostInterface(),
		Addrs: e.Addrs, Labels: e.Labels, Source: e.Kind,
	}
}

func (e *Endpoint) wiring(node string) Wiring {
	w := Wiring{
		HostInterface: e.HostInterface(), HostMAC: HostMAC, Addrs: e.Addrs, MTU: e.MTU, MAC: e.MAC, Node: node, Pools: e.Pools,
	}
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is4) {
		w.Gateways = append(w.Gateways, Gateway4)
	}
	if slices.ContainsFunc(e.Addrs, netip.Addr.Is6) {
		w.Gateways = append(w.Gateways, Gateway6)
	}
	return w
}

// byAge orders endpoints by when they were added.
func byAge(a, b *Endpoint) int {
	return cmp.Or(a.Added.Compare(b.Added), cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.Interface, b.Interface))
}

// Gate is what must be so before packets may flow to a workload: its routes are
// in the kernel, and whatever else the dataplane has to say.
type Gate interface {
	// Open returns when all is in; when ctx ends before, the error says what is
	// not, and why.
	Open(ctx context.Context, w caracal.Workload) error
	// Closed returns when nothing of the workload is in any more, as soon as it is
	// no longer in the Snapshot.
	Closed(ctx context.Context, w caracal.Workload) error
}

// Allocator gives and takes addresses: [ipam.Allocator].
type Allocator interface {
	ipam.API
	// Adopt tells of all addresses that are in use, at the start.
	Adopt(ctx context.Context, known []ipam.Allocation) error
	// Lookup says what is known of an address.
	Lookup(ctx context.Context, a netip.Addr) (ipam.Address, error)
	// ReleaseAddr frees one address, whoever has it, and returns who had it.
	ReleaseAddr(ctx context.Context, a netip.Addr) (ipam.Allocation, error)
	// Tidy does what can wait for a while.
	Tidy(ctx context.Context) error
}

// Ground is the machine: what exists of what endpoints are made of.
type Ground interface {
	// BootID changes with each boot of the machine.
	BootID() (string, error)
	// NetNS identifies the network namespace at a path; empty if there is none.
	NetNS(path string) (id string, err error)
	// Links returns those network interfaces of this namespace whose names are of
	// [caracal.HostInterface]'s form, and whether each is up.
	Links() (map[string]bool, error)
	// DeleteLink removes an interface; one that is gone is no error.
	DeleteLink(name string) error
	// Forget drops what the kernel remembers of the connections of addresses.
	Forget(addrs []netip.Addr) error
}
