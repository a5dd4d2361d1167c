package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	"caracal.dev/caracal/cni"
	"caracal.dev/caracal/endpoint"
	"caracal.dev/caracal/internal/nstest"
)

// without has fn run on a thread of this one's that lacks a capability.
func without(t *testing.T, capability uint, fn func()) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&head, &had[0]); err != nil {
		t.Fatal(err)
	}
	less := had
	less[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&head, &less[0]); err != nil {
		t.Fatal(err)
	}
	fn()
	if err := unix.Capset(&head, &had[0]); err != nil {
		t.Fatal(err)
	}
}

// A daemon that may not enter containers checks and mends the host's end all the same.
func TestWiresOfTheHostAlone(t *testing.T) {
	node, pod := nstest.New(t), nstest.New(t)
	node.Sysctl("net/ipv4/ip_forward", "1")
	id := endpoint.ID{ContainerID: "c1", Interface: "eth0", Network: "net"}
	link := caracal.HostInterface("c1", "eth0")
	w := endpoint.Wiring{
		HostInterface: link, HostMAC: endpoint.HostMAC, MTU: 1400,
		Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.1")}, Gateways: []netip.Addr{endpoint.Gateway4},
	}
	spec, err := specOf(id, w)
	if err != nil {
		t.Fatal(err)
	}
	check := func(mend bool) (wrong []string) {
		t.Helper()
		var err error
		node.Do(func() {
			without(t, unix.CAP_SYS_ADMIN, func() { wrong, err = wires{}.Check(context.Background(), pod.Path(), id, w, mend) })
		})
		if err != nil {
			t.Fatal(err)
		}
		return wrong
	}
	if wrong := check(true); len(wrong) > 0 {
		t.Errorf("without a link: %v", wrong)
	}
	node.Do(func() { _, err = cni.Wire(context.Background(), pod.Path(), spec) })
	if err != nil {
		t.Fatal(err)
	}
	if wrong := check(false); len(wrong) > 0 {
		t.Errorf("of a link that is right: %v", wrong)
	}
	node.Run("ip", "link", "set", link, "down")
	node.Run("ip", "link", "set", link, "mtu", "1300")
	node.Sysctl("net/ipv4/conf/"+link+"/proxy_arp", "0")
	wrong := check(false)
	for _, part := range []string{"MTU", "up", "proxy_arp", "neighbor 10.65.0.1"} {
		if !slices.ContainsFunc(wrong, func(s string) bool { return strings.Contains(s, part) }) {
			t.Errorf("nothing about %s in %v", part, wrong)
		}
	}
	if wrong := check(true); len(wrong) > 0 {
		t.Errorf("not mended: %v", wrong)
	}
	if wrong := check(false); len(wrong) > 0 {
		t.Errorf("after it was mended: %v", wrong)
	}
	node.Run("ip", "link", "set", link, "address", "02:00:00:00:00:01")
	if wrong := check(true); len(wrong) != 1 || !strings.Contains(wrong[0], "not the veth that caracal made") {
		t.Errorf("of a link that is another: %v", wrong)
	}
}
