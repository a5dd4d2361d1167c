package address

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

// What a real host has is chosen from by each method.
func TestKernel(t *testing.T) {
	ns := nstest.New(t)
	ns.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	ns.Device("eth0", "192.0.2.1/24", "2001:db8::1/64")
	ns.Device("eth1", "203.0.113.1/28")
	ns.Device("docker0", "172.17.0.1/16")
	ns.Device("down0", "198.51.100.1/24")
	ns.Run("ip", "link", "set", "down0", "down")
	ns.Run("ip", "addr", "add", "2001:db8::dead/64", "dev", "eth1", "preferred_lft", "0")
	ns.Run("ip", "route", "add", "10.0.0.0/8", "dev", "eth1")
	for method, want := range map[string]string{
		"":                              "192.0.2.1/24 2001:db8::1/64",
		"interface=eth1,docker0":        "203.0.113.1/28",
		"interface=down0":               "",
		"cidr=203.0.113.0/24":           "203.0.113.1/28",
		"can-reach=10.1.2.3":            "203.0.113.1/28",
		"can-reach=10.1.2.3,2001:db8::": "203.0.113.1/28 2001:db8::1/64",
		"can-reach=11.1.2.3":            "",
	} {
		m, err := ParseMethod(method)
		if err != nil {
			t.Fatal(err)
		}
		f := Facts{InternalIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("198.51.100.1")}}
		ns.Do(func() {
			f.Addrs, err = Kernel{}.Addrs()
			for _, a := range m.Reach {
				f.Sources = append(f.Sources, Kernel{}.Source(a))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Choose(m, f)
		if got.String() != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v; want %q", m, got, err, want)
		}
	}
}
