package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
)

// servedCluster is a lab whose nodes a, b and c have the API of Kubernetes for
// their store. The switch tor peers with a and b, and runs BIRD; far peers with c
// alone, which is a route reflector, and runs FRR. The API is beside the switch.
type servedCluster struct {
	*lab.Lab
	t   *testing.T
	api *kubetest.API
}

const servedObjects = `
apiVersion: caracal.dev/v1
kind: BGPConfiguration
metadata: {name: default}
spec:
  serviceClusterIPs: [{cidr: 10.96.0.0/16}]
  serviceExternalIPs: [{cidr: 198.51.100.0/24}]
  serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}, {cidr: 203.0.114.1/32}, {cidr: "2001:db8:113::/112"}]
  communities: [{name: outside, value: "64512:113"}]
  prefixAdvertisements: [{cidr: 203.0.113.0/24, communities: [outside]}]
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: tor}
spec:
  nodeSelector: kubernetes.io/hostname in {'a', 'b'}
  peerIP: 192.168.77.254
  asNumber: 65001
  numAllowedLocalASNumbers: 1
  filters: [everything]
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: far}
spec: {node: c, peerIP: 192.168.77.253, asNumber: 65002, nextHopMode: Keep, filters: [others]}
---
apiVersion: caracal.dev/v1
kind: BGPPeer
metadata: {name: reflector}
spec: {peerSelector: kubernetes.io/hostname == 'c'}
---
apiVersion: caracal.dev/v1
kind: BGPFilter
metadata: {name: everything}
spec:
  importV4: [{action: Accept}]
---
apiVersion: caracal.dev/v1
kind: BGPFilter
metadata: {name: others}
spec:
  exportV4: [{action: Accept, source: RemotePeers}]
`

const servedTor = `log stderr all;
router id 192.0.2.254;
protocol device { scan time 2; }
protocol kernel { merge paths on; ipv4 { export where source = RTS_BGP; }; }
protocol kernel { merge paths on; ipv6 { export where source = RTS_BGP; }; }
template bgp node {
	local 192.168.77.254 as 65001;
	connect retry time 2; connect delay time 1; error wait time 1,2; hold time 90;
	graceful restart on;
	ipv4 { import all; export all; };
	ipv6 { import all; export none; };
}
protocol static back { ipv4; route 10.96.0.0/17 via 192.168.77.254; route 203.0.113.128/25 via 192.168.77.254; }
protocol bgp a from node { neighbor 192.168.77.1 as 64512; }
protocol bgp b from node { neighbor 192.168.77.2 as 64512; }
`

const servedFar = `router bgp 65002
 bgp router-id 192.0.2.253
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 192.168.77.3 remote-as 64512
 neighbor 192.168.77.3 timers connect 2
 neighbor 192.168.77.3 advertisement-interval 0
 address-family ipv4 unicast
  neighbor 192.168.77.3 activate
 exit-address-family
`

func startServed(t *testing.T) *servedCluster {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{})
	for i := range top.Nodes {
		top.Nodes[i].Pods = nil
	}
	for name, host := range map[string]string{"tor": "254", "far": "253"} {
		addrs := []netip.Prefix{netip.MustParsePrefix("192.168.77." + host + "/24"), netip.MustParsePrefix("fd00:77::" + host + "/64")}
		top.Nodes = append(top.Nodes, lab.NodeSpec{Name: name, Router: true, Links: []lab.Link{{Name: "eth0", Switch: "sw", Addrs: addrs}}})
	}
	c := &servedCluster{Lab: start(t, top), t: t}
	tor := c.Node("tor")
	run(t, tor, "ip", "link", "set", "lo", "up")
	c.api = kubetest.Start(t, kubetest.Options{NetNS: filepath.Join("/run/netns", tor.NS), Addr: netip.MustParseAddr("192.168.77.254")})
	c.api.Apply(t, "../manifests/base/crds.yaml", "../manifests/base/namespace.yaml", "../manifests/base/rbac.yaml")
	for i, name := range []string{"a", "b", "c"} {
		spec := fmt.Sprintf(`addresses: [192.168.77.%d/24, "fd00:77::%d/64"], blocks: [10.244.%d.0/26]`, i+1, i+1, i+1)
		if name == "c" {
			spec += ", routeReflectorClusterID: 10.9.9.9"
		}
		c.api.ApplyYAML(t, fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %[1]s}\n---\napiVersion: caracal.dev/v1\nkind: NodeConfig\nmetadata: {name: %[1]s}\nspec: {%[2]s}\n", name, spec))
	}
	c.exclude("c", true)
	c.api.ApplyYAML(t, servedObjects)
	must(tor.StartBIRD(servedTor))(t)
	if err := c.Node("far").StartFRR(lab.FRRConfig{BGP: servedFar}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		must(c.Node(name).StartCaracald("--store", "kubernetes", "--kubeconfig", c.api.ServiceAccount(t, "caracal-system", "caracal", name)))(t)
	}
	return c
}

