package test

import (
	"context"
	"net/netip"
	"testing"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// TestNetworkModel holds podman's containers and a Pod of containerd, on two
// nodes, against the three requirements of the Kubernetes network model, for IPv4
// and IPv6.
func TestNetworkModel(t *testing.T) {
	t.Parallel()
	c := withContainers(t, 2)
	world := map[string]*lab.Pod{}
	for _, p := range []struct{ node, name string }{{"a", "a1"}, {"a", "a2"}, {"b", "b1"}} {
		world[p.name] = c.podman(p.node, pods, p.name)
	}
	kubelet := c.containerd("b")
	pod := must(kubelet.RunPod(t.Context(), "shop", "b2", [2]int32{8080, 80}))(t)
	world["b2"] = c.adopt("b", "b2", pod.NetNS, pod.Addrs)
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
	t.Run("a hostPort leads to its pod", func(t *testing.T) {
		hostPort(t, c.l.Node("a"), c.l.Node("b"), world["b2"])
	})
	if err := kubelet.RemovePod(t.Context(), pod.ID); err != nil {
		t.Error(err)
	}
	if wrong := c.hasOnly("b", 1); wrong != "" {
		t.Error(wrong)
	}
}

// containerd starts containerd on a node.
func (c *containers) containerd(node string) *runtimes.Containerd {
	c.t.Helper()
	d := must(runtimes.StartContainerd(c.t.Context(), c.hosts[node], pods))(c.t)
	c.t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			c.t.Error(err)
		}
	})
	return d
}

// podman starts a container by podman, in a network.
func (c *containers) podman(node, network, name string, flags ...string) *lab.Pod {
	c.t.Helper()
	p := must(runtimes.NewPodman(c.hosts[node]))(c.t)
	c.t.Cleanup(func() {
		if err := p.RemoveAll(context.Background()); err != nil {
			c.t.Error(err)
		}
	})
	_, netns, err := p.Run(c.t.Context(), network, name, flags...)
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
	web := c.podman("a", pods, "web", "--publish", "8080:80")
	hostPort(t, c.l.Node("b"), c.l.Node("a"), web)
}

// hostPort connects from a node, and from the host itself, to port 8080 of the
// host, which leads to port 80 of a pod.
func hostPort(t *testing.T, from, host *lab.Node, pod *lab.Pod) {
	t.Helper()
	addr := pod.Addr(lab.IPv4)
	l := listen(t, pod, addr, 80)
	source, called := dialled(t, from, netip.AddrPortFrom(host.Addr(lab.IPv4), 8080), l)
	if source != from.Addr(lab.IPv4) || called != addr {
		t.Errorf("from another node it arrives as %s to %s", source, called)
	}
	if _, called = dialled(t, host, netip.AddrPortFrom(host.Addr(lab.IPv4), 8080), l); called != addr {
		t.Errorf("from the host it arrives at %s", called)
	}
}
