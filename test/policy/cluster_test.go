package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// A port is one of a protocol: "TCP", "UDP" or "SCTP".
type port struct {
	protocol string
	number   uint16
}

func (p port) String() string { return strings.ToLower(p.protocol) + "/" + strconv.Itoa(int(p.number)) }

func parsePort(s string) port {
	proto, number, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		panic("bad port " + s)
	}
	return port{strings.ToUpper(proto), uint16(n)}
}

// parsePorts reads a list with blanks between.
func parsePorts(s string) (out []port) {
	for _, f := range strings.Fields(s) {
		out = append(out, parsePort(f))
	}
	return out
}

type namedPort struct {
	name     string
	protocol string
	number   uint16
}

// A pod is a Workload.
type pod struct {
	namespace, name, node string
	labels                map[string]string
	ports                 []namedPort
	addrs                 []netip.Addr
	hostNetwork           bool
	completed             bool
}

func (p *pod) key() string { return p.namespace + "/" + p.name }

// hostInterface is the name of the node's end of its link.
func (p *pod) hostInterface() string { return caracal.HostInterface("test/"+p.key(), "eth0") }

// A node has one address of each family.
type node struct {
	name  string
	addrs []netip.Addr
}

// A cluster is all that verdicts depend on.
type cluster struct {
	nodes      []node
	namespaces map[string]map[string]string
	pods       []*pod
	policies   []*netpol
}

// clone copies all that a case may change.
func (c *cluster) clone() *cluster {
	d := *c
	d.namespaces = map[string]map[string]string{}
	for name, labels := range c.namespaces {
		d.namespaces[name] = maps.Clone(labels)
	}
	d.pods = nil
	for _, p := range c.pods {
		q := *p
		q.labels, q.ports, q.addrs = maps.Clone(p.labels), slices.Clone(p.ports), slices.Clone(p.addrs)
		d.pods = append(d.pods, &q)
	}
	d.policies = slices.Clone(c.policies)
	return &d
}

// pod returns the pod of a key.
func (c *cluster) pod(key string) *pod {
	for _, p := range c.pods {
		if p.key() == key {
			return p
		}
	}
	panic("there is no pod " + key)
}

// podAt returns the pod that an address is of: one that runs, and has it for
// itself.
func (c *cluster) podAt(a netip.Addr) *pod {
	for _, p := range c.pods {
		if !p.completed && !p.hostNetwork && slices.Contains(p.addrs, a) {
			return p
		}
	}
	return nil
}

func (c *cluster) isNode(name string, a netip.Addr) bool {
	return slices.ContainsFunc(c.nodes, func(n node) bool { return n.name == name && slices.Contains(n.addrs, a) })
}

// rejected returns the policy as one that was refused, and that no earlier version
// is known of.
func rejected(p *netpol) *netpol {
	p.rejected, p.Spec.Ingress, p.Spec.Egress = true, nil, nil
	return p
}

// np makes a policy of the spec in YAML; a mistake in it panics.
func np(key, spec string) *netpol {
	p := &netpol{}
	p.Namespace, p.Name, _ = strings.Cut(key, "/")
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		panic(fmt.Sprintf("policy %s: %v", key, err))
	}
	return p
}

func toInt(v any) int {
	switch n := v.(type) {
	case float64:
		return int(n)
	case int64:
		return int(n)
	case int:
		return n
	}
	panic(fmt.Sprintf("no number: %v", v))
}

