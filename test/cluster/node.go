package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/kubetest"
	"caracal.dev/caracal/lab"
)

// pauseImage is what holds a Pod together.
const pauseImage = "localhost/pause:test"

// containerdConf is the configuration of containerd 1.6 on a machine, where all paths
// are the usual ones.
const containerdConf = `version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// kubeletConf is a kubelet's configuration: its cgroup and the file of the CA are
// put in.
const kubeletConf = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]q}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[1]s
clusterDNS: [10.96.0.10]
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
featureGates: {KubeletInUserNamespace: true}
nodeStatusUpdateFrequency: 1s
# The machine's disk is not ours to keep free.
evictionHard: {memory.available: 1Mi, nodefs.available: 0%%, imagefs.available: 0%%, nodefs.inodesFree: 0%%}
imageGCHighThresholdPercent: 100
`

// startContainerd starts containerd on a machine and gives it images.
func (m *Machine) startContainerd(ctx context.Context, images []Image) error {
	if err := m.Write("/etc/containerd/config.toml", containerdConf); err != nil {
		return err
	}
	if _, err := m.Start("containerd", "containerd"); err != nil {
		return err
	}
	for _, image := range images {
		err := wait(ctx, time.Minute, func(ctx context.Context) error {
			_, err := m.Exec(ctx, "ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", "native", image.Path)
			return err
		})
		if err != nil {
			return fmt.Errorf("import image %s: %w", image.Name, err)
		}
	}
	return nil
}

// addrs are the machine's addresses, one of each family it has.
func (m *Machine) addrs() string {
	var out []string
	for _, f := range lab.Families() {
		if a := m.Node.Addr(f); a.IsValid() {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ",")
}

// startKubelet starts the kubelet, which adds the Node to the cluster. ca is the file
// with the CA of those who may ask it.
func (m *Machine) startKubelet(kubeconfig, ca string) error {
	program, err := kubetest.Program("kubelet")
	if err != nil {
		return err
	}
	conf := "/etc/kubelet.yaml"
	if err := m.Write(conf, fmt.Sprintf(kubeletConf, m.cg, ca)); err != nil {
		return err
	}
	_, err = m.Start("kubelet", program, "--config="+conf, "--kubeconfig="+kubeconfig,
		"--hostname-override="+m.Name, "--node-ip="+m.addrs())
	return err
}

// Modes of kube-proxy. The one of nftables takes the program nft.
const (
	ProxyIPTables = "iptables"
	ProxyNFTables = "nftables"
)

// StartProxy starts kube-proxy in a mode, instead of one that runs. It takes what
// comes from one of the ranges of pods for local, and makes everybody else's way to a
// ClusterIP lead back through it.
func (c *Cluster) StartProxy(t testing.TB, m *Machine, mode string) {
	t.Helper()
	kubeconfig := c.API.Kubeconfig(t, "system:kube-proxy")
	if err := m.startProxy(t.Context(), kubeconfig, PodsV4+","+PodsV6, mode); err != nil {
		t.Fatalf("cluster: start kube-proxy on %s: %v", m.Name, err)
	}
}

func (m *Machine) startProxy(ctx context.Context, kubeconfig, pods, mode string) error {
	program, err := kubetest.Program("kube-proxy")
	if err != nil {
		return err
	}
	if old := m.Node.Process("kube-proxy"); old != nil && old.Running() {
		if _, err := m.Exec(ctx, "pkill", "-x", "kube-proxy"); err != nil {
			return err
		}
		_ = old.Wait(ctx) // of what it died is known
	}
	_, err = m.Start("kube-proxy", program, "--kubeconfig="+kubeconfig, "--hostname-override="+m.Name,
		"--proxy-mode="+mode, "--cluster-cidr="+pods,
		// These are of the whole kernel.
		"--conntrack-max-per-core=0", "--conntrack-min=0")
	return err
}

// Log returns the end of a daemon's log.
func (m *Machine) Log(name string) string {
	p := m.Node.Process(name)
	if p == nil {
		return "was not started"
	}
	text := p.Log()
	return text[max(0, len(text)-5000):]
}

// PodLogs returns where kubelet keeps the logs of containers.
func (m *Machine) PodLogs() string { return filepath.Join(m.Path("/var/log"), "pods") }
