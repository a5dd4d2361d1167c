package felix_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// history makes random changes of a small world, in which names, labels, addresses
// and interfaces meet again and again.
type history struct {
	*rand.Rand
	in felix.Input
}

func newHistory(seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 7))}
	s := caracal.NewSnapshot("a")
	s.Synced = true
	s.Nodes = s.Nodes.Put("a", caracal.Node{Name: "a", IPv4: netip.MustParsePrefix("192.0.2.1/24"), IPv6: netip.MustParsePrefix("2001:db8::1/64"), Port: 179})
	h.in.Snapshot = s
	return h
}

func pick[T any](h *history, list ...T) T { return list[h.IntN(len(list))] }

// change makes one change and says of what; pods and policies never change at once.
func (h *history) change() string {
	s := *h.in.Snapshot
	s.Generation++
	h.in.Snapshot = &s
	switch n := h.IntN(100); {
	case n < 45:
		return h.changePod(&s)
	case n < 80:
		return h.changePolicy(&s)
	case n < 90:
		return h.changeNamespace(&s)
	case n < 94:
		return h.changeNode(&s)
	case n < 95:
		s.Self = pick(h, "a", "a", "b")
		return "self"
	case n < 97:
		h.in.Neighbors = pick(h, nil, []netip.Addr{netip.MustParseAddr("192.0.2.9")}, []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("fe80::9%eth0")})
		return "neighbors"
	case n < 98:
		h.in.Unnumbered = pick(h, nil, []string{"eth0"}, []string{"eth0", "eth1"})
		return "unnumbered"
	default:
		return h.changePool(&s)
	}
}

func (h *history) changePod(s *caracal.Snapshot) string {
	w := caracal.Workload{Namespace: h.namespace(), Name: fmt.Sprint("p", h.IntN(20))}
	old, there := s.Workloads.Get(w.Key())
	switch {
	case there && h.IntN(3) == 0:
		s.Workloads = s.Workloads.Delete(w.Key())
		return "pod gone"
	case there && h.IntN(2) == 0:
		old.Labels = h.labels()
		s.Workloads = s.Workloads.Put(w.Key(), old)
		return "pod relabelled"
	}
	w.Node = pick(h, "a", "a", "b")
	w.Interface = h.iface(w)
	for range h.IntN(3) {
		w.Addrs = append(w.Addrs, h.podAddr())
	}
	w.Labels = h.labels()
	for range h.IntN(3) {
		w.Ports = append(w.Ports, caracal.Port{Name: pick(h, "http", "dns"), Protocol: h.protocol(), Port: pick[uint16](h, 80, 81)})
	}
	w.HostNetwork, w.Completed = h.IntN(20) == 0, h.IntN(20) == 0
	s.Workloads = s.Workloads.Put(w.Key(), w)
	if there {
		return "pod changed"
	}
	return "pod new"
}

// iface is nearly always a pod's own.
func (h *history) iface(w caracal.Workload) string {
	n := h.IntN(30)
	switch {
	case n == 0:
		return "car+ bad"
	case n == 1:
		return ""
	case n < 5:
		return fmt.Sprint("car1", h.IntN(3))
	case n < 14:
		return "vnet" + w.Namespace + w.Name
	}
	return "car" + w.Namespace + w.Name
}

func (h *history) namespace() string { return pick(h, "a", "a", "b", "c") }
func (h *history) protocol() string  { return pick(h, "TCP", "UDP", "SCTP") }

func (h *history) podAddr() netip.Addr {
	if h.IntN(3) == 0 {
		return netip.AddrFrom16([16]byte{0xfd, 15: byte(h.IntN(60))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(60))})
}

func (h *history) labels() map[string]string {
	out := map[string]string{}
	for _, k := range []string{"x", "y", "z"} {
		if h.IntN(2) == 0 {
			out[k] = pick(h, "1", "2", "3")
		}
	}
	return out
}

func (h *history) selector() caracal.LabelSelector {
	var s caracal.LabelSelector
	for _, k := range []string{"x", "y", "z"} {
		if h.IntN(5) > 1 {
			continue
		}
		r := caracal.LabelRequirement{Key: k, Op: pick(h, caracal.LabelIn, caracal.LabelIn, caracal.LabelNotIn, caracal.LabelExists, caracal.LabelDoesNotExist)}
		if r.Op == caracal.LabelIn || r.Op == caracal.LabelNotIn {
			r.Values = [][]string{{"1"}, {"2"}, {"1", "2"}, {"1", "2", "3", "4", "5", "6", "7", "8", "9"}}[h.IntN(4)]
		}
		s.Requirements = append(s.Requirements, r)
	}
	return s
}

