package cni

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
)

// netlinkTimeout bounds each exchange with the kernel, which may have to wait
// for its lock while many links are made at once.
const netlinkTimeout = 20 * time.Second

// kernel is both sides of one container's link.
type kernel struct {
	ns        *os.File
	host, pod *netlink.Handle
}

// openKernel opens both sides; the caller closes the kernel.
func openKernel(netns string) (*kernel, error) {
	ns, err := openNetNS(netns)
	if err != nil {
		return nil, err
	}
	k := &kernel{ns: ns}
	if k.host, err = newHandle(); err == nil {
		err = inside(ns, func() (err error) {
			k.pod, err = newHandle()
			return err
		})
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func newHandle() (*netlink.Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	if err := h.SetSocketTimeout(netlinkTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("set the timeout of a netlink socket: %w", err)
	}
	return h, nil
}

func (k *kernel) close() {
	for _, h := range []*netlink.Handle{k.host, k.pod} {
		if h != nil {
			h.Close()
		}
	}
	k.ns.Close()
}

// read returns what there is of a container's link. Of one that does not exist
// it costs one question to each side.
func (k *kernel) read(want Spec) (State, error) {
	var s State
	host, err := linkByName(k.host, want.HostInterface)
	if err != nil {
		return State{}, fmt.Errorf("look for interface %s on the host: %w", want.HostInterface, err)
	}
	var pod netlink.Link
	err = inside(k.ns, func() error {
		if pod, err = linkByName(k.pod, want.IfName); err != nil {
			return err
		}
		lo, err := k.pod.LinkByName("lo")
		if err != nil {
			return err
		}
		s.LoopbackUp = lo.Attrs().Flags&net.FlagUp != 0
		s.Pod = readEnd(pod, podSysctls(want))
		if pod == nil {
			return nil
		}
		index := pod.Attrs().Index
		return errors.Join(s.Pod.readAddrs(k.pod, pod), s.Pod.readNeighbors(k.pod, index), s.Pod.readRoutes(k.pod, index))
	})
	if err != nil {
		return State{}, fmt.Errorf("look at interface %s in the container: %w", want.IfName, err)
	}
	s.Host = readEnd(host, hostSysctls(want))
	if host != nil {
		if err := s.Host.askNeighbors(host.Attrs().Index, want.Addrs); err != nil {
			return State{}, fmt.Errorf("look at interface %s on the host: %w", want.HostInterface, err)
		}
	}
	if host != nil && pod != nil {
		id, err := k.host.GetNetNsIdByFd(int(k.ns.Fd()))
		h, p := host.Attrs(), pod.Attrs()
		s.Host.Paired = err == nil && h.NetNsID == id && h.ParentIndex == p.Index && p.ParentIndex == h.Index
		s.Pod.Paired = s.Host.Paired
	}
	return s, nil
}

// linkByName returns an interface, nil if there is none.
func linkByName(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	}
	return l, err
}

// readEnd reads what is of the interface itself; the thread is in its namespace.
// link is nil if it does not exist.
func readEnd(link netlink.Link, keys map[string]string) End {
	e := End{Sysctls: readSysctls(link != nil, keys)}
	if link != nil {
		a := link.Attrs()
		e.Exists, e.Veth = true, link.Type() == "veth"
		e.Up, e.MAC, e.MTU = a.Flags&net.FlagUp != 0, a.HardwareAddr, a.MTU
	}
	return e
}

// askNeighbors reads the neighbor entries of some addresses, one by one: the
// tables of a host are long, and the kernel lists only whole ones. The thread is
// in the interface's namespace.
func (e *End) askNeighbors(index int, addrs []netip.Addr) error {
	e.Neighbors = map[netip.Addr]string{}
	for _, a := range addrs {
		family := uint8(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
		req.AddData(&netlink.Ndmsg{Family: family, Index: uint32(index)})
		req.AddData(nl.NewRtAttr(netlink.NDA_DST, a.AsSlice()))
		msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("ask for neighbor %s: %w", a, err)
		}
		for _, m := range msgs {
			n, err := netlink.NeighDeserialize(m)
			if err != nil {
				return fmt.Errorf("read neighbor %s: %w", a, err)
			}
			if n.State == netlink.NUD_PERMANENT {
				e.Neighbors[a] = n.HardwareAddr.String()
			}
		}
	}
	return nil
}

// readSysctls reads the settings of an interface, or of one that does not exist
// yet those that it will start with, "" if that cannot be known.
func readSysctls(exists bool, keys map[string]string) map[string]string {
	is := map[string]string{}
	for key := range keys {
		from := key
		if !exists {
			dir, setting := path.Split(key)
			from = path.Join(path.Dir(path.Clean(dir)), "default", setting)
		}
		b, err := os.ReadFile("/proc/sys/" + from)
		switch {
		case err == nil:
			is[key] = strings.TrimSpace(string(b))
		case !exists && strings.HasPrefix(key, "net/ipv4/neigh/"):
			is[key] = "" // only the first network namespace has neigh/default
		}
	}
	return is
}

func (e *End) readAddrs(h *netlink.Handle, link netlink.Link) error {
	addrs, err := again(func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_ALL) })
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && !p.Addr().IsLinkLocalUnicast() {
			e.Addrs = append(e.Addrs, p)
		}
	}
	slices.SortFunc(e.Addrs, netip.Prefix.Compare)
	return err
}

