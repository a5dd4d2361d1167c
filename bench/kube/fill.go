package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"caracal.dev/caracal/bench/stand"
	"caracal.dev/caracal/internal/kubetest"
)

// writers is how many requests are under way at a time.
const writers = 48

// filler writes the objects of a cluster. They are about as large as those that
// kubelets, a scheduler and users write.
type filler struct {
	api  *kubetest.API
	size size
	// reflector is the peer of all nodes.
	reflector netip.Addr
	core      kubernetes.Interface
	churned   int // how often pods came and went so far
}

func (f *filler) fill(ctx context.Context) error {
	c := rest.CopyConfig(f.api.Admin())
	c.ContentType, c.WarningHandler = "application/vnd.kubernetes.protobuf", rest.NoWarnings{}
	var err error
	if f.core, err = kubernetes.NewForConfig(c); err != nil {
		return err
	}
	for _, step := range []struct {
		n    int
		make func(context.Context, int) error
	}{{1, f.network}, {f.size.namespaces, f.namespace}, {f.size.nodes, f.node}, {2 * f.size.nodes, f.block}, {f.size.pods, f.pod}, {f.size.policies, f.policy}, {f.size.services, f.service}} {
		if err := together(ctx, step.n, step.make); err != nil {
			return err
		}
	}
	return nil
}

// together calls do for 0 to n-1, several at a time.
func together(ctx context.Context, n int, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return do(ctx, i)
		})
	}
	return g.Wait()
}

func nodeName(i int) string  { return fmt.Sprintf("ip-10-128-%d-%d.example.internal", i/256, i%256) }
func spaceName(i int) string { return fmt.Sprint("team-", i) }

// nodeAddr is a node's own address; that of the first is the one of the daemon that is measured.
func nodeAddr(i int) netip.Addr {
	if i == 0 {
		return stand.DaemonAddr
	}
	return netip.AddrFrom4([4]byte{198, 18, byte(16 + i/256), byte(i)})
}

func (f *filler) namespace(ctx context.Context, i int) error {
	_, err := f.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spaceName(i), Labels: map[string]string{"team": fmt.Sprint(i % 10)}}}, metav1.CreateOptions{})
	return err
}

func (f *filler) node(ctx context.Context, i int) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
		"kubernetes.io/hostname": nodeName(i), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
		"beta.kubernetes.io/arch": "amd64", "node.kubernetes.io/instance-type": "m7.2xlarge", "beta.kubernetes.io/instance-type": "m7.2xlarge",
		"topology.kubernetes.io/region": "eu-1", "topology.kubernetes.io/zone": fmt.Sprint("eu-1", 'a'+rune(i%3)), "rack": fmt.Sprint("rack-", i/40),
		"node-pool": fmt.Sprint("pool-", i%5), "example.internal/image": "2026.11",
	}, Annotations: map[string]string{"caracal.dev/ipv4-address": nodeAddr(i).String() + "/16"}}}
	s := &n.Status
	s.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddr(i).String()}, {Type: corev1.NodeHostName, Address: nodeName(i)}}
	s.Capacity = corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("32Gi"), "pods": resource.MustParse("110")}
	s.Allocatable = s.Capacity
	for _, kind := range []string{"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"} {
		s.Conditions = append(s.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(kind), Status: "False", Reason: "KubeletHasSufficient", Message: "kubelet has sufficient of what it needs", LastHeartbeatTime: metav1.Now()})
	}
	for j := range 40 {
		s.Images = append(s.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.internal/team/image-%d@sha256:%s", j, strings.Repeat("0123456789abcdef", 4))}, SizeBytes: 1 << 28})
	}
	_, err := f.core.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{})
	return err
}

func (f *filler) own(ctx context.Context, resource, kind, name string, spec map[string]any) error {
	r := f.api.Dynamic().Resource(schema.GroupVersionResource{Group: "caracal.dev", Version: "v1", Resource: resource})
	_, err := r.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "caracal.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}, metav1.CreateOptions{})
	return err
}

// network writes what an operator does: a pool, and one reflector for all nodes.
func (f *filler) network(ctx context.Context, _ int) error {
	_, err := f.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "caracal-system"}}, metav1.CreateOptions{})
	return errors.Join(err,
		f.own(ctx, "ippools", "IPPool", "pods", map[string]any{"cidr": "10.0.0.0/11"}),
		f.own(ctx, "bgpconfigurations", "BGPConfiguration", "default", map[string]any{"nodeToNodeMeshEnabled": false, "asNumber": int64(64512)}),
		f.own(ctx, "bgppeers", "BGPPeer", "reflector", map[string]any{"peerIP": f.reflector.String(), "asNumber": "internal"}))
}

// blockOf returns the i-th block of the pool.
func blockOf(i int) netip.Prefix { return netip.PrefixFrom(addrOf(i, 0), 26) }