func (h *history) changePolicy(s *caracal.Snapshot) string {
	p := caracal.Policy{Namespace: h.namespace(), Name: fmt.Sprint("n", h.IntN(6))}
	if _, there := s.Policies.Get(p.Key()); there && h.IntN(3) == 0 {
		s.Policies = s.Policies.Delete(p.Key())
		return "policy gone"
	}
	p.Pods = h.selector()
	p.Ingress = h.IntN(3) > 0
	p.Egress = h.IntN(2) == 0
	for range h.IntN(3) {
		p.IngressRules = append(p.IngressRules, h.rule())
		p.EgressRules = append(p.EgressRules, h.rule())
	}
	switch h.IntN(30) {
	case 0:
		p.Invalid = "nonsense"
	case 1:
		p.Pods.Requirements = append(p.Pods.Requirements, caracal.LabelRequirement{Key: "z", Op: "Like", Values: []string{"1"}})
	}
	s.Policies = s.Policies.Put(p.Key(), p)
	return "policy"
}

func (h *history) rule() caracal.PolicyRule {
	var r caracal.PolicyRule
	for range h.IntN(4) {
		r.Peers = append(r.Peers, h.peer())
	}
	for range h.IntN(4) {
		p := caracal.PolicyPort{Protocol: h.protocol()}
		switch h.IntN(5) {
		case 0:
			p.Name = pick(h, "http", "dns")
		case 1:
		case 2:
			p.Port, p.EndPort = 80, pick[uint16](h, 80, 81, 100)
		default:
			p.Port = pick[uint16](h, 80, 81, 179)
			p.EndPort = p.Port
		}
		r.Ports = append(r.Ports, p)
	}
	return r
}

func (h *history) peer() caracal.PolicyPeer {
	var p caracal.PolicyPeer
	sel := func() *caracal.LabelSelector { s := h.selector(); return &s }
	switch h.IntN(12) {
	case 0: // nobody
	case 1, 2:
		p.Net = pick(h, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/28"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("203.0.113.0/24"))
	case 3, 4:
		p.Net = pick(h, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/24"))
		p.Except = []netip.Prefix{netip.MustParsePrefix("10.0.0.16/28"), netip.MustParsePrefix("10.0.0.3/32")}[:1+h.IntN(2)]
	case 5, 6:
		p.Namespaces = sel()
	case 7, 8:
		p.Namespaces, p.Pods = sel(), sel()
	default:
		p.Pods = sel()
	}
	return p
}

func (h *history) changeNamespace(s *caracal.Snapshot) string {
	name := h.namespace()
	if h.IntN(4) == 0 {
		s.Namespaces = s.Namespaces.Delete(name)
		return "namespace gone"
	}
	n := caracal.Namespace{Name: name, Labels: h.labels()}
	n.Labels[caracal.NamespaceNameLabel] = name
	s.Namespaces = s.Namespaces.Put(name, n)
	return "namespace"
}

func (h *history) changeNode(s *caracal.Snapshot) string {
	name := pick(h, "a", "b", "c")
	if name != "a" && h.IntN(3) == 0 {
		s.Nodes = s.Nodes.Delete(name)
		return "node gone"
	}
	s.Nodes = s.Nodes.Put(name, caracal.Node{
		Name: name, IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + h.IntN(3))}), 24),
		Port: pick[uint16](h, 179, 1179), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")},
	})
	return "node"
}

func (h *history) changePool(s *caracal.Snapshot) string {
	p := caracal.Pool{Name: pick(h, "p", "q"), CIDR: pick(h, netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("0.0.0.0/0")), NATOutgoing: h.IntN(2) == 0}
	s.Pools = s.Pools.Put(p.Name, p)
	b := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(4)) << 6}), 26)
	s.Blocks = s.Blocks.Put(b, caracal.Block{CIDR: b, Node: pick(h, "a", "b")})
	if h.IntN(3) == 0 {
		s.Pools, s.Blocks = s.Pools.Delete(p.Name), s.Blocks.Delete(b)
	}
	return "pool"
}

