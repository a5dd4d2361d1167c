package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

// full returns a world in which every kind was listed, with nodes a, b, c.
func full(t testing.TB) *world {
	t.Helper()
	w := newWorld("a")
	for _, kind := range kinds() {
		w.replace(kind, nil)
	}
	for i, name := range []string{"a", "b", "c"} {
		w.set(kindNode, name, coreNode(name, fmt.Sprintf("192.0.2.%d", i+1)))
	}
	return w
}

func coreNode(name string, ips ...string) *node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.1.0.0/24"}}}
	for _, ip := range ips {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return nodeOf(nil)(n).(*node)
}

func resource(kind, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1.APIVersion, "kind": kind, "metadata": map[string]any{"name": name, "resourceVersion": "7"}, "spec": spec,
	}}
}

// put gives a world a resource of caracal.dev.
func put(w *world, kind, name string, spec map[string]any) {
	conv := ownOf(w.words)
	switch kind {
	case v1.KindNodeConfig:
		conv = overlayOf
	case v1.KindBlockAffinity:
		conv = affinityOf(w.words)
	}
	w.set(kind, name, conv(resource(kind, name, spec)))
}

func claimed(node, cidr string) map[string]any {
	return map[string]any{"node": node, "cidr": cidr, "state": "confirmed"}
}

// next builds a Snapshot on top of another.
func (w *world) next(prev *caracal.Snapshot, at time.Time) *caracal.Snapshot {
	w.judgeTook = 0
	s, _ := w.build(prev, at, false)
	s.Problems = w.problems()
	return s
}

func (w *world) first() *caracal.Snapshot {
	return w.next(caracal.NewSnapshot(w.self), time.Unix(1000, 0))
}

func blocks(s *caracal.Snapshot) string {
	var all []string
	for p, b := range s.Blocks.All() {
		all = append(all, p.String()+"="+b.Node)
	}
	return strings.Join(all, " ")
}

func messages(s *caracal.Snapshot) string {
	var all []string
	for _, p := range s.Problems {
		all = append(all, fmt.Sprintf("%s %s/%s %s", p.Severity, p.Kind, p.Name, p.Message))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestNodes(t *testing.T) {
	w := full(t)
	s := w.first()
	if n, _ := s.Nodes.Get("b"); s.Nodes.Len() != 3 || n.IPv4 != netip.MustParsePrefix("192.0.2.2/32") || n.Labels["name"] != "b" || n.ASN != 64512 {
		t.Fatalf("%+v", n)
	}
	if s.IPAM.Mode != v1.IPAMBlocks || s.Blocks.Len() != 0 {
		t.Fatalf("mode %s, blocks %s", s.IPAM.Mode, blocks(s))
	}
	// An annotation counts more than the InternalIP, a NodeConfig more than both, and
	// only in what it sets.
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b", Annotations: map[string]string{AnnotationIPv4: "192.0.2.9/24", AnnotationIPv6: "bad"}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::2"}, {Type: corev1.NodeExternalIP, Address: "198.51.100.1"}}
	w.set(kindNode, "b", nodeOf(nil)(n))
	put(w, v1.KindNodeConfig, "b", map[string]any{"asNumber": int64(65001)})
	put(w, v1.KindNodeConfig, "c", map[string]any{"addresses": []any{"192.0.2.30/24"}, "routeReflectorClusterID": "1.1.1.1"})
	put(w, v1.KindNodeConfig, "gone", map[string]any{"addresses": []any{"192.0.2.40/24"}})
	s = w.next(s, time.Unix(1001, 0))
	b, _ := s.Nodes.Get("b")
	c, _ := s.Nodes.Get("c")
	if b.IPv4.String() != "192.0.2.9/24" || b.IPv6.String() != "2001:db8::2/128" || b.ASN != 65001 {
		t.Errorf("%+v", b)
	}
	if c.IPv4.String() != "192.0.2.30/24" || !c.ClusterID.IsValid() || c.Labels["name"] != "c" {
		t.Errorf("%+v", c)
	}
	if m := messages(s); !strings.Contains(m, "ipv6-address") || !strings.Contains(m, "gone: there is a NodeConfig") || s.Nodes.Len() != 3 {
		t.Errorf("%s", m)
	}
	// A NodeConfig that is taken back gives the node back what it says itself.
	w.set(v1.KindNodeConfig, "c", nil)
	w.set(kindNode, "b", nil)
	s = w.next(s, time.Unix(1100, 0))
	if c, _ := s.Nodes.Get("c"); c.IPv4.String() != "192.0.2.3/32" || s.Nodes.Len() != 2 {
		t.Errorf("%+v", c)
	}
}