// addrOf returns an address of a block.
func addrOf(block, i int) netip.Addr {
	n := uint32(10)<<24 + uint32(block*64+i)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func (f *filler) block(ctx context.Context, i int) error {
	if i/2 == 0 {
		return nil // the daemon that is measured claims its own
	}
	node := nodeName(i / 2)
	return f.own(ctx, "blockaffinities", "BlockAffinity", fmt.Sprintf("%s.%s-26", node, blockOf(i).Addr()),
		map[string]any{"node": node, "cidr": blockOf(i).String(), "state": "confirmed", "record": "claim"})
}

// pod writes the i-th pod: that of a Deployment of 20.
func (f *filler) pod(ctx context.Context, i int) error {
	nth := i / f.size.nodes // of its node
	// A node's pods are of different Deployments and namespaces.
	node := (i + 21*nth) % f.size.nodes
	return f.podAt(ctx, fmt.Sprintf("web-%d-7d9c8f6b5d-%05d", i/20, i), spaceName(i/20%f.size.namespaces), i/20, node, addrOf(2*node+nth/62, nth%62+1))
}

func (f *filler) podAt(ctx context.Context, name, space string, app, node int, ip netip.Addr) error {
	labels := map[string]string{"app": fmt.Sprint("web-", app), "tier": fmt.Sprint("tier-", app%4), "pod-template-hash": "7d9c8f6b5d", "team": fmt.Sprint(app % 10)}
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: space, Labels: labels, GenerateName: fmt.Sprintf("web-%d-7d9c8f6b5d-", app),
		Annotations:     map[string]string{"checksum/config": strings.Repeat("0123456789abcdef", 4), "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprintf("web-%d-7d9c8f6b5d", app), UID: "0b2d3a4c-0000-4000-8000-000000000000", Controller: &yes}},
	}, Spec: corev1.PodSpec{NodeName: nodeName(node), ServiceAccountName: "default"}}
	for i, c := range []string{"web", "sidecar"} {
		one := corev1.Container{Name: c, Image: "registry.example.internal/team/" + c + ":1.2.3", Ports: []corev1.ContainerPort{{Name: c, ContainerPort: int32(8080 + i), Protocol: "TCP"}}}
		for j := range 12 {
			one.Env = append(one.Env, corev1.EnvVar{Name: fmt.Sprint("SETTING_", j), Value: "a value as long as they usually are"})
		}
		one.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}
		one.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/config"}, {Name: "token", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}}
		p.Spec.Containers = append(p.Spec.Containers, one)
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "config"}, {Name: "token"}}
	pods := f.core.CoreV1().Pods(space)
	made, err := pods.Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	made.Status.Phase, made.Status.PodIP, made.Status.PodIPs, made.Status.HostIP = corev1.PodRunning, ip.String(), []corev1.PodIP{{IP: ip.String()}}, nodeAddr(node).String()
	for _, kind := range []string{"Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		made.Status.Conditions = append(made.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(kind), Status: "True", LastTransitionTime: metav1.Now()})
	}
	for _, c := range []string{"web", "sidecar"} {
		made.Status.ContainerStatuses = append(made.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, Ready: true, Image: "registry.example.internal/team/" + c + ":1.2.3", ImageID: "sha256:" + strings.Repeat("0123456789abcdef", 4), ContainerID: "containerd://" + strings.Repeat("0123456789abcdef", 4)})
	}
	_, err = pods.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return err
}

func (f *filler) policy(ctx context.Context, i int) error {
	return f.policyNamed(ctx, fmt.Sprint("allow-", i), spaceName(i%f.size.namespaces), i)
}

func (f *filler) policyNamed(ctx context.Context, name, space string, app int) error {
	port, tcp := intstr.FromInt32(8080), corev1.ProtocolTCP
	_, err := f.core.NetworkingV1().NetworkPolicies(space).Create(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("web-", app)}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{
			Ports: []networkingv1.NetworkPolicyPort{{Port: &port, Protocol: &tcp}},
			From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": fmt.Sprint("tier-", app%4)}}},
				{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint(app % 10)}}},
			},
		}},
	}}, metav1.CreateOptions{})
	return err
}

func (f *filler) service(ctx context.Context, i int) error {
	name, space := fmt.Sprint("web-", i), spaceName(i%f.size.namespaces)
	_, err := f.core.CoreV1().Services(space).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Name: "web", Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-abcde", Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4}
	for j := range 10 {
		node, yes := nodeName((i*10+j)%f.size.nodes), true
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addrOf(2*((i*10+j)%f.size.nodes), j+1).String()}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	_, err = f.core.DiscoveryV1().EndpointSlices(space).Create(ctx, s, metav1.CreateOptions{})
	return err
}

// churn lets pods come and go at a rate, and returns how many came.
func (f *filler) churn(ctx context.Context, length time.Duration, rate int) (n int, err error) {
	zero := int64(0)
	f.churned++
	began := time.Now()
	for tick := time.NewTicker(time.Second / time.Duration(rate)); time.Since(began) < length; <-tick.C {
		name := func(n int) string { return fmt.Sprintf("churn-%d-%d", f.churned, n) }
		space := func(n int) string { return spaceName(n % f.size.namespaces) }
		node := 1 + rand.N(f.size.nodes-1)
		if err := f.podAt(ctx, name(n), space(n), n, node, addrOf(2*node+1, 62)); err != nil {
			return n, err
		}
		if n >= 10 {
			if err := f.core.CoreV1().Pods(space(n-10)).Delete(ctx, name(n-10), metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
				return n, err
			}
		}
		n++
	}
	return n, nil
}