// base is the cluster that every case starts from: three namespaces with three
// pods each on two nodes, one of them without IPv4 and one without IPv6, a pod in
// the network of its node, and one that has ended and whose addresses are
// another's now.
func base() *cluster {
	c := &cluster{
		nodes: []node{
			{"n1", addrs("192.168.1.1", "fd01:1::1")},
			{"n2", addrs("192.168.2.1", "fd01:2::1")},
		},
		namespaces: map[string]map[string]string{
			"x": {"ns": "x", "team": "red", caracal.NamespaceNameLabel: "x"},
			"y": {"ns": "y", "team": "blue", caracal.NamespaceNameLabel: "y"},
			"z": {"ns": "z", caracal.NamespaceNameLabel: "z"},
		},
	}
	add := func(key, node, app string, last int, ports ...namedPort) *pod {
		p := &pod{node: node, labels: map[string]string{}, ports: ports}
		p.namespace, p.name, _ = strings.Cut(key, "/")
		p.labels["pod"] = p.name
		if app != "" {
			p.labels["app"] = app
		}
		p.addrs = addrs(fmt.Sprintf("10.244.%s.%d", node[1:], last), fmt.Sprintf("fd00:244:%s::%x", node[1:], last))
		c.pods = append(c.pods, p)
		return p
	}
	web := func(n uint16) namedPort { return namedPort{"web", "TCP", n} }
	add("x/a", "n1", "web", 10, web(80), namedPort{"dns", "UDP", 53}, namedPort{"dns-tcp", "TCP", 81})
	add("x/b", "n1", "db", 11, web(81), namedPort{"multi", "TCP", 80}, namedPort{"multi", "UDP", 80}, namedPort{"multi", "SCTP", 80})
	add("x/c", "n2", "", 12, namedPort{"sig", "SCTP", 8080})
	add("y/a", "n1", "web", 13, web(8080), namedPort{"dns", "UDP", 80})
	add("y/b", "n2", "db", 14, namedPort{"dns", "UDP", 53}, namedPort{"dns", "TCP", 81})
	add("y/c", "n2", "", 15)
	add("z/a", "n2", "web", 16, web(80))
	only6 := add("z/b", "n2", "db", 17, web(81))
	only6.addrs = only6.addrs[1:]
	only4 := add("z/c", "n1", "", 18, namedPort{"sig", "SCTP", 80})
	only4.addrs = only4.addrs[:1]
	host := add("x/host", "n2", "web", 19, web(80))
	host.hostNetwork, host.addrs = true, c.nodes[1].addrs
	done := add("x/done", "n1", "web", 20, web(81))
	done.completed, done.addrs = true, c.pod("y/b").addrs
	return c
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// snapshot is the cluster as felix is told of it on a node.
func (c *cluster) snapshot(self string) *caracal.Snapshot {
	s := caracal.NewSnapshot(self)
	s.Generation, s.Synced, s.Dataplane = 1, true, v1.DefaultDataplane()
	for i, n := range c.nodes {
		s.Nodes = s.Nodes.Put(n.name, caracal.Node{
			Name: n.name, IPv4: netip.PrefixFrom(n.addrs[0], 24), IPv6: netip.PrefixFrom(n.addrs[1], 64),
			ASN: 64512, RouterID: n.addrs[0], Port: 179, MeshEnabled: true,
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd00:244:%d::/64", i+1))},
		})
	}
	for name, labels := range c.namespaces {
		s.Namespaces = s.Namespaces.Put(name, caracal.Namespace{Name: name, Labels: labels})
	}
	for _, p := range c.pods {
		w := p.workload()
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	for _, p := range c.policies {
		q := p.policy()
		s.Policies = s.Policies.Put(q.Key(), q)
	}
	return s
}

// workload is the pod as a Snapshot has it.
func (p *pod) workload() caracal.Workload {
	w := caracal.Workload{
		Namespace: p.namespace, Name: p.name, Node: p.node, Addrs: p.addrs, Labels: p.labels,
		HostNetwork: p.hostNetwork, Completed: p.completed,
	}
	if !p.hostNetwork {
		w.Interface = p.hostInterface()
	}
	for _, n := range p.ports {
		w.Ports = append(w.Ports, caracal.Port{Name: n.name, Protocol: n.protocol, Port: n.number})
	}
	return w
}

// policy is the policy as a Snapshot has it. That store makes the same of its
// YAML is a test of its own.
func (p *netpol) policy() caracal.Policy {
	q := caracal.Policy{
		Namespace: p.Namespace, Name: p.Name, Pods: p.Spec.PodSelector.parsed(),
		Ingress: len(p.Spec.PolicyTypes) == 0 || slices.Contains(p.Spec.PolicyTypes, "Ingress"),
		Egress:  len(p.Spec.PolicyTypes) == 0 && len(p.Spec.Egress) > 0 || slices.Contains(p.Spec.PolicyTypes, "Egress"),
	}
	if p.rejected {
		q.Ingress, q.Egress, q.Invalid = true, true, "spec: made up for a test"
		return q
	}
	for _, r := range p.Spec.Ingress {
		q.IngressRules = append(q.IngressRules, parsedRule(r.From, r.Ports))
	}
	for _, r := range p.Spec.Egress {
		q.EgressRules = append(q.EgressRules, parsedRule(r.To, r.Ports))
	}
	return q
}

func parsedRule(peers []peer, ports []portRule) (r caracal.PolicyRule) {
	for _, p := range peers {
		var q caracal.PolicyPeer
		if p.IPBlock != nil {
			q.Net = netip.MustParsePrefix(p.IPBlock.CIDR).Masked()
			for _, e := range p.IPBlock.Except {
				q.Except = append(q.Except, netip.MustParsePrefix(e).Masked())
			}
		}
		if p.PodSelector != nil {
			s := p.PodSelector.parsed()
			q.Pods = &s
		}
		if p.NamespaceSelector != nil {
			s := p.NamespaceSelector.parsed()
			q.Namespaces = &s
		}
		r.Peers = append(r.Peers, q)
	}
	for _, p := range ports {
		q := caracal.PolicyPort{Protocol: cmp.Or(p.Protocol, "TCP")}
		switch v := p.Port.(type) {
		case nil:
		case string:
			q.Name = v
		default:
			q.Port = uint16(toInt(v))
			q.EndPort = max(q.Port, uint16(p.EndPort))
		}
		r.Ports = append(r.Ports, q)
	}
	return r
}

// parsed is the selector as a Snapshot has it: sorted requirements.
func (s selector) parsed() (out caracal.LabelSelector) {
	for k, v := range s.MatchLabels {
		out.Requirements = append(out.Requirements, caracal.LabelRequirement{Key: k, Op: caracal.LabelIn, Values: []string{v}})
	}
	for _, e := range s.MatchExpressions {
		r := caracal.LabelRequirement{Key: e.Key, Op: caracal.LabelOperator(e.Operator), Values: slices.Sorted(slices.Values(e.Values))}
		out.Requirements = append(out.Requirements, r)
	}
	compare := func(a, b caracal.LabelRequirement) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Op, b.Op), slices.Compare(a.Values, b.Values))
	}
	slices.SortFunc(out.Requirements, compare)
	out.Requirements = slices.CompactFunc(out.Requirements, func(a, b caracal.LabelRequirement) bool { return compare(a, b) == 0 })
	return out
}

// text prints the policies, and the pods that they are about, for a failure.
func (c *cluster) text() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.namespaces)) {
		fmt.Fprintf(&b, "namespace %s %v\n", name, c.namespaces[name])
	}
	for _, p := range c.pods {
		fmt.Fprintf(&b, "pod %s on %s %v %v %v\n", p.key(), p.node, p.addrs, p.labels, p.ports)
	}
	for _, p := range c.policies {
		spec, _ := yaml.Marshal(p.Spec)
		fmt.Fprintf(&b, "--- %s/%s rejected: %t\n%s", p.Namespace, p.Name, p.rejected, spec)
	}
	return b.String()
}

func parseAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// prefix returns the range of an address's first bits.
func prefix(addr string, bits int) string {
	return netip.PrefixFrom(parseAddr(addr), bits).Masked().String()
}
