package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"caracal.dev/caracal/felix"
)

// A generator makes clusters and policies at random, of few labels, addresses and
// ports, so that they meet.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 7))} }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// some returns up to n of what one makes.
func some[T any](g generator, n int, one func() T) (out []T) {
	for range g.IntN(n + 1) {
		out = append(out, one())
	}
	return out
}

func (g generator) labels(m map[string]string) {
	for _, k := range []string{"app", "tier", "pod"} {
		switch v := g.IntN(5); v {
		case 0:
			delete(m, k)
		case 4:
		default:
			m[k] = pick(g, "a", "b", "web", "")
		}
	}
}

// cluster changes a cluster: labels, named ports, who has ended, and policies.
func (g generator) cluster(c *cluster) {
	for _, p := range c.pods {
		if g.IntN(3) == 0 {
			g.labels(p.labels)
		}
		if g.IntN(4) == 0 {
			p.ports = nil
			for _, name := range []string{"web", "dns", "sig"} {
				for _, proto := range []string{"TCP", "UDP", "SCTP"} {
					if g.IntN(3) == 0 {
						p.ports = append(p.ports, namedPort{name, proto, pick[uint16](g, 53, 80, 81, 8080)})
					}
				}
			}
		}
	}
	for name, labels := range c.namespaces {
		if g.IntN(3) == 0 {
			for _, k := range []string{"team", "ns"} {
				labels[k] = pick(g, "x", "y", "red", "blue")
				if g.IntN(4) == 0 {
					delete(labels, k)
				}
			}
			c.namespaces[name] = labels
		}
	}
	// The addresses of the one that has ended have gone to somebody.
	if done := c.pod("x/done"); g.IntN(2) == 0 {
		done.addrs = pick(g, c.pods...).addrs
	}
	list := slices.DeleteFunc(slices.Clone(c.policies), func(*netpol) bool { return g.IntN(2) == 0 })
	for range g.IntN(5) {
		p := g.policy()
		list = slices.DeleteFunc(list, func(q *netpol) bool { return q.Namespace == p.Namespace && q.Name == p.Name })
		list = append(list, p)
	}
	c.policies = list
}

func (g generator) policy() *netpol {
	p := &netpol{Namespace: pick(g, "x", "y", "z"), Name: fmt.Sprintf("p%d", g.IntN(6))}
	p.Spec.PodSelector = g.selector("app", "tier", "pod")
	p.Spec.PolicyTypes = pick(g, nil, nil, []string{"Ingress"}, []string{"Egress"}, []string{"Ingress", "Egress"})
	p.Spec.Ingress = some(g, 3, func() ingress { return ingress{some(g, 3, g.peer), some(g, 3, g.port)} })
	p.Spec.Egress = some(g, 3, func() egress { return egress{some(g, 3, g.peer), some(g, 3, g.port)} })
	if g.IntN(12) == 0 {
		return rejected(p)
	}
	return p
}

