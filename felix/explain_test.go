package felix

import (
	"net/netip"
	"strings"
	"testing"

	"caracal.dev/caracal"
)

// The world of the cases: namespaces default and prod, each with a label env; the
// nodes a (this one) and b; pods with a label app that is their name.
func explainWorld(policies ...caracal.Policy) *caracal.Snapshot {
	s := caracal.NewSnapshot("a")
	s.Synced = true
	for name, addr := range map[string]string{"a": "192.0.2.1/24", "b": "192.0.2.2/24"} {
		s.Nodes = s.Nodes.Put(name, caracal.Node{Name: name, IPv4: netip.MustParsePrefix(addr), Port: 179})
	}
	for _, name := range []string{"default", "prod"} {
		s.Namespaces = s.Namespaces.Put(name, caracal.Namespace{Name: name, Labels: map[string]string{caracal.NamespaceNameLabel: name, "env": name}})
	}
	pod := func(ns, name, node string, addrs ...string) caracal.Workload {
		w := caracal.Workload{Namespace: ns, Name: name, Node: node, Interface: "car" + name, Labels: map[string]string{"app": name}}
		for _, a := range addrs {
			w.Addrs = append(w.Addrs, netip.MustParseAddr(a))
		}
		return w
	}
	web := pod("default", "web", "a", "10.0.0.1", "fd00::1")
	web.Ports = []caracal.Port{{Name: "http", Protocol: "TCP", Port: 8080}, {Name: "dns", Protocol: "UDP", Port: 53}}
	host := pod("default", "host", "b", "192.0.2.2")
	host.HostNetwork = true
	done := pod("default", "done", "a", "10.0.0.9")
	done.Completed = true
	for _, w := range []caracal.Workload{
		web, pod("default", "db", "a", "10.0.0.2"), pod("prod", "api", "b", "10.0.1.1", "fd00::101"), pod("default", "six", "b", "fd00::102"), host, done,
	} {
		s.Workloads = s.Workloads.Put(w.Key(), w)
	}
	for _, p := range policies {
		s.Policies = s.Policies.Put(p.Key(), p)
	}
	return s
}

func labels(kv ...string) *caracal.LabelSelector {
	s := &caracal.LabelSelector{}
	for i := 0; i < len(kv); i += 2 {
		s.Requirements = append(s.Requirements, caracal.LabelRequirement{Key: kv[i], Op: caracal.LabelIn, Values: []string{kv[i+1]}})
	}
	return s
}

func block(cidr string, except ...string) caracal.PolicyPeer {
	p := caracal.PolicyPeer{Net: netip.MustParsePrefix(cidr)}
	for _, e := range except {
		p.Except = append(p.Except, netip.MustParsePrefix(e))
	}
	return p
}

// onWeb is a policy of namespace default for pod web.
func onWeb(name string, change func(*caracal.Policy)) caracal.Policy {
	p := caracal.Policy{Namespace: "default", Name: name, Pods: *labels("app", "web"), Ingress: true}
	change(&p)
	return p
}

func ingressFrom(peers []caracal.PolicyPeer, ports ...caracal.PolicyPort) func(*caracal.Policy) {
	return func(p *caracal.Policy) { p.IngressRules = []caracal.PolicyRule{{Peers: peers, Ports: ports}} }
}

func egressTo(peers []caracal.PolicyPeer, ports ...caracal.PolicyPort) func(*caracal.Policy) {
	return func(p *caracal.Policy) {
		p.Ingress, p.Egress = false, true
		p.EgressRules = []caracal.PolicyRule{{Peers: peers, Ports: ports}}
	}
}

func parseEnd(s string) End {
	if strings.Contains(s, "/") {
		return End{Workload: s}
	}
	return End{Addr: netip.MustParseAddr(s)}
}