// exclude says whether load balancers are to leave a node out.
func (c *servedCluster) exclude(node string, yes bool) {
	c.t.Helper()
	value := "null"
	if yes {
		value = `""`
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":%s}}}`, value)
	if _, err := c.api.Core().CoreV1().Nodes().Patch(c.t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// service makes a Service with a ClusterIP and addresses of a load balancer.
func (c *servedCluster) service(name, clusterIP string, policy corev1.ServiceExternalTrafficPolicy, balanced ...string) {
	c.t.Helper()
	none := false
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: clusterIP, ExternalTrafficPolicy: policy, AllocateLoadBalancerNodePorts: &none,
		Ports: []corev1.ServicePort{{Name: "web", Port: 80}},
	}}
	all := c.api.Core().CoreV1().Services("default")
	s, err := all.Create(c.t.Context(), s, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, a := range balanced {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	if _, err := all.UpdateStatus(c.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// endpoints says on which nodes a Service has ready endpoints from now on, and on
// which others some that are not.
func (c *servedCluster) endpoints(service string, ready, waiting []string) {
	c.t.Helper()
	for family, at := range map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "10.244.%d.2", discoveryv1.AddressTypeIPv6: "fd00:244:0:%d::2"} {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: service + "-" + strings.ToLower(string(family)), Labels: map[string]string{discoveryv1.LabelServiceName: service}}, AddressType: family,
		}
		for i, node := range slices.Concat(ready, waiting) {
			is := i < len(ready)
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf(at, node[0]-'a'+1)}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &is},
			})
		}
		all := c.api.Core().DiscoveryV1().EndpointSlices("default")
		_ = all.Delete(c.t.Context(), slice.Name, metav1.DeleteOptions{}) // it may not be there
		if _, err := all.Create(c.t.Context(), slice, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
}

