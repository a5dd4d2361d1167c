package endpoint

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, pfx(s))
	}
	return out
}

func TestPlan(t *testing.T) {
	snap := *newSource().Snapshot()
	snap.IPAM = caracal.IPAM{Cooldown: time.Minute, StrictAffinity: true, MaxBlocks: 3, Reserved: prefixes("10.1.0.0/30")}
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a", IPv4: pfx("10.1.0.100/24"), Tunnel: ip("10.1.0.101"), Labels: map[string]string{"rack": "1"},
		PodCIDRs: prefixes("10.1.0.0/24", "10.1.0.64/26")})
	snap.Nodes = snap.Nodes.Put("b", caracal.Node{Name: "b", IPv4: pfx("10.1.0.200/24"), Tunnel: ip("10.9.0.1")})
	snap.Blocks = snap.Blocks.Put(pfx("10.2.0.0/26"), caracal.Block{CIDR: pfx("10.2.0.0/26"), Node: "b"})
	for _, p := range []caracal.Pool{
		{Name: "all", CIDR: pfx("10.1.0.0/16")},
		{Name: "mine", CIDR: pfx("10.3.0.0/16"), NodeSelector: "rack == '1'"},
		{Name: "other", CIDR: pfx("10.4.0.0/16"), NodeSelector: "rack == '2'"},
	} {
		snap.Pools = snap.Pools.Put(p.Name, p)
	}
	p, problems, ok := Plan(&snap, []netip.Addr{ip("10.1.0.7")}, false)
	if !ok || len(problems) > 0 {
		t.Fatal(problems)
	}
	if p.Mode != ipam.ModePodCIDR || p.Cooldown != time.Minute || !p.StrictAffinity || p.MaxBlocks != 3 || p.Node != "a" {
		t.Errorf("%+v", p)
	}
	if want := prefixes("10.1.0.0/24", "fd00:1::/120"); !slices.Equal(p.Static, want) {
		t.Errorf("static %v, want %v", p.Static, want)
	}
	if want := prefixes("10.1.0.0/30", "10.1.0.7/32", "10.1.0.100/32", "10.1.0.101/32", "10.1.0.200/32"); !slices.Equal(p.Reserved, want) {
		t.Errorf("reserved %v, want %v", p.Reserved, want)
	}
	if len(p.Pools) != 2 || p.Pools[0].Name != "all" || p.Pools[1].Name != "mine" {
		t.Errorf("pools %v", p.Pools)
	}
	snap.IPAM.Mode = "blocks"
	if p, problems, _ = Plan(&snap, nil, false); p.Mode != ipam.ModePodCIDR || len(problems) != 1 || !strings.Contains(problems[0].Message, "would claim the same block") {
		t.Errorf("blocks of a store that is not shared: %s, %v", p.Mode, problems)
	}
	if p, problems, _ = Plan(&snap, nil, true); p.Mode != ipam.ModeBlocks || len(problems) > 0 || !slices.Equal(p.Others, prefixes("10.2.0.0/26")) {
		t.Errorf("blocks of a shared store: %+v, %v", p, problems)
	}
	snap.Nodes = snap.Nodes.Delete("b")
	if p, problems, _ = Plan(&snap, nil, false); p.Mode != ipam.ModeBlocks || len(problems) > 0 {
		t.Errorf("blocks of the only node: %s, %v", p.Mode, problems)
	}
	for _, other := range []caracal.Problem{{Kind: "NodeConfig", Name: "b"}, {Kind: "NodeConfig"}, {Source: "broken.yaml"}} {
		seen := snap
		seen.Problems = []caracal.Problem{other}
		if p, problems, _ = Plan(&seen, nil, false); p.Mode != ipam.ModePodCIDR || len(problems) != 1 {
			t.Errorf("blocks of a node that may not be alone (%+v): %s, %v", other, p.Mode, problems)
		}
		if samePlanInputs(&snap, &seen) {
			t.Errorf("the same plan with %+v", other)
		}
	}
	seen := snap
	seen.Problems = []caracal.Problem{{Kind: "NodeConfig", Name: "a"}, {Kind: "IPPool", Name: "p"}}
	if p, problems, _ = Plan(&seen, nil, false); p.Mode != ipam.ModeBlocks || len(problems) > 0 {
		t.Errorf("blocks of the only node, with other problems: %s, %v", p.Mode, problems)
	}
	snap.Nodes = snap.Nodes.Delete("a")
	if _, _, ok = Plan(&snap, nil, false); ok {
		t.Error("a plan for a node that is not known")
	}
}

// What a plan depends on is compared, and what it does not is not.
func TestSamePlanInputs(t *testing.T) {
	base := newSource().Snapshot()
	for _, c := range []struct {
		name   string
		change func(*caracal.Snapshot)
		same   bool
	}{
		{"nothing", func(*caracal.Snapshot) {}, true},
		{"a workload", func(s *caracal.Snapshot) { configured(s, caracal.Workload{Name: "x", Node: "a"}) }, true},
		{"a label of another node", func(s *caracal.Snapshot) {
			s.Nodes = s.Nodes.Put("b", caracal.Node{Name: "b"})
		}, false},
		{"a pool", func(s *caracal.Snapshot) { s.Pools = s.Pools.Put("p", caracal.Pool{Name: "p"}) }, false},
		{"a block", func(s *caracal.Snapshot) {
			s.Blocks = s.Blocks.Put(pfx("10.7.0.0/26"), caracal.Block{CIDR: pfx("10.7.0.0/26"), Node: "a"})
		}, false},
		{"the cooldown", func(s *caracal.Snapshot) { s.IPAM.Cooldown = time.Hour }, false},
		{"own labels", func(s *caracal.Snapshot) {
			n, _ := s.SelfNode()
			n.Labels = map[string]string{"x": "y"}
			s.Nodes = s.Nodes.Put("a", n)
		}, false},
		{"own AS number", func(s *caracal.Snapshot) {
			n, _ := s.SelfNode()
			n.ASN = 65000
			s.Nodes = s.Nodes.Put("a", n)
		}, true},
	} {
		next := *base
		c.change(&next)
		if got := samePlanInputs(base, &next); got != c.same {
			t.Errorf("%s: same is %t", c.name, got)
		}
	}
}