func TestBlocks(t *testing.T) {
	w := full(t)
	put(w, v1.KindIPPool, "p", map[string]any{"cidr": "10.0.0.0/16"})
	put(w, v1.KindBlockAffinity, "1", claimed("a", "10.0.0.0/26"))
	put(w, v1.KindBlockAffinity, "2", claimed("b", "10.0.1.0/26"))
	put(w, v1.KindBlockAffinity, "3", map[string]any{"node": "c", "cidr": "10.0.2.0/26", "state": "pending"})
	put(w, v1.KindBlockAffinity, "4", map[string]any{"node": "c", "cidr": "10.0.0.5/32", "state": "confirmed", "borrowedFrom": "10.0.0.0/26"})
	put(w, v1.KindBlockAffinity, "5", claimed("nobody", "10.0.3.0/26"))
	put(w, v1.KindBlockAffinity, "6", claimed("c", "garbage"))
	s := w.first()
	if got, want := blocks(s), "10.0.0.0/26=a 10.0.0.5/32=c 10.0.1.0/26=b"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	if m := messages(s); !strings.Contains(m, "BlockAffinity 6: spec.cidr") {
		t.Error(m)
	}
	// A block moves, an address is given back.
	w.set(v1.KindBlockAffinity, "2", nil)
	w.set(v1.KindBlockAffinity, "4", nil)
	put(w, v1.KindBlockAffinity, "2b", claimed("c", "10.0.1.0/26"))
	s = w.next(s, time.Unix(1001, 0))
	if got, want := blocks(s), "10.0.0.0/26=a 10.0.1.0/26=c"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	// A second claim of a block is refused, and the node goes on without it.
	put(w, v1.KindBlockAffinity, "7", claimed("b", "10.0.0.0/26"))
	s = w.next(s, time.Unix(1002, 0))
	if got, want := blocks(s), "10.0.0.0/26=a 10.0.1.0/26=c"; got != want || !strings.Contains(messages(s), "belongs to Node a already") {
		t.Fatalf("%s, want %s\n%s", got, want, messages(s))
	}
	// In mode podCIDR the core Node's podCIDRs are its own.
	w.set(v1.KindBlockAffinity, "7", nil)
	w.set(kindNode, "b", &node{Addrs: w.nodes["b"].Addrs, PodCIDRs: []string{"10.0.9.0/24"}})
	put(w, v1.KindIPAMConfiguration, "default", map[string]any{"mode": "podCIDR"})
	s = w.next(s, time.Unix(1003, 0))
	if b, _ := s.Blocks.Get(netip.MustParsePrefix("10.0.9.0/24")); b.Node != "b" {
		t.Errorf("%s\n%s", blocks(s), messages(s))
	}
}

func TestBadObjects(t *testing.T) {
	w := full(t)
	put(w, v1.KindIPPool, "p", map[string]any{"cidr": "10.0.0.0/16"})
	put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.1", "asNumber": int64(65000)})
	s := w.first()
	put(w, v1.KindIPPool, "p", map[string]any{"cidr": "10.0.0.0"})                               // cannot be read
	put(w, v1.KindIPPool, "q", map[string]any{"cidr": "10.0.128.0/17"})                          // overlaps
	put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.1", "asNumbr": int64(1)}) // unknown field
	put(w, v1.KindNodeConfig, "b", map[string]any{"tunnelAddress": "x"})
	s = w.next(s, time.Unix(1001, 0))
	if s.Pools.Len() != 1 || s.Peers.Len() != 1 || s.Nodes.Len() != 3 {
		t.Errorf("pools %d, peers %d, nodes %d", s.Pools.Len(), s.Peers.Len(), s.Nodes.Len())
	}
	for _, want := range []string{"rejected IPPool/p", "overlaps 10.0.0.0/16 of IPPool p", "BGPPeer tor: spec.asNumbr: unknown field", "NodeConfig b: spec.tunnelAddress"} {
		if !strings.Contains(messages(s), want) {
			t.Errorf("no %q in\n%s", want, messages(s))
		}
	}
	// Without the one that is in the way the other one is in force.
	w.set(v1.KindIPPool, "p", nil)
	put(w, v1.KindBGPPeer, "tor", map[string]any{"peerIP": "198.51.100.2", "asNumber": int64(65000)})
	w.set(v1.KindNodeConfig, "b", nil)
	s = w.next(s, time.Unix(1002, 0))
	if _, ok := s.Pools.Get("q"); !ok || len(s.Problems) > 2 { // about empty pools and peers
		t.Errorf("%s", messages(s))
	}
}

func workload(name, node string, created int64, ending bool, ips ...string) *pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, CreationTimestamp: metav1.Unix(created, 0), Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{NodeName: node}}
	if ending {
		p.DeletionTimestamp = &metav1.Time{Time: time.Unix(created+1, 0)}
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	got, _ := podOf("a", nil)(p).(*pod)
	if got == nil {
		return nil
	}
	return got
}

