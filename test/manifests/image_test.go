package manifests

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// buildOnce builds the three programs into binDir.
var buildOnce = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", binDir+"/", at("cmd", "caracald"), at("cmd", "caracal"), at("cmd", "caracal-cni"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w: %s", err, out)
	}
	return nil
})

// programs returns the directory of caracald, caracal and caracal-cni.
func programs(t *testing.T) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return binDir
}

const closedPolicy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: closed}
spec:
  podSelector: {}
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}]}]
`

// TestImage runs the image's root file system as the DaemonSet says on one node, beside
// a node with an ordinary daemon: it starts, peers, connects pods, enforces a policy,
// and is killed and started anew without a packet lost.
func TestImage(t *testing.T) {
	top := lab.Mesh(lab.MeshOptions{Nodes: 2})
	top.Nodes[0].Pods = nil
	top.Nodes[1].Pods = top.Nodes[1].Pods[:1]
	top.Objects = append(top.Objects, closedPolicy)
	l := up(t, top)
	h, err := runtimes.NewHost(l, "a", programs(t))
	if err != nil {
		t.Fatal(err)
	}
	k := newKubelet(t, h, fromFiles(daemonSet(t, read(t, at("manifests", "caracal.yaml"))).Spec.Template.Spec))
	k.mounts["/etc/caracal"] = l.ConfigDir()
	k.installsPlugin()
	if _, err := l.Node("b").StartCaracald(); err != nil {
		t.Fatal(err)
	}
	// What the daemon must be able to set.
	if _, err := k.node.Exec(t.Context(), "sysctl", "-qw", "net.ipv4.ip_forward=0"); err != nil {
		t.Fatal(err)
	}
	k.start("caracald")
	sessions(t, l)
	k.confined()
	k.probesPass()
	if got, err := k.node.Exec(t.Context(), "sysctl", "-n", "net.ipv4.ip_forward"); err != nil || strings.TrimSpace(got) != "1" {
		t.Errorf("net.ipv4.ip_forward is %s, %v", got, err)
	}
	k.network(h)
	near, stranger := k.addPod(h, l, "near", "closed"), k.addPod(h, l, "stranger", "strangers")
	k.policyHolds(l.Pod("b1"), stranger, near)
	for _, signal := range []string{"KILL", "TERM"} {
		meter, err := l.StartLossMeter(t.Context(), lab.MeterSpec{A: "b1", B: "stranger", Family: lab.Families()[0]})
		if err != nil {
			t.Fatal(err)
		}
		k.end(signal)
		k.policyHolds(l.Pod("b1"), stranger, near)
		k.start("caracald")
		sessions(t, l)
		k.probesPass()
		if r := meter.Stop(); r.Lost() != 0 || r.Sent() == 0 {
			t.Errorf("%s and a start of the container: %v", signal, r)
		} else {
			t.Logf("%s and a start of the container: %v", signal, r)
		}
		k.addPod(h, l, "after-"+strings.ToLower(signal), "strangers")
		k.policyHolds(l.Pod("b1"), stranger, near)
	}
}

// fromFiles has the Pod take its configuration from files.
func fromFiles(pod corev1.PodSpec) corev1.PodSpec {
	for i, arg := range pod.Containers[0].Args {
		if arg == "--store=kubernetes" {
			pod.Containers[0].Args[i] = "--store=file"
		}
	}
	pod.Containers[0].Args = append(pod.Containers[0].Args, "--node=a")
	return pod
}

// TestMissingCapabilities: the container without one of its capabilities says what it
// cannot do.
func TestMissingCapabilities(t *testing.T) {
	top := lab.Mesh(lab.MeshOptions{Nodes: 1})
	l := up(t, top)
	h, err := runtimes.NewHost(l, "a", programs(t))
	if err != nil {
		t.Fatal(err)
	}
	k := newKubelet(t, h, fromFiles(daemonSet(t, read(t, at("manifests", "caracal.yaml"))).Spec.Template.Spec))
	k.mounts["/etc/caracal"] = l.ConfigDir()
	full := k.pod.Containers[0].SecurityContext.Capabilities.Add
	for name, want := range map[corev1.Capability]string{"NET_ADMIN": "CAP_NET_ADMIN", "NET_BIND_SERVICE": "CAP_NET_BIND_SERVICE"} {
		k.pod.Containers[0].SecurityContext.Capabilities.Add = slices.DeleteFunc(slices.Clone(full), func(c corev1.Capability) bool { return c == name })
		k.start("caracald")
		eventually(t, time.Minute, func() string {
			status, _ := k.node.Exec(t.Context(), filepath.Join(programs(t), "caracal"), "--socket", k.node.Socket(), "show", "status")
			for line := range strings.Lines(status + k.log()) {
				if strings.Contains(line, want) {
					t.Log(strings.TrimSpace(line))
					return ""
				}
			}
			return "no word of " + want + ":\n" + status + k.log()
		})
		k.end("KILL")
	}
}

func up(t *testing.T, top lab.Topology) *lab.Lab {
	t.Helper()
	l, err := lab.Up(t.Context(), lab.Spec{Topology: top, Caracald: filepath.Join(programs(t), "caracald"), Caracal: filepath.Join(programs(t), "caracal")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func sessions(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
}

// installsPlugin runs the init container: the plugin is there then, and no network.
func (k *kubelet) installsPlugin() {
	k.t.Helper()
	k.t.Log(k.run("install-cni"))
	info, err := os.Stat(filepath.Join(k.host, "opt/cni/bin/caracal-cni"))
	if err != nil || info.Mode() != 0o755 {
		k.t.Errorf("the plugin: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(k.host, "etc/cni/net.d")); err == nil {
		k.t.Error("the init container has the directory of networks")
	}
}

// confined holds what the kernel says of the container's process against what the
// DaemonSet means to say.
func (k *kubelet) confined() {
	k.t.Helper()
	status := read(k.t, "/proc/"+k.pid()+"/status")
	// CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13 (linux/capability.h).
	want := fmt.Sprintf("%016x", 1<<10|1<<12|1<<13)
	for _, line := range []string{"CapEff:\t" + want, "CapPrm:\t" + want, "CapBnd:\t" + want, "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, line+"\n") {
			k.t.Errorf("no %q in\n%s", line, status)
		}
	}
	mounts := read(k.t, "/proc/"+k.pid()+"/mounts")
	for _, m := range []string{`(?m)^\S+ / \S+ ro,`, `(?m)^\S+ /proc/sys \S+ ro,`, `(?m)^\S+ /host/proc/sys/net \S+ rw,`, `(?m)^\S+ /run/netns \S+ ro,`} {
		if !regexp.MustCompile(m).MatchString(mounts) {
			k.t.Errorf("no %s in\n%s", m, mounts)
		}
	}
}

// probesPass asks what the kubelet would ask.
func (k *kubelet) probesPass() {
	k.t.Helper()
	c := container(k.t, k.pod, "caracald")
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		url := fmt.Sprintf("http://%s:%d%s", p.HTTPGet.Host, p.HTTPGet.Port.IntValue(), p.HTTPGet.Path)
		eventually(k.t, time.Minute, func() string { return get(k.node, url) })
	}
}

// get asks from within a node; it returns what is wrong with the answer.
func get(n *lab.Node, url string) (wrong string) {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = n.Do(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}}
	defer tr.CloseIdleConnections()
	answer, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return url + ": " + answer.Status
	}
	return ""
}

// network gives the runtime the network that the daemon has installed. Its paths are
// those of a host; on this machine they are the lab's.
func (k *kubelet) network(h *runtimes.Host) {
	k.t.Helper()
	path := filepath.Join(k.host, "etc/cni/net.d/10-caracal.conflist")
	eventually(k.t, 30*time.Second, func() string {
		if _, err := os.Stat(path); err != nil {
			return err.Error()
		}
		return ""
	})
	text := read(k.t, path)
	for from, to := range map[string]string{"/run/caracal/caracal.sock": k.node.Socket(), "/var/lib/caracal": k.node.StateDir()} {
		if !strings.Contains(text, `"`+from+`"`) {
			k.t.Errorf("the network says nothing of %s:\n%s", from, text)
		}
		text = strings.ReplaceAll(text, `"`+from+`"`, `"`+to+`"`)
	}
	if err := os.WriteFile(filepath.Join(h.ConfDir(), "caracal.conflist"), []byte(text), 0o644); err != nil {
		k.t.Fatal(err)
	}
	// The plugin is the one that the init container installed.
	h.Plugins = append([]string{filepath.Join(k.host, "opt/cni/bin")}, runtimes.ReferenceDir)
}

// addPod connects a pod of a namespace, and waits for nothing after that.
func (k *kubelet) addPod(h *runtimes.Host, l *lab.Lab, name, namespace string) *lab.Pod {
	k.t.Helper()
	c, err := h.New("caracal", name, "id-"+name)
	if err != nil {
		k.t.Fatal(err)
	}
	c.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", namespace}, {"K8S_POD_NAME", name}}
	if err := h.Add(k.t.Context(), c); err != nil {
		k.t.Fatal(err)
	}
	pod, err := l.Adopt(k.node.Name, lab.PodSpec{Name: name, Addrs: c.Addrs}, c.NetNS)
	if err != nil {
		k.t.Fatal(err)
	}
	return pod
}

// policyHolds connects to a pod that is open to one and closed to another, which both
// reach others.
func (k *kubelet) policyHolds(friend, stranger, closed *lab.Pod) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for _, a := range stranger.Addrs {
		if err := friend.WaitReach(ctx, a); err != nil {
			k.t.Fatal(err)
		}
	}
	var families sync.WaitGroup
	for _, a := range closed.Addrs {
		families.Go(func() {
			if err := friend.WaitReach(ctx, a); err != nil {
				k.t.Error(err)
			} else if cell, err := stranger.Ping(k.t.Context(), a); err != nil || cell.OK {
				k.t.Errorf("the policy lets the stranger through to %s: %v, %v", a, cell, err)
			}
		})
	}
	families.Wait()
}
