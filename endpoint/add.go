package endpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"caracal.dev/caracal/ipam"
)

// defaultMTU is Ethernet's, for as long as no interface with the node's address
// is known.
const defaultMTU = 1500

// Add gives a container's interface its addresses, which are on disk when it
// answers, records it, and says how it is to be wired. The same container and
// interface again gives the same answer.
func (r *Registry) Add(ctx context.Context, req Request) (Wiring, error) {
	began := time.Now()
	if err := check(&req); err != nil {
		return Wiring{}, fmt.Errorf("endpoint: add %s: %w", req.ID, err)
	}
	w, err := r.add(ctx, req)
	if err != nil {
		return Wiring{}, fmt.Errorf("endpoint: add %s: %w", req.ID, err)
	}
	r.observe("add", began)
	return w, nil
}

func (r *Registry) add(ctx context.Context, req Request) (Wiring, error) {
	if err := r.soon(ctx, r.addable); err != nil {
		return Wiring{}, err
	}
	// What a runtime other than a kubelet's makes has no Pod, and no other name.
	if req.WorkloadName != req.ContainerID && req.Kind == KindCNI && !r.o.Knows(ctx, req.Namespace, req.WorkloadName, req.UID) {
		return Wiring{}, fmt.Errorf("%w: Pod %s is not known to this node yet: the API of Kubernetes has not told of it", ErrNotReady, podName(req))
	}
	r.overlay.take()            // with the Pod's labels, or it would begin without its policies
	if req.Kind == KindAttach { // one interface of a name at a time, see attachedAs
		unlock, err := r.lock(ctx, key{req.ContainerID, ""})
		if err != nil {
			return Wiring{}, err
		}
		defer unlock()
	}
	unlock, err := r.lock(ctx, req.key())
	if err != nil {
		return Wiring{}, err
	}
	defer unlock()
	netns, err := r.o.Ground.NetNS(req.NetNS)
	if err != nil {
		return Wiring{}, err
	}
	if old := r.get(req.key()); old != nil {
		if old.State != Deleting {
			return r.addAgain(old, req, netns)
		}
		if _, err := r.finish(ctx, old); errors.Is(err, errAway) {
			return Wiring{}, fmt.Errorf("%w: %w", ErrNotReady, err)
		} else if err != nil {
			return Wiring{}, err
		}
	}
	if other := r.attachedAs(req); other != nil {
		return Wiring{}, fmt.Errorf("%w: %s is attached already, as %s: detach it first, or take another name", ErrInvalid, req.ContainerID, other.Interface)
	}
	e := r.endpointOf(req, netns)
	if err := r.assign(ctx, e, req); err != nil {
		return Wiring{}, err
	}
	if err := r.step("assigned"); err != nil {
		return Wiring{}, err
	}
	if err := r.save(e); err != nil {
		// Nobody knows of the addresses, so they can be anybody's at once.
		_, undo := r.o.IPAM.Release(context.WithoutCancel(ctx), e.Handle())
		return Wiring{}, errors.Join(err, undo)
	}
	if err := r.step("recorded"); err != nil {
		return Wiring{}, err
	}
	r.put(e)
	r.o.Log.Info("endpoint added", "workload", e.Key(), "container", e.ContainerID, "interface", e.Interface, "link", e.HostInterface(), "addresses", e.Addrs)
	return e.wiring(r.self()), nil
}

// podName is what the runtime calls a Pod. Of those that had its name one after another
// the UID tells which is meant.
func podName(req Request) string {
	name := req.Namespace + "/" + req.WorkloadName
	if req.UID != "" {
		name += " (UID " + req.UID + ")"
	}
	return name
}

// addable says why nothing can be added now.
func (r *Registry) addable() error {
	if err := r.ready(); err != nil {
		return err
	}
	if err := r.unheard.Load(); err != nil {
		return fmt.Errorf("%w: %s", ErrNotReady, *err)
	}
	if r.plan.Load() == nil {
		why := "the configuration has not been read yet"
		if p := r.plane.Load(); p != nil {
			if w := (*p).Waiting(); w != "" {
				why = w
			}
		}
		return fmt.Errorf("%w: %s", ErrNotReady, why)
	}
	return nil
}

