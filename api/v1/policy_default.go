package v1

import (
	"fmt"
	"net/netip"

	netutils "k8s.io/utils/net"

	"caracal.dev/caracal"
)

// The values of policyTypes.
const (
	policyIngress = "Ingress"
	policyEgress  = "Egress"
)

// Default implements [Object].
func (o *Namespace) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	if len(o.Labels) == 0 {
		o.Labels = nil
	}
}

// Default implements [Object]: what the API server fills in. policyTypes is
// Ingress, and Egress too if there are egress rules; a protocol is TCP.
func (o *NetworkPolicy) Default() {
	setType(o, &o.Kind, &o.APIVersion)
	setIfEmpty(&o.Namespace, DefaultNamespace)
	if len(o.Labels) == 0 {
		o.Labels = nil
	}
	s := &o.Spec
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []string{policyIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, policyEgress)
		}
	}
	for _, r := range s.Ingress {
		defaultPorts(r.Ports)
	}
	for _, r := range s.Egress {
		defaultPorts(r.Ports)
	}
}

func defaultPorts(ports []NetworkPolicyPort) {
	for i := range ports {
		setIfNil(&ports[i].Protocol, "TCP")
	}
}

// Warnings implements [Object].
func (o *Namespace) Warnings() Errors {
	if v, ok := o.Labels[caracal.NamespaceNameLabel]; ok && v != o.Name {
		return Errors{{"metadata.labels." + caracal.NamespaceNameLabel, fmt.Sprintf("%q is not used: the label always has the namespace's name", clip(v))}}
	}
	return nil
}

// Warnings implements [Object].
func (o *NetworkPolicy) Warnings() Errors {
	var w Errors
	s := o.Spec
	for i, r := range s.Ingress {
		w = append(w, warnPeers(fmt.Sprintf("spec.ingress[%d].from", i), r.From)...)
	}
	for i, r := range s.Egress {
		w = append(w, warnPeers(fmt.Sprintf("spec.egress[%d].to", i), r.To)...)
	}
	ingress, egress := directions(s.PolicyTypes)
	if len(s.Ingress) > 0 && !ingress {
		w = append(w, FieldError{"spec.ingress", "has no effect, for policyTypes does not list Ingress"})
	}
	if len(s.Egress) > 0 && !egress {
		w = append(w, FieldError{"spec.egress", "has no effect, for policyTypes does not list Egress"})
	}
	return w
}

func warnPeers(path string, peers []NetworkPolicyPeer) Errors {
	var w Errors
	for i, p := range peers {
		if p.IPBlock == nil {
			continue
		}
		at := fmt.Sprintf("%s[%d].ipBlock", path, i)
		w = append(w, warnCIDR(at+".cidr", p.IPBlock.CIDR)...)
		for j, e := range p.IPBlock.Except {
			w = append(w, warnCIDR(fmt.Sprintf("%s.except[%d]", at, j), e)...)
		}
	}
	return w
}

func warnCIDR(path, s string) Errors {
	if p, ok := parseCIDR(s); ok && p.String() != s {
		if strict, err := netip.ParsePrefix(s); err != nil || strict != p {
			return Errors{{path, fmt.Sprintf("%s is taken as %s; write it so", clip(s), p)}}
		}
	}
	return nil
}

// parseCIDR reads a CIDR as the API server does: bits beyond its length and
// leading zeros are accepted, and IPv4 in IPv6 is IPv4. It returns the canonical
// form.
func parseCIDR(s string) (netip.Prefix, bool) {
	_, n, err := netutils.ParseCIDRSloppy(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	if a.Is4In6() { // then n has 96 bits at least, or masking had changed it
		a, bits = a.Unmap(), bits-96
	}
	p := netip.PrefixFrom(a, bits).Masked()
	return p, p.IsValid()
}
