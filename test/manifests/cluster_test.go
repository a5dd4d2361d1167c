package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// cluster is a lab whose nodes have an API, in the namespace of node b, with what
// manifests/caracal.yaml holds and a pool.
type cluster struct {
	t   *testing.T
	l   *lab.Lab
	api *kubetest.API
}

const pools = `apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.77.0.0/16}
---
apiVersion: caracal.dev/v1
kind: IPPool
metadata: {name: pods6}
spec: {cidr: "fd00:77:1::/48"}
`

func newCluster(t *testing.T) *cluster {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{Nodes: 2})
	for i := range top.Nodes {
		top.Nodes[i].Pods = nil
	}
	c := &cluster{t: t, l: up(t, top)}
	b := c.l.Node("b")
	c.api = kubetest.Start(t, kubetest.Options{NetNS: filepath.Join("/run/netns", b.NS), Addr: b.Addr(lab.IPv4), Port: 6443})
	install(t, c.api)
	c.api.ApplyYAML(t, pools)
	for _, n := range c.l.Nodes() {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name}}
		for _, p := range n.Links[0].Addrs {
			node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: p.Addr().String()})
		}
		if _, err := c.api.Core().CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"closed", "strangers", "friends"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := c.api.Core().CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// projected writes what a kubelet projects into a Pod of the ServiceAccount: the token
// of its node, the CA and the namespace.
func (c *cluster) projected(node string) (dir string) {
	c.t.Helper()
	conf, err := clientcmd.BuildConfigFromFlags("", c.api.ServiceAccount(c.t, "caracal-system", "caracal", node))
	if err != nil {
		c.t.Fatal(err)
	}
	dir = c.t.TempDir()
	for name, text := range map[string]string{"token": conf.BearerToken, "ca.crt": string(conf.CAData), "namespace": "caracal-system"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	return dir
}

// startPlain starts the daemon of a node as an ordinary process with its own rights.
func (c *cluster) startPlain(node string) {
	c.t.Helper()
	n := c.l.Node(node)
	_, err := n.Start("caracald", filepath.Join(programs(c.t), "caracald"), "--store", "kubernetes", "--node", node,
		"--kubeconfig", c.api.ServiceAccount(c.t, "caracal-system", "caracal", node),
		"--state-dir", n.StateDir(), "--socket", n.Socket())
	if err != nil {
		c.t.Fatal(err)
	}
}

// addPod creates a Pod on a node as a scheduler does, has it connected as a runtime
// does, and writes its addresses into its status as a kubelet does.
func (c *cluster) addPod(h *runtimes.Host, namespace, name string) *lab.Pod {
	t := c.t
	t.Helper()
	pods := c.api.Core().CoreV1().Pods(namespace)
	pod, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: h.Node.Name, Containers: []corev1.Container{{Name: "main", Image: "none.invalid/none"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctr, err := h.New("caracal", name, "id-"+name)
	if err != nil {
		t.Fatal(err)
	}
	ctr.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", name}, {"K8S_POD_UID", string(pod.UID)}}
	if err := h.Add(t.Context(), ctr); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodRunning
	for _, a := range ctr.Addrs {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	pod.Status.PodIP = pod.Status.PodIPs[0].IP
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := c.l.Adopt(h.Node.Name, lab.PodSpec{Name: name, Addrs: ctr.Addrs}, ctr.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInstalled runs the DaemonSet's containers to the letter on one node, with what a
// kubelet gives them, beside a node with an ordinary daemon: with exactly the rights,
// capabilities and mounts of manifests/caracal.yaml pods are connected across nodes,
// policies hold, the node says how it is, and the daemon is killed without loss.
func TestInstalled(t *testing.T) {
	c := newCluster(t)
	a, b := c.host("a"), c.host("b")
	k := newKubelet(t, a, daemonSet(t, read(t, at("manifests", "caracal.yaml"))).Spec.Template.Spec)
	k.mounts["/var/run/secrets/kubernetes.io/serviceaccount"] = c.projected("a")
	k.env["KUBERNETES_SERVICE_HOST"], k.env["KUBERNETES_SERVICE_PORT"] = c.l.Node("b").Addr(lab.IPv4).String(), "6443"
	k.installsPlugin()
	c.startPlain("b")
	k.start("caracald")
	sessions(t, c.l)
	k.confined()
	k.probesPass()
	k.network(a)
	if err := b.Configure("caracal", runtimes.CNI10, b.Caracal()); err != nil {
		t.Fatal(err)
	}
	c.api.ApplyYAML(t, strings.ReplaceAll(closedPolicy, "kubernetes.io/metadata.name: default", "kubernetes.io/metadata.name: friends"))
	eventually(t, time.Minute, func() string { // a Pod is not let in before its policies that the daemon knows
		if out, err := a.Node.CLI(t.Context(), "show", "policy"); err != nil || !regexp.MustCompile(`(?m)^closed +closed `).MatchString(out) {
			return fmt.Sprintf("node a does not have the policy: %v\n%s", err, out)
		}
		return ""
	})
	near, stranger := c.addPod(a, "closed", "near"), c.addPod(a, "strangers", "stranger")
	friend := c.addPod(b, "friends", "friend")
	k.policyHolds(friend, stranger, near)
	c.saysHowItIs("a")
	for _, signal := range []string{"KILL", "TERM"} {
		meter, err := c.l.StartLossMeter(t.Context(), lab.MeterSpec{A: "friend", B: "stranger", Family: lab.Families()[0]})
		if err != nil {
			t.Fatal(err)
		}
		k.end(signal)
		k.policyHolds(friend, stranger, near)
		k.start("caracald")
		sessions(t, c.l)
		k.probesPass()
		if r := meter.Stop(); r.Lost() != 0 || r.Sent() == 0 {
			t.Errorf("%s and a start of the container: %v", signal, r)
		}
		c.addPod(a, "strangers", "after-"+strings.ToLower(signal))
		k.policyHolds(friend, stranger, near)
	}
	if text := k.log(); strings.Contains(text, "forbidden") || strings.Contains(text, "denied") {
		t.Errorf("the daemon was refused something:\n%s", text)
	}
}

func (c *cluster) host(node string) *runtimes.Host {
	c.t.Helper()
	h, err := runtimes.NewHost(c.l, node, programs(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// saysHowItIs waits for what a node's daemon writes into the API.
func (c *cluster) saysHowItIs(node string) {
	c.t.Helper()
	eventually(c.t, time.Minute, func() string {
		n, err := c.api.Core().CoreV1().Nodes().Get(c.t.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		want := c.l.Node(node).Links[0].Addrs[0].String()
		if got := n.Annotations["caracal.dev/ipv4-address"]; got != want {
			return fmt.Sprintf("the annotation caracal.dev/ipv4-address is %q, want %s", got, want)
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeNetworkUnavailable && cond.Status == corev1.ConditionFalse {
				return ""
			}
		}
		return fmt.Sprint("no condition NetworkUnavailable=false in ", n.Status.Conditions)
	})
	eventually(c.t, time.Minute, func() string {
		got, err := c.api.TryKubectl(c.t, "get", "caracalnodestatus", node, "-o", "jsonpath={.status.ready} {.status.sessionsSummary}")
		if got != "true 1/1" {
			return fmt.Sprintf("CaracalNodeStatus %s: %q, %v", node, got, err)
		}
		return ""
	})
}