// addAgain answers a request for what is on record. A container that has got
// another network namespace is to be wired anew.
func (r *Registry) addAgain(old *Endpoint, req Request, netns string) (Wiring, error) {
	if old.Network != req.Network || old.Kind != req.Kind {
		return Wiring{}, fmt.Errorf("%w: interface %s of the container is in network %q already", ErrInvalid, old.Interface, old.Network)
	}
	for _, a := range req.Addrs {
		if !slices.Contains(old.Addrs, a) {
			return Wiring{}, fmt.Errorf("%w: %s has the addresses %v, and not %s: take it away first", ErrInvalid, req.ID, old.Addrs, a)
		}
	}
	moved := old.NetNS != req.NetNS || netns != "" && netns != old.NetNSID
	if old.State == Ready && !moved {
		if req.Kind == KindAttach && !saysSame(old, req) {
			return Wiring{}, fmt.Errorf("%w: %s is attached already, as %s with labels %v and MTU %d: detach it first to have that otherwise", ErrInvalid, req.ContainerID, old.Key(), old.Labels, old.MTU)
		}
		return old.wiring(r.self()), nil
	}
	// A container's ID is its own, but a name that somebody chose can be a slip, and
	// must not cut off who has it.
	if moved && req.Kind == KindAttach && netns != old.NetNSID {
		there, err := r.hasNetNS(old)
		if err != nil {
			return Wiring{}, err
		}
		if there {
			return Wiring{}, fmt.Errorf("%w: %s is attached already, to %s: detach it first, or take another name", ErrInvalid, req.ContainerID, old.NetNS)
		}
	}
	next := *old
	if req.Kind == KindAttach {
		next = *r.endpointOf(req, netns)
		next.Addrs, next.Pools = old.Addrs, old.Pools
	}
	next.State, next.Added, next.NetNS, next.NetNSID = Pending, r.o.Now(), req.NetNS, netns
	if err := r.save(&next); err != nil {
		return Wiring{}, err
	}
	if moved {
		r.overlay.unset(old)
		if err := r.o.Ground.DeleteLink(old.HostInterface()); err != nil {
			return Wiring{}, err
		}
	}
	r.put(&next)
	return next.wiring(r.self()), nil
}

// saysSame reports whether a request for what is attached asks for what it is.
func saysSame(e *Endpoint, req Request) bool {
	return e.Namespace == req.Namespace && e.WorkloadName == req.WorkloadName && maps.Equal(e.Labels, req.Labels) &&
		(req.MTU == 0 || req.MTU == e.MTU) && (req.MAC == "" || req.MAC == e.MAC)
}

// attachedAs returns the other interface that an attached name has: it can have
// only one, since its addresses are kept by its name.
func (r *Registry) attachedAs(req Request) *Endpoint {
	if req.Kind != KindAttach {
		return nil
	}
	for _, e := range r.List() {
		if e.Kind == KindAttach && e.ContainerID == req.ContainerID && e.Interface != req.Interface {
			return e
		}
	}
	return nil
}

func (r *Registry) endpointOf(req Request, netns string) *Endpoint {
	mtu := req.MTU
	if p := r.plane.Load(); mtu == 0 && p != nil {
		mtu = (*p).PodMTU()
	}
	if mtu == 0 {
		mtu = defaultMTU
	}
	return &Endpoint{
		ID: req.ID, Kind: req.Kind, State: Pending, NetNS: req.NetNS, NetNSID: netns, BootID: r.bootID,
		Namespace: req.Namespace, WorkloadName: req.WorkloadName, UID: req.UID, Labels: maps.Clone(req.Labels),
		MAC: req.MAC, MTU: mtu, Added: r.o.Now(),
	}
}

