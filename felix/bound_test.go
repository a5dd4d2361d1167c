package felix_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// TestTooMuch compiles policies that somebody with no more than a namespace may make,
// of a size that the API takes, and that would come to millions of rules or ranges. The
// workloads that they select are isolated, and the policy of all others goes on.
func TestTooMuch(t *testing.T) {
	var ports, names []caracal.PolicyPort
	for i := range 7500 {
		ports = append(ports, caracal.PolicyPort{Protocol: "TCP", Port: uint16(2*i + 1)})
	}
	for i := range 30_000 {
		names = append(names, caracal.PolicyPort{Protocol: "TCP", Name: fmt.Sprint("p", i)})
	}
	var peers []caracal.PolicyPeer
	for i := range 10_000 {
		sel := app(fmt.Sprint("x", i))
		peers = append(peers, caracal.PolicyPeer{Pods: &sel})
	}
	all := caracal.PolicyPeer{Net: netip.MustParsePrefix("fd00::/8")}
	for i := range 20_000 {
		all.Except = append(all.Except, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(i), 9: byte(i >> 8), 15: 1}), 128))
	}
	for name, rule := range map[string]caracal.PolicyRule{
		"ports times":    {Ports: ports, Peers: peers[:2000]},
		"with selectors": {Peers: peers},
		"exceptions":     {Peers: []caracal.PolicyPeer{all}},
		"rules of the":   {Ports: names},
	} {
		t.Run(name, func(t *testing.T) {
			in := world()
			p := caracal.Policy{Namespace: "default", Name: "bomb", Pods: app("web"), Ingress: true, IngressRules: []caracal.PolicyRule{rule}}
			put(in.Snapshot, p)
			c := felix.NewCompiler()
			began := time.Now()
			delta, problems := c.Update(in)
			rules, members := 0, 0
			for _, x := range delta.Chains {
				rules += len(x.Rules)
			}
			for _, s := range delta.Sets {
				members += len(s.Add)
			}
			if took := time.Since(began); rules > 1000 || members > 1000 || took > 5*time.Second {
				t.Errorf("%d rules, %d members in %s", rules, members, took)
			}
			if len(problems) != 1 || problems[0].Name != p.Key() || problems[0].Severity != caracal.Rejected || !strings.Contains(problems[0].Message, name) {
				t.Errorf("%v", problems)
			}
			if got := modelOf(t, c).forward(t, parsePacket(t, "eth0>carweb 203.0.113.1>10.0.0.1 tcp/80")); got != drop {
				t.Errorf("a packet to the workload: %q, want a drop", got)
			}
			// As it is corrected, it is in force.
			p.IngressRules = []caracal.PolicyRule{{Ports: slices.Clone(ports[:300])}}
			next := *in.Snapshot
			put(&next, p)
			in.Snapshot = &next
			if _, problems := c.Update(in); len(problems) > 0 {
				t.Errorf("it is well now: %v", problems)
			}
		})
	}
}
