package manifests

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/test/runtimes"
)

// kubelet runs the containers of a Pod on a node of a lab, with podman, as a kubelet
// would have a runtime do it: nothing of it is said here, all comes from the PodSpec.
type kubelet struct {
	t      *testing.T
	node   *lab.Node
	podman *runtimes.Podman
	pod    corev1.PodSpec
	// host is the directory that stands for the root of the node's own file system.
	host   string
	rootfs string
	// mounts are more files for the container, source by destination: what a kubelet
	// projects.
	mounts map[string]string
	env    map[string]string
	serial int
}

// newKubelet makes the image's root file system and a host's, in which the daemon's
// socket and state are where the lab looks for them.
func newKubelet(t *testing.T, h *runtimes.Host, pod corev1.PodSpec) *kubelet {
	t.Helper()
	podman, err := runtimes.NewPodman(h)
	if err != nil {
		t.Fatal(err)
	}
	k := &kubelet{t: t, node: h.Node, podman: podman, pod: pod,
		host: filepath.Join(h.Node.Dir(), "host"), rootfs: filepath.Join(h.Node.Dir(), "image"),
		mounts: map[string]string{}, env: map[string]string{}}
	cmd := exec.Command(at("scripts", "rootfs"), k.rootfs)
	cmd.Env = append(os.Environ(), "BIN="+programs(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/rootfs: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the container's log\n%s", k.log())
		}
		if err := podman.RemoveAll(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for link, to := range map[string]string{h.Node.Socket(): "run/caracal/caracal.sock", h.Node.StateDir(): "var/lib/caracal"} {
		if err := os.Symlink(filepath.Join(k.host, to), link); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// kernelPaths are those that a node of the lab shares with this machine.
var kernelPaths = []string{"/proc/sys/net", "/run/netns"}

// source returns the path on this machine that stands for a hostPath, made as its type
// says.
func (k *kubelet) source(v corev1.Volume) string {
	k.t.Helper()
	if v.HostPath == nil {
		k.t.Fatalf("volume %s is no hostPath", v.Name)
	}
	if slices.Contains(kernelPaths, v.HostPath.Path) {
		return v.HostPath.Path
	}
	path := filepath.Join(k.host, v.HostPath.Path)
	var err error
	switch *v.HostPath.Type {
	case corev1.HostPathDirectoryOrCreate:
		err = os.MkdirAll(path, 0o755)
	case corev1.HostPathFileOrCreate:
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			var f *os.File
			if f, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
				err = f.Close()
			}
		}
	default:
		_, err = os.Stat(path)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return path
}

// args are the flags of podman run that say of a container what its spec says.
func (k *kubelet) args(c corev1.Container) []string {
	k.t.Helper()
	sec := c.SecurityContext
	if sec == nil || sec.Privileged != nil && *sec.Privileged {
		k.t.Fatalf("container %s is privileged", c.Name)
	}
	if p := k.pod.SecurityContext.SeccompProfile; p.Type != corev1.SeccompProfileTypeRuntimeDefault {
		k.t.Fatalf("seccomp %v", p)
	}
	if !k.pod.HostNetwork || k.pod.HostPID || k.pod.HostIPC {
		k.t.Fatal("not in the host network, or in more of the host than that")
	}
	out := []string{"--network", "host", "--user", fmt.Sprint(*sec.RunAsUser)}
	if *sec.ReadOnlyRootFilesystem {
		out = append(out, "--read-only", "--read-only-tmpfs=false")
	}
	if !*sec.AllowPrivilegeEscalation {
		out = append(out, "--security-opt", "no-new-privileges")
	}
	for _, name := range sec.Capabilities.Drop {
		out = append(out, "--cap-drop", string(name))
	}
	for _, name := range sec.Capabilities.Add {
		out = append(out, "--cap-add", string(name))
	}
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(k.pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		options := "rprivate"
		if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationHostToContainer {
			options = "rslave"
		}
		if m.ReadOnly {
			options += ",ro"
		}
		out = append(out, "--volume", k.source(k.pod.Volumes[i])+":"+m.MountPath+":"+options)
	}
	for _, to := range slices.Sorted(maps.Keys(k.mounts)) {
		out = append(out, "--volume", k.mounts[to]+":"+to+":ro")
	}
	return append(out, k.environment(c)...)
}

func (k *kubelet) environment(c corev1.Container) (out []string) {
	set := maps.Clone(k.env)
	for _, e := range c.Env {
		value := e.Value
		if e.ValueFrom != nil {
			switch e.ValueFrom.FieldRef.FieldPath {
			case "spec.nodeName":
				value = k.node.Name
			case "metadata.namespace":
				value = "caracal-system"
			default:
				k.t.Fatalf("environment %s is of %v", e.Name, e.ValueFrom)
			}
		}
		set[e.Name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out = append(out, "--env", name+"="+set[name])
	}
	return out
}

// run runs an init container to its end.
func (k *kubelet) run(name string) string {
	k.t.Helper()
	c := container(k.t, k.pod, name)
	argv := append([]string{"run", "--rm", "--name", name}, k.args(c)...)
	out, err := k.podman.Do(k.t.Context(), append(argv, k.command(c)...)...)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

func (k *kubelet) command(c corev1.Container) []string {
	return slices.Concat([]string{"--rootfs", k.rootfs}, c.Command, c.Args)
}

// start starts a container anew, as a kubelet does after it has ended; flags are more
// for podman, which count before those of the spec.
func (k *kubelet) start(name string) {
	k.t.Helper()
	c := container(k.t, k.pod, name)
	k.serial++
	argv := append([]string{"run", "--detach", "--name", k.name()}, k.args(c)...)
	if _, err := k.podman.Do(k.t.Context(), append(argv, k.command(c)...)...); err != nil {
		k.t.Fatal(err)
	}
}

// name is that of the container that was started last.
func (k *kubelet) name() string { return fmt.Sprint("caracald-", k.serial) }

// end kills the container by a signal and waits until it is gone.
func (k *kubelet) end(signal string) {
	k.t.Helper()
	for _, argv := range [][]string{{"kill", "--signal", signal, k.name()}, {"wait", k.name()}} {
		if _, err := k.podman.Do(k.t.Context(), argv...); err != nil {
			k.t.Fatal(err)
		}
	}
}

// log returns what the container that was started last has printed.
func (k *kubelet) log() string {
	path, err := k.podman.Do(context.Background(), "inspect", "--format", "{{.HostConfig.LogConfig.Path}}", k.name())
	if err != nil {
		return err.Error()
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8000):])
}

// pid is that of the container's process on this machine.
func (k *kubelet) pid() string {
	k.t.Helper()
	pid, err := k.podman.Do(k.t.Context(), "inspect", "--format", "{{.State.Pid}}", k.name())
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.TrimSpace(pid)
}
