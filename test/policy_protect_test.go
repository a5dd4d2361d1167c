package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/lab"
)

// TestPolicyNAT: what leaves the pools for outside comes from the node; between
// pods, and from pods to nodes, nothing is translated.
func TestPolicyNAT(t *testing.T) {
	t.Parallel()
	top := policed("")
	for i := range top.Pools {
		top.Pools[i].NATOutgoing = true
	}
	outside := []netip.Prefix{netip.MustParsePrefix("192.168.77.240/24"), netip.MustParsePrefix("fd00:77::f0/64")}
	top.Nodes = append(top.Nodes, lab.NodeSpec{Name: "out", Router: true, Links: []lab.Link{{Name: "eth0", Switch: top.Switches[0], Addrs: outside}}})
	l := start(t, top)
	for _, n := range l.Nodes() {
		must(n.StartCaracald())(t)
	}
	settle(t, l, "a1", "a2", "b1")
	nodes := map[bool]netip.Addr{}
	for _, f := range lab.Families() {
		nodes[f == lab.IPv6] = l.Node("a").Addr(f)
	}
	for i, p := range outside {
		v6 := i == 1
		f := lab.Families()[i]
		srv := listen(t, l.Node("out"), p.Addr(), 0)
		if src, _ := dialled(t, l.Pod("a2"), netip.AddrPortFrom(p.Addr(), srv.port), srv); src != nodes[v6] {
			t.Errorf("a pod's connection to outside comes from %s, not from its node, %s", src, nodes[v6])
		}
		pod := l.Pod("a2").Addr(f)
		for name, to := range map[string]struct {
			at   place
			addr netip.Addr
		}{
			"a pod of its node":     {l.Pod("a3"), l.Pod("a3").Addr(f)},
			"a pod of another node": {l.Pod("b3"), l.Pod("b3").Addr(f)},
			"its own node":          {l.Node("a"), l.Node("a").Addr(f)},
			"another node":          {l.Node("b"), l.Node("b").Addr(f)},
		} {
			srv := listen(t, to.at, to.addr, 0)
			if src, _ := dialled(t, l.Pod("a2"), netip.AddrPortFrom(to.addr, srv.port), srv); src != pod {
				t.Errorf("a pod's connection to %s comes from %s, not from the pod, %s", name, src, pod)
			}
		}
	}
}

// TestPolicyProtection: pods reach no node's BGP port and send no IPIP to one, nor
// packets from addresses that are not theirs; strangers do not reach BGP either.
func TestPolicyProtection(t *testing.T) {
	t.Parallel()
	top := policed("")
	strangers := []netip.Prefix{netip.MustParsePrefix("192.168.77.240/24"), netip.MustParsePrefix("fd00:77::f0/64")}
	top.Nodes = append(top.Nodes, lab.NodeSpec{Name: "out", Router: true, Links: []lab.Link{{Name: "eth0", Switch: top.Switches[0], Addrs: strangers}}})
	l := start(t, top)
	for _, n := range l.Nodes() {
		must(n.StartCaracald())(t)
	}
	settle(t, l, "a1", "a2", "b1")
	g := &guarded{t, l}
	eventually(t, 20*time.Second, func() string { return g.policyError("a") + g.policyError("b") })
	for _, f := range lab.Families() {
		for _, from := range []struct {
			name string
			at   place
		}{{"pod a2", l.Pod("a2")}, {"a stranger", l.Node("out")}} {
			for _, n := range l.Nodes() {
				err := from.at.Do(func() error {
					c, err := net.DialTimeout("tcp", netip.AddrPortFrom(n.Addr(f), 179).String(), 300*time.Millisecond)
					if err == nil {
						c.Close()
					}
					return err
				})
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					t.Errorf("%s to BGP of node %s by %v: %v; it must not be answered", from.name, n.Name, f, err)
				}
			}
		}
	}
	noIPIP(t, l)
	noFalseSources(t, l)
}

// noIPIP holds that a pod cannot send IPIP to a node that is not its own.
func noIPIP(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		addr := n.Addr(lab.IPv4).As4()
		got := rawCount(t, n, unix.IPPROTO_IPIP, func() {
			err := l.Pod("a2").Do(func() error { return sendRaw(unix.IPPROTO_IPIP, make([]byte, 20), addr) })
			if err != nil {
				t.Fatal(err)
			}
		})
		if n.Name != "a" && got > 0 {
			t.Errorf("%d packets of IPIP from a pod came to node %s", got, n.Name)
		}
	}
}

// noFalseSources holds that nothing comes from a pod with an address of another,
// not even to a pod that anybody may reach.
func noFalseSources(t *testing.T, l *lab.Lab) {
	t.Helper()
	target := l.Pod("b3")
	s := must(lab.Sniff(target.NS, floodPort))(t)
	for _, f := range lab.Families() {
		spoofed := map[lab.Family]string{lab.IPv4: l.Pod("a3").Addr(f).String() + "/32", lab.IPv6: l.Pod("a3").Addr(f).String() + "/128"}[f]
		run(t, l.Node("a"), "ip", "netns", "exec", l.Pod("a2").NS, "ip", "addr", "add", spoofed, "dev", "eth0")
		for i := range 5 {
			err := l.Pod("a2").Do(func() error {
				c, err := net.DialUDP("udp", &net.UDPAddr{IP: l.Pod("a3").Addr(f).AsSlice()}, &net.UDPAddr{IP: target.Addr(f).AsSlice(), Port: floodPort})
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = fmt.Fprint(c, i)
				return err
			})
			if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				t.Fatal(err)
			}
		}
	}
	f := must(l.Pod("a3").StartFlood(t.Context(), []netip.AddrPort{netip.AddrPortFrom(target.Addr(lab.IPv4), floodPort)}, time.Second))(t)
	eventually(t, 10*time.Second, func() string {
		if s.Count() == 0 {
			return "a true source does not come through"
		}
		return ""
	})
	f.Stop()
	from, _ := s.From()
	s.Stop()
	if n := s.Count(); n > f.Sent() {
		t.Errorf("%d datagrams came, of which only %d had a true source: %v", n, f.Sent(), from)
	}
}

// sendRaw sends a packet of a protocol, over IPv4, from where the thread is.
func sendRaw(proto int, payload []byte, to [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, payload, 0, &unix.SockaddrInet4{Addr: to})
}

// rawCount counts the packets of a protocol that a place takes in while fn runs,
// and half a second after.
func rawCount(t *testing.T, at place, proto int, fn func()) (n int) {
	t.Helper()
	fd := -1
	err := at.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
	fn()
	for {
		if _, _, err := unix.Recvfrom(fd, make([]byte, 100), 0); err != nil {
			return n
		}
		n++
	}
}