// sees waits until a switch has these routes to addresses of Services in its
// kernel, each with the nodes that it leads to, and no others.
func (c *servedCluster) sees(name, what string, want ...string) {
	c.t.Helper()
	want = slices.Sorted(slices.Values(want)) // a list of its own
	eventually(c.t, 30*time.Second, func() string {
		got := served(c.t, c.Node(name), "-4")
		if slices.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("%s: %s has\n%s\nnot\n%s", what, name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	})
}

// served lists a kernel's routes outside of the pods' and its own networks.
func served(t *testing.T, n *lab.Node, family string) []string {
	t.Helper()
	type hop struct{ Gateway string }
	var routes []struct {
		Dst, Gateway string
		Nexthops     []hop
	}
	if err := json.Unmarshal([]byte(run(t, n, "ip", "-j", family, "route")), &routes); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range routes {
		if strings.HasPrefix(r.Dst, "10.244.") || strings.HasPrefix(r.Dst, "192.168.") || strings.HasPrefix(r.Dst, "fd00:77:") || strings.HasPrefix(r.Dst, "fe80:") {
			continue
		}
		via := []string{}
		for _, h := range append(r.Nexthops, hop{r.Gateway}) {
			node := h.Gateway[strings.LastIndexAny(h.Gateway, ".:")+1:]
			if node != "" {
				via = append(via, map[string]string{"1": "a", "2": "b", "3": "c"}[node])
			}
		}
		slices.Sort(via)
		list = append(list, r.Dst+" "+strings.Join(via, "+"))
	}
	slices.Sort(list)
	return list
}

// TestServices has nodes announce addresses of Services to switches, as these see
// them: ranges, endpoints that come, go and move, a node that is excluded, one that
// is drained, ranges that change; through a reflector that announces none itself.
func TestServices(t *testing.T) {
	t.Parallel()
	c := startServed(t)
	ranges := []string{"10.96.0.0/16 a+b", "198.51.100.0/24 a+b", "203.0.113.0/24 a+b"}
	c.sees("tor", "the ranges alone", ranges...)
	// c passes on one path of each, to where the nodes are.
	far := func(what string, more ...string) {
		t.Helper()
		c.sees("far", what, append([]string{"10.96.0.0/16 a", "198.51.100.0/24 a", "203.0.113.0/24 a"}, more...)...)
	}
	far("the ranges through the reflector")

	c.service("cluster", "10.96.0.10", corev1.ServiceExternalTrafficPolicyCluster, "203.0.113.10", "203.0.114.1")
	c.service("local", "10.96.0.11", corev1.ServiceExternalTrafficPolicyLocal, "203.0.113.11", "192.0.2.77", "2001:db8:113::11")
	c.endpoints("cluster", []string{"a"}, nil)
	c.sees("tor", "a range of one address", append(ranges, "203.0.114.1 a+b")...)
	ranges = append(ranges, "203.0.114.1 a+b")
	c.endpoints("local", []string{"b"}, []string{"a"})
	c.sees("tor", "an endpoint on b", append(ranges, "203.0.113.11 b")...)
	eventually(t, 30*time.Second, func() string {
		if got := strings.Join(served(t, c.Node("tor"), "-6"), ", "); got != "2001:db8:113::/112 a+b, 2001:db8:113::11 b" {
			return "IPv6: an endpoint on b: the switch has " + got
		}
		return ""
	})
	far("an endpoint on b", "203.0.114.1 a", "203.0.113.11 b")
	c.endpoints("local", []string{"a", "b"}, nil)
	c.sees("tor", "the one on a is ready", append(ranges, "203.0.113.11 a+b")...)
	c.endpoints("local", []string{"a"}, nil)
	c.sees("tor", "the endpoint has moved to a", append(ranges, "203.0.113.11 a")...)
	far("the endpoint has moved to a", "203.0.114.1 a", "203.0.113.11 a")
	c.endpoints("local", []string{"c"}, nil)
	c.sees("tor", "it has moved to c, which is excluded", ranges...)
	c.endpoints("local", []string{"a"}, nil)
	c.sees("tor", "it is back on a", append(ranges, "203.0.113.11 a")...)
	c.nothingInstalled()
	c.untold()
	c.words()

	c.exclude("a", true)
	c.sees("tor", "a is excluded", "10.96.0.0/16 b", "198.51.100.0/24 b", "203.0.113.0/24 b", "203.0.114.1 b")
	c.exclude("a", false)
	c.sees("tor", "a is no longer", append(ranges, "203.0.113.11 a")...)

	c.restarted(append(ranges, "203.0.113.11 a"))
	c.drained()

	c.api.ApplyYAML(t, strings.Replace(strings.SplitN(servedObjects, "---", 2)[0], "serviceExternalIPs: [{cidr: 198.51.100.0/24}]", "serviceExternalIPs: []", 1))
	c.sees("tor", "a range is taken back", "10.96.0.0/16 a+b", "203.0.113.0/24 a+b", "203.0.114.1 a+b", "203.0.113.11 a")
	if err := c.api.Core().CoreV1().Services("default").Delete(t.Context(), "cluster", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.sees("tor", "a Service is gone", "10.96.0.0/16 a+b", "203.0.113.0/24 a+b", "203.0.113.11 a")
}

// nothingInstalled: neither what other nodes announce nor what the switch sends
// back, which its filter accepts, is in the kernel of a node.
func (c *servedCluster) nothingInstalled() {
	c.t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		for _, family := range []string{"-4", "-6"} {
			if got := served(c.t, c.Node(name), family); len(got) > 0 {
				c.t.Errorf("node %s has routes to Services: %s", name, strings.Join(got, ", "))
			}
		}
	}
	for _, want := range []struct{ node, prefix, says string }{
		{"a", "10.96.0.0/17", "takes no route for them from anybody"},
		{"b", "203.0.113.128/25", "takes no route for them from anybody"},
		{"c", "203.0.113.11/32", "node a announces it for others"},
	} {
		eventually(c.t, 20*time.Second, func() string {
			out, err := c.Node(want.node).CLI(context.Background(), "show", "route", want.prefix)
			if flat := strings.Join(strings.Fields(out), " "); err != nil || !strings.Contains(flat, want.says) {
				return fmt.Sprintf("show route %s on %s: %v\n%s", want.prefix, want.node, err, out)
			}
			return ""
		})
	}
}

// restarted: while a daemon restarts the switch keeps its routes, and afterwards no
// announcement is late.
func (c *servedCluster) restarted(want []string) {
	c.t.Helper()
	slices.Sort(want)
	a := c.Node("a")
	must(a.Restart(syscall.SIGTERM))(c.t)
	eventually(c.t, 40*time.Second, func() string {
		if got := served(c.t, c.Node("tor"), "-4"); !slices.Equal(got, want) {
			c.t.Fatalf("while a restarts the switch has\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		out, err := c.Node("tor").BIRDC(c.t.Context(), "show", "protocols", "all", "a")
		if err != nil || !strings.Contains(out, "Established") || strings.Contains(out, "graceful restart active") {
			return fmt.Sprintf("the session with a is not back: %v\n%s", err, out)
		}
		if _, err := a.CLI(c.t.Context(), "show", "services"); err != nil {
			return err.Error()
		}
		return ""
	})
	c.sees("tor", "a has restarted", want...)
}

// untold: nodes are told nothing of Services, not by a reflector either.
func (c *servedCluster) untold() {
	c.t.Helper()
	for _, to := range []string{"mesh/a", "mesh/b"} {
		out, err := c.Node("c").CLI(c.t.Context(), "show", "route", "table", "adj-rib-out", to)
		if err != nil || !strings.Contains(out, "10.244.3.0/26") || strings.Contains(out, "10.96.") || strings.Contains(out, "203.0.113.") {
			c.t.Errorf("what c tells %s: %v\n%s", to, err, out)
		}
	}
}

// words: the CLI says what is announced, and why the rest is not.
func (c *servedCluster) words() {
	c.t.Helper()
	for node, want := range map[string][]string{
		"a": {"203.0.113.11/32", "it is in none of the ranges of serviceLoadBalancerIPs", "10.96.0.0/16"},
		"b": {"no endpoint on this node is ready"},
		"c": {"node c has the label node.kubernetes.io/exclude-from-external-load-balancers"},
	} {
		out, err := c.Node(node).CLI(context.Background(), "show", "services")
		for _, w := range want {
			if err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), w) {
				c.t.Errorf("show services on %s: %v: no %q in\n%s", node, err, w, out)
			}
		}
	}
	out, err := c.Node("tor").BIRDC(c.t.Context(), "show", "route", "203.0.113.11/32", "all")
	if err != nil || !strings.Contains(out, "(64512,113)") {
		c.t.Errorf("the switch does not see the community of the range: %v\n%s", err, out)
	}
}

// drained: a drained node first asks for traffic to go elsewhere, then withdraws,
// and comes back.
func (c *servedCluster) drained() {
	c.t.Helper()
	a := c.Node("a")
	leaving := make(chan error, 1)
	go func() {
		_, err := a.CLI(context.Background(), "drain", "--timeout", "10s") // time to see the first half
		leaving <- err
	}()
	eventually(c.t, 20*time.Second, func() string {
		out, err := c.Node("tor").BIRDC(c.t.Context(), "show", "route", "10.96.0.0/16", "all")
		if err != nil || !strings.Contains(out, "(65535,0)") {
			return fmt.Sprintf("the switch sees no GRACEFUL_SHUTDOWN: %v\n%s", err, out)
		}
		return ""
	})
	if err := <-leaving; err != nil {
		c.t.Error(err)
	}
	c.sees("tor", "a is drained", "10.96.0.0/16 b", "198.51.100.0/24 b", "203.0.113.0/24 b", "203.0.114.1 b")
	c.sees("far", "a is drained", "10.96.0.0/16 b", "198.51.100.0/24 b", "203.0.113.0/24 b", "203.0.114.1 b")
	must(a.CLI(c.t.Context(), "undrain"))(c.t)
	c.sees("tor", "a serves again", "10.96.0.0/16 a+b", "198.51.100.0/24 a+b", "203.0.113.0/24 a+b", "203.0.114.1 a+b", "203.0.113.11 a")
}
