package felix_test

import (
	"net/netip"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// guarded is a kernel with two pods of one namespace, whose egress is isolated and
// goes everywhere, in pools with natOutgoing.
func guarded(t *testing.T) *model {
	t.Helper()
	s := caracal.NewSnapshot("a")
	s.Nodes = s.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), IPv6: netip.MustParsePrefix("2001:db8::1/64"), Port: 1790})
	for name, addrs := range map[string][]string{"one": {"10.0.0.1", "fd00::1"}, "two": {"10.0.0.2", "fd00::2"}} {
		w := caracal.Workload{Namespace: "x", Name: name, Node: "a", Interface: "car" + name}
		for _, a := range addrs {
			w.Addrs = append(w.Addrs, netip.MustParseAddr(a))
		}
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	s.Namespaces = s.Namespaces.Put("x", caracal.Namespace{Name: "x"})
	open := caracal.Policy{Namespace: "x", Name: "open", Egress: true, EgressRules: []caracal.PolicyRule{{}}}
	s.Policies = s.Policies.Put(open.Key(), open)
	for _, cidr := range []string{"10.0.0.0/16", "fd00::/64"} {
		s.Pools = s.Pools.Put(cidr, caracal.Pool{Name: cidr, CIDR: netip.MustParsePrefix(cidr), NATOutgoing: true})
	}
	c := felix.NewCompiler()
	c.Update(felix.Input{Snapshot: s})
	m := modelOf(t, c)
	for key, r := range c.Hooks() {
		m.hooks[key] = r
	}
	return m
}

// TestNeighborDiscoveryIsOfTheLink: what passes without a look at its source has one
// that no router forwards (RFC 4861 section 7.1: the unspecified address, or one of
// the link), so nobody reaches another pod with an address that is not his.
func TestNeighborDiscoveryIsOfTheLink(t *testing.T) {
	m := guarded(t)
	for _, c := range []struct {
		src, out string
		icmp     int
		want     string
	}{
		{"fe80::1", "", 135, none},
		{"::", "", 135, none},
		{"::", "", 143, none},
		{"fe80::1", "", 136, none},
		{"fe80::1", "", 133, none},
		{"fd00::1", "", 135, none},
		{"fe80::1", "", 134, drop}, // a router
		{"fe80::1", "", 128, drop},
		{"fd00::9", "", 135, drop},
		{"2001:db8::77", "", 136, drop},
		{"2001:db8::77", "", 143, drop},
		{"ff02::1", "", 135, drop},
	} {
		p := packet{family: felix.IPv6, in: "carone", src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr("fd00::2"), proto: 58, icmp: c.icmp, state: "UNTRACKED"}
		if got := m.hook(t, felix.RawTable, "PREROUTING", p); got != c.want {
			t.Errorf("type %d from %s: %q, want %q", c.icmp, c.src, got, c.want)
		}
	}
}

// TestNATHidesNobody: what a node trusts for its source, IPIP and BGP, never gets the
// address of a node by natOutgoing, wherever it goes: nodes have more addresses than
// the configuration tells.
func TestNATHidesNobody(t *testing.T) {
	m := guarded(t)
	for _, c := range []struct {
		src, dst string
		proto    int
		port     uint16
		want     string
	}{
		{"10.0.0.1", "203.0.113.5", 6, 80, "MASQUERADE"},
		{"10.0.0.1", "203.0.113.5", 17, 179, "MASQUERADE"},
		{"10.0.0.1", "203.0.113.5", 4, 0, none},
		{"10.0.0.1", "203.0.113.5", 6, 179, none},
		{"10.0.0.1", "203.0.113.5", 6, 1790, none},
		{"fd00::1", "2001:db8:5::5", 6, 443, "MASQUERADE"},
		{"fd00::1", "2001:db8:5::5", 6, 179, none},
		{"10.0.0.1", "10.0.0.2", 6, 80, none},
		{"10.0.0.1", "192.0.2.1", 6, 80, none},
	} {
		p := packet{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), in: "carone", out: "eth0", proto: c.proto, port: c.port, state: "NEW"}
		if p.src.Is6() {
			p.family = felix.IPv6
		}
		if got := m.hook(t, felix.NATTable, "POSTROUTING", p); got != c.want {
			t.Errorf("%s to %s, protocol %d port %d: %q, want %q", c.src, c.dst, c.proto, c.port, got, c.want)
		}
	}
}