// TestRandomHistories holds the Compiler against one that starts with each Snapshot,
// its Deltas against a kernel that they are written to, and its rules against the
// plain words of the API.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(seed)
			c := felix.NewCompiler()
			c.Update(h.in)
			kernel := modelOf(t, c)
			for step := range 100 {
				was := h.in
				what := h.change()
				for h.IntN(3) == 0 && step%2 == 0 {
					what = "many: " + what + ", " + h.change()
				}
				d, problems := c.Update(h.in)
				asked := flows(h, was, h.in)
				before := verdicts(was, asked)
				after := verdicts(h.in, asked)
				kernel.apply(t, d, func(stage string) {
					one := what == "policy" || what == "policy gone" || what == "pod new" || what == "pod gone"
					if !one && what != "pod relabelled" && what != "pod changed" && what != "namespace" {
						return
					}
					for i, p := range asked {
						if podOnce(was, h.in, p.in) || podOnce(was, h.in, p.out) {
							continue
						}
						// What changes in sets and chains at once opens nothing, but may be late.
						if got := kernel.forward(t, p) == drop; before[i] == after[i] && got != before[i] && (one || !got) {
							t.Fatalf("step %d (%s), %s: %+v: dropped %v, but %v before and after", step, what, stage, p, got, before[i])
						}
					}
				})
				for i, p := range asked {
					if got := kernel.forward(t, p) == drop; got != after[i] {
						t.Fatalf("step %d (%s): %+v: dropped %v, want %v\n%s", step, what, p, got, after[i], describe(h.in.Snapshot))
					}
					if after[i] && !before[i] && !d.Tightened && what != "self" && isPolicy(what) {
						t.Fatalf("step %d (%s): %+v is forbidden now, but the Delta is not Tightened", step, what, p)
					}
				}
				fresh := felix.NewCompiler()
				_, again := fresh.Update(h.in)
				kernel.equal(t, modelOf(t, fresh))
				kernel.equal(t, modelOf(t, c))
				if !slices.Equal(problems, again) {
					t.Fatalf("step %d (%s): problems %v, want %v", step, what, problems, again)
				}
				if d, _ := c.Update(h.in); !d.Empty() || d.Tightened {
					t.Fatalf("step %d (%s): the same again changes %+v", step, what, d)
				}
			}
		})
	}
}

// podOnce reports whether an interface is a workload's in one of two states only,
// and nobody's in the other.
func podOnce(a, b felix.Input, iface string) bool {
	_, inA := localOf(a.Snapshot, iface)
	_, inB := localOf(b.Snapshot, iface)
	return inA != inB
}

func isPolicy(what string) bool {
	return what == "policy" || what == "policy gone" || what == "pod relabelled" || what == "namespace"
}

// flows are some packets that may pass the node in either of two states.
func flows(h *history, states ...felix.Input) []packet {
	type end struct {
		addr  netip.Addr
		iface string
	}
	var ends []end
	for _, in := range states {
		for _, w := range in.Snapshot.Workloads.All() {
			for _, a := range w.Addrs {
				iface := "eth0"
				if w.Node == in.Snapshot.Self && w.Interface != "" {
					iface = w.Interface
				}
				ends = append(ends, end{a, iface})
			}
		}
	}
	for _, a := range []string{"203.0.113.7", "192.0.2.1", "192.0.2.2", "2001:db8:9::7", "10.0.0.3", "10.0.0.20"} {
		ends = append(ends, end{netip.MustParseAddr(a), "eth0"})
	}
	var out []packet
	for range 40 {
		src, dst := pick(h, ends...), pick(h, ends...)
		if src.addr.Is4() != dst.addr.Is4() {
			continue
		}
		p := packet{in: src.iface, out: dst.iface, src: src.addr, dst: dst.addr, proto: pick(h, 6, 6, 17, 132, 4, 1), state: "NEW"}
		if p.src.Is6() {
			p.family = felix.IPv6
		}
		if p.proto != 4 && p.proto != 1 {
			p.port = pick[uint16](h, 80, 81, 90, 179, 1179)
		}
		out = append(out, p)
	}
	return out
}

func describe(s *caracal.Snapshot) string {
	var out string
	for _, n := range s.Namespaces.All() {
		out += fmt.Sprintf("%+v\n", n)
	}
	for _, w := range s.Workloads.All() {
		out += fmt.Sprintf("%+v\n", w)
	}
	for _, p := range s.Policies.All() {
		out += fmt.Sprintf("%+v\n", p)
	}
	for _, n := range slices.Collect(maps.Keys(maps.Collect(s.Nodes.All()))) {
		out += n + "\n"
	}
	return out
}
