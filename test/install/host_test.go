package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host is a machine made of namespaces. Its processes end with the test.
type host struct {
	name string
	pid  int
	repo string
}

// boot is what a host's first process does before it sleeps: what the host
// writes goes into memory, over the machine's own files. It is ready only within
// its own root: whoever entered it before would write to the machine's files.
const boot = `
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$DIR"
mkdir "$DIR/upper" "$DIR/work" "$DIR/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$DIR/upper",workdir="$DIR/work" "$DIR/root"
for fs in proc sysfs; do mount -t $fs $fs "$DIR/root/${fs%fs}"; done
mount --rbind /dev "$DIR/root/dev"
for at in run tmp; do mount -t tmpfs tmpfs "$DIR/root/$at"; done
mkdir -p "$DIR/root$REPO"
mount --bind "$REPO" "$DIR/root$REPO"
mount -o remount,bind,ro "$DIR/root$REPO"
rm -rf "$DIR/root/etc/caracal" "$DIR/root/var/lib/caracal"
hostname "$NAME"
ip link set lo up
exec chroot "$DIR/root" sh -c 'echo ready; exec sleep infinity'
`

// newHost starts a host without any network.
func newHost(t *testing.T, name, repo string) *host {
	t.Helper()
	cmd := exec.Command("bash", "-c", boot)
	cmd.Env = append(os.Environ(), "NAME="+name, "REPO="+repo, "DIR="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		// The first process of a process namespace takes all others with it.
		Pdeathsig: syscall.SIGKILL,
	}
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig follows the thread
		err := cmd.Start()
		started <- err
		if err == nil {
			_, _ = cmd.Process.Wait()
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("host %s: %v (needs root)", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	if line := make([]byte, 6); !readFull(out, line) || string(line) != "ready\n" {
		<-ended
		t.Fatalf("host %s did not come up: %s", name, stderr.String())
	}
	return &host{name: name, pid: cmd.Process.Pid, repo: repo}
}

func readFull(r interface{ Read([]byte) (int, error) }, b []byte) bool {
	for n := 0; n < len(b); {
		k, err := r.Read(b[n:])
		if err != nil {
			return false
		}
		n += k
	}
	return true
}

// run gives the script to a shell on the host, as root would type it in the
// checkout, and returns what it printed.
func (h *host) run(script string) (string, error) {
	// PATH as a login shell of root has it: not that of whoever runs the test.
	args := []string{"-t", strconv.Itoa(h.pid), "-m", "-u", "-n", "-p", "-r", "--",
		"env", "-i", "-C", h.repo, "HOME=/root", "TERM=dumb",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"bash", "-euo", "pipefail", "-s"}
	return shell("nsenter", args, script)
}

// shell runs a command that reads a script with a time limit. What the script leaves
// running in the background does not hold it up.
func shell(name string, args []string, script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(script)
	cmd.WaitDelay = 10 * time.Second // longer than any pause of the machine
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return string(out), err
}

// join connects two hosts by a cable with the addresses that the page uses.
func join(t *testing.T, a, b *host, addrA, addrB string) {
	t.Helper()
	cable := exec.Command("ip", "link", "add", "eth0", "netns", strconv.Itoa(a.pid),
		"type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(b.pid))
	if out, err := cable.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cable, err, out)
	}
	for h, addr := range map[*host]string{a: addrA, b: addrB} {
		if _, err := h.run("ip addr add " + addr + " dev eth0\nip link set eth0 up\n"); err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
	}
}
