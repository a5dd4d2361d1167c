package ipip

import (
	"net/netip"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

// A path a - r - b whose second half takes smaller packets than the first.
func TestProbePath(t *testing.T) {
	a, r, b := nstest.New(t), nstest.New(t), nstest.New(t)
	for _, half := range []struct {
		ns         *nstest.NS
		dev        string
		near, far  string
		back       string
		mtu, outer string
	}{
		{a, "ra", "192.0.2.1/24", "192.0.2.2/24", "198.51.100.0/24", "1500", "1500"},
		{b, "rb", "198.51.100.1/24", "198.51.100.2/24", "192.0.2.0/24", "1400", "1400"},
	} {
		half.ns.Run("ip", "link", "add", "eth0", "mtu", half.mtu, "type", "veth", "peer", "name", half.dev, "mtu", half.outer, "netns", r.Name())
		half.ns.Run("ip", "addr", "add", half.near, "dev", "eth0")
		half.ns.Run("ip", "link", "set", "eth0", "up")
		r.Run("ip", "addr", "add", half.far, "dev", half.dev)
		r.Run("ip", "link", "set", half.dev, "up")
		half.ns.Run("ip", "route", "add", half.back, "via", strings.TrimSuffix(half.far, "/24"))
	}
	r.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
	from, to := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	probe := func(to netip.Addr) (p Path, err error) {
		a.Do(func() { p, err = ProbePath(t.Context(), from, to, 1500) })
		return p, err
	}
	near := netip.MustParseAddr("192.0.2.2")
	if p, err := probe(near); err != nil || p.MTU != 1500 || p.Limit.IsValid() || p.RTT <= 0 {
		t.Errorf("to the router: %+v, %v", p, err)
	}
	if p, err := probe(to); err != nil || p.MTU != 1400 || p.Limit != near {
		t.Errorf("through the router: %+v, %v", p, err)
	}
	r.Run("iptables", "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP")
	if p, err := probe(to); err != nil || p.MTU != 1400 || p.Limit.IsValid() {
		t.Errorf("through a router that says nothing: %+v, %v", p, err)
	}
	if _, err := probe(netip.MustParseAddr("198.51.100.9")); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("to nobody: %v", err)
	}
}
