package felix_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/felix"
)

// world is node a with pods web, db (isolated in both directions) and tap, and node
// b with pod api; there is a pool with natOutgoing.
func world() felix.Input {
	s := caracal.NewSnapshot("a")
	s.Synced = true
	for name, addr := range map[string]string{"a": "192.0.2.1/24", "b": "192.0.2.2/24"} {
		s.Nodes = s.Nodes.Put(name, caracal.Node{Name: name, IPv4: netip.MustParsePrefix(addr), IPv6: netip.MustParsePrefix("2001:db8::" + addr[8:9] + "/64"), Port: 1179})
	}
	s.Namespaces = s.Namespaces.Put("default", caracal.Namespace{Name: "default", Labels: map[string]string{caracal.NamespaceNameLabel: "default"}})
	for i, name := range []string{"web", "db", "tap", "api"} {
		w := caracal.Workload{Namespace: "default", Name: name, Node: "a", Interface: "car" + name, Labels: map[string]string{"app": name}}
		w.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), netip.AddrFrom16([16]byte{0xfd, 15: byte(i + 1)})}
		switch name {
		case "tap":
			w.Interface = "tap0"
		case "api":
			w.Node, w.Interface = "b", ""
		}
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	put(s, caracal.Policy{Namespace: "default", Name: "closed", Pods: app("db"), Ingress: true, Egress: true})
	s.Pools = s.Pools.Put("p", caracal.Pool{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16"), NATOutgoing: true})
	s.Pools = s.Pools.Put("q", caracal.Pool{Name: "q", CIDR: netip.MustParsePrefix("10.9.0.0/16")})
	return felix.Input{Snapshot: s, Neighbors: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("fe80::9%eth1")}, Unnumbered: []string{"eth2"}}
}

func put(s *caracal.Snapshot, p caracal.Policy) { s.Policies = s.Policies.Put(p.Key(), p) }

func app(name string) caracal.LabelSelector {
	return caracal.LabelSelector{Requirements: []caracal.LabelRequirement{{Key: "app", Op: caracal.LabelIn, Values: []string{name}}}}
}

// parsePacket reads "IN>OUT SRC>DST PROTO[/PORT] [STATE]".
func parsePacket(t *testing.T, text string) packet {
	t.Helper()
	f := strings.Fields(text + " NEW")
	p := packet{state: f[3]}
	p.in, p.out, _ = strings.Cut(f[0], ">")
	src, dst, _ := strings.Cut(f[1], ">")
	p.src, p.dst = netip.MustParseAddr(src), netip.MustParseAddr(dst)
	if p.src.Is6() {
		p.family = felix.IPv6
	}
	proto, number, _ := strings.Cut(f[2], "/")
	p.proto = map[string]int{"tcp": 6, "udp": 17, "sctp": 132, "ipip": 4, "icmp": 1, "icmp6": 58}[proto]
	n := 0
	if number != "" {
		if _, err := fmt.Sscan(number, &n); err != nil {
			t.Fatal(err)
		}
	}
	p.port, p.icmp = uint16(n), n
	return p
}

