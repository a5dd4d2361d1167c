package kube

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// pod is a Pod that has been given to a node.
type pod struct {
	caracal.Workload
	// Created and Ending say which of two Pods with one address has it: a Pod's
	// address is another's soon after its containers are gone, and that may be well
	// before the Pod itself is.
	Created int64 // Unix seconds of the API server's clock
	Ending  bool
	// UIDs are what the kubelet may call a Pod of this node, beside its name.
	UIDs []string `json:",omitempty"`
}

// sourcePod is the Source of Workloads that are Pods.
const sourcePod = "pod"

// podOf keeps nothing of a Pod that nothing depends on: one without a node, and one
// of another node without an address.
func podOf(self string, words *store.Words) convert {
	return func(obj metav1.Object) any {
		p, ok := obj.(*corev1.Pod)
		if !ok || p.Spec.NodeName == "" {
			return nil
		}
		w := caracal.Workload{
			Node: p.Spec.NodeName, Labels: p.Labels, Source: sourcePod, HostNetwork: p.Spec.HostNetwork,
			Completed: p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		}
		if !w.HostNetwork && !w.Completed {
			if w.Node != self {
				w.Addrs = podAddrs(p)
				if len(w.Addrs) == 0 {
					return nil
				}
			}
			w.Ports = podPorts(p)
		}
		words.Workload(&w, p.Namespace+"/"+p.Name)
		out := &pod{Workload: w, Created: p.CreationTimestamp.Unix(), Ending: p.DeletionTimestamp != nil}
		if w.Node == self {
			out.UIDs = podUIDs(p)
		}
		return out
	}
}

// podUIDs are the UIDs by which a kubelet may know a Pod. The object of a static Pod is
// a mirror with a UID of its own, while the kubelet calls the Pod by the hash of what
// it read, which it leaves in annotations (kubernetes.io/config.mirror and .hash, in
// its list of well-known annotations).
func podUIDs(p *corev1.Pod) []string {
	var list []string
	for _, uid := range []string{string(p.UID), p.Annotations[corev1.MirrorPodAnnotationKey], p.Annotations["kubernetes.io/config.hash"]} {
		if uid != "" && !slices.Contains(list, uid) {
			list = append(list, uid)
		}
	}
	return list
}

func podAddrs(p *corev1.Pod) []netip.Addr {
	var buf [2]netip.Addr
	addrs := buf[:0]
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(addrs, a.Unmap()) {
			addrs = append(addrs, a.Unmap())
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	return slices.Clone(addrs)
}

// podPorts are the named ports of all containers, sidecars among them, sorted. Of two
// of a name and a protocol the first counts, as with kube-proxy.
func podPorts(p *corev1.Pod) []caracal.Port {
	var list []caracal.Port
	add := func(c *corev1.Container) {
		for _, port := range c.Ports {
			q := caracal.Port{Name: port.Name, Protocol: string(port.Protocol), Port: uint16(port.ContainerPort)}
			if q.Protocol == "" {
				q.Protocol = string(corev1.ProtocolTCP)
			}
			if q.Name != "" {
				list = append(list, q)
			}
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	// A Pod may have ten thousand: whoever makes it chooses.
	order := func(a, b caracal.Port) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Protocol, b.Protocol))
	}
	slices.SortStableFunc(list, order)
	return slices.CompactFunc(list, func(a, b caracal.Port) bool { return order(a, b) == 0 })
}

func namespaceOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		n := v1.NamespaceOf(obj.GetName(), obj.GetLabels())
		n.Labels = words.Labels(n.Labels)
		return &n
	}
}

// policy is a NetworkPolicy, or why it cannot be read and what stands in for it
// then.
type policy struct {
	caracal.Policy
	Warnings v1.Errors
}

func policyOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		p, ok := obj.(*networkingv1.NetworkPolicy)
		if !ok {
			return nil
		}
		doc, err := json.Marshal(map[string]any{
			"apiVersion": v1.NetworkPolicyAPIVersion, "kind": v1.KindNetworkPolicy,
			"metadata": map[string]any{"name": p.Name, "namespace": p.Namespace, "labels": p.Labels},
			"spec":     p.Spec,
		})
		if err != nil {
			return &policy{Policy: caracal.Policy{Namespace: p.Namespace, Name: p.Name, Ingress: true, Egress: true, Invalid: err.Error()}}
		}
		value, _, err := v1.DecodeCanonical(doc)
		if err != nil {
			out := &policy{Policy: v1.RejectedPolicy(doc, err.Error())}
			out.Namespace, out.Name = p.Namespace, p.Name
			return out
		}
		out := &policy{Policy: value.(*v1.NetworkPolicy).Policy(""), Warnings: value.Warnings()}
		words.Policy(&out.Policy, p.Namespace+"/"+p.Name)
		return out
	}
}

// serviceOf keeps nothing of a Service that no proxy serves. A headless one may list
// external IPs, too (kube-proxy: ShouldSkipService).
func serviceOf(words *store.Words) convert {
	return func(obj metav1.Object) any {
		s, ok := obj.(*corev1.Service)
		if !ok || s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone {
			return nil
		}
		out := &caracal.Service{
			Namespace: words.Word(s.Namespace), Name: s.Name,
			ClusterIPs: addrs(slices.Concat(s.Spec.ClusterIPs, []string{s.Spec.ClusterIP})), ExternalIPs: addrs(s.Spec.ExternalIPs),
			InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			var given []string
			for _, in := range s.Status.LoadBalancer.Ingress {
				// With ipMode Proxy nobody here answers at the address: the balancer
				// itself does.
				if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
					given = append(given, in.IP)
				}
			}
			out.LoadBalancerIPs = addrs(given)
		}
		if len(out.ClusterIPs)+len(out.ExternalIPs)+len(out.LoadBalancerIPs) == 0 {
			return nil
		}
		return out
	}
}

// addrs are those of a list that are addresses: "None" and "" are not.
func addrs(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// slice names the Service of an EndpointSlice that has a ready endpoint here, and the
// family of its addresses; those of both have slices for each.
type slice struct {
	Service string
	V6      bool
}

// sliceOf keeps of an EndpointSlice only whether it has an endpoint here that takes
// new connections: ready, and so not terminating, as kube-proxy counts for the
// health checks of load balancers. An absent condition means ready (API reference,
// EndpointConditions).
func sliceOf(self string, words *store.Words) convert {
	return func(obj metav1.Object) any {
		s, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || s.Labels[discoveryv1.LabelServiceName] == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
			return nil
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.NodeName != nil && *e.NodeName == self && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				return &slice{words.Word(s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]), s.AddressType == discoveryv1.AddressTypeIPv6}
			}
		}
		return nil
	}
}
