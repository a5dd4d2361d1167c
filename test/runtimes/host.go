package runtimes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"caracal.dev/caracal/lab"
)

// ReferenceDir is where Debian has the reference plugins
// (containernetworking-plugins).
const ReferenceDir = "/usr/lib/cni"

// Host is a node of a lab that containers run on.
type Host struct {
	Node *lab.Node
	// Plugins are the directories in which plugins are looked for.
	Plugins []string

	lab  *lab.Lab
	dir  string
	next atomic.Int64 // numbers root file systems
}

// NewHost makes of a node of a lab one that containers run on. The plugins are
// looked for in these directories, and then in [ReferenceDir].
func NewHost(l *lab.Lab, node string, plugins ...string) (*Host, error) {
	n := l.Node(node)
	if n == nil {
		return nil, fmt.Errorf("runtimes: there is no node %s", node)
	}
	h := &Host{Node: n, Plugins: append(plugins, ReferenceDir), lab: l, dir: filepath.Join(n.Dir(), "cni")}
	for _, dir := range []string{h.ConfDir(), h.cacheDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("runtimes: %w", err)
		}
	}
	return h, nil
}

// ConfDir returns the directory of the host's network configurations, in the
// place of /etc/cni/net.d.
func (h *Host) ConfDir() string { return filepath.Join(h.dir, "net.d") }

// cacheDir is where the runtime keeps the results of ADD, in the place of
// /var/lib/cni.
func (h *Host) cacheDir() string { return filepath.Join(h.dir, "cache") }

// Versions of the protocol. Debian's runtimes and reference plugins know 1.0.0
// and none that is later; GC and STATUS came with 1.1.0.
const (
	CNI10 = "1.0.0"
	CNI11 = "1.1.0"
)

// Configure writes a network configuration (CNI 1.1, section 1) of a version, with
// these plugins, each a JSON object.
func (h *Host) Configure(network, version string, plugins ...string) error {
	text := fmt.Sprintf(`{"cniVersion": %q, "name": %q, "plugins": [%s]}`, version, network, strings.Join(plugins, ", "))
	if err := os.WriteFile(filepath.Join(h.ConfDir(), network+".conflist"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("runtimes: write network configuration: %w", err)
	}
	return nil
}

// PTP is the reference plugin ptp, with addresses of the node's own blocks from
// host-local: the same job as ours, for comparison.
func (h *Host) PTP() string {
	var ranges []string // one list for each family, of which a container gets one address
	for _, f := range lab.Families() {
		var list []string
		for _, b := range h.Node.Blocks {
			if f.Of(b.Addr()) {
				list = append(list, fmt.Sprintf(`{"subnet": %q}`, b))
			}
		}
		if len(list) > 0 {
			ranges = append(ranges, "["+strings.Join(list, ", ")+"]")
		}
	}
	return fmt.Sprintf(`{"type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [%s],
		"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}`, filepath.Join(h.dir, "host-local"), strings.Join(ranges, ", "))
}

// Portmap is the reference plugin that maps ports of the host to those of the
// container, as "podman run --publish" and a Pod's hostPort want it.
func Portmap() string { return `{"type": "portmap", "capabilities": {"portMappings": true}}` }

// applets are what a container has of busybox.
var applets = []string{"sh", "sleep", "ip", "nc", "ping", "cat", "ls", "hostname"}

// Rootfs makes a root file system of busybox, and returns its path. Each
// container needs its own, since runtimes put files into it.
func (h *Host) Rootfs() (string, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("runtimes: the program busybox is missing; install it (Debian: apt-get install busybox-static)")
	}
	root := filepath.Join(h.dir, fmt.Sprintf("rootfs%d", h.next.Add(1)))
	for _, dir := range []string{"bin", "dev", "etc", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", fmt.Errorf("runtimes: make root file system: %w", err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", fmt.Errorf("runtimes: make root file system: %w", err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "busybox"), program, 0o755); err != nil {
		return "", fmt.Errorf("runtimes: make root file system: %w", err)
	}
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return "", fmt.Errorf("runtimes: make root file system: %w", err)
		}
	}
	return root, nil
}

// Caracal is our plugin, told where the daemon of the node answers and keeps its
// state.
func (h *Host) Caracal() string {
	return fmt.Sprintf(`{"type": "caracal-cni", "socket": %q, "stateDir": %q,
		"capabilities": {"ips": true, "mac": true}}`, h.Node.Socket(), h.Node.StateDir())
}
