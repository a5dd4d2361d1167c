package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"caracal.dev/caracal/lab"
)

// Machine is a node of the lab that looks like a host of its own: it has its own
// /etc, /opt, /var and /run, its own name and processes, and its own part of the
// cgroups. All of it goes with [Machine.Close].
type Machine struct {
	Node *lab.Node
	Name string

	dir  string // what it has of the disk
	init int    // its first process, as this machine numbers it
	cg   string // its cgroup's name
}

// boot is the first process of a machine. It collects the orphans, as init does.
// Settings that kubelet would write for the whole kernel are files here, with the
// values that it wants to see.
const boot = `set -e
dir=$1 name=$2
hostname "$name"
mount --make-rprivate /
for d in etc opt var; do mkdir -p "$dir/$d"; done
cp -a /etc/. "$dir/etc/"
rm -rf "$dir/etc/cni"
mkdir -p "$dir/etc/cni/net.d" "$dir/opt/cni/bin" "$dir/var/lib" "$dir/var/log" "$dir/var/tmp"
setting() {
  f=$dir/setting.$1
  echo "$2" >"$f"
  mount --bind "$f" "/proc/sys/$(echo "$1" | tr . /)"
}
setting vm.overcommit_memory 1
setting vm.panic_on_oom 0
setting kernel.panic 10
setting kernel.panic_on_oops 1
setting kernel.keys.root_maxkeys 1000000
setting kernel.keys.root_maxbytes 25000000
# containerd wires up the loopback of a Pod with the plugin of that name, and what
# Caracal installs names portmap for host ports; packages of
# Kubernetes bring it along.
cp /usr/lib/cni/loopback /usr/lib/cni/portmap "$dir/opt/cni/bin/"
for d in etc opt var; do mount --bind "$dir/$d" "/$d"; done
ln -s /run /var/run
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
mount --make-rshared /
touch "$dir/ready"
while :; do
  sleep 1000 &
  wait $!
done
`

// NewMachine makes a machine of a node of a lab, with its disk in dir.
func NewMachine(ctx context.Context, l *lab.Lab, node, dir string) (*Machine, error) {
	m := &Machine{Node: l.Node(node), Name: node, dir: dir, cg: "k8s-" + l.ID() + "-" + node}
	if m.Node == nil {
		return nil, fmt.Errorf("cluster: there is no node %s", node)
	}
	if err := m.start(ctx); err != nil {
		return nil, fmt.Errorf("cluster: make a machine of node %s: %w", node, err)
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context) error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	if err := m.makeCgroups(); err != nil {
		return err
	}
	p, err := m.Node.Start("init", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--uts",
		"sh", "-c", boot, "sh", m.dir, m.Name)
	if err != nil {
		return err
	}
	err = wait(ctx, 20*time.Second, func(context.Context) error {
		_, err := os.Stat(filepath.Join(m.dir, "ready"))
		if err != nil && !p.Running() {
			return fmt.Errorf("it ended: %s", p.Log())
		}
		return err
	})
	if err != nil {
		return err
	}
	m.init, err = onlyChild(p.PID())
	return err
}

// onlyChild returns the child of a process that has one thread and one child.
func onlyChild(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// inside is the command line that runs another on the machine.
func (m *Machine) inside(argv []string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(m.init), "--mount", "--uts", "--pid", "--"}, argv...)
}

// Exec runs a command on the machine and returns what it printed; the error of one
// that fails holds what it wrote to stderr.
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	return m.Node.Exec(ctx, m.inside(argv)...)
}

// Start starts a daemon on the machine.
func (m *Machine) Start(name string, argv ...string) (*lab.Process, error) {
	return m.Node.Start(name, m.inside(argv)...)
}

// Path returns where a file of the machine's /etc, /opt or /var is for this process.
func (m *Machine) Path(path string) string { return filepath.Join(m.dir, path) }

// Write writes a file below the machine's /etc, /opt or /var.
func (m *Machine) Write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(m.Path(path)), 0o755); err != nil {
		return fmt.Errorf("cluster: write %s on %s: %w", path, m.Name, err)
	}
	if err := os.WriteFile(m.Path(path), []byte(text), 0o600); err != nil {
		return fmt.Errorf("cluster: write %s on %s: %w", path, m.Name, err)
	}
	return nil
}

// Close ends every process of the machine and removes its cgroups.
func (m *Machine) Close() error {
	if p := m.Node.Process("init"); p != nil {
		if err := p.Kill(os.Kill); err != nil {
			return fmt.Errorf("cluster: close machine %s: %w", m.Name, err)
		}
	}
	// The kernel ends the others of a PID namespace with its first, not quite at once.
	err := wait(context.Background(), 20*time.Second, func(context.Context) error { return m.removeCgroups() })
	if err != nil {
		return fmt.Errorf("cluster: close machine %s: %w", m.Name, err)
	}
	return nil
}

// cgroupDir is where cgroups of version 1 are, one hierarchy for each directory.
const cgroupDir = "/sys/fs/cgroup"

// hierarchies lists the places of the machine's cgroup.
func (m *Machine) hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupDir, "cgroup.procs")); err == nil {
		return []string{filepath.Join(cgroupDir, m.cg)}, nil // version 2 has one
	}
	procs, err := filepath.Glob(filepath.Join(cgroupDir, "*", "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range procs {
		if info, err := os.Lstat(filepath.Dir(p)); err == nil && info.IsDir() { // "cpu" may be a link to "cpu,cpuacct"
			out = append(out, filepath.Join(filepath.Dir(p), m.cg))
		}
	}
	return out, nil
}

func (m *Machine) makeCgroups() error {
	dirs, err := m.hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// A new cpuset is empty, and takes no process, until it is told.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
			if err != nil {
				continue // another hierarchy
			}
			if err := os.WriteFile(filepath.Join(dir, name), all, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroups removes the machine's cgroups, the innermost first.
func (m *Machine) removeCgroups() error {
	dirs, err := m.hierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, top := range dirs {
		var all []string
		_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- {
			if err := os.Remove(all[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// wait calls try until it succeeds, and returns its last error when the time is
// over.
func wait(ctx context.Context, within time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", within, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
