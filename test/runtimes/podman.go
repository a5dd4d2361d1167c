package runtimes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Podman is podman on a host, with a storage of its own.
type Podman struct{ host *Host }

// podmanConf is the containers.conf(5) for a machine without systemd.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = [%s]
`

// NewPodman makes podman ready on a host. What it runs must be removed by
// [Podman.RemoveAll] before the lab goes.
func NewPodman(h *Host) (*Podman, error) {
	var dirs []string
	for _, d := range h.Plugins {
		dirs = append(dirs, fmt.Sprintf("%q", d))
	}
	p := &Podman{h}
	if err := os.MkdirAll(p.dir(), 0o755); err != nil {
		return nil, fmt.Errorf("runtimes: %w", err)
	}
	if err := os.WriteFile(p.conf(), fmt.Appendf(nil, podmanConf, strings.Join(dirs, ", ")), 0o644); err != nil {
		return nil, fmt.Errorf("runtimes: %w", err)
	}
	return p, nil
}

func (p *Podman) dir() string { return filepath.Join(p.host.dir, "podman") }

func (p *Podman) conf() string { return filepath.Join(p.dir(), "containers.conf") }

// Do runs a podman command and returns what it printed.
func (p *Podman) Do(ctx context.Context, args ...string) (string, error) {
	// The network namespace alone: podman keeps the node's cgroups in sight, which
	// "ip netns exec" hides.
	argv := append([]string{"env", "CONTAINERS_CONF=" + p.conf(), "podman",
		"--root", filepath.Join(p.dir(), "root"), "--runroot", filepath.Join(p.dir(), "run"),
		"--tmpdir", filepath.Join(p.dir(), "tmp"), "--storage-driver", "vfs",
		"--network-config-dir", p.host.ConfDir()}, args...)
	out, err := p.host.Node.Exec(ctx, argv...)
	if err != nil {
		return out, fmt.Errorf("runtimes: podman %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out), nil
}

// Run starts a container that sleeps, in a network, with further flags of podman
// run, and returns its ID and the path of its namespace.
func (p *Podman) Run(ctx context.Context, network, name string, flags ...string) (id, netns string, err error) {
	root, err := p.host.Rootfs()
	if err != nil {
		return "", "", err
	}
	args := append([]string{"run", "--detach", "--name", name, "--network", network}, flags...)
	id, err = p.Do(ctx, append(args, "--rootfs", root, "/bin/sleep", "600")...)
	if err != nil {
		return "", "", err
	}
	pid, err := p.Do(ctx, "inspect", "--format", "{{.State.Pid}}", name)
	if err != nil {
		return "", "", err
	}
	return id, "/proc/" + pid + "/ns/net", nil
}

// RemoveAll ends and removes all of its containers.
func (p *Podman) RemoveAll(ctx context.Context) error {
	_, err := p.Do(ctx, "rm", "--all", "--force", "--time", "0")
	return err
}
