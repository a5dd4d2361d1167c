package test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// containers is a lab of nodes with caracald on which runtimes start containers.
type containers struct {
	t     *testing.T
	l     *lab.Lab
	hosts map[string]*runtimes.Host
}

// The networks that containers are in: pods is what Debian's runtimes know, with
// the reference plugin portmap after ours; alone is ours, by CNI 1.1.
const (
	pods  = "pods"
	alone = "alone"
)

// serial numbers the containers of all stories.
var serial atomic.Int64

// withContainers builds a lab of nodes without pods, caracald on all of them, and
// waits for their sessions.
func withContainers(t *testing.T, nodes int, change ...func(*lab.Topology)) *containers {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{Nodes: nodes})
	for i := range top.Nodes {
		top.Nodes[i].Pods = nil
	}
	for _, c := range change {
		c(&top)
	}
	c := &containers{t, start(t, top), map[string]*runtimes.Host{}}
	if err := c.l.StartAll(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	if err := c.l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.l.Nodes() {
		h := must(runtimes.NewHost(c.l, n.Name, built.dir))(t)
		c.hosts[n.Name] = h
		if err := h.Configure(pods, runtimes.CNI10, h.Caracal(), runtimes.Portmap()); err != nil {
			t.Fatal(err)
		}
		if err := h.Configure(alone, runtimes.CNI11, h.Caracal()); err != nil {
			t.Fatal(err)
		}
		c.untilStatus(n.Name)
	}
	return c
}

// untilStatus waits until the plugin says that an ADD would work.
func (c *containers) untilStatus(node string) {
	c.t.Helper()
	eventually(c.t, 20*time.Second, func() string { return said(c.hosts[node].Status(c.t.Context(), alone)) })
}

// said is an error as what is still wrong.
func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// make makes a container that is not yet wired up.
func (c *containers) make(node, name string) *runtimes.Container {
	c.t.Helper()
	return must(c.hosts[node].New(alone, name, fmt.Sprintf("id-%s-%d", name, serial.Add(1))))(c.t)
}

// add makes a container and wires it up.
func (c *containers) add(node, name string) (*runtimes.Container, *lab.Pod) {
	c.t.Helper()
	ctr := c.make(node, name)
	if err := c.hosts[node].Add(c.t.Context(), ctr); err != nil {
		c.t.Fatal(err)
	}
	return ctr, c.adopt(node, name, ctr.NetNS, ctr.Addrs)
}

// ping pings from one pod to another until there is an answer, by each family.
func (c *containers) ping(from, to *lab.Pod) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), settleTime)
	defer cancel()
	for _, a := range to.Addrs {
		if err := from.WaitReach(ctx, a); err != nil {
			c.t.Fatal(err)
		}
	}
}

// adopt lets the lab ping and measure a container.
func (c *containers) adopt(node, name, netns string, addrs []netip.Addr) *lab.Pod {
	c.t.Helper()
	return must(c.l.Adopt(node, lab.PodSpec{Name: name, Addrs: addrs}, netns))(c.t)
}

// place is somewhere with a network of its own: a node or a pod.
type place interface{ Do(func() error) error }

// ownAddrs returns the addresses that a place itself sees on an interface,
// without link-local ones.
func ownAddrs(t *testing.T, at place, dev string) []netip.Addr {
	t.Helper()
	var out []netip.Addr
	err := at.Do(func() error {
		link, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		addrs, err := link.Addrs()
		for _, a := range addrs {
			p := netip.MustParsePrefix(a.String())
			if !p.Addr().IsLinkLocalUnicast() {
				out = append(out, p.Addr())
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// listener waits for TCP connections at a place.
type listener struct {
	net.Listener
	port uint16
}

func listen(t *testing.T, at place, addr netip.Addr, port uint16) listener {
	t.Helper()
	var l net.Listener
	err := at.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return listener{l, l.Addr().(*net.TCPAddr).AddrPort().Port()}
}

// dialled connects from a place to an address where l listens, and returns the
// two addresses of the connection as the far end sees them: the source, and what
// it was called by. It tries for a while: another node may learn of a route a
// moment after ADD has answered.
func dialled(t *testing.T, from place, to netip.AddrPort, l listener) (source, called netip.Addr) {
	t.Helper()
	eventually(t, 20*time.Second, func() string {
		err := from.Do(func() error {
			conn, err := net.DialTimeout("tcp", to.String(), time.Second)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		if err != nil {
			return fmt.Sprintf("no connection to %s: %v", to, err)
		}
		return ""
	})
	l.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	addr := func(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }
	return addr(conn.RemoteAddr()), addr(conn.LocalAddr())
}

// asText sorts and joins, for comparisons.
func asText[T fmt.Stringer](list []T) string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