func TestExplain(t *testing.T) {
	deny := onWeb("deny", func(*caracal.Policy) {})
	tcp := func(from, to uint16) caracal.PolicyPort {
		return caracal.PolicyPort{Protocol: "TCP", Port: from, EndPort: to}
	}
	peers := func(p ...caracal.PolicyPeer) []caracal.PolicyPeer { return p }
	rejected := onWeb("broken", func(p *caracal.Policy) { p.Ingress, p.Invalid = false, "spec.ingress[0]: unknown field" })
	for _, c := range []struct {
		api      string // the sentence of the API's documentation, in short
		policies []caracal.Policy
		from, to string
		proto    uint8
		port     uint16
		want     bool
		why      string // is in the reason of the verdict or of a side
	}{
		{"by default, a pod is non-isolated for ingress", nil, "default/db", "default/web", protoTCP, 80, true, "no policy selects it for ingress"},
		{"isolated once a policy selects it with Ingress in policyTypes", []caracal.Policy{deny}, "default/db", "default/web", protoTCP, 80, false, "isolated by default/deny, and no rule"},
		{"and for all protocols", []caracal.Policy{deny}, "default/db", "default/web", 1, 0, false, "default/deny"},
		{"ingress does not isolate for egress", []caracal.Policy{deny}, "default/web", "default/db", protoTCP, 80, true, "not isolated"},
		{"policies are per namespace", []caracal.Policy{{Namespace: "prod", Name: "deny", Ingress: true}}, "default/db", "default/web", protoTCP, 80, true, ""},
		{"an empty podSelector selects all pods in the namespace", []caracal.Policy{{Namespace: "default", Name: "all", Ingress: true}}, "prod/api", "default/web", protoTCP, 80, false, "default/all"},
		{"policies do not conflict; they are additive", []caracal.Policy{deny, onWeb("open", ingressFrom(nil))}, "default/db", "default/web", protoTCP, 80, true, "rule 0 of default/open"},
		{"both the egress policy on the source and the ingress policy on the destination must allow", []caracal.Policy{{Namespace: "default", Name: "no-out", Egress: true}, onWeb("open", ingressFrom(nil))}, "default/db", "default/web", protoTCP, 80, false, "egress of default/db"},
		{"podSelector: pods in the same namespace as the policy", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels()})))}, "default/db", "default/web", protoTCP, 80, true, "rule 0"},
		{"podSelector: not those of another", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels()})))}, "prod/api", "default/web", protoTCP, 80, false, ""},
		{"namespaceSelector: all pods of those namespaces", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Namespaces: labels("env", "prod")})))}, "prod/api", "default/web", protoTCP, 80, true, ""},
		{"both: pods in namespaces with the labels", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Namespaces: labels("env", "prod"), Pods: labels("app", "db")})))}, "prod/api", "default/web", protoTCP, 80, false, ""},
		{"two items of from: any of them", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels("app", "db")}, caracal.PolicyPeer{Namespaces: labels("env", "prod")})))}, "prod/api", "default/web", protoTCP, 80, true, ""},
		{"ipBlock: from a CIDR", []caracal.Policy{onWeb("p", ingressFrom(peers(block("203.0.113.0/24"))))}, "203.0.113.7", "default/web", protoTCP, 80, true, "counts as outside"},
		{"ipBlock: except", []caracal.Policy{onWeb("p", ingressFrom(peers(block("203.0.113.0/24", "203.0.113.0/25"))))}, "203.0.113.7", "default/web", protoTCP, 80, false, ""},
		{"ipBlock: the other family is not in it", []caracal.Policy{onWeb("p", ingressFrom(peers(block("0.0.0.0/0"))))}, "fd00::101", "default/web", protoTCP, 80, false, ""},
		{"ports: the port and protocol", []caracal.Policy{onWeb("p", ingressFrom(nil, tcp(80, 80)))}, "default/db", "default/web", protoTCP, 80, true, ""},
		{"ports: not another", []caracal.Policy{onWeb("p", ingressFrom(nil, tcp(80, 80)))}, "default/db", "default/web", protoTCP, 81, false, ""},
		{"ports: not another protocol", []caracal.Policy{onWeb("p", ingressFrom(nil, tcp(80, 80)))}, "default/db", "default/web", protoUDP, 80, false, ""},
		{"endPort: the range, both ends included", []caracal.Policy{onWeb("p", ingressFrom(nil, tcp(80, 90)))}, "default/db", "default/web", protoTCP, 90, true, ""},
		{"endPort: and no further", []caracal.Policy{onWeb("p", ingressFrom(nil, tcp(80, 90)))}, "default/db", "default/web", protoTCP, 91, false, ""},
		{"a protocol without a port: all ports of it", []caracal.Policy{onWeb("p", ingressFrom(nil, caracal.PolicyPort{Protocol: "SCTP"}))}, "default/db", "default/web", protoSCTP, 9, true, ""},
		{"a named port on a pod", []caracal.Policy{onWeb("p", ingressFrom(nil, caracal.PolicyPort{Protocol: "TCP", Name: "http"}))}, "default/db", "default/web", protoTCP, 8080, true, ""},
		{"the name has a protocol", []caracal.Policy{onWeb("p", ingressFrom(nil, caracal.PolicyPort{Protocol: "TCP", Name: "dns"}))}, "default/db", "default/web", protoTCP, 53, false, ""},
		{"egress: to", []caracal.Policy{onWeb("p", egressTo(peers(caracal.PolicyPeer{Pods: labels("app", "db")})))}, "default/web", "default/db", protoTCP, 80, true, "rule 0 of default/p"},
		{"egress: a named port is the destination's", []caracal.Policy{{Namespace: "default", Name: "p", Pods: *labels("app", "db"), Egress: true,
			EgressRules: []caracal.PolicyRule{{Ports: []caracal.PolicyPort{{Protocol: "TCP", Name: "http"}}}}}}, "default/db", "default/web", protoTCP, 8080, true, ""},
		{"no egress rules: no traffic out", []caracal.Policy{onWeb("p", func(p *caracal.Policy) { p.Ingress, p.Egress = false, true })}, "default/web", "203.0.113.7", protoTCP, 80, false, "counts as outside"},
		{"a pod cannot block access to itself", []caracal.Policy{deny}, "default/web", "default/web", protoTCP, 80, true, "itself"},
		{"traffic from the pod's own node is always allowed", []caracal.Policy{deny}, "192.0.2.1", "default/web", protoTCP, 80, true, "own workloads"},
		{"and to it", []caracal.Policy{onWeb("p", func(p *caracal.Policy) { p.Egress = true })}, "default/web", "192.0.2.1", protoTCP, 80, true, "own workloads"},
		{"another node is outside", []caracal.Policy{deny}, "192.0.2.2", "default/web", protoTCP, 80, false, "address of node b"},
		{"hostNetwork pods are not selected as peers", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels()})))}, "default/host", "default/web", protoTCP, 80, false, "hostNetwork"},
		{"hostNetwork pods are not isolated", []caracal.Policy{{Namespace: "default", Name: "all", Ingress: true}}, "default/db", "default/host", protoTCP, 80, true, "hostNetwork"},
		{"a completed pod has no say", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels()})))}, "default/done", "default/web", protoTCP, 80, false, "completed"},
		{"nor by its address", []caracal.Policy{onWeb("p", ingressFrom(peers(caracal.PolicyPeer{Pods: labels()})))}, "10.0.0.9", "default/web", protoTCP, 80, false, "counts as outside"},
		{"ours: a rejected policy isolates both ways and allows nothing", []caracal.Policy{rejected}, "default/web", "default/db", protoTCP, 80, false, "unknown field"},
		{"ours: BGP of the nodes is not for workloads", nil, "default/web", "192.0.2.2", protoTCP, 179, false, "BGP's"},
		{"ours: not even of their own", nil, "default/web", "192.0.2.1", protoTCP, 179, false, "BGP's"},
		{"ours: nor is IPIP", nil, "default/web", "192.0.2.2", protoIPIP, 0, false, "IPIP"},
		{"no family in common", nil, "default/db", "default/six", protoTCP, 80, false, "same family"},
		{"a name that is not known", nil, "default/nobody", "default/web", protoTCP, 80, false, "no workload"},
	} {
		v := Explain(explainWorld(c.policies...), Flow{From: parseEnd(c.from), To: parseEnd(c.to), Protocol: c.proto, Port: c.port})
		if v.Allowed != c.want {
			t.Errorf("%s: %s -> %s: allowed %t, want %t: %+v", c.api, c.from, c.to, v.Allowed, c.want, v)
		}
		if all := v.Why + "|" + v.Egress.Why + "|" + v.Ingress.Why; !strings.Contains(all, c.why) {
			t.Errorf("%s: %s -> %s: %q is not in %q", c.api, c.from, c.to, c.why, all)
		}
	}
}
