package felix_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/felix"
)

// TestExplainRandom holds Explain against the evaluator that the rules are held
// against, over worlds made at random.
func TestExplainRandom(t *testing.T) {
	asked := 0
	for seed := range uint64(40) {
		h := newHistory(seed)
		for range 60 {
			h.change()
		}
		s := h.in.Snapshot
		of := func(a netip.Addr) (key string, n int) {
			for k, w := range s.Workloads.All() {
				if takes(w) && slices.Contains(w.Addrs, a) {
					key, n = k, n+1
				}
			}
			return key, n
		}
		for _, p := range flows(h, h.in) {
			src, n := of(p.src)
			dst, m := of(p.dst)
			if n > 1 || m > 1 || src == dst { // two workloads with one address; or nothing to judge
				continue
			}
			v := felix.Explain(s, felix.Flow{From: felix.End{Addr: p.src}, To: felix.End{Addr: p.dst}, Protocol: uint8(p.proto), Port: p.port})
			for _, x := range []struct {
				key     string
				side    felix.Side
				ingress bool
				other   netip.Addr
			}{{src, v.Egress, false, p.dst}, {dst, v.Ingress, true, p.src}} {
				w, ok := s.Workloads.Get(x.key)
				if !ok || x.side.Why == "" || w.Node != s.Self || w.Interface == "" || strings.Contains(w.Interface, " ") {
					continue
				}
				asked++
				if want := side(s, w, p, x.other, x.ingress); x.side.Allowed != want {
					t.Fatalf("seed %d: %s of %s, %v -> %v protocol %d port %d: allowed %t, want %t: %s\n%s",
						seed, map[bool]string{true: "ingress", false: "egress"}[x.ingress], x.key, p.src, p.dst, p.proto, p.port, x.side.Allowed, want, x.side.Why, describe(s))
				}
			}
		}
	}
	if asked < 200 {
		t.Errorf("only %d sides were compared", asked)
	}
}
