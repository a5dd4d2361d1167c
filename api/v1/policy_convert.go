package v1

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"caracal.dev/caracal"
)

// Namespace returns the noun of a valid Namespace, with the label that each has.
func (o *Namespace) Namespace() caracal.Namespace { return NamespaceOf(o.Name, o.Labels) }

// NamespaceOf returns the noun of a namespace with these labels and the one that
// each namespace has: nil labels for one that is only mentioned.
func NamespaceOf(name string, labels map[string]string) caracal.Namespace {
	all := make(map[string]string, len(labels)+1)
	for k, v := range labels {
		all[k] = v
	}
	all[caracal.NamespaceNameLabel] = name
	return caracal.Namespace{Name: name, Labels: all}
}

// Policy returns the noun of a valid NetworkPolicy in its canonical form; source
// says where it comes from.
func (o *NetworkPolicy) Policy(source string) caracal.Policy {
	s := o.Spec
	p := caracal.Policy{Namespace: o.Namespace, Name: o.Name, Pods: selectorOf(s.PodSelector), Source: source}
	p.Ingress, p.Egress = directions(s.PolicyTypes)
	for _, r := range s.Ingress {
		p.IngressRules = append(p.IngressRules, caracal.PolicyRule{Peers: peersOf(r.From), Ports: portsOf(r.Ports)})
	}
	for _, r := range s.Egress {
		p.EgressRules = append(p.EgressRules, caracal.PolicyRule{Peers: peersOf(r.To), Ports: portsOf(r.Ports)})
	}
	return p
}

func directions(policyTypes []string) (ingress, egress bool) {
	return slices.Contains(policyTypes, policyIngress), slices.Contains(policyTypes, policyEgress)
}

func portsOf(ports []NetworkPolicyPort) []caracal.PolicyPort {
	var list []caracal.PolicyPort
	for _, p := range ports {
		port := caracal.PolicyPort{Protocol: *p.Protocol}
		switch {
		case p.Port == nil:
		case p.Port.ByName:
			port.Name = p.Port.Name
		default:
			port.Port = uint16(p.Port.Number)
			port.EndPort = port.Port
			if p.EndPort != nil {
				port.EndPort = uint16(*p.EndPort)
			}
		}
		list = append(list, port)
	}
	return list
}

func peersOf(peers []NetworkPolicyPeer) []caracal.PolicyPeer {
	var list []caracal.PolicyPeer
	for _, p := range peers {
		var peer caracal.PolicyPeer
		if p.IPBlock != nil {
			peer.Net, _ = parseCIDR(p.IPBlock.CIDR)
			for _, e := range p.IPBlock.Except {
				inner, _ := parseCIDR(e)
				peer.Except = append(peer.Except, inner)
			}
		}
		if p.PodSelector != nil {
			s := selectorOf(*p.PodSelector)
			peer.Pods = &s
		}
		if p.NamespaceSelector != nil {
			s := selectorOf(*p.NamespaceSelector)
			peer.Namespaces = &s
		}
		list = append(list, peer)
	}
	return list
}

// selectorOf returns the canonical form of a valid selector.
func selectorOf(s metav1.LabelSelector) caracal.LabelSelector {
	list := make([]caracal.LabelRequirement, 0, len(s.MatchLabels)+len(s.MatchExpressions))
	for k, v := range s.MatchLabels {
		list = append(list, caracal.LabelRequirement{Key: k, Op: caracal.LabelIn, Values: []string{v}})
	}
	for _, e := range s.MatchExpressions {
		r := caracal.LabelRequirement{Key: e.Key, Op: caracal.LabelOperator(e.Operator)}
		if len(e.Values) > 0 {
			r.Values = slices.Clone(e.Values)
			slices.Sort(r.Values)
			r.Values = slices.Compact(r.Values)
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		return caracal.LabelSelector{}
	}
	slices.SortFunc(list, compareRequirements)
	list = slices.CompactFunc(list, func(a, b caracal.LabelRequirement) bool { return compareRequirements(a, b) == 0 })
	return caracal.LabelSelector{Requirements: list}
}

func compareRequirements(a, b caracal.LabelRequirement) int {
	return cmp.Or(strings.Compare(a.Key, b.Key), cmp.Compare(a.Op, b.Op), slices.Compare(a.Values, b.Values))
}

// RejectedPolicy returns what stands in for a NetworkPolicy that was refused and
// that no earlier version is known of: it selects what can be read of the
// document's podSelector, and everything in the namespace if that cannot be read
// either; the namespace is "default" if none can be read. It isolates both ways
// and allows nothing.
func RejectedPolicy(doc []byte, reason string) caracal.Policy {
	p := caracal.Policy{Namespace: DefaultNamespace, Ingress: true, Egress: true, Invalid: reason}
	text, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return p
	}
	tree, id := parseTree(text)
	p.Name = id.Name
	if len(validation.IsDNS1123Label(id.Namespace)) == 0 {
		p.Namespace = id.Namespace
	}
	top, _ := tree.(map[string]any)
	spec, _ := top["spec"].(map[string]any)
	sel, ok := spec["podSelector"].(map[string]any)
	if !ok || len(checkFields("", sel, reflect.TypeFor[metav1.LabelSelector]())) > 0 {
		return p
	}
	var s metav1.LabelSelector
	b, err := json.Marshal(sel)
	if err != nil || json.Unmarshal(b, &s) != nil {
		return p
	}
	c := &checker{}
	if c.labelSelector("", &s); len(c.errs) == 0 {
		p.Pods = selectorOf(s)
	}
	return p
}
