package cni

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"caracal.dev/caracal"
)

// End is one end of a container's link, as it is in the kernel.
type End struct {
	// Exists: there is an interface of that name. Without it all else is zero but
	// Sysctls, which are then those that a new interface would get.
	Exists bool
	// Veth: it is one end of a veth pair.
	Veth bool
	// Paired: its other end is where and what it should be.
	Paired bool
	Up     bool
	MAC    net.HardwareAddr
	MTU    int
	// Neighbors are its permanent neighbor entries; of the host's end only those of
	// the container's addresses.
	Neighbors map[netip.Addr]string
	// Addrs are its addresses, without link-local ones. Only of the container's end.
	Addrs []netip.Prefix
	// Routes are those of the main table by this interface; the value is the
	// gateway, the zero Addr if the destination is on the link. Only of the
	// container's end.
	Routes map[netip.Prefix]netip.Addr
	// Sysctls are settings by their path below /proc/sys; one that the kernel
	// does not have is missing.
	Sysctls map[string]string
}

// State is what there is of a container's link.
type State struct {
	Host, Pod End
	// LoopbackUp: the container's lo is up.
	LoopbackUp bool
}

// Op is what a [Step] does.
type Op uint8

// The operations. All but the first three are on the container's side unless
// the step is the host's.
const (
	OpRemovePair Op = iota // the host's end, and with it the other
	OpMakePair
	OpLoopbackUp
	OpSysctl
	OpMTU
	OpUp
	OpAddr
	OpNeighbor
	OpRoute
)

// Step is one change of the kernel.
type Step struct {
	Op   Op
	Host bool // on the host's end
	// Link is the interface it is about.
	Link string
	// Key and Value of OpSysctl; Value is the MTU of OpMTU.
	Key, Value string
	// Dst is the address or destination of OpAddr, OpNeighbor and OpRoute.
	Dst netip.Prefix
	// Gateway of OpRoute; invalid for one that is on the link.
	Gateway netip.Addr
	// MAC of OpNeighbor.
	MAC net.HardwareAddr
}

// String returns the step as the logs and [Plugin]'s CHECK say it.
func (s Step) String() string {
	side := "container"
	if s.Host {
		side = "host"
	}
	switch s.Op {
	case OpRemovePair:
		return fmt.Sprintf("%s: remove interface %s", side, s.Link)
	case OpMakePair:
		return fmt.Sprintf("%s: make interface %s with its pair in the container", side, s.Link)
	case OpLoopbackUp, OpUp:
		return fmt.Sprintf("%s: set interface %s up", side, s.Link)
	case OpSysctl:
		return fmt.Sprintf("%s: set %s to %s", side, s.Key, s.Value)
	case OpMTU:
		return fmt.Sprintf("%s: set MTU of %s to %s", side, s.Link, s.Value)
	case OpAddr:
		return fmt.Sprintf("%s: add address %s to %s", side, s.Dst, s.Link)
	case OpNeighbor:
		return fmt.Sprintf("%s: set permanent neighbor %s at %s on %s", side, s.Dst.Addr(), s.MAC, s.Link)
	case OpRoute:
		if s.Gateway.IsValid() {
			return fmt.Sprintf("%s: add route %s via %s on %s", side, s.Dst, s.Gateway, s.Link)
		}
		return fmt.Sprintf("%s: add route %s on %s", side, s.Dst, s.Link)
	}
	return fmt.Sprintf("%s: step %d", side, s.Op)
}

// Plan returns what is to be done, in this order: the pair, the host's side, the
// container's side. It fails where something is in the way that is not ours. It
// is pure.
func Plan(have State, want Spec) ([]Step, error) {
	p := planner{want: want}
	if !usable(have, want) {
		if have.Host.Exists {
			if err := removable(have.Host, want); err != nil {
				return nil, err
			}
			p.host(Step{Op: OpRemovePair})
			// The other end goes too, if it was the interface in the container.
			if have.Host.Paired {
				have.Pod = End{Sysctls: forgotten(have.Pod.Sysctls)}
			}
			have.Host = End{Sysctls: forgotten(have.Host.Sysctls)}
		}
		if have.Pod.Exists {
			return nil, fmt.Errorf("the container has an interface %s already, which is not caracal's: remove it there, or give another name", want.IfName)
		}
		p.host(Step{Op: OpMakePair})
		have.Host.Up = true
		have.Host.MTU, have.Pod.MTU = want.MTU, want.MTU
	}
	if _, ok := have.Pod.Sysctls[podKey(want, "disable_ipv6")]; want.has(true) && !ok {
		return nil, fmt.Errorf("the container is to have an IPv6 address, but this kernel has no IPv6 (/proc/sys/net/ipv6 is missing): load it, or have only IPv4 pools")
	}
	p.hostSide(have.Host)
	p.podSide(have)
	return p.steps, nil
}

// PlanHost returns what is to be done to the host's end alone, and an error where
// that cannot make it right: it is not there, or is not what caracal made. It is pure.
func PlanHost(have End, want Spec) ([]Step, error) {
	switch {
	case !have.Exists:
		return nil, fmt.Errorf("cni: interface %s on the host is gone: make the container anew", want.HostInterface)
	case !have.Veth || !bytes.Equal(have.MAC, want.HostMAC):
		return nil, fmt.Errorf("cni: interface %s on the host is not the veth that caracal made: make the container anew", want.HostInterface)
	}
	p := planner{want: want}
	p.hostSide(have)
	return p.steps, nil
}

// forgotten returns settings of which only the names are known: the next
// interface of the same name need not have the values of the last.
func forgotten(sysctls map[string]string) map[string]string {
	names := map[string]string{}
	for key := range sysctls {
		names[key] = ""
	}
	return names
}

