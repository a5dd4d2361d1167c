package felix_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/internal/nstest"
)

// TestKernelTakesRules writes what the Compiler makes of a history to the kernel, by
// Deltas, and looks that the kernel then holds the Ruleset.
func TestKernelTakesRules(t *testing.T) {
	for _, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			var f *felix.Filter
			var err error
			nstest.New(t).Do(func() { f, err = felix.Open(felix.FilterOptions{Backend: backend}) })
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			h := newHistory(3)
			crowd(h)
			c := felix.NewCompiler()
			c.Update(h.in)
			if _, err := f.Audit(ctx, c); err != nil {
				t.Fatal(err)
			}
			sizes := map[felix.SetType]int{}
			for range 12 {
				what := h.change()
				for range 8 {
					what += ", " + h.change()
				}
				d, _ := c.Update(h.in)
				for s := range c.Sets() {
					sizes[s.Type]++
				}
				if _, err := f.Apply(ctx, c, d); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				res, err := f.Audit(ctx, c)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if res.Chains+res.Hooks+res.Added+res.Removed > 0 {
					t.Fatalf("%s: an audit after the Delta wrote %+v", what, res)
				}
			}
			for _, kind := range []felix.SetType{felix.HashIP, felix.HashNet, felix.HashIPPort, felix.HashNetIface} {
				if sizes[kind] < 10 {
					t.Errorf("the history has %d sets of type %v: it tests little", sizes[kind], kind)
				}
			}
		})
	}
}

// crowd adds pods enough for trees, and a policy with all that a rule may have.
func crowd(h *history) {
	s := *h.in.Snapshot
	for i := range 40 {
		w := caracal.Workload{Namespace: "a", Name: fmt.Sprint("crowd", i), Node: "a", Interface: fmt.Sprintf("car%011x", i*7919)}
		if i%2 == 0 {
			w.Interface = fmt.Sprintf("tap%d.%d", i, i)
		}
		w.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), netip.AddrFrom16([16]byte{0xfd, 14: 1, 15: byte(i)})}
		w.Labels = map[string]string{"crowd": "yes"}
		w.Ports = []caracal.Port{{Name: "sigtran", Protocol: "SCTP", Port: 2905}}
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	s.Namespaces = s.Namespaces.Put("a", caracal.Namespace{Name: "a"})
	everybody := caracal.PolicyPeer{Namespaces: &caracal.LabelSelector{}}
	rule := caracal.PolicyRule{
		Peers: []caracal.PolicyPeer{
			everybody,
			{Net: netip.MustParsePrefix("0.0.0.0/0"), Except: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
			{Net: netip.MustParsePrefix("::/0"), Except: []netip.Prefix{netip.MustParsePrefix("fd00::/8")}},
		},
		Ports: []caracal.PolicyPort{{Protocol: "SCTP", Name: "sigtran"}, {Protocol: "UDP"}, {Protocol: "SCTP", Port: 1000, EndPort: 2000}},
	}
	for i := range uint16(20) {
		rule.Ports = append(rule.Ports, caracal.PolicyPort{Protocol: "TCP", Port: 1000 + 10*i, EndPort: 1000 + 10*i + i%3})
	}
	p := caracal.Policy{
		Namespace: "a", Name: "all", Ingress: true, Egress: true,
		IngressRules: []caracal.PolicyRule{rule}, EgressRules: []caracal.PolicyRule{rule},
	}
	s.Policies = s.Policies.Put(p.Key(), p)
	s.Pools = s.Pools.Put("p", caracal.Pool{Name: "p", CIDR: netip.MustParsePrefix("0.0.0.0/0"), NATOutgoing: true})
	h.in.Snapshot = &s
	h.in.Unnumbered = []string{"eth0"}
	h.in.Neighbors = []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("fe80::9%eth1")}
}
