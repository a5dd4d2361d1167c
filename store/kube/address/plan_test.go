package address

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func on(link, prefix string) On { return On{Link: link, Prefix: pfx(prefix), Lasting: true} }

func TestParseMethod(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "kubernetes-internal-ip",
		"kubernetes-internal-ip":             "kubernetes-internal-ip",
		"interface=eth*,bond0":               "interface=eth*,bond0",
		"cidr=192.0.2.7/24, 2001:db8::/32":   "cidr=192.0.2.0/24,2001:db8::/32",
		"can-reach=198.51.100.1,2001:db8::1": "can-reach=198.51.100.1,2001:db8::1",
	} {
		m, err := ParseMethod(in)
		if err != nil || m.String() != want {
			t.Errorf("%q: %s, %v; want %s", in, m, err, want)
		}
	}
	for in, want := range map[string]string{
		"first-found":              "it is kubernetes-internal-ip",
		"kubernetes-internal-ip=x": "takes no value",
		"interface=":               "wants a value",
		"interface=eth[":           "syntax error",
		"cidr=192.0.2.1":           "not a CIDR",
		"can-reach=a.example":      "not an address",
		"can-reach=192.0.2.1,":     "wants a value",
	} {
		if _, err := ParseMethod(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %s", in, err, want)
		}
	}
}

// everywhere is a host with everything on it.
func everywhere() []On {
	old := on("eth0", "2001:db8::bad/64")
	old.Lasting = false
	return []On{
		on("lo", "127.0.0.1/8"), on("lo", "::1/128"), on("lo", "198.51.100.9/32"),
		on("caraabc", "fe80::1/64"), on("tunl0", "10.244.1.1/32"), on("kube-ipvs0", "192.0.2.77/32"), on("docker0", "172.17.0.1/16"),
		on("cni0", "10.1.0.1/24"), on("br-0123456789ab", "172.18.0.1/16"),
		on("eth0", "192.0.2.1/24"), on("eth0", "192.0.2.5/24"), on("eth0", "fe80::2/64"), old, on("eth0", "2001:db8::1/64"),
		on("eth1", "203.0.113.1/28"), on("br-ex", "203.0.113.17/28"),
	}
}

func TestChoose(t *testing.T) {
	ips := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			a, _ := netip.ParseAddr(s)
			out = append(out, a)
		}
		return out
	}
	for _, c := range []struct {
		method            string
		internal, sources []netip.Addr
		want, err         string
	}{
		{method: "", internal: ips("192.0.2.5", "2001:db8::bad"), want: "192.0.2.5/24 2001:db8::bad/64"},
		{method: "", internal: ips("203.0.113.17"), want: "203.0.113.17/28"},
		{method: "", internal: ips("198.51.100.9"), want: "198.51.100.9/32"}, // of a host that is routed to
		{method: "", internal: ips("192.0.2.77"), err: "the Node's InternalIPs are [192.0.2.77]"},
		{method: "", internal: ips("10.244.1.1", "172.17.0.1", "127.0.0.1"), err: "192.0.2.1/24 on eth0"},
		{method: "", err: "InternalIPs are []"},
		{method: "interface=eth1", want: "203.0.113.1/28"},
		{method: "interface=nope,eth*", want: "192.0.2.1/24 2001:db8::1/64"},
		{method: "interface=*", want: "192.0.2.1/24 2001:db8::1/64"},
		{method: "interface=lo", want: "198.51.100.9/32"},
		{method: "interface=docker*,car*,tunl0", err: "--address-from"},
		{method: "cidr=203.0.113.16/28,192.0.2.0/24,2001:db8::/32", want: "203.0.113.17/28 2001:db8::1/64"},
		{method: "cidr=0.0.0.0/0", want: "198.51.100.9/32"},
		{method: "cidr=10.0.0.0/8,172.16.0.0/12", err: "no address of this host fits"},
		{method: "can-reach=8.8.8.8,2001:db8:1::1", sources: ips("", "2001:db8::1"), want: "2001:db8::1/64"},
		{method: "can-reach=8.8.8.8", sources: ips("203.0.113.1"), want: "203.0.113.1/28"},
		{method: "can-reach=10.244.1.1", sources: ips("10.244.1.1"), err: "no address of this host fits"},
	} {
		m, err := ParseMethod(c.method)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Choose(m, Facts{InternalIPs: c.internal, Addrs: everywhere(), Sources: c.sources})
		switch {
		case c.err != "":
			if !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v; want an error with %q", m, got, err, c.err)
			}
		case err != nil || got.String() != c.want:
			t.Errorf("%s: %v, %v; want %s", m, got, err, c.want)
		}
	}
}

func TestMisfit(t *testing.T) {
	kept := Choice{IPv4: pfx("192.0.2.1/24"), IPv6: pfx("2001:db8::1/64")}
	m, _ := ParseMethod("")
	for _, c := range []struct {
		facts Facts
		want  string
	}{
		{Facts{Addrs: everywhere()}, ""},
		{Facts{Addrs: everywhere(), InternalIPs: []netip.Addr{pfx("192.0.2.1/24").Addr(), pfx("2001:db8::1/64").Addr()}}, ""},
		{Facts{Addrs: everywhere(), InternalIPs: []netip.Addr{pfx("192.0.2.1/24").Addr()}}, "2001:db8::1 is no longer among the Node's InternalIPs"},
		{Facts{Addrs: []On{on("eth0", "192.0.2.1/25"), on("eth0", "2001:db8::1/64")}}, "on eth0 with a prefix length of 25"},
		{Facts{}, "192.0.2.1 is on none of its interfaces; the node's address 2001:db8::1 is on none"},
	} {
		if got := Misfit(m, kept, c.facts); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q; want %q", c.facts, got, c.want)
		}
	}
}