// usable reports whether the pair that is there can be made right without
// breaking it.
func usable(have State, want Spec) bool {
	h, p := have.Host, have.Pod
	if !h.Exists || !p.Exists || !h.Veth || !h.Paired || !bytes.Equal(h.MAC, want.HostMAC) || !bytes.Equal(p.MAC, want.MAC) {
		return false
	}
	// An address that is not of this endpoint any more would go on being used.
	return !slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool {
		return a.IsSingleIP() && !slices.Contains(want.Addrs, a.Addr())
	})
}

// removable returns an error for an interface that is not to be touched.
func removable(host End, want Spec) error {
	switch {
	case !want.ownsHostInterface():
		return fmt.Errorf("the host has an interface %s already, and that name is not of this container: remove it with ip link delete %s if nobody needs it", want.HostInterface, want.HostInterface)
	case !host.Veth:
		return fmt.Errorf("the host has an interface %s already that is no veth, so not caracal's: remove it with ip link delete %s if nobody needs it", want.HostInterface, want.HostInterface)
	}
	return nil
}

type planner struct {
	want  Spec
	steps []Step
}

func (p *planner) host(s Step) {
	s.Host, s.Link = true, p.want.HostInterface
	p.steps = append(p.steps, s)
}

func (p *planner) pod(s Step) {
	s.Link = p.want.IfName
	p.steps = append(p.steps, s)
}

// hostSide comes before the container's: its settings are to be in force when
// the link gets its carrier, which is when the container's end goes up.
func (p *planner) hostSide(have End) {
	w := p.want
	for _, s := range differing(have.Sysctls, hostSysctls(w)) {
		p.host(s)
	}
	if w.MTU != 0 && have.MTU != w.MTU {
		p.host(Step{Op: OpMTU, Value: fmt.Sprint(w.MTU)})
	}
	if !have.Up {
		p.host(Step{Op: OpUp})
	}
	for _, a := range w.Addrs {
		if have.Neighbors[a] != w.MAC.String() {
			p.host(Step{Op: OpNeighbor, Dst: caracal.HostPrefix(a), MAC: w.MAC})
		}
	}
}

func (p *planner) podSide(have State) {
	w := p.want
	if !have.LoopbackUp {
		p.steps = append(p.steps, Step{Op: OpLoopbackUp, Link: "lo"})
	}
	for _, s := range differing(have.Pod.Sysctls, podSysctls(w)) {
		p.pod(s)
	}
	if w.MTU != 0 && have.Pod.MTU != w.MTU {
		p.pod(Step{Op: OpMTU, Value: fmt.Sprint(w.MTU)})
	}
	for _, a := range w.Addrs {
		if dst := caracal.HostPrefix(a); !slices.Contains(have.Pod.Addrs, dst) {
			p.pod(Step{Op: OpAddr, Dst: dst})
		}
	}
	if !have.Pod.Up {
		p.pod(Step{Op: OpUp})
	}
	for _, g := range w.Gateways {
		if !w.has(g.Is6()) {
			continue
		}
		if have.Pod.Neighbors[g] != w.HostMAC.String() {
			p.pod(Step{Op: OpNeighbor, Dst: caracal.HostPrefix(g), MAC: w.HostMAC})
		}
		for _, r := range routesBy(g) {
			if is, ok := have.Pod.Routes[r.Dst]; !ok || is != r.Gateway {
				p.pod(r)
			}
		}
	}
}

// routesBy returns the routes that make a gateway the default one, in the order
// in which the kernel takes them. An IPv6 link-local gateway needs no route to
// itself: the kernel looks only at the interface (fib6_nh_init in
// net/ipv6/route.c).
func routesBy(g netip.Addr) []Step {
	if g.Is6() {
		return []Step{{Op: OpRoute, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Gateway: g}}
	}
	return []Step{
		{Op: OpRoute, Dst: caracal.HostPrefix(g)},
		{Op: OpRoute, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: g},
	}
}

// differing returns the steps that make settings what they should be, by key. A
// setting that this kernel does not have is passed over.
func differing(have, want map[string]string) (steps []Step) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if is, ok := have[key]; ok && is != want[key] {
			steps = append(steps, Step{Op: OpSysctl, Key: key, Value: want[key]})
		}
	}
	return steps
}

// hostSysctls are the settings of the host's end; those that the daemon looks at
// each minute (fib.CheckSysctls) are among them.
func hostSysctls(w Spec) map[string]string {
	want := map[string]string{}
	if v4 := "net/ipv4/conf/" + w.HostInterface + "/"; w.has(false) {
		want[v4+"forwarding"] = "1"
		want[v4+"proxy_arp"] = "1"
		want["net/ipv4/neigh/"+w.HostInterface+"/proxy_delay"] = "0"
		want[v4+"rp_filter"] = "1" // the container sends only from its own addresses
	}
	if v6 := "net/ipv6/conf/" + w.HostInterface + "/"; w.has(true) {
		want[v6+"disable_ipv6"] = "0"
		want[v6+"forwarding"] = "1"
		want[v6+"proxy_ndp"] = "1"
		want[v6+"accept_ra"] = "0" // the container is no router for the host
		want[v6+"accept_dad"] = "0"
	}
	return want
}

// podSysctls are the settings of the container's end. Duplicate address
// detection would only delay the link-local address: nobody else is on the link.
func podSysctls(w Spec) map[string]string {
	want := map[string]string{}
	if w.has(true) {
		want[podKey(w, "disable_ipv6")] = "0"
		want[podKey(w, "accept_dad")] = "0"
	}
	return want
}

func podKey(w Spec, name string) string { return "net/ipv6/conf/" + w.IfName + "/" + name }
