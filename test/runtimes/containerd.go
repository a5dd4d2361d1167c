package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Containerd is containerd on a host, asked by the container runtime interface as
// a kubelet asks it.
type Containerd struct {
	host *Host
	conn *grpc.ClientConn
}

// image is the only one there is. A Pod is held together by a process of it.
const image = "localhost/sleep:1"

// containerdConf is the configuration of containerd 1.6. Of plugins it takes one
// directory, and of networks the first in another.
const containerdConf = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "%[1]s/sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + image + `"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[1]s/plugins"
    conf_dir = "%[1]s/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// StartContainerd starts containerd on a host, its Pods in a network that
// [Host.Configure] has written. What it runs must be removed by
// [Containerd.Close] before the lab goes.
func StartContainerd(ctx context.Context, h *Host, network string) (*Containerd, error) {
	c := &Containerd{host: h}
	if err := c.start(ctx, network); err != nil {
		return nil, fmt.Errorf("runtimes: start containerd on %s: %w", h.Node.Name, err)
	}
	return c, nil
}

func (c *Containerd) dir() string { return filepath.Join(c.host.dir, "containerd") }

func (c *Containerd) start(ctx context.Context, network string) error {
	for _, dir := range []string{"plugins", "net.d"} {
		if err := os.MkdirAll(filepath.Join(c.dir(), dir), 0o755); err != nil {
			return err
		}
	}
	if err := c.link(network); err != nil {
		return err
	}
	conf := filepath.Join(c.dir(), "config.toml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, containerdConf, c.dir()), 0o644); err != nil {
		return err
	}
	if _, err := c.host.Node.Start("containerd", "containerd", "--config", conf); err != nil {
		return err
	}
	if err := c.load(ctx); err != nil {
		return err
	}
	conn, err := grpc.NewClient("unix://"+c.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	c.conn = conn
	return err
}

func (c *Containerd) socket() string { return filepath.Join(c.dir(), "sock") }

// link makes the one directory of plugins, the first of a name winning, and the
// one of networks.
func (c *Containerd) link(network string) error {
	for _, dir := range c.host.Plugins {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			err := os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(c.dir(), "plugins", e.Name()))
			if err != nil && !os.IsExist(err) {
				return err
			}
		}
	}
	name := network + ".conflist"
	return os.Symlink(filepath.Join(c.host.ConfDir(), name), filepath.Join(c.dir(), "net.d", name))
}

// load makes the image and waits until containerd has taken it. podman packs it.
func (c *Containerd) load(ctx context.Context) error {
	root, err := c.host.Rootfs()
	if err != nil {
		return err
	}
	p, err := NewPodman(c.host)
	if err != nil {
		return err
	}
	layer, packed := filepath.Join(c.dir(), "layer.tar"), filepath.Join(c.dir(), "image.tar")
	if _, err := c.host.Node.Exec(ctx, "tar", "-C", root, "-cf", layer, "."); err != nil {
		return err
	}
	if _, err := p.Do(ctx, "import", "--quiet", "--change", `ENTRYPOINT ["/bin/sleep", "600"]`, layer, image); err != nil {
		return err
	}
	if _, err := p.Do(ctx, "save", "--quiet", "--output", packed, image); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		_, err := c.host.Node.Exec(ctx, "ctr", "--address", c.socket(), "--namespace", "k8s.io",
			"images", "import", "--snapshotter", "native", packed)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// PodSandbox is a Pod as the runtime shows it to a kubelet.
type PodSandbox struct {
	ID    string
	NetNS string // path
	Addrs []netip.Addr
}

// RunPod starts a Pod without containers, which has a network all the same, with
// ports of the host as pairs of host's and Pod's.
func (c *Containerd) RunPod(ctx context.Context, namespace, name string, ports ...[2]int32) (PodSandbox, error) {
	p, err := c.runPod(ctx, namespace, name, ports)
	if err != nil {
		return p, fmt.Errorf("runtimes: run Pod %s/%s on %s: %w", namespace, name, c.host.Node.Name, err)
	}
	return p, nil
}

func (c *Containerd) runPod(ctx context.Context, namespace, name string, ports [][2]int32) (p PodSandbox, err error) {
	conf := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: namespace + "-" + name},
		Hostname:     name,
		LogDirectory: filepath.Join(c.dir(), "logs"),
		DnsConfig:    &cri.DNSConfig{},
		Linux:        &cri.LinuxPodSandboxConfig{},
	}
	for _, pair := range ports {
		conf.PortMappings = append(conf.PortMappings, &cri.PortMapping{HostPort: pair[0], ContainerPort: pair[1]})
	}
	rt := cri.NewRuntimeServiceClient(c.conn)
	made, err := rt.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: conf})
	if err != nil {
		return p, err
	}
	p.ID = made.GetPodSandboxId()
	got, err := rt.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		return p, err
	}
	var info struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(got.GetInfo()["info"]), &info); err != nil {
		return p, fmt.Errorf("read its status: %w", err)
	}
	p.NetNS = fmt.Sprintf("/proc/%d/ns/net", info.PID)
	all := []string{got.GetStatus().GetNetwork().GetIp()}
	for _, more := range got.GetStatus().GetNetwork().GetAdditionalIps() {
		all = append(all, more.GetIp())
	}
	for _, text := range all {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return p, fmt.Errorf("address %q of %s: %w", text, strings.Join(all, ", "), err)
		}
		p.Addrs = append(p.Addrs, a)
	}
	return p, nil
}

// RemovePod stops a Pod and removes it.
func (c *Containerd) RemovePod(ctx context.Context, id string) error {
	rt := cri.NewRuntimeServiceClient(c.conn)
	if _, err := rt.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("runtimes: stop Pod %s: %w", id, err)
	}
	if _, err := rt.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("runtimes: remove Pod %s: %w", id, err)
	}
	return nil
}

// Close removes all of its Pods and ends it.
func (c *Containerd) Close(ctx context.Context) error {
	defer c.conn.Close()
	list, err := cri.NewRuntimeServiceClient(c.conn).ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("runtimes: list Pods: %w", err)
	}
	for _, p := range list.GetItems() {
		if err := c.RemovePod(ctx, p.GetId()); err != nil {
			return err
		}
	}
	return c.host.Node.Process("containerd").Kill(os.Interrupt)
}