// TestWays sends packets through each hook of the world.
func TestWays(t *testing.T) {
	c := felix.NewCompiler()
	if _, problems := c.Update(world()); len(problems) > 0 {
		t.Fatal(problems)
	}
	m := modelOf(t, c)
	for _, x := range []struct{ hook, packet, want string }{
		// A pod may only be what it is.
		{"raw", "carweb>- 10.0.0.1>203.0.113.1 tcp/80", none},
		{"raw", "carweb>- 10.0.0.2>203.0.113.1 tcp/80", drop},
		{"raw", "cardb>- 10.0.0.1>203.0.113.1 tcp/80", drop},
		{"raw", "car00000000000>- 10.0.0.1>203.0.113.1 tcp/80", drop},
		{"raw", "tap0>- 10.0.0.3>203.0.113.1 udp/1", none},
		{"raw", "tap0>- 10.0.0.1>203.0.113.1 udp/1", drop},
		{"raw", "tap01>- 10.0.0.1>203.0.113.1 udp/1", none}, // somebody else's
		{"raw", "eth0>- 10.0.0.1>203.0.113.1 tcp/80", none},
		{"raw", "carweb>- fd00::1>2001:db8:9::1 tcp/80", none},
		{"raw", "carweb>- fd00::2>2001:db8:9::1 tcp/80", drop},
		{"raw", "carweb>- fe80::1>2001:db8:9::1 tcp/80", drop},
		{"raw", "carweb>- fe80::1>ff02::2 icmp6/133", none},
		{"raw", "carweb>- fe80::1>ff02::1 icmp6/134", drop}, // it is no router
		{"raw", "carweb>- ::>ff02::1 icmp6/135", none},
		{"raw", "carweb>- fe80::1>fe80::2 icmp6/136", none},
		{"raw", "carweb>- fe80::1>ff02::1 icmp6/137", drop},
		{"raw", "carweb>- fe80::1>ff02::16 icmp6/143", none},
		{"raw", "carweb>- fe80::1>ff02::16 icmp6/131", none},
		{"raw", "carweb>- fe80::1>fe80::2 icmp6/128", drop},
		// BGP is for nodes and peers.
		{"input", "eth0>- 192.0.2.2>192.0.2.1 tcp/1179", none},
		{"input", "eth0>- 192.0.2.9>192.0.2.1 tcp/1179", none},
		{"input", "eth0>- 192.0.2.8>192.0.2.1 tcp/1179", drop},
		{"input", "eth0>- 192.0.2.8>192.0.2.1 tcp/179", none}, // not our port
		{"input", "eth0>- 192.0.2.8>192.0.2.1 tcp/22", none},
		{"input", "eth0>- 192.0.2.8>192.0.2.1 udp/1179", none},
		{"input", "lo>- 192.0.2.1>192.0.2.1 tcp/1179", none},
		{"input", "lo>- 127.0.0.1>127.0.0.1 tcp/1179", none},
		{"input", "carweb>- 10.0.0.1>192.0.2.1 tcp/1179", drop},
		{"input", "carweb>- 10.0.0.1>192.0.2.1 tcp/80", none},
		{"input", "eth0>- 2001:db8::2>2001:db8::1 tcp/1179", none},
		{"input", "eth0>- 2001:db8::8>2001:db8::1 tcp/1179", drop},
		{"input", "eth2>- fe80::8>fe80::1 tcp/1179", none},
		{"input", "eth1>- fe80::9>fe80::1 tcp/1179", none},
		{"input", "eth1>- fe80::8>fe80::1 tcp/1179", drop},
		{"input", "eth0>- fe80::9>fe80::1 tcp/1179", drop},
		// Between pods and the world.
		{"forward", "carweb>eth0 10.0.0.1>203.0.113.1 tcp/80", accept},
		{"forward", "eth0>carweb 203.0.113.1>10.0.0.1 tcp/80", accept},
		{"forward", "eth0>cardb 203.0.113.1>10.0.0.2 tcp/80", drop},
		{"forward", "eth0>cardb 203.0.113.1>10.0.0.2 tcp/80 ESTABLISHED", accept},
		{"forward", "eth0>cardb 203.0.113.1>10.0.0.2 icmp RELATED", accept},
		{"forward", "eth0>carweb 203.0.113.1>10.0.0.1 tcp/80 INVALID", drop},
		{"forward", "carweb>eth0 10.0.0.1>203.0.113.1 tcp/80 INVALID", drop},
		{"forward", "cardb>eth0 10.0.0.2>203.0.113.1 tcp/80", drop},
		{"forward", "cardb>eth0 10.0.0.2>203.0.113.1 tcp/80 ESTABLISHED", accept},
		{"forward", "carweb>cardb 10.0.0.1>10.0.0.2 tcp/80", drop},
		{"forward", "cardb>carweb 10.0.0.2>10.0.0.1 tcp/80", drop},
		{"forward", "carweb>tap0 10.0.0.1>10.0.0.3 tcp/80", accept},
		{"forward", "tap0>carweb 10.0.0.3>10.0.0.1 sctp/80", accept},
		{"forward", "tap0>cardb fd00::3>fd00::2 tcp/80", drop},
		{"forward", "cardb>cardb 10.0.0.2>10.0.0.2 tcp/80", accept}, // to itself
		{"forward", "eth0>cardb 10.0.0.2>10.0.0.2 tcp/80", drop},    // who says that it is
		{"forward", "eth0>eth1 203.0.113.1>203.0.113.2 tcp/80", none},
		{"forward", "eth0>tap01 203.0.113.1>203.0.113.2 tcp/80 INVALID", none},
		{"forward", "eth0>car00000000000 203.0.113.1>10.0.0.77 tcp/80", drop},
		{"forward", "eth0>carweb 203.0.113.1>10.0.0.77 tcp/80", drop}, // no address of its own
		// Nodes' protocols, which a pod might speak in the node's name.
		{"forward", "carweb>eth0 10.0.0.1>192.0.2.2 ipip", drop},
		{"forward", "carweb>eth0 10.0.0.1>203.0.113.1 ipip", accept},
		{"forward", "carweb>eth0 10.0.0.1>192.0.2.2 tcp/1179", drop},
		{"forward", "carweb>eth0 10.0.0.1>192.0.2.9 tcp/179", drop},
		{"forward", "carweb>eth0 10.0.0.1>192.0.2.2 tcp/80", accept},
		{"forward", "carweb>eth0 10.0.0.1>203.0.113.1 tcp/179", accept},
		{"forward", "carweb>eth0 fd00::1>2001:db8::2 tcp/1179", drop},
		// Out of the pools.
		{"nat", "->eth0 10.0.0.1>203.0.113.1 tcp/80", "MASQUERADE"},
		{"nat", "->eth0 10.0.0.1>10.0.0.4 tcp/80", none},
		{"nat", "->eth0 10.0.0.1>10.9.0.4 tcp/80", none},
		{"nat", "->eth0 10.0.0.1>192.0.2.2 tcp/80", none},
		{"nat", "->eth0 10.9.0.1>203.0.113.1 tcp/80", none},
		{"nat", "->eth0 192.0.2.1>203.0.113.1 tcp/80", none},
		{"nat", "->eth0 fd00::1>2001:db8:9::1 tcp/80", none},
	} {
		p, got := parsePacket(t, x.packet), ""
		switch x.hook {
		case "raw":
			got = m.hook(t, felix.RawTable, "PREROUTING", p)
		case "input":
			got = m.hook(t, felix.FilterTable, "INPUT", p)
		case "forward":
			got = m.hook(t, felix.FilterTable, "FORWARD", p)
		case "nat":
			got = m.hook(t, felix.NATTable, "POSTROUTING", p)
		}
		if got == "continue" {
			got = none
		}
		if got != x.want {
			t.Errorf("%s %s: %q, want %q", x.hook, x.packet, got, x.want)
		}
	}
}

