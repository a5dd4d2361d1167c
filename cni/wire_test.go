package cni

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

const testID = "0f1e2d3c4b5a"

var hostMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}

func testSpec(addrs ...string) Spec {
	s := Spec{
		ContainerID: testID, IfName: "eth0", HostInterface: caracal.HostInterface(testID, "eth0"),
		HostMAC: hostMAC, MAC: macOf(caracal.HostInterface(testID, "eth0")), MTU: 1450,
		Gateways: []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")},
	}
	for _, a := range addrs {
		s.Addrs = append(s.Addrs, netip.MustParseAddr(a))
	}
	return s
}

func dual() Spec { return testSpec("10.65.0.5", "fd00:65::5") }

// wireIn is Wire from inside a node's namespace.
func wireIn(t testing.TB, node *nstest.NS, pod string, s Spec) []Step {
	t.Helper()
	var done []Step
	var err error
	node.Do(func() { done, err = Wire(context.Background(), pod, s) })
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// ping has one packet answered, with little patience: nothing may have to be resolved or
// detected first. If to make the link took so long that Wire may have given up waiting
// for the kernel, see settle, some packets may be lost before that one.
func ping(t testing.TB, in *nstest.NS, addr string, took time.Duration) {
	t.Helper()
	for end := time.Now().Add(time.Minute); took >= settleTimeout && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := in.Try("ping", "-c1", "-W1", addr); err == nil {
			return
		}
	}
	in.Run("ping", "-c1", "-W1", addr)
}

func forwarding(n *nstest.NS) {
	n.Sysctl("net/ipv4/ip_forward", "1")
	n.Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// A container talks with the host at once, and the host with it; the second Wire
// writes nothing.
func TestWire(t *testing.T) {
	node, pod := nstest.New(t), nstest.New(t)
	node.Device("up0", "192.0.2.1/24", "2001:db8::1/64")
	s := dual()
	began := time.Now()
	wireIn(t, node, pod.Path(), s)
	took := time.Since(began)
	if again := wireIn(t, node, pod.Path(), s); len(again) != 0 {
		t.Errorf("the second Wire did %v", again)
	}
	node.Run("ip", "route", "add", "10.65.0.5", "dev", s.HostInterface)
	node.Run("ip", "route", "add", "fd00:65::5", "dev", s.HostInterface)
	for _, addr := range []string{"10.65.0.5", "fd00:65::5"} {
		ping(t, node, addr, took)
	}
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"} {
		ping(t, pod, addr, took)
	}
	for _, tc := range []struct {
		in   *nstest.NS
		cmd  string
		want string
	}{
		{pod, "ip link show eth0", "mtu 1450"},
		{pod, "ip link show eth0", s.MAC.String()},
		{node, "ip link show " + s.HostInterface, "mtu 1450"},
		{node, "ip link show " + s.HostInterface, "ee:ee:ee:ee:ee:ee"},
		{pod, "ip neigh show dev eth0", "169.254.1.1 lladdr ee:ee:ee:ee:ee:ee PERMANENT"},
		{pod, "ip -6 neigh show dev eth0", "fe80::ecee:eeff:feee:eeee lladdr ee:ee:ee:ee:ee:ee"},
		{node, "ip neigh show dev " + s.HostInterface, "10.65.0.5 lladdr " + s.MAC.String() + " PERMANENT"},
		{node, "ip -6 neigh show dev " + s.HostInterface, "fd00:65::5 lladdr " + s.MAC.String() + " PERMANENT"},
		{pod, "ip route show", "default via 169.254.1.1 dev eth0"},
		{pod, "ip route show", "169.254.1.1 dev eth0 scope link"},
		{pod, "ip -6 route show default", "via fe80::ecee:eeff:feee:eeee dev eth0"},
	} {
		if got := tc.in.Run("sh", "-c", tc.cmd); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want in it %q", tc.cmd, got, tc.want)
		}
	}
	var err error
	node.Do(func() {
		err = errors.Join(Unwire(context.Background(), testID, "eth0"), Unwire(context.Background(), testID, "eth0"))
	})
	if err != nil {
		t.Error(err)
	}
	if out, err := pod.Try("ip", "link", "show", "eth0"); err == nil {
		t.Errorf("after Unwire: %s", out)
	}
}

func BenchmarkWire(b *testing.B) {
	node := nstest.New(b)
	forwarding(node)
	s := dual()
	for b.Loop() {
		b.StopTimer()
		pod := nstest.New(b)
		b.StartTimer()
		wireIn(b, node, pod.Path(), s)
		b.StopTimer()
		node.Do(func() {
			if err := Unwire(context.Background(), testID, "eth0"); err != nil {
				b.Fatal(err)
			}
		})
		b.StartTimer()
	}
}