func (e *End) readNeighbors(h *netlink.Handle, index int) error {
	e.Neighbors = map[netip.Addr]string{}
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighbors, err := again(func() ([]netlink.Neigh, error) { return h.NeighList(index, family) })
		errs = append(errs, err)
		for _, n := range neighbors {
			if a, ok := netip.AddrFromSlice(n.IP); ok && n.State == netlink.NUD_PERMANENT {
				e.Neighbors[a.Unmap()] = n.HardwareAddr.String()
			}
		}
	}
	return errors.Join(errs...)
}

func (e *End) readRoutes(h *netlink.Handle, index int) error {
	e.Routes = map[netip.Prefix]netip.Addr{}
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		filter := &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_MAIN}
		routes, err := again(func() ([]netlink.Route, error) {
			return h.RouteListFiltered(family, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		})
		errs = append(errs, err)
		for _, r := range routes {
			dst, ok := prefixOf(r.Dst)
			if !ok {
				dst = netip.PrefixFrom(map[bool]netip.Addr{true: netip.IPv6Unspecified(), false: netip.IPv4Unspecified()}[family == netlink.FAMILY_V6], 0)
			}
			gw, _ := netip.AddrFromSlice(r.Gw)
			e.Routes[dst] = gw.Unmap()
		}
	}
	return errors.Join(errs...)
}

// again repeats a listing that a change interrupted (NLM_F_DUMP_INTR).
func again[T any](list func() ([]T, error)) ([]T, error) {
	for range 10 {
		if l, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return l, err
		}
	}
	return list()
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if a = a.Unmap(); !ok || bits != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// makePair makes both ends at once, with their names, MACs and MTU, each where
// it belongs: there is never half a pair, and nothing is moved or renamed. The
// host's end is up, but has no carrier until the container's is.
func (k *kernel) makePair(want Spec) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU, attrs.Flags = want.HostInterface, want.HostMAC, want.MTU, net.FlagUp
	return k.host.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: want.IfName, PeerHardwareAddr: want.MAC,
		PeerMTU: uint32(want.MTU), PeerTxQLen: -1, PeerNamespace: netlink.NsFd(k.ns.Fd()),
	})
}

// settled reports whether both ends have noticed their carrier, and packets to the
// container's IPv6 addresses are for the container itself.
func (k *kernel) settled(want Spec) (bool, error) {
	for _, end := range []struct {
		h    *netlink.Handle
		name string
	}{{k.host, want.HostInterface}, {k.pod, want.IfName}} {
		l, err := end.h.LinkByName(end.name)
		if err != nil {
			return false, fmt.Errorf("look whether interface %s is up: %w", end.name, err)
		}
		if l.Attrs().OperState != netlink.OperUp {
			return false, nil
		}
	}
	for _, a := range want.Addrs {
		if a.Is4() {
			continue
		}
		routes, err := k.pod.RouteGet(a.AsSlice())
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look whether the container has address %s: %w", a, err)
		}
		if len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return false, nil
		}
	}
	return true, nil
}

// removeHostInterface removes the host's end of a container's link, if there is
// one.
func removeHostInterface(containerID, ifname string) error {
	name := caracal.HostInterface(containerID, ifname)
	h, err := newHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := linkByName(h, name)
	switch {
	case err != nil:
		return fmt.Errorf("look for interface %s: %w", name, err)
	case link == nil:
		return nil
	case link.Type() != "veth":
		return fmt.Errorf("interface %s is no veth, so not caracal's; remove it with ip link delete %s if nobody needs it", name, name)
	}
	if err := h.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, advised(err))
	}
	return nil
}

var errRouteExists = errors.New("the container has this route already, by another interface: remove it there, or give the container no other network")

// change does one step; the thread is in the namespace of the step's side. link
// is the interface, if it is known.
func change(h *netlink.Handle, link netlink.Link, s Step) error {
	index := link.Attrs().Index
	switch s.Op {
	case OpRemovePair:
		return h.LinkDel(link)
	case OpSysctl:
		return os.WriteFile(path.Join("/proc/sys", s.Key), []byte(s.Value), 0)
	case OpMTU:
		var mtu int
		if _, err := fmt.Sscan(s.Value, &mtu); err != nil {
			return err
		}
		return h.LinkSetMTU(link, mtu)
	case OpUp, OpLoopbackUp:
		return h.LinkSetUp(link)
	case OpAddr:
		a := &netlink.Addr{IPNet: ipNet(s.Dst)}
		if s.Dst.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return h.AddrAdd(link, a)
	case OpNeighbor:
		return h.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: s.Dst.Addr().AsSlice(), HardwareAddr: s.MAC})
	case OpRoute:
		r := &netlink.Route{LinkIndex: index, Dst: ipNet(s.Dst), Scope: netlink.SCOPE_LINK}
		if s.Gateway.IsValid() {
			r.Gw, r.Scope = s.Gateway.AsSlice(), netlink.SCOPE_UNIVERSE
		}
		if err := h.RouteAdd(r); !errors.Is(err, unix.EEXIST) {
			return err
		}
		return errRouteExists
	}
	return fmt.Errorf("unknown step %d", s.Op)
}