// TestOneLabel looks that a label of one pod changes the sets that the pod enters
// and leaves, and nothing else.
func TestOneLabel(t *testing.T) {
	in := world()
	for i, from := range []string{"api", "new", "api", "other"} {
		put(in.Snapshot, caracal.Policy{
			Namespace: "default", Name: fmt.Sprint("from", i), Pods: app("web"), Ingress: true,
			IngressRules: []caracal.PolicyRule{{Peers: []caracal.PolicyPeer{{Pods: ptr(app(from))}}}},
		})
	}
	c := felix.NewCompiler()
	c.Update(in)
	if _, policies, sets := c.Len(); policies != 5 || sets != 14+2*3 {
		t.Errorf("%d policies and %d sets: equal selectors share one", policies, sets)
	}
	next := *in.Snapshot
	api, _ := next.Workloads.Get("default/api")
	api.Labels = map[string]string{"app": "new"}
	next.Workloads = next.Workloads.Put(api.Key(), api)
	in.Snapshot = &next
	d, _ := c.Update(in)
	var got []string
	for _, s := range d.Sets {
		about := c.SetAbout(s.Name)
		got = append(got, fmt.Sprintf("%v %s: add %v, remove %v", s.Family, about, s.Add, s.Remove))
	}
	slices.Sort(got)
	want := []string{
		"IPv4 workloads with app=api of namespace default: add [], remove [10.0.0.4]",
		"IPv4 workloads with app=new of namespace default: add [10.0.0.4], remove []",
		"IPv6 workloads with app=api of namespace default: add [], remove [fd00::4]",
		"IPv6 workloads with app=new of namespace default: add [fd00::4], remove []",
	}
	if !slices.Equal(got, want) || len(d.Chains) > 0 || !d.Tightened {
		t.Errorf("a label changes %q, %d chains (tightened %v), want %q", got, len(d.Chains), d.Tightened, want)
	}
}

func ptr[T any](v T) *T { return &v }

