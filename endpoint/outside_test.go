package endpoint

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// A range that another node is given while containers here have addresses of it is
// told of, and is gone when the range is back.
func TestRangeMoved(t *testing.T) {
	w := newWorld(t)
	w.start()
	got := w.addReady(request("c1"))
	give := func(owner string, cidrs ...netip.Prefix) {
		w.source.put(func(s *caracal.Snapshot) {
			n, _ := s.Nodes.Get("a")
			n.PodCIDRs = cidrs
			s.Nodes = s.Nodes.Put("a", n)
			s.Blocks = s.Blocks.Put(pfx("10.1.0.0/24"), caracal.Block{CIDR: pfx("10.1.0.0/24"), Node: owner})
		})
		w.until("the plan is taken up", func() bool { return slices.Contains(w.plan.Load().Static, pfx("10.1.0.0/24")) == (owner == "a") })
		w.audit(context.Background())
	}
	told := func() (out []string) {
		for _, p := range w.Snapshot().Problems {
			out = append(out, p.Message)
		}
		return out
	}
	give("b", pfx("10.2.0.0/24"), pfx("fd00:1::/120"))
	if p := told(); len(p) != 1 || !strings.Contains(p[0], "container c1/eth0 has address "+got.Addrs[0].String()) || !strings.Contains(p[0], "it is node b's now") {
		t.Errorf("told %q", p)
	}
	if next := w.addReady(request("c2")); !pfx("10.2.0.0/24").Contains(next.Addrs[0]) {
		t.Errorf("the next has %v", next.Addrs)
	}
	_, _, problems, err := w.CheckUse(context.Background())
	if err != nil || len(problems) != 1 || problems[0].Addr != got.Addrs[0] || !strings.Contains(problems[0].Problem, "it is node b's now") || problems[0].Advice == "" {
		t.Errorf("check says %+v, %v", problems, err)
	}
	give("a", pfx("10.1.0.0/24"), pfx("10.2.0.0/24"), pfx("fd00:1::/120"))
	if p := told(); len(p) != 0 {
		t.Errorf("still told: %q", p)
	}
	w.clean(2)
	w.ground.Link("car0123456789a", true)
	if _, _, problems, _ = w.CheckUse(context.Background()); len(problems) != 1 || !strings.Contains(problems[0].Problem, "car0123456789a") {
		t.Errorf("of a link without a record: %+v", problems)
	}
}
