package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"caracal.dev/caracal"
)

// wire is a node with two pods that exist, and as many others as its rules know.
type wire struct {
	name       string
	node, a, b netns
	from, to   netip.Addr
}

// newWire makes the namespaces of the first two local workloads of a list.
func newWire(name string, a, b caracal.Workload) (w *wire, err error) {
	w = &wire{name: name, from: a.Addrs[0], to: b.Addrs[0]}
	defer func() {
		if err != nil {
			w.close()
			err = fmt.Errorf("wire %s: %w", name, err)
		}
	}()
	for _, n := range []struct {
		to   *netns
		name string
	}{{&w.node, "n"}, {&w.a, "a"}, {&w.b, "b"}} {
		if *n.to, err = newNetns(name + n.name); err != nil {
			return nil, err
		}
	}
	if err := w.node.sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	return w, errors.Join(w.connect(w.a, a, 1), w.connect(w.b, b, 2))
}

// connect joins a pod to the node: a point-to-point link, as caracal-cni makes it,
// with the neighbors written down, so that nothing but the measured packets passes.
func (w *wire) connect(pod netns, p caracal.Workload, number int) error {
	host, inside := fmt.Sprintf("02:00:00:00:01:%02x", number), fmt.Sprintf("02:00:00:00:02:%02x", number)
	const gateway = "169.254.1.1"
	var n, in strings.Builder
	fmt.Fprintf(&n, "link add %s address %s type veth peer name eth0 address %s netns %s\n", p.Interface, host, inside, pod)
	fmt.Fprintf(&n, "link set %s up\nroute add %s/32 dev %s\n", p.Interface, p.Addrs[0], p.Interface)
	fmt.Fprintf(&n, "neigh add %s lladdr %s dev %s nud permanent\n", p.Addrs[0], inside, p.Interface)
	fmt.Fprintf(&in, "link set eth0 up\naddr add %s/32 dev eth0\n", p.Addrs[0])
	fmt.Fprintf(&in, "neigh add %s lladdr %s dev eth0 nud permanent\n", gateway, host)
	fmt.Fprintf(&in, "route add default via %s dev eth0 onlink\n", gateway)
	if err := w.node.ip(n.String()); err != nil {
		return err
	}
	return pod.ip(in.String())
}

func (w *wire) close() {
	for _, n := range []netns{w.a, w.b, w.node} {
		n.remove()
	}
}