// assign has the allocator give e its addresses.
func (r *Registry) assign(ctx context.Context, e *Endpoint, req Request) error {
	plan := *r.plan.Load()
	v4, v6 := req.WantIPv4, req.WantIPv6
	if !v4 && !v6 {
		v4, v6 = plan.Families()
	}
	ask := ipam.Request{Handle: e.Handle(), Owner: e.owner(), Pools: req.Pools, Addrs: req.Addrs}
	for _, a := range req.Addrs {
		if k, ok := r.overlay.configuredAs(a); ok && k != e.Key() {
			return fmt.Errorf("%w: %s is that of the configured Workload %s", ipam.ErrTaken, a, k)
		}
		if name := nodeWith(r.overlay.Snapshot(), a); name != "" {
			return fmt.Errorf("%w: %s is that of node %s", ipam.ErrTaken, a, name)
		}
		if a.Is4() {
			ask.V4++
		} else {
			ask.V6++
		}
	}
	if v4 {
		ask.V4 = max(ask.V4, 1)
	}
	if v6 {
		ask.V6 = max(ask.V6, 1)
	}
	if ask.V4+ask.V6 == 0 {
		return fmt.Errorf("%w: %s", ErrNotReady, noAddresses(plan, "IPv4 or IPv6"))
	}
	got, err := r.take(ctx, ask)
	if err == nil && !answers(got, ask) {
		// Left by an ADD that asked for something else, and failed in the middle.
		if _, err = r.releaseUnknown(context.WithoutCancel(ctx), ask.Handle); err == nil {
			got, err = r.take(ctx, ask)
		}
	}
	if err != nil {
		return err
	}
	if plan.Mode == ipam.ModeBlocks && slices.ContainsFunc(got, func(a ipam.Allocation) bool { return !r.overlay.hasBlock(a.Block) }) {
		r.claim(ctx)
	}
	for _, a := range got {
		e.Addrs = append(e.Addrs, a.Addr)
		e.Pools = append(e.Pools, a.Pool)
	}
	return nil
}

// answers reports whether addresses are what was asked for. Those that a handle has
// already are given again, whatever is asked.
func answers(got []ipam.Allocation, ask ipam.Request) bool {
	var v4, v6 int
	have := map[netip.Addr]bool{}
	for _, a := range got {
		have[a.Addr] = true
		if a.Addr.Is4() {
			v4++
		} else {
			v6++
		}
	}
	return v4 == ask.V4 && v6 == ask.V6 && !slices.ContainsFunc(ask.Addrs, func(a netip.Addr) bool { return !have[a] })
}

// configuredAs returns the key of the configured Workload that has an address.
func (o *Overlay) configuredAs(a netip.Addr) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k, ok := o.configured[a]
	return k, ok
}

// hasBlock reports whether the Snapshots have a block.
func (o *Overlay) hasBlock(p netip.Prefix) bool {
	_, ok := o.Snapshot().Blocks.Get(p)
	return ok
}

// check refuses what cannot be meant, and fills in what is left to us.
func check(req *Request) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	switch {
	case !plain(req.ContainerID, 256):
		return bad("container ID %q must be of letters, digits, '.', '_' and '-'", req.ContainerID)
	case !plain(req.Interface, 15):
		return bad("interface name %q must be 1 to 15 letters, digits, '.', '_' and '-'", req.Interface)
	case req.Network != "" && !plain(req.Network, 256):
		return bad("network name %q must be of letters, digits, '.', '_' and '-'", req.Network)
	case req.Kind != KindCNI && req.Kind != KindAttach:
		return bad("kind %q must be %s or %s", req.Kind, KindCNI, KindAttach)
	case req.Kind == KindCNI && req.Network == "":
		return bad("the network's name is missing")
	case !filepath.IsAbs(req.NetNS):
		return bad("the path of the network namespace, %q, must be absolute", req.NetNS)
	case req.MTU != 0 && (req.MTU < 68 || req.MTU > 65535): // RFC 791 section 3.2
		return bad("MTU %d must be 68 to 65535", req.MTU)
	case strings.Contains(req.Namespace, "/") || strings.Contains(req.WorkloadName, "/"):
		return bad("workload %s/%s: a name has no '/'", req.Namespace, req.WorkloadName)
	}
	if req.MAC != "" {
		mac, err := net.ParseMAC(req.MAC)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return bad("%q is no MAC address that an interface can have", req.MAC)
		}
		req.MAC = mac.String()
	}
	for i, a := range req.Addrs {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.Zone() != "" {
			return bad("%s is no address that a workload can have", a)
		}
		if slices.Contains(req.Addrs[:i], a) {
			return bad("address %s is asked for twice", a)
		}
		req.Addrs[i] = a
	}
	if req.Namespace == "" {
		req.Namespace = "default"
	}
	if req.WorkloadName == "" {
		req.WorkloadName = req.ContainerID
	}
	return nil
}

// plain reports whether a name is one that runtimes use, and no path.
func plain(s string, longest int) bool {
	return s != "" && s != "." && s != ".." && len(s) <= longest && !strings.ContainsFunc(s, func(c rune) bool {
		return c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '.' && c != '_' && c != '-'
	})
}