func TestOneAddressOnePod(t *testing.T) {
	w := newWorld("a")
	type step struct {
		name string
		pod  *pod
		want string // who has the address
	}
	for i, s := range []step{
		{"old", workload("old", "b", 100, false, "10.0.0.1", "fd00::1"), "old"},
		{"new", workload("new", "c", 200, false, "10.0.0.1"), "new"},
		{"old", workload("old", "b", 100, true, "10.0.0.1", "fd00::1"), "new"},
		{"older", workload("older", "b", 50, false, "10.0.0.1"), "new"},
		{"new", workload("new", "c", 200, true, "10.0.0.1"), "older"},
		{"new", nil, "older"},
		{"older", nil, "old"},
		{"old", workload("old", "b", 100, true, "fd00::1"), ""},
		{"new", workload("new", "c", 200, false, "10.0.0.1"), "new"},
		{"new", nil, ""},
		{"old", nil, ""},
	} {
		w.set(kindPods, "x/"+s.name, toAny(s.pod))
		if has := whoHas(w, "10.0.0.1"); has != s.want {
			t.Fatalf("step %d: %s have it, want %q", i, has, s.want)
		}
	}
	if len(w.claims) != 0 || len(w.losers) != 0 || w.workloads.Len() != 0 || w.namespaces.Len() != 0 {
		t.Errorf("left: %v %v", w.claims, w.losers)
	}
}

func toAny(p *pod) any {
	if p == nil {
		return nil
	}
	return p
}

func TestPods(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "p"}, Spec: corev1.PodSpec{
		NodeName: "b",
		Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}, {ContainerPort: 81}, {Name: "dns", ContainerPort: 53, Protocol: "UDP"}}},
			{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 90}}}},
		InitContainers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "never", ContainerPort: 1}}}, {RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 2}}}},
	}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "::ffff:10.0.0.1"}, {IP: "fd00::1"}, {IP: "?"}}}}
	conv := podOf("a", nil)
	w := conv(p).(*pod)
	if got, want := fmt.Sprint(w.Addrs, w.Ports), "[10.0.0.1 fd00::1] [{dns UDP 53} {http TCP 80} {side TCP 2}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	edit := func(f func(*corev1.Pod)) any { q := p.DeepCopy(); f(q); return conv(q) }
	if v := edit(func(p *corev1.Pod) { p.Spec.NodeName = "" }); v != nil {
		t.Error("a Pod without a node is of no interest")
	}
	if v := edit(func(p *corev1.Pod) { p.Status.PodIPs = nil }); v != nil {
		t.Error("another node's Pod without an address is of no interest")
	}
	if v := edit(func(p *corev1.Pod) { p.Status.PodIPs, p.Spec.NodeName = nil, "a" }).(*pod); v.Addrs != nil || len(v.Ports) != 3 {
		t.Errorf("%+v", v)
	}
	if v := edit(func(p *corev1.Pod) { p.Spec.NodeName = "a" }).(*pod); v.Addrs != nil {
		t.Error("the addresses of a Pod of this node are what was wired")
	}
	if v := edit(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }).(*pod); v.Addrs != nil || !v.Completed {
		t.Errorf("%+v", v)
	}
	if v := edit(func(p *corev1.Pod) { p.Spec.HostNetwork = true }).(*pod); v.Addrs != nil || !v.HostNetwork {
		t.Errorf("%+v", v)
	}
}

