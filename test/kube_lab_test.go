package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// cluster is a lab of nodes that take everything from an API of Kubernetes, which
// runs on a host of its own at the same switch.
type cluster struct {
	*containers
	api *kubetest.API
	// keys are the kubeconfigs of the daemons, by node.
	keys map[string]string
	// via is the proxy by which the daemons reach the API; may be nil.
	via *kubetest.Proxy
}

// apiHost is the name of the API's host in the lab, apiAddr its address.
const apiHost = "kubeapi"

var apiAddr = netip.MustParseAddr("192.168.77.254")

// pools are what pods get addresses of.
const kubePools = `
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods-v4}
spec: {cidr: 10.244.0.0/16, blockSize: 26}
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods-v6}
spec: {cidr: "fd00:244::/48", blockSize: 122}
`

// kubeTopology is a mesh without pods, and the host of the API.
func kubeTopology(nodes int) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: nodes})
	for i := range top.Nodes {
		top.Nodes[i].Pods, top.Nodes[i].Blocks = nil, nil
	}
	top.Nodes = append(top.Nodes, lab.NodeSpec{Name: apiHost, Router: true, Links: []lab.Link{{Name: "eth0", Switch: top.Switches[0],
		Addrs: []netip.Prefix{netip.PrefixFrom(apiAddr, 24), netip.MustParsePrefix("fd00:77::fe/64")}}}})
	return top
}

// newCluster starts the API in a lab, and installs what an operator does but for the
// daemons. addr is the API's as the nodes know it.
func newCluster(t *testing.T, top lab.Topology, addr netip.Addr) *cluster {
	t.Helper()
	l := start(t, top)
	c := &cluster{containers: &containers{t, l, map[string]*runtimes.Host{}}, keys: map[string]string{}}
	t.Cleanup(c.logsInOneForm)
	c.api = kubetest.Start(t, kubetest.Options{NetNS: filepath.Join("/run/netns", namespaceOf(t, l, apiHost)), Addr: addr, Port: 6443})
	const base = "../manifests/base/"
	c.api.Apply(t, base+"namespace.yaml", base+"crds.yaml", base+"rbac.yaml", base+"admission.yaml")
	c.api.ApplyYAML(t, kubePools)
	return c
}

// logsInOneForm looks for lines in the daemons' logs that are not slog's: those of a
// library, or of a daemon that broke down.
func (c *cluster) logsInOneForm() {
	for _, n := range c.l.Nodes() {
		text, err := os.ReadFile(filepath.Join(n.Dir(), "caracald.log"))
		if err != nil && n.Name != apiHost {
			c.t.Log(err) // a node that a story starts no daemon on
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " level=") {
				c.t.Errorf("%s: a line of the log that is not the daemon's own:\n%s", n.Name, line)
				break
			}
		}
	}
}

// namespaceOf returns the name of the namespace of a router.
func namespaceOf(t *testing.T, l *lab.Lab, name string) string {
	t.Helper()
	n := l.Node(name)
	if n == nil {
		t.Fatalf("there is no %s", name)
	}
	return n.NS
}

