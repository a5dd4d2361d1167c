package test

import (
	"context"
	"net/netip"
	"testing"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestNetworkModel holds podman's containers on two nodes against the three
// requirements of the Kubernetes network model, for IPv4 and IPv6.
func TestNetworkModel(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	world := map[string]*lab.Pod{}
	for _, p := range []struct{ node, name string }{{"a", "a1"}, {"a", "a2"}, {"b", "b1"}} {
		world[p.name] = c.podman(p.node, p.name)
	}
	t.Run("every pod reaches every other pod on any node without NAT", func(t *testing.T) {
		for from, p := range world {
			for to, q := range world {
				if from != to {
					reaches(t, p, p.Addrs, q, q.Addrs)
				}
			}
		}
	})
	t.Run("nodes reach all pods and pods reach nodes without NAT", func(t *testing.T) {
		for _, p := range world {
			for _, n := range c.l.Nodes() {
				own := []netip.Addr{n.Addr(lab.IPv4), n.Addr(lab.IPv6)}
				reaches(t, n, own, p, p.Addrs)
				reaches(t, p, p.Addrs, n, own)
			}
		}
	})
	t.Run("the address that a pod sees itself as is the one that others see it as", func(t *testing.T) {
		for name, p := range world {
			if got, want := asText(ownAddrs(t, p, runtimes.Interface)), asText(p.Addrs); got != want {
				t.Errorf("%s has %s, the runtime was told %s", name, got, want)
			}
		}
	})
}

// podman starts a container by podman and waits until packets flow.
func (c *containers) podman(node, name string, flags ...string) *lab.Pod {
	c.t.Helper()
	p := must(runtimes.NewPodman(c.hosts[node]))(c.t)
	c.t.Cleanup(func() {
		if err := p.RemoveAll(context.Background()); err != nil {
			c.t.Error(err)
		}
	})
	_, netns, err := p.Run(c.t.Context(), pods, name, flags...)
	if err != nil {
		c.t.Fatal(err)
	}
	pod := c.adopt(node, name, netns, nil)
	pod.Addrs = ownAddrs(c.t, pod, runtimes.Interface)
	return pod
}

// reaches fails the test unless each address of one place connects to that of
// the same family of the other, and both ends see the other's own address.
func reaches(t *testing.T, from place, own []netip.Addr, to place, dst []netip.Addr) {
	t.Helper()
	for _, src := range own {
		for _, d := range dst {
			if src.Is6() != d.Is6() {
				continue
			}
			l := listen(t, to, d, 0)
			source, called := dialled(t, from, netip.AddrPortFrom(d, l.port), l)
			if source != src || called != d {
				t.Errorf("%s to %s arrives as %s to %s", src, d, source, called)
			}
		}
	}
}

// TestHostPort: podman publishes a port of the node through portmap, chained after
// our plugin, and other nodes and the node itself reach the container by it.
func TestHostPort(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	web := c.podman("a", "web", "--publish", "8080:80")
	a, b := c.l.Node("a"), c.l.Node("b")
	addr := web.Addr(lab.IPv4)
	l := listen(t, web, addr, 80)
	source, called := dialled(t, b, netip.AddrPortFrom(a.Addr(lab.IPv4), 8080), l)
	if source != b.Addr(lab.IPv4) || called != addr {
		t.Errorf("from b it arrives as %s to %s", source, called)
	}
	if _, called = dialled(t, a, netip.AddrPortFrom(a.Addr(lab.IPv4), 8080), l); called != addr {
		t.Errorf("from a it arrives at %s", called)
	}
}
