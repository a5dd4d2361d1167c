package v1

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"caracal.dev/caracal"
)

// Validate implements [Object].
func (o *Namespace) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, false)
	if o.Name != "" && len(validation.IsDNS1123Label(o.Name)) > 0 {
		c.errs = slices.DeleteFunc(c.errs, func(e FieldError) bool { return e.Path == "metadata.name" })
		c.failf("metadata.name", "%q must be lower-case letters, digits and -, at most 63 of them", clip(o.Name))
	}
	return c.errs
}

// Validate implements [Object]: what the API server accepts of a NetworkPolicy that
// is new, and nothing else.
func (o *NetworkPolicy) Validate() Errors {
	c := &checker{}
	c.meta(&o.ObjectMeta, o.Kind, true)
	s := o.Spec
	c.labelSelector("spec.podSelector", &s.PodSelector)
	for i, r := range s.Ingress {
		path := fmt.Sprintf("spec.ingress[%d]", i)
		c.policyPorts(path+".ports", r.Ports)
		c.policyPeers(path+".from", r.From)
	}
	for i, r := range s.Egress {
		path := fmt.Sprintf("spec.egress[%d]", i)
		c.policyPorts(path+".ports", r.Ports)
		c.policyPeers(path+".to", r.To)
	}
	if len(s.PolicyTypes) > 2 {
		c.failf("spec.policyTypes", "must not have more than two entries")
	}
	for i, t := range s.PolicyTypes {
		c.oneOf(fmt.Sprintf("spec.policyTypes[%d]", i), t, policyIngress, policyEgress)
	}
	return c.errs
}

func (c *checker) policyPorts(path string, ports []NetworkPolicyPort) {
	for i, p := range ports {
		c.policyPort(fmt.Sprintf("%s[%d]", path, i), p)
	}
}

func (c *checker) policyPort(path string, p NetworkPolicyPort) {
	if p.Protocol != nil {
		c.oneOf(path+".protocol", *p.Protocol, "TCP", "UDP", "SCTP")
	}
	switch {
	case p.Port == nil:
		if p.EndPort != nil {
			c.failf(path+".endPort", "must not be set without port")
		}
	case p.Port.ByName:
		if p.EndPort != nil {
			c.failf(path+".endPort", "must not be set where port is a name; a range has numbers")
		}
		c.portName(path+".port", p.Port.Name)
	default:
		c.portNumber(path+".port", p.Port.Number)
		if p.EndPort != nil {
			if *p.EndPort < p.Port.Number {
				c.failf(path+".endPort", "%d must not be less than port, %d", *p.EndPort, p.Port.Number)
			}
			c.portNumber(path+".endPort", *p.EndPort)
		}
	}
}

func (c *checker) portNumber(path string, n int32) {
	if n < 1 || n > 65535 {
		c.failf(path, "%d must be from 1 to 65535", n)
	}
}

// portName checks the name of a port: an IANA_SVC_NAME, RFC 6335 section 5.1.
func (c *checker) portName(path, name string) {
	if len(validation.IsValidPortName(name)) > 0 {
		hint := ""
		if !slices.ContainsFunc([]byte(name), func(b byte) bool { return b < '0' || b > '9' }) && name != "" {
			hint = "; write a number without quotes"
		}
		c.failf(path, "%q is not the name of a port: 1 to 15 lower-case letters, digits and -, at least one of them a letter, with no - at either end nor two in a row%s", clip(name), hint)
	}
}

func (c *checker) policyPeers(path string, peers []NetworkPolicyPeer) {
	for i, p := range peers {
		at := fmt.Sprintf("%s[%d]", path, i)
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		c.labelSelector(at+".podSelector", p.PodSelector)
		c.labelSelector(at+".namespaceSelector", p.NamespaceSelector)
		if p.IPBlock != nil {
			c.ipBlock(at+".ipBlock", p.IPBlock)
		}
		switch {
		case !selects && p.IPBlock == nil:
			c.failf(at, "must have a podSelector, a namespaceSelector or an ipBlock; for everybody leave out the whole list")
		case selects && p.IPBlock != nil:
			c.failf(at, "must not have an ipBlock together with a podSelector or namespaceSelector; write two entries")
		}
	}
}

// ipBlock checks a range, and that each exception is within it and smaller.
func (c *checker) ipBlock(path string, b *IPBlock) {
	if b.CIDR == "" {
		c.failf(path+".cidr", "is missing")
	}
	outer, ok := c.policyCIDR(path+".cidr", b.CIDR)
	for i, e := range b.Except {
		at := fmt.Sprintf("%s.except[%d]", path, i)
		if e == "" {
			c.failf(at, "must not be empty")
			continue
		}
		inner, innerOK := c.policyCIDR(at, e)
		if ok && innerOK && (!caracal.Covers(outer, inner) || inner == outer) {
			c.failf(at, "%s must be within cidr, %s, and smaller than it", inner, outer)
		}
	}
}

func (c *checker) policyCIDR(path, s string) (netip.Prefix, bool) {
	p, ok := parseCIDR(s)
	switch {
	case ok || s == "":
	case canParseAddr(s) && !strings.Contains(s, "/"): // a zone may have one
		c.failf(path, "%s has no prefix length; for this address alone write %s", clip(s), caracal.HostPrefix(mustAddr(s)))
	default:
		c.failf(path, "%q is not an address with a prefix length, such as 10.0.0.0/24 or 2001:db8::/64", clip(s))
	}
	return p, ok
}

func mustAddr(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a.WithZone("") }

// labelSelector checks a selector; nil is none.
func (c *checker) labelSelector(path string, s *metav1.LabelSelector) {
	if s == nil {
		return
	}
	for _, k := range sortedKeys(s.MatchLabels) {
		c.labelKey(path+".matchLabels", k)
		c.labelValue(path+".matchLabels."+k, s.MatchLabels[k])
	}
	for i, e := range s.MatchExpressions {
		at := fmt.Sprintf("%s.matchExpressions[%d]", path, i)
		switch e.Operator {
		case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
			if len(e.Values) == 0 {
				c.failf(at+".values", "is missing; the operator %s compares with values", e.Operator)
			}
		case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
			if len(e.Values) > 0 {
				c.failf(at+".values", "must not be set with the operator %s", e.Operator)
			}
		default:
			c.failf(at+".operator", "%q must be In, NotIn, Exists or DoesNotExist", clip(string(e.Operator)))
		}
		c.labelKey(at+".key", e.Key)
		for j, v := range e.Values {
			c.labelValue(fmt.Sprintf("%s.values[%d]", at, j), v)
		}
	}
}

func (c *checker) labelKey(path, k string) {
	for _, msg := range validation.IsQualifiedName(k) {
		c.failf(path, "%q is not a label: %s", clip(k), msg)
	}
}

func (c *checker) labelValue(path, v string) {
	for _, msg := range validation.IsValidLabelValue(v) {
		c.failf(path, "%q is not a value of a label: %s", clip(v), msg)
	}
}