// register makes the Node object of a node, as its kubelet does, and the credentials
// of its daemon.
func (c *cluster) register(name string) {
	c.t.Helper()
	nodes := c.api.Core().CoreV1().Nodes()
	n, err := nodes.Create(c.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	spec := c.l.Node(name)
	for _, f := range lab.Families() {
		if a := spec.Addr(f); a.IsValid() {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
		}
	}
	// As a cloud's controller does at first.
	n.Status.Conditions = []corev1.NodeCondition{
		{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue, Reason: "NoRouteCreated"},
	}
	if _, err := nodes.UpdateStatus(c.t.Context(), n, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	c.keys[name] = c.api.ServiceAccount(c.t, "caracal-system", "caracal", name)
	if c.via != nil {
		c.keys[name] = c.via.Kubeconfig(c.t, c.keys[name])
	}
}

// startDaemon starts caracald with the node's own credentials.
func (c *cluster) startDaemon(name string, more ...string) {
	c.t.Helper()
	must(c.l.Node(name).StartCaracald(c.flags(name, more...)...))(c.t)
}

func (c *cluster) flags(name string, more ...string) []string {
	return append([]string{"--store", "kubernetes", "--kubeconfig", c.keys[name]}, more...)
}

// join brings a node into the cluster and returns when its daemon serves containers.
func (c *cluster) join(name string) {
	c.t.Helper()
	c.register(name)
	c.startDaemon(name)
	h := must(runtimes.NewHost(c.l, name, built.dir))(c.t)
	c.hosts[name] = h
	if err := h.Configure(alone, runtimes.CNI11, h.Caracal()); err != nil {
		c.t.Fatal(err)
	}
	c.untilStatus(name)
}

// create makes the Pod object alone, on a node.
func (c *cluster) create(node, name string, labels map[string]string) *corev1.Pod {
	c.t.Helper()
	p, err := c.api.Core().CoreV1().Pods("default").Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "none.invalid/none"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// container makes what the runtime of a node makes of a Pod, not yet wired up.
func (c *cluster) container(node, name string) *runtimes.Container {
	c.t.Helper()
	ctr := c.make(node, name)
	ctr.Args = [][2]string{{"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", name}, {"K8S_POD_INFRA_CONTAINER_ID", ctr.ID}}
	return ctr
}

// run makes a Pod from its object to its status, as scheduler, kubelet and runtime
// do.
func (c *cluster) run(node, name string, labels map[string]string) (*runtimes.Container, *lab.Pod) {
	c.t.Helper()
	p := c.create(node, name, labels)
	ctr := c.container(node, name)
	c.add(node, ctr)
	c.started(p, ctr.Addrs)
	return ctr, c.adopt(node, name, ctr.NetNS, ctr.Addrs)
}

// add wires up a container. As a kubelet it tries again where the daemon does not know of
// the Pod yet: a machine under load may be late to tell.
func (c *cluster) add(node string, ctr *runtimes.Container) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, func() string {
		err := c.hosts[node].Add(c.t.Context(), ctr)
		if err != nil && !strings.Contains(err.Error(), "is not known to this node yet") {
			c.t.Fatal(err)
		}
		return said(err)
	})
}

// started writes a Pod's status as its kubelet does.
func (c *cluster) started(p *corev1.Pod, addrs []netip.Addr) {
	c.t.Helper()
	p.Status.Phase = corev1.PodRunning
	for _, a := range addrs {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	p.Status.PodIP = p.Status.PodIPs[0].IP
	if _, err := c.api.Core().CoreV1().Pods("default").UpdateStatus(c.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// end ends a Pod: its container, then its object.
func (c *cluster) end(node string, ctr *runtimes.Container) {
	c.t.Helper()
	c.l.Forget(ctr.Name)
	if err := c.hosts[node].Remove(c.t.Context(), ctr); err != nil {
		c.t.Error(err)
	}
	now := int64(0)
	err := c.api.Core().CoreV1().Pods("default").Delete(c.t.Context(), ctr.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if err != nil {
		c.t.Error(err)
	}
}

// ready waits until daemons are ready, all if none is named.
func (c *cluster) ready(names ...string) {
	c.t.Helper()
	if len(names) == 0 {
		for _, n := range c.l.Nodes() {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		eventually(c.t, 60*time.Second, func() string {
			st, err := c.l.Node(name).Status(c.t.Context())
			if err != nil {
				return name + ": " + err.Error()
			}
			if !st.Ready.Holds {
				return name + " is not ready: " + st.Ready.Reason
			}
			return ""
		})
	}
}

// sessions waits until each of the nodes has a session with each other.
func (c *cluster) sessions(names ...string) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, func() string {
		for _, name := range names {
			list, err := c.l.Node(name).Neighbors(c.t.Context())
			if err != nil {
				return err.Error()
			}
			up := map[string]bool{}
			for _, n := range list {
				up[n.Node] = n.State == "Established"
			}
			for _, other := range names {
				if other != name && !up[other] {
					return fmt.Sprintf("%s has no session with %s: %+v", name, other, list)
				}
			}
		}
		return ""
	})
}

// nodeStatus is the status in a CaracalNodeStatus.
type nodeStatus struct {
	Ready                            bool
	NotReady, SessionsSummary        string
	Sessions, Established, Announced int
	Routes, ProblemCount             int
	Neighbors                        []struct{ Name, Address, State string }
	IPAM                             struct{ Blocks, Allocated int }
	Problems                         []struct{ Severity, Object, Message string }
}

// report reads the CaracalNodeStatus of a node.
func (c *cluster) report(name string) (nodeStatus, error) {
	var o struct{ Status nodeStatus }
	text, err := c.api.TryKubectl(c.t, "get", "caracalnodestatuses", name, "-o", "json")
	if err != nil {
		return o.Status, err
	}
	return o.Status, json.Unmarshal([]byte(text), &o)
}

// node reads a Node object.
func (c *cluster) node(name string) *corev1.Node {
	c.t.Helper()
	return must(c.api.Core().CoreV1().Nodes().Get(c.t.Context(), name, metav1.GetOptions{}))(c.t)
}

// network is the status of a Node's condition NetworkUnavailable, and its reason.
func network(n *corev1.Node) string {
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeNetworkUnavailable {
			return string(cond.Status) + " " + cond.Reason
		}
	}
	return "none"
}

// annotate sets an annotation of a Node; an empty value removes it.
func (c *cluster) annotate(name, key, value string) {
	c.t.Helper()
	var v any = value
	if value == "" {
		v = nil
	}
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: v}}})
	_, err := c.api.Core().CoreV1().Nodes().Patch(c.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// events lists those with a reason, as "KIND NAME: MESSAGE".
func (c *cluster) events(reason string) string {
	list, err := c.api.Core().CoreV1().Events("").List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range list.Items {
		if e.Reason == reason {
			out = append(out, fmt.Sprintf("%s %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message))
		}
	}
	return strings.Join(out, "\n")
}

// consistent waits until the records of addresses and the containers agree.
func (c *cluster) consistent(names ...string) {
	c.t.Helper()
	for _, name := range names {
		eventually(c.t, 30*time.Second, func() string {
			out, err := c.l.Node(name).CLI(c.t.Context(), "check", "ipam")
			if err != nil {
				return fmt.Sprintf("%s: %s %v", name, out, err)
			}
			return ""
		})
	}
}

// noSecrets fails if a text is in what the API shows of nodes.
func (c *cluster) noSecrets(secret string) {
	c.t.Helper()
	for _, kind := range []string{"caracalnodestatuses", "events", "nodes"} {
		if strings.Contains(c.api.Kubectl(c.t, "get", kind, "-A", "-o", "json"), secret) {
			c.t.Errorf("a secret is in %s", kind)
		}
	}
}

// during runs fn while two pods send each other packets, and wants all to arrive.
func (c *cluster) during(a, b string, fn func()) {
	c.t.Helper()
	var meters []*lab.LossMeter
	for _, f := range lab.Families() {
		m := must(c.l.StartLossMeter(context.WithoutCancel(c.t.Context()), lab.MeterSpec{A: a, B: b, Family: f, Rate: 200}))(c.t)
		c.t.Cleanup(func() { m.Stop() })
		meters = append(meters, m)
	}
	fn()
	for i, m := range meters {
		r := m.Stop()
		c.t.Logf("%s: %s", lab.Families()[i], r)
		if r.Sent() == 0 || r.Lost() > 0 {
			c.t.Errorf("%s: %d of %d packets were lost", lab.Families()[i], r.Lost(), r.Sent())
			for _, n := range c.l.Nodes() {
				out, _ := n.Exec(context.WithoutCancel(c.t.Context()), "sh", "-c",
					"ip neigh; ip -6 neigh; cat /proc/net/snmp6 /proc/net/stat/nf_conntrack | grep -v ' 0$'; ip6tables-save -c | grep -i drop; ip -s link show eth0")
				c.t.Logf("%s, where packets may have been dropped:\n%s", n.Name, out)
			}
		}
	}
}
