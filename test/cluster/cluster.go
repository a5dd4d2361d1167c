package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
)

// Names of the lab's nodes that are not nodes of the cluster.
const (
	ControlPlane = "cp"
	Outside      = "out" // a machine of the same network that has nothing of Kubernetes
)

// Ranges of the addresses of pods.
const (
	PodsV4 = "10.244.0.0/16"
	PodsV6 = "fd00:244::/48"
)

// Cluster is a running cluster. It ends with its test.
type Cluster struct {
	API      *kubetest.API
	Lab      *lab.Lab
	Machines []*Machine // the nodes
}

// topology is a network with the control plane, these nodes, and a machine outside.
// The machine outside is their default gateway: the address of a Service needs a
// route, even one that leads astray, before kube-proxy replaces it. The nodes'
// prefixes of pods are not known to the lab: there are none yet.
func topology(nodes []string) lab.Topology {
	t := lab.Topology{Name: "cluster", Switches: []string{"sw"}}
	for i, name := range append([]string{Outside, ControlPlane}, nodes...) {
		spec := lab.NodeSpec{Name: name, Router: true, Links: []lab.Link{{
			Name: "eth0", Switch: "sw", Addrs: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("192.168.77.%d/24", 10+i)),
				netip.MustParsePrefix(fmt.Sprintf("fd00:77::%d/64", 10+i)),
			},
		}}}
		if name != Outside {
			spec.Routes = []lab.StaticRoute{
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.77.10")},
				{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fd00:77::10")},
			}
		}
		t.Nodes = append(t.Nodes, spec)
	}
	return t
}

// Start starts a cluster of these nodes, whose containerd has these images and that
// of busybox, [Busybox]. Its nodes have no network for pods yet, so they are not
// ready. A test that fails shows the ends of the logs.
func Start(t testing.TB, nodes []string, images ...Image) *Cluster {
	t.Helper()
	ctx, disks := t.Context(), t.TempDir() // removed after the machines are gone
	l, err := lab.Up(ctx, lab.Spec{Topology: topology(nodes)})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Lab: l}
	t.Cleanup(func() {
		if err := c.Lab.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cp := l.Node(ControlPlane)
	c.API = kubetest.Start(t, kubetest.Options{
		NetNS: filepath.Join("/run/netns", cp.NS), Addr: cp.Addr(lab.IPv4), Port: 6443, ServiceAccounts: true,
	})
	t.Cleanup(func() { c.close(t) })
	if err := c.startControlPlane(t, cp); err != nil {
		t.Fatalf("cluster: start the control plane: %v", err)
	}
	images = append(images, busybox(t)...)
	for _, name := range nodes {
		m, err := NewMachine(ctx, l, name, filepath.Join(disks, name))
		if err != nil {
			t.Fatal(err)
		}
		c.Machines = append(c.Machines, m)
		if err := c.startNode(t, m, images); err != nil {
			t.Fatalf("cluster: start node %s: %v", name, err)
		}
	}
	return c
}

func (c *Cluster) startControlPlane(t testing.TB, cp *lab.Node) error {
	pki := filepath.Join(c.API.Dir(), "pki")
	config := c.API.Kubeconfig(t, "control-plane", "system:masters")
	for name, flags := range map[string][]string{
		"kube-scheduler": nil,
		"kube-controller-manager": {
			"--root-ca-file=" + filepath.Join(pki, "ca.crt"),
			"--service-account-private-key-file=" + filepath.Join(pki, "tokens.key"),
		},
	} {
		program, err := kubetest.Program(name)
		if err != nil {
			return err
		}
		argv := append([]string{program, "--kubeconfig=" + config, "--leader-elect=false", "--secure-port=0"}, flags...)
		if _, err := cp.Start(name, argv...); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startNode(t testing.TB, m *Machine, images []Image) error {
	if err := m.startContainerd(t.Context(), images); err != nil {
		return err
	}
	kubelet := c.API.Kubeconfig(t, "system:node:"+m.Name, "system:nodes")
	if err := m.startKubelet(kubelet, filepath.Join(c.API.Dir(), "pki", "ca.crt")); err != nil {
		return err
	}
	c.StartProxy(t, m, ProxyIPTables) // as most clusters have it
	return nil
}

// close ends the machines, before the API and the lab go.
func (c *Cluster) close(t testing.TB) {
	if t.Failed() {
		c.showLogs(t)
	}
	for _, m := range c.Machines {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (c *Cluster) showLogs(t testing.TB) {
	for _, m := range c.Machines {
		for _, name := range []string{"containerd", "kubelet", "kube-proxy"} {
			t.Logf("--- %s: %s\n%s", m.Name, name, m.Log(name))
		}
		logs, _ := filepath.Glob(filepath.Join(m.PodLogs(), "*", "*", "*.log"))
		for _, path := range logs {
			text, _ := os.ReadFile(path)
			t.Logf("--- %s: %s\n%s", m.Name, strings.TrimPrefix(path, m.PodLogs()), text[max(0, len(text)-5000):])
		}
	}
}

// Busybox is the image of the pods in tests: a shell, nc, and an HTTP server whose
// page /cgi-bin/who says who asked.
const Busybox = "localhost/busybox:test"

// busybox packs the images that every node needs.
func busybox(t testing.TB) []Image {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("cluster: the program busybox is missing; install it (Debian: apt-get install busybox-static): %v", err)
	}
	root, packed := t.TempDir(), t.TempDir()
	err = errors.Join(
		os.MkdirAll(filepath.Join(root, "www", "cgi-bin"), 0o755),
		os.WriteFile(filepath.Join(root, "www", "cgi-bin", "who"),
			[]byte("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s' \"$REMOTE_ADDR\"\n"), 0o755),
		exec.Command("install", "-D", "-m", "0755", program, filepath.Join(root, "bin", "busybox")).Run(),
	)
	for _, name := range []string{"sh", "sleep", "nc", "httpd", "cat", "ip", "ping"} {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(root, "bin", name)))
	}
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	if err != nil {
		t.Fatalf("cluster: make the image of pods: %v", err)
	}
	var out []Image
	for i, name := range []string{pauseImage, Busybox} {
		image, err := PackImage(name, root, filepath.Join(packed, fmt.Sprintf("%d.tar", i)), "/bin/sleep", "100000")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, image)
	}
	return out
}

// WaitReady waits until every node is ready and has a network, and returns how long
// that took.
func (c *Cluster) WaitReady(t testing.TB, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	c.Wait(t, within, func() string {
		list, err := c.API.Core().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		if len(list.Items) != len(c.Machines) {
			return fmt.Sprintf("%d of %d nodes", len(list.Items), len(c.Machines))
		}
		var wrong []string
		for _, n := range list.Items {
			if condition(n, corev1.NodeReady) != corev1.ConditionTrue {
				wrong = append(wrong, n.Name+" is not ready")
			}
			if condition(n, corev1.NodeNetworkUnavailable) != corev1.ConditionFalse {
				wrong = append(wrong, n.Name+" does not say that its network is there")
			}
		}
		slices.Sort(wrong)
		return strings.Join(wrong, ", ")
	})
	return time.Since(begin)
}

func condition(n corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// Wait waits until look says nothing; what it says is what is still wrong.
func (c *Cluster) Wait(t testing.TB, within time.Duration, look func() string) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		wrong := look()
		if wrong == "" {
			return
		}
		if time.Since(begin) > within {
			t.Fatalf("after %v: %s", within, wrong)
		}
	}
}
