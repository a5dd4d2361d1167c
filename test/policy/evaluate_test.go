package policy

import (
	"net/netip"
	"slices"
)

// A selector is a metav1.LabelSelector as it is written.
type selector struct {
	MatchLabels      map[string]string `json:"matchLabels,omitempty"`
	MatchExpressions []expression      `json:"matchExpressions,omitempty"`
}

type expression struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// A netpol is a NetworkPolicy as it is written.
type netpol struct {
	Namespace, Name string
	Spec            netpolSpec
	// rejected: it cannot be read beyond its podSelector, so it isolates those pods
	// both ways and allows nothing.
	rejected bool
}

type netpolSpec struct {
	PodSelector selector  `json:"podSelector"`
	PolicyTypes []string  `json:"policyTypes,omitempty"`
	Ingress     []ingress `json:"ingress,omitempty"`
	Egress      []egress  `json:"egress,omitempty"`
}

type ingress struct {
	From  []peer     `json:"from,omitempty"`
	Ports []portRule `json:"ports,omitempty"`
}

type egress struct {
	To    []peer     `json:"to,omitempty"`
	Ports []portRule `json:"ports,omitempty"`
}

type peer struct {
	PodSelector       *selector `json:"podSelector,omitempty"`
	NamespaceSelector *selector `json:"namespaceSelector,omitempty"`
	IPBlock           *ipBlock  `json:"ipBlock,omitempty"`
}

type ipBlock struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except,omitempty"`
}

// A portRule is a NetworkPolicyPort; Port is a number, a name, or nil.
type portRule struct {
	Protocol string `json:"protocol,omitempty"`
	Port     any    `json:"port,omitempty"`
	EndPort  int    `json:"endPort,omitempty"`
}

// A flow is the first packet of a connection.
type flow struct {
	src, dst netip.Addr
	port     port
}

// allows is the evaluator: whether the API lets a new connection be made.
func (c *cluster) allows(f flow) bool {
	from, to := c.podAt(f.src), c.podAt(f.dst)
	if from != nil && from == to {
		return true // a pod cannot block access to itself
	}
	return c.leaves(from, to, f) && c.enters(from, to, f)
}

// leaves says whether the policies of the source allow it.
func (c *cluster) leaves(from, to *pod, f flow) bool {
	if from == nil || c.isNode(from.node, f.dst) {
		return true // what is no pod is not isolated; a pod's own node is always open
	}
	isolated := false
	for _, p := range c.policies {
		if !p.isolates(from, "Egress") {
			continue
		}
		isolated = true
		for _, r := range p.Spec.Egress {
			if c.onPeers(r.To, p, f.dst, to) && onPorts(r.Ports, f.port, to) {
				return true
			}
		}
	}
	return !isolated
}

// enters says whether the policies of the destination allow it.
func (c *cluster) enters(from, to *pod, f flow) bool {
	if to == nil || c.isNode(to.node, f.src) {
		return true
	}
	isolated := false
	for _, p := range c.policies {
		if !p.isolates(to, "Ingress") {
			continue
		}
		isolated = true
		for _, r := range p.Spec.Ingress {
			if c.onPeers(r.From, p, f.src, from) && onPorts(r.Ports, f.port, to) {
				return true
			}
		}
	}
	return !isolated
}

// isolates says whether a policy selects a pod for a direction. Without
// policyTypes all affect ingress, and those with egress rules affect egress.
func (p *netpol) isolates(pod *pod, direction string) bool {
	types := p.Spec.PolicyTypes
	if p.rejected {
		types = []string{"Ingress", "Egress"}
	} else if len(types) == 0 {
		types = []string{"Ingress"}
		if len(p.Spec.Egress) > 0 {
			types = append(types, "Egress")
		}
	}
	return pod.namespace == p.Namespace && p.Spec.PodSelector.matches(pod.labels) && slices.Contains(types, direction)
}

// onPeers says whether any of the peers is the other end; none listed is all.
func (c *cluster) onPeers(peers []peer, p *netpol, addr netip.Addr, pod *pod) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(q peer) bool {
		if q.IPBlock != nil {
			return within(addr, q.IPBlock.CIDR) && !slices.ContainsFunc(q.IPBlock.Except, func(e string) bool { return within(addr, e) })
		}
		if pod == nil || q.PodSelector != nil && !q.PodSelector.matches(pod.labels) {
			return false
		}
		if q.NamespaceSelector != nil {
			return q.NamespaceSelector.matches(c.namespaces[pod.namespace])
		}
		return pod.namespace == p.Namespace
	})
}

// onPorts says whether any of the ports is that of the destination; none listed
// is all. A name is that of a port of the destination pod.
func onPorts(ports []portRule, at port, to *pod) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(r portRule) bool {
		if r.Protocol != at.protocol && (r.Protocol != "" || at.protocol != "TCP") {
			return false
		}
		switch want := r.Port.(type) {
		case nil:
			return true
		case string:
			return to != nil && slices.Contains(to.ports, namedPort{want, at.protocol, at.number})
		default:
			first := toInt(want)
			return int(at.number) >= first && int(at.number) <= max(first, r.EndPort)
		}
	})
}

func (s selector) matches(labels map[string]string) bool {
	for k, want := range s.MatchLabels {
		if v, ok := labels[k]; !ok || v != want {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		v, there := labels[e.Key]
		in := there && slices.Contains(e.Values, v)
		holds := map[string]bool{"In": in, "NotIn": !in, "Exists": there, "DoesNotExist": !there}
		if !holds[e.Operator] {
			return false
		}
	}
	return true
}

func within(a netip.Addr, cidr string) bool { return netip.MustParsePrefix(cidr).Contains(a) }
