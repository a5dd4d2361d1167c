package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of this process.
type netns string

// newNetns makes one whose name is unique while this process runs.
func newNetns(name string) (netns, error) {
	n := netns("bf" + strconv.Itoa(os.Getpid()) + "-" + name)
	if err := ip("", "netns", "add", string(n)); err != nil {
		return "", err
	}
	return n, n.ip("link set lo up\n")
}

// remove deletes the namespace with all that is in it. What a killed process had in
// it goes with the last descriptor.
func (n netns) remove() {
	if n != "" {
		// Also on the way out of a failure, where it may not exist.
		_ = exec.Command("ip", "netns", "del", string(n)).Run()
	}
}

// ip does in the namespace what the lines for ip(8) say.
func (n netns) ip(batch string) error { return ip(batch, "-n", string(n), "-batch", "-") }

func ip(stdin string, args ...string) error {
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// do runs fn on a thread in the namespace. Sockets opened there stay there.
func (n netns) do(fn func() error) error {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other goroutine
		// gets to run in this namespace.
		runtime.LockOSThread()
		if err := n.enter(); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// enter moves the calling thread into the namespace.
func (n netns) enter() error {
	f, err := os.Open("/run/netns/" + string(n))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", n, err)
	}
	return nil
}

// command returns a command that will run in the namespace and die with the thread
// that starts it.
func (n netns) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + string(n), "--", name}, args...)...)
}

// sysctl writes a network sysctl of the namespace: "net/ipv4/ip_forward".
func (n netns) sysctl(key, value string) error {
	return n.do(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}
