package nstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dir is where ip-netns(8) keeps the namespaces that have a name.
const dir = "/run/netns"

// prefix starts the name of every namespace made here; the process id follows.
const prefix = "nst"

// NS is a network namespace with a name, its loopback device up. It belongs to
// one test and is deleted at that test's end.
type NS struct {
	t    testing.TB
	name string
}

// New makes a namespace for t. It fails t if the process may not.
func New(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("nstest: make a network namespace: must be root, is uid %d; run the tests with sudo", os.Geteuid())
	}
	sweep()
	n := &NS{t: t, name: fmt.Sprintf("%s%d-%06x", prefix, os.Getpid(), rand.N(1<<24))}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Fatalf("nstest: make network namespace %s: %v: %s (needs CAP_SYS_ADMIN and iproute2)", n.name, err, out)
	}
	t.Cleanup(func() { remove(n.name) })
	n.Run("ip", "link", "set", "lo", "up")
	return n
}

// Name returns the namespace's name, as `ip netns exec` takes it.
func (n *NS) Name() string { return n.name }

// Path returns the file that setns(2) and `nsenter --net=` take.
func (n *NS) Path() string { return filepath.Join(dir, n.name) }

// Do runs fn inside the namespace, on the calling goroutine, which is locked to
// its thread meanwhile; fn may therefore fail the test. Sockets opened in fn
// stay in the namespace for good. Goroutines started in fn run elsewhere: give
// each a Do of its own. Calls may nest.
func (n *NS) Do(fn func()) {
	n.t.Helper()
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		n.t.Fatalf("nstest: open the thread's own namespace: %v", err)
	}
	defer back.Close()
	if err := enter(n.Path()); err != nil {
		runtime.UnlockOSThread()
		n.t.Fatalf("nstest: enter %s: %v", n.name, err)
	}
	defer func() {
		if err := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); err != nil {
			// The thread stays locked and so dies with its goroutine; going on
			// would run other goroutines in the wrong namespace.
			panic(fmt.Sprintf("nstest: leave %s: %v", n.name, err))
		}
		runtime.UnlockOSThread()
	}()
	fn()
}

func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

// Command returns a command that will run inside the namespace, not yet
// started. It is the caller's to end.
func (n *NS) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--", name}, args...)...)
}

// Run runs a command inside the namespace and returns what it printed, without
// the last newline. The test fails if the command does.
func (n *NS) Run(name string, args ...string) string {
	n.t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// Try is [NS.Run] for a command that may fail: the error holds what it printed.
func (n *NS) Try(name string, args ...string) (string, error) {
	b, err := n.Command(name, args...).CombinedOutput()
	out := strings.TrimRight(string(b), "\n")
	if err != nil {
		return out, fmt.Errorf("nstest: run %s %s in %s: %w: %s", name, strings.Join(args, " "), n.name, err, out)
	}
	return out, nil
}

// Sysctl writes a network sysctl of the namespace: "net/ipv4/ip_forward".
func (n *NS) Sysctl(key, value string) {
	n.t.Helper()
	var err error
	n.Do(func() { err = os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0) })
	if err != nil {
		n.t.Fatalf("nstest: write sysctl %s in %s: %v", key, n.name, err)
	}
}

// Device makes a device in the namespace, up and with carrier, with addresses
// in CIDR form. It is a veth whose other end, dev+"~", is in the namespace too
// (not every kernel has the dummy type).
func (n *NS) Device(dev string, addrs ...string) {
	n.t.Helper()
	Veth(n.t, n, dev, n, dev+"~")
	n.Addr(dev, addrs...)
}

// Addr adds addresses in CIDR form to a device. IPv6 addresses skip duplicate
// address detection, so they can be used at once.
func (n *NS) Addr(dev string, addrs ...string) {
	n.t.Helper()
	for _, a := range addrs {
		args := []string{"addr", "add", a, "dev", dev}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		n.Run("ip", args...)
	}
}

// Veth joins two namespaces by a pair of devices, both up and with carrier: aDev in
// a, bDev in b. a and b may be the same.
func Veth(t testing.TB, a *NS, aDev string, b *NS, bDev string) {
	t.Helper()
	a.Run("ip", "link", "add", "dev", aDev, "type", "veth", "peer", "name", bDev, "netns", b.name)
	a.Run("ip", "link", "set", aDev, "up")
	b.Run("ip", "link", "set", bDev, "up")
	a.running(aDev)
	b.running(bDev)
}

// running waits until a device has its carrier. The kernel takes that in on a thread
// of its own, some time after the other end was set up; until then it drops what is
// sent, and its routes are marked "linkdown".
func (n *NS) running(dev string) {
	n.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		out := n.Run("ip", "-o", "link", "show", "dev", dev)
		if strings.Contains(out, " state UP ") {
			return
		}
		if time.Now().After(end) {
			n.t.Fatalf("nstest: %s in %s got no carrier: %s", dev, n.name, out)
		}
	}
}

// sweep removes the namespaces of test binaries that no longer run.
func sweep() {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // nobody ever made one
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), prefix)
		pid, _, _ := strings.Cut(rest, "-")
		id, err := strconv.Atoi(pid)
		if !ours || err != nil {
			continue
		}
		if errors.Is(unix.Kill(id, 0), unix.ESRCH) {
			remove(e.Name())
		}
	}
}

// remove deletes a namespace. That it is gone already is no failure.
func remove(name string) {
	_ = exec.Command("ip", "netns", "del", name).Run()
}
