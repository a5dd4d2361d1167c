package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Proto is the routing protocol number that marks the routes of the daemon
// under test (rtm_protocol in rtnetlink(7)).
const Proto = 67

// Route is a route as the kernel has it.
type Route struct {
	Dst      netip.Prefix
	Type     string // "unicast", "blackhole", "unreachable", "prohibit" or a number
	Hops     []Hop
	Protocol int
	Metric   int
	Table    int
}

// Hop is one next hop of a route.
type Hop struct {
	Via netip.Addr // invalid for a route on link
	Dev string
}

// String prints the route as ip-route(8) does, with the protocol as a number.
func (r Route) String() string {
	var b strings.Builder
	if r.Type != "unicast" {
		b.WriteString(r.Type + " ")
	}
	b.WriteString(r.Dst.String())
	for _, h := range r.Hops {
		if len(r.Hops) > 1 {
			b.WriteString(" nexthop")
		}
		if h.Via.IsValid() {
			b.WriteString(" via " + h.Via.String())
		}
		if h.Dev != "" {
			b.WriteString(" dev " + h.Dev)
		}
	}
	fmt.Fprintf(&b, " proto %d metric %d", r.Protocol, r.Metric)
	if r.Table != unix.RT_TABLE_MAIN {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	return b.String()
}

// Routes returns the node's routes of both families, all tables but local,
// without multicast and what the kernel itself makes for link-local addresses.
// They are sorted by prefix, table and metric.
func (n *Node) Routes() ([]Route, error) { return n.lab.routes(n.NS) }

// OwnRoutes returns the routes of [Node.Routes] that carry [Proto].
func (n *Node) OwnRoutes() ([]Route, error) {
	all, err := n.Routes()
	return slices.DeleteFunc(all, func(r Route) bool { return r.Protocol != Proto }), err
}

func (l *Lab) routes(ns string) ([]Route, error) {
	out, err := l.listRoutes(ns)
	if err != nil {
		return nil, fmt.Errorf("lab: list routes of %s: %w", ns, err)
	}
	return out, nil
}

func (l *Lab) listRoutes(ns string) ([]Route, error) {
	h, err := l.kernel.at(ns)
	if err != nil {
		return nil, err
	}
	links, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	dev := map[int]string{}
	for _, l := range links {
		dev[l.Attrs().Index] = l.Attrs().Name
	}
	var out []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// A filter by table with the value "unspecified" is how the library says
		// all tables.
		list, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if c, ok := convertRoute(r, dev, family); ok {
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b Route) int {
		if c := a.Dst.Compare(b.Dst); c != 0 {
			return c
		}
		return (a.Table-b.Table)<<32 + a.Metric - b.Metric
	})
	return out, nil
}

func convertRoute(r netlink.Route, dev map[int]string, family int) (Route, bool) {
	out := Route{Protocol: int(r.Protocol), Metric: r.Priority, Table: r.Table, Type: routeType(r.Type)}
	switch {
	case r.Dst != nil:
		addr, _ := netip.AddrFromSlice(r.Dst.IP)
		if family == netlink.FAMILY_V4 { // the library has the default route with 16 bytes
			addr = addr.Unmap()
		}
		bits, _ := r.Dst.Mask.Size()
		out.Dst = netip.PrefixFrom(addr, bits)
	case family == netlink.FAMILY_V4:
		out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default:
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	a := out.Dst.Addr()
	if r.Table == unix.RT_TABLE_LOCAL || a.IsMulticast() || a.IsLinkLocalUnicast() && r.Protocol == unix.RTPROT_KERNEL {
		return out, false
	}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
	}
	for _, h := range hops {
		via, _ := netip.AddrFromSlice(h.Gw)
		if r.Type == unix.RTN_UNICAST {
			out.Hops = append(out.Hops, Hop{via.Unmap(), dev[h.LinkIndex]})
		}
	}
	return out, true
}

func routeType(t int) string {
	switch t {
	case unix.RTN_UNICAST:
		return "unicast"
	case unix.RTN_BLACKHOLE:
		return "blackhole"
	case unix.RTN_UNREACHABLE:
		return "unreachable"
	case unix.RTN_PROHIBIT:
		return "prohibit"
	}
	return fmt.Sprint("type ", t)
}
