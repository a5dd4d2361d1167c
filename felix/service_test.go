package felix_test

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

func serviceRanges(cidrs ...string) (r caracal.ServiceRanges) {
	for i, c := range cidrs {
		list := []*[]netip.Prefix{&r.ClusterIPs, &r.ExternalIPs, &r.LoadBalancerIPs}[i%3]
		*list = append(*list, netip.MustParsePrefix(c))
	}
	return r
}

// TestUnservedAddresses: what comes from outside to an address that no Service has
// goes no further, and nothing else is touched.
func TestUnservedAddresses(t *testing.T) {
	s := caracal.NewSnapshot("a")
	s.Nodes = s.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), IPv6: netip.MustParsePrefix("2001:db8::1/64"), Port: 179})
	c := felix.NewCompiler()
	c.Update(felix.Input{Snapshot: s})
	m := modelOf(t, c)
	judge := func(step, dst, want string) {
		t.Helper()
		p := packet{src: netip.MustParseAddr("198.51.100.9"), dst: netip.MustParseAddr(dst), in: "eth0", out: "eth0", proto: 6, port: 80, state: "NEW"}
		if p.dst.Is6() {
			p.family, p.src = felix.IPv6, netip.MustParseAddr("2001:db8:9::9")
		}
		if got := m.forward(t, p); got != want {
			t.Errorf("%s: to %s: %q, want %q", step, dst, got, want)
		}
	}
	judge("no ranges", "10.96.0.7", none)
	for _, step := range []struct {
		name   string
		ranges caracal.ServiceRanges
		want   map[string]string
	}{
		{"ranges", serviceRanges("10.96.0.0/16", "203.0.113.0/24", "2001:db8:96::/112"), map[string]string{
			"10.96.0.7": drop, "203.0.113.255": drop, "2001:db8:96::7": drop, "10.97.0.7": none, "192.0.2.9": none, "2001:db8:97::7": none}},
		{"one is gone", serviceRanges("10.96.0.0/16"), map[string]string{"10.96.0.7": drop, "203.0.113.255": none, "2001:db8:96::7": none}},
		{"none", caracal.ServiceRanges{}, map[string]string{"10.96.0.7": none}},
	} {
		next := *s
		next.BGP.Services = step.ranges
		d, problems := c.Update(felix.Input{Snapshot: &next})
		if len(problems) > 0 {
			t.Errorf("%s: %v", step.name, problems)
		}
		m.apply(t, d, func(string) {})
		for dst, want := range step.want {
			judge(step.name, dst, want)
		}
		s = &next
	}
}