// TestNewPod looks that a pod that no policy isolates comes without a change of
// rules, and without an alarm for connections.
func TestNewPod(t *testing.T) {
	in := world()
	c := felix.NewCompiler()
	c.Update(in)
	next := *in.Snapshot
	w := caracal.Workload{Namespace: "default", Name: "one", Node: "a", Interface: "carone", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
	next.Workloads = next.Workloads.Put(w.Key(), w)
	d, _ := c.Update(felix.Input{Snapshot: &next, Neighbors: in.Neighbors, Unnumbered: in.Unnumbered})
	if len(d.Chains) > 0 || len(d.Sets) != 3 || d.Tightened {
		t.Errorf("a new pod changes %+v", d)
	}
	e, ok := c.Endpoint("default/one")
	if !ok || e.Interface != "carone" || len(e.Ingress)+len(e.Egress) > 0 || !slices.Equal(e.Addrs, w.Addrs) {
		t.Errorf("endpoint %+v, %v", e, ok)
	}
	e, ok = c.Endpoint("default/db")
	if want := []string{"default/closed"}; !ok || !slices.Equal(e.Ingress, want) || !slices.Equal(e.Egress, want) {
		t.Errorf("endpoint %+v, %v", e, ok)
	}
	if _, ok := c.Endpoint("default/api"); ok {
		t.Error("a workload of another node is an endpoint here")
	}
	var keys []string
	for e := range c.Endpoints() {
		keys = append(keys, e.Workload)
	}
	if want := []string{"default/db", "default/one", "default/tap", "default/web"}; !slices.Equal(keys, want) {
		t.Errorf("endpoints are %v, want %v", keys, want)
	}
}

// TestIsolationComesLate looks that a pod leaves the set of the free after the rules
// that isolate it are there, and when it goes altogether at once.
func TestIsolationComesLate(t *testing.T) {
	in := world()
	c := felix.NewCompiler()
	c.Update(in)
	next := *in.Snapshot
	put(&next, caracal.Policy{Namespace: "default", Name: "web", Pods: app("web"), Ingress: true})
	d, _ := c.Update(felix.Input{Snapshot: &next, Neighbors: in.Neighbors, Unnumbered: in.Unnumbered})
	late := 0
	for _, s := range d.Sets {
		late += len(s.RemoveLate)
		if len(s.Remove) > 0 {
			t.Errorf("set %s loses %v before the chains change", s.Name, s.Remove)
		}
	}
	if late != 2 || !d.Tightened {
		t.Errorf("%d members go late, want 2 (tightened %v)", late, d.Tightened)
	}
	last := next
	last.Workloads = last.Workloads.Delete("default/tap")
	d, _ = c.Update(felix.Input{Snapshot: &last, Neighbors: in.Neighbors, Unnumbered: in.Unnumbered})
	removed := 0
	for _, s := range d.Sets {
		removed += len(s.Remove)
		if len(s.RemoveLate) > 0 {
			t.Errorf("set %s loses %v late, but the pod is gone", s.Name, s.RemoveLate)
		}
	}
	if removed != 6 {
		t.Errorf("%d members go with a pod, want 6", removed)
	}
}

func TestProblems(t *testing.T) {
	in := world()
	s := in.Snapshot
	web, _ := s.Workloads.Get("default/web")
	web.Name = "twin"
	s.Workloads = s.Workloads.Put(web.Key(), web)
	web.Name, web.Interface, web.Source = "odd", "car+", "odd.yaml"
	s.Workloads = s.Workloads.Put(web.Key(), web)
	p := caracal.Policy{Namespace: "default", Name: "like", Ingress: true, IngressRules: []caracal.PolicyRule{{}}}
	p.Pods.Requirements = []caracal.LabelRequirement{{Key: "app", Op: "Like", Values: []string{"t"}}}
	put(s, p)
	c := felix.NewCompiler()
	_, problems := c.Update(in)
	var got []string
	for _, p := range problems {
		got = append(got, p.Kind+" "+p.Name+" "+p.Source)
	}
	if want := []string{"NetworkPolicy default/like ", "Workload default/odd odd.yaml", "Workload default/twin "}; !slices.Equal(got, want) {
		t.Errorf("problems are %q, want %q", got, want)
	}
	m := modelOf(t, c)
	for _, text := range []string{"eth0>tap0 203.0.113.1>10.0.0.3 tcp/80", "eth0>carweb 203.0.113.1>10.0.0.1 tcp/80", "carweb>eth0 10.0.0.1>203.0.113.1 tcp/80"} {
		if got := m.forward(t, parsePacket(t, text)); got != drop {
			t.Errorf("%s: %q, want a drop", text, got)
		}
	}
	s.Workloads = s.Workloads.Delete("default/twin").Delete("default/odd")
	s.Policies = s.Policies.Delete("default/like")
	again := felix.NewCompiler()
	if _, problems := again.Update(in); len(problems) > 0 {
		t.Errorf("problems remain: %v", problems)
	}
}
