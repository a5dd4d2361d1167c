package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"caracal.dev/caracal/internal/nstest"
)

// An endpoint is somewhere that connections begin and end.
type endpoint struct {
	name  string
	addrs []netip.Addr
	node  string // of a pod; empty for the others
	at    *place
}

// addr returns its address of a family; invalid if it has none.
func (e *endpoint) addr(v6 bool) netip.Addr {
	for _, a := range e.addrs {
		if a.Is6() == v6 {
			return a
		}
	}
	return netip.Addr{}
}

// outside are two hosts that are neither nodes nor pods.
func outside() []*endpoint {
	return []*endpoint{
		{name: "o1", addrs: addrs("198.51.100.10", "2001:db8:1::10")},
		{name: "o2", addrs: addrs("203.0.113.77", "2001:db8:2::77")},
	}
}

// endpoints are all places of a cluster that connections are tried between.
func (c *cluster) endpoints() (out []*endpoint) {
	for _, p := range c.pods {
		if !p.hostNetwork && !p.completed {
			out = append(out, &endpoint{name: p.key(), addrs: p.addrs, node: p.node})
		}
	}
	for _, n := range c.nodes {
		out = append(out, &endpoint{name: n.name, addrs: n.addrs})
	}
	return append(out, outside()...)
}

// A world is the cluster as namespaces: each pod behind a veth on its node, the
// nodes joined by a router, which has the addresses of the hosts outside too.
type world struct {
	router    *place
	nodes     map[string]*place
	endpoints []*endpoint
	servers   map[port]bool
	sockets
}

const hostMAC = "ee:ee:ee:ee:ee:ee"

// build makes the namespaces of a cluster.
func build(t testing.TB, c *cluster) *world {
	t.Helper()
	w := &world{router: newRouter(t), nodes: map[string]*place{}, endpoints: c.endpoints(), servers: map[port]bool{}}
	for i, n := range c.nodes {
		p := newRouter(t)
		w.nodes[n.name] = p
		link := fmt.Sprintf("to-%s", n.name)
		nstest.Veth(t, w.router.NS, link, p.NS, "eth0")
		w.router.Addr(link, fmt.Sprintf("192.168.%d.254/24", i+1), fmt.Sprintf("fd01:%d::fe/64", i+1))
		p.Addr("eth0", n.addrs[0].String()+"/24", n.addrs[1].String()+"/64")
		p.Run("ip", "route", "add", "default", "via", fmt.Sprintf("192.168.%d.254", i+1))
		p.Run("ip", "-6", "route", "add", "default", "via", fmt.Sprintf("fd01:%d::fe", i+1))
	}
	for _, e := range w.endpoints {
		switch {
		case e.node != "":
			e.at = newPlace(t)
			w.wire(t, e, c.pod(e.name).hostInterface())
		case w.nodes[e.name] != nil:
			e.at = w.nodes[e.name]
		default:
			e.at = w.router
			for _, a := range e.addrs {
				w.router.Addr("lo", netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
	}
	if err := onAll(w.endpoints, (*endpoint).place, w.openRaw); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sockets.close)
	return w
}

func (e *endpoint) place() *place { return e.at }

// newRouter makes a place that forwards, and where no address waits for
// duplicates of it.
func newRouter(t testing.TB) *place {
	t.Helper()
	p := newPlace(t)
	for _, key := range []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding",
		"net/ipv4/conf/all/arp_ignore",
	} {
		p.Sysctl(key, "1")
	}
	for _, key := range []string{"net/ipv6/conf/default/accept_dad", "net/ipv6/conf/all/accept_dad", "net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"} {
		p.Sysctl(key, "0")
	}
	return p
}

// wire gives a pod its link as caracal-cni does: single addresses, the node's end
// as gateway, routes on the node and beyond.
func (w *world) wire(t testing.TB, e *endpoint, dev string) {
	t.Helper()
	node, pod := w.nodes[e.node], e.at
	pod.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	node.Run("ip", "link", "add", "dev", dev, "address", hostMAC, "type", "veth", "peer", "name", "eth0", "netns", pod.Name())
	node.Sysctl("net/ipv4/conf/"+dev+"/proxy_arp", "1")
	node.Run("ip", "link", "set", dev, "up")
	pod.Run("ip", "link", "set", "eth0", "up")
	for _, a := range e.addrs {
		host := netip.PrefixFrom(a, a.BitLen()).String()
		pod.Addr("eth0", host)
		node.Run("ip", "route", "add", host, "dev", dev)
		if a.Is4() {
			pod.Run("ip", "route", "add", "169.254.1.1", "dev", "eth0")
			pod.Run("ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
			pod.Run("ip", "neigh", "replace", "169.254.1.1", "lladdr", hostMAC, "dev", "eth0", "nud", "permanent")
			w.router.Run("ip", "route", "add", host, "via", w.nodeAddr(e.node, false))
		} else {
			pod.Run("ip", "-6", "route", "add", "default", "via", "fe80::ecee:eeff:feee:eeee", "dev", "eth0")
			w.router.Run("ip", "-6", "route", "add", host, "via", w.nodeAddr(e.node, true))
		}
	}
}

func (w *world) nodeAddr(name string, v6 bool) string {
	for _, e := range w.endpoints {
		if e.name == name {
			return e.addr(v6).String()
		}
	}
	panic("there is no node " + name)
}

// forgetConnections empties the nodes' tables of connections, so that no probe
// passes as a packet of an earlier one.
func (w *world) forgetConnections() error {
	for _, n := range w.nodes {
		if err := n.on(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }); err != nil {
			return fmt.Errorf("flush connections: %w", err)
		}
	}
	return nil
}
