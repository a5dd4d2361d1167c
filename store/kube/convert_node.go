package kube

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	"caracal.dev/caracal/store"
)

// The annotations of a core Node in which its own daemon says at what address the
// others reach it, with the prefix length of the network that the address is on.
const (
	AnnotationIPv4 = "caracal.dev/ipv4-address"
	AnnotationIPv6 = "caracal.dev/ipv6-address"
)

// node is a core Node.
type node struct {
	Labels map[string]string
	// Addrs are those of IPv4 and of IPv6; the zero Prefix where there is none.
	Addrs    [2]netip.Prefix
	PodCIDRs []string
	// Wrong says what is wrong with the annotations.
	Wrong string
}

func nodeOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		o, ok := obj.(*corev1.Node)
		if !ok {
			return nil
		}
		n := &node{Labels: words.Labels(o.Labels)}
		for _, a := range o.Status.Addresses {
			if a.Type != corev1.NodeInternalIP {
				continue
			}
			ip, err := netip.ParseAddr(a.Address)
			if err != nil || ip.Zone() != "" {
				continue
			}
			if at := family(ip.Unmap()); !n.Addrs[at].IsValid() {
				n.Addrs[at] = caracal.HostPrefix(ip.Unmap())
			}
		}
		for at, name := range []string{AnnotationIPv4, AnnotationIPv6} {
			text, ok := o.Annotations[name]
			if !ok {
				continue
			}
			p, err := netip.ParsePrefix(text)
			if err != nil || family(p.Addr()) != at || p.Bits() == 0 {
				n.Wrong = fmt.Sprintf("annotation %s: %q is not an address with a prefix length, such as %s; the node's InternalIP counts instead. The daemon of the node writes it when it starts", name, clip(text), [...]string{"192.0.2.1/24", "2001:db8::1/64"}[at])
				continue
			}
			n.Addrs[at] = p
		}
		n.PodCIDRs = slices.Clone(o.Spec.PodCIDRs)
		if len(n.PodCIDRs) == 0 && o.Spec.PodCIDR != "" {
			n.PodCIDRs = []string{o.Spec.PodCIDR}
		}
		return n
	}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// clip shortens what somebody else wrote.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