func TestServices(t *testing.T) {
	w := newWorld("a")
	proxy, vip := corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP
	local := corev1.ServiceInternalTrafficPolicyLocal
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "s"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::a"}, ExternalIPs: []string{"198.51.100.7"},
		InternalTrafficPolicy: &local, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
	}, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}, {IP: "203.0.113.2", IPMode: &proxy}, {IP: "203.0.113.3", IPMode: &vip}, {Hostname: "x.example"}}}}}
	conv := serviceOf(nil)
	w.set(kindService, "x/s", conv(s))
	if got, _ := w.services.Get("x/s"); fmt.Sprintf("%+v", got) != "{Namespace:x Name:s ClusterIPs:[10.96.0.1 fd00::a] ExternalIPs:[198.51.100.7] LoadBalancerIPs:[203.0.113.1 203.0.113.3] InternalLocal:true ExternalLocal:true ReadyHere4:false ReadyHere6:false}" {
		t.Errorf("%+v", got)
	}
	if v := conv(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}}); v != nil {
		t.Errorf("a headless Service has no address: %+v", v)
	}
	if v := conv(&corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "None", ExternalIPs: []string{"198.51.100.8"}}}); v != nil {
		t.Errorf("kube-proxy serves no address of a headless Service: %+v", v)
	}
	yes, no := true, false
	a, b := "a", "b"
	ep := func(node *string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: node, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: &yes, Terminating: &yes}}
	}
	endpoints := func(list ...discoveryv1.Endpoint) any {
		return sliceOf("a", nil)(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}, Endpoints: list})
	}
	for i, c := range []struct {
		slices map[string]any
		want   bool
	}{
		{map[string]any{"x/s-1": endpoints(ep(&b, &yes), ep(nil, nil))}, false},
		{map[string]any{"x/s-1": endpoints(ep(&b, &yes), ep(&a, nil))}, true},
		{map[string]any{"x/s-2": endpoints(ep(&a, &yes))}, true},
		{map[string]any{"x/s-1": endpoints(ep(&a, &no))}, true},
		{map[string]any{"x/s-2": endpoints(ep(&a, &no))}, false}, // terminating, though it still serves
		{map[string]any{"x/s-2": endpoints(ep(&a, &yes))}, true},
		{map[string]any{"x/s-2": nil}, false},
	} {
		for key, v := range c.slices {
			w.set(kindEndpointSlice, key, v)
		}
		if got, _ := w.services.Get("x/s"); got.ReadyHere4 != c.want || got.ReadyHere6 {
			t.Errorf("step %d: ready here: %v", i, got.ReadyHere4)
		}
	}
	six := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "s-6", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}, AddressType: discoveryv1.AddressTypeIPv6}
	six.Endpoints = []discoveryv1.Endpoint{ep(&a, &yes)}
	w.set(kindEndpointSlice, "x/s-6", sliceOf("a", nil)(six))
	if got, _ := w.services.Get("x/s"); got.ReadyHere4 || !got.ReadyHere6 {
		t.Errorf("with an IPv6 endpoint alone: %+v", got)
	}
	w.set(kindEndpointSlice, "x/s-6", nil)
	if len(w.ready) != 0 || len(w.slices) != 0 {
		t.Error("something is left")
	}
}

// TestBlockOfTwo has a second node say that it has the block of the first: whose it is,
// and that it was claimed and not configured, stays the same in every build.
func TestBlockOfTwo(t *testing.T) {
	w := full(t)
	put(w, v1.KindIPPool, "pods", map[string]any{"cidr": "10.1.0.0/16"})
	put(w, v1.KindBlockAffinity, "a.10.1.0.0-26", claimed("a", "10.1.0.0/26"))
	loan := func(name, node string) {
		put(w, v1.KindBlockAffinity, name, map[string]any{"node": node, "cidr": "10.1.9.1/32", "state": "confirmed", "borrowedFrom": "10.1.9.0/26"})
	}
	loan("borrowed.10.1.9.1", "b")
	s := w.first()
	put(w, v1.KindBlockAffinity, "b.10.1.0.0-26", claimed("b", "10.1.0.0/26"))
	loan("other", "c")
	for i := range 50 {
		w.judge = true
		s = w.next(s, time.Unix(2000+int64(i), 0))
		b, _ := s.Blocks.Get(netip.MustParsePrefix("10.1.0.0/26"))
		l, _ := s.Blocks.Get(netip.MustParsePrefix("10.1.9.1/32"))
		if b.Node != "a" || !b.Claimed || l.Node != "b" {
			t.Fatalf("build %d: %+v, %+v", i, b, l)
		}
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld("a")
	good := &policy{Policy: caracal.Policy{Namespace: "x", Name: "p", Ingress: true}}
	bad := &policy{Policy: caracal.Policy{Namespace: "x", Name: "p", Ingress: true, Egress: true, Invalid: "spec.x: no"}}
	w.set(v1.KindNetworkPolicy, "x/p", bad)
	if p, _ := w.policies.Get("x/p"); p.Invalid == "" || !p.Egress {
		t.Errorf("one that cannot be read must isolate: %+v", p)
	}
	w.set(v1.KindNetworkPolicy, "x/p", good)
	w.set(v1.KindNetworkPolicy, "x/p", bad)
	if p, _ := w.policies.Get("x/p"); p.Invalid != "" || !strings.Contains(fmt.Sprint(w.problems()), "stays in force") {
		t.Errorf("the last good one must stay: %+v %v", p, w.problems())
	}
	if w.namespaces.Len() != 1 {
		t.Error("its namespace is mentioned")
	}
	w.set(v1.KindNetworkPolicy, "x/p", nil)
	if w.policies.Len()+len(w.problems())+w.namespaces.Len()+len(w.mentions) != 0 {
		t.Errorf("left: %v %v", w.problems(), slices.Collect(maps.Keys(w.mentions)))
	}
}