func (g generator) selector(keys ...string) (s selector) {
	if g.IntN(3) == 0 {
		return s
	}
	value := func() string { return pick(g, "a", "b", "c", "web", "db", "x", "y", "red", "blue", "") }
	if g.IntN(2) == 0 {
		s.MatchLabels = map[string]string{pick(g, keys...): value()}
		return s
	}
	for range 1 + g.IntN(2) {
		e := expression{Key: pick(g, keys...), Operator: pick(g, "In", "NotIn", "Exists", "DoesNotExist")}
		if e.Operator == "In" || e.Operator == "NotIn" {
			e.Values = append(some(g, 3, value), value())
			slices.Sort(e.Values)
			e.Values = slices.Compact(e.Values)
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

func (g generator) peer() (p peer) {
	kind := g.IntN(5)
	if kind == 4 {
		return peer{IPBlock: g.block()}
	}
	if kind != 1 {
		s := g.selector("app", "tier", "pod")
		p.PodSelector = &s
	}
	if kind != 0 {
		s := g.selector("team", "ns", "kubernetes.io/metadata.name")
		p.NamespaceSelector = &s
	}
	return p
}

// block returns a range around the addresses that there are, and within it ranges
// that are left out.
func (g generator) block() *ipBlock {
	bits := map[bool][]int{
		false: {0, 1, 8, 16, 23, 24, 28, 29, 30, 31, 32},
		true:  {0, 1, 16, 32, 48, 64, 112, 120, 124, 126, 127, 128},
	}
	all := base().endpoints()
	at := func() (a string, v6 bool) {
		e := pick(g, all...)
		addr := pick(g, e.addrs...)
		return addr.String(), addr.Is6()
	}
	a, v6 := at()
	n := pick(g, bits[v6]...)
	b := &ipBlock{CIDR: prefix(a, n)}
	for range g.IntN(4) {
		x, is6 := at()
		m := pick(g, bits[v6]...)
		if is6 == v6 && m > n && within(parseAddr(x), b.CIDR) {
			b.Except = append(b.Except, prefix(x, m))
		}
	}
	return b
}

func (g generator) port() (r portRule) {
	r.Protocol = pick(g, "", "TCP", "UDP", "SCTP")
	switch g.IntN(6) {
	case 0:
	case 1, 2:
		r.Port = pick(g, "web", "dns", "sig", "nothing")
	case 3:
		first := pick(g, 1, 53, 54, 80, 81)
		r.Port, r.EndPort = first, first+pick(g, 0, 1, 26, 8000)
	default:
		r.Port = pick(g, 53, 80, 81, 8080)
	}
	return r
}

// randomKernel holds kernel, evaluator and [felix.Explain] against each other for
// a number of changes of one cluster.
func randomKernel(t *testing.T, backend string, seed uint64, rounds int) {
	begin := time.Now()
	g, c := newGenerator(seed), base()
	w := build(t, c)
	fws := w.protect(t, backend)
	ports := parsePorts(usualPorts)
	if err := w.serve(ports); err != nil {
		t.Fatal(err)
	}
	list := w.probes(ports)
	allowed := 0
	for round := range rounds {
		c = c.clone()
		g.cluster(c)
		if err := put(t.Context(), fws, c); err != nil {
			t.Fatalf("seed %d round %d: %v", seed, round, err)
		}
		wrong := w.check(t, list, func(p *probe) bool {
			ok := c.allows(p.flow())
			if ok {
				allowed++
			}
			return ok
		})
		wrong = append(wrong, explainDiffers(c, list)...)
		report(t, policyCase{name: fmt.Sprintf("seed %d", seed), says: backend}, round, wrong)
		if len(wrong) > 0 {
			t.Fatalf("the policies:\n%s", c.text())
		}
		if round%20 == 19 {
			audit(t, fws)
		}
	}
	audit(t, fws)
	t.Logf("%d rounds of %d connections, %d allowed, in %v", rounds, len(list), allowed, time.Since(begin).Round(time.Millisecond))
}

// TestRandomKernel compares random clusters with the evaluator on the kernel.
func TestRandomKernel(t *testing.T) {
	for i, backend := range []string{felix.BackendNFT, felix.BackendLegacy} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			randomKernel(t, backend, uint64(100+i), 40)
		})
	}
}

// TestRandomExplain compares random clusters with felix.Explain, without a kernel.
func TestRandomExplain(t *testing.T) {
	ports := parsePorts(usualPorts)
	for seed := range uint64(200) {
		g, c := newGenerator(seed), base()
		g.cluster(c)
		list := probesOf(c.endpoints(), ports)
		// Of each cluster some connections: the clusters matter more.
		g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if wrong := explainDiffers(c, list[:300]); len(wrong) > 0 {
			report(t, policyCase{name: fmt.Sprintf("seed %d", seed)}, 0, wrong)
			t.Fatalf("the policies:\n%s", c.text())
		}
	}
}
