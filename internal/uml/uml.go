package uml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// env is set in the environment of the run inside.
const env = "CARACAL_TEST_IN_UML"

// Inside reports whether this process runs in the kernel that [Test] booted.
func Inside() bool { return os.Getenv(env) != "" }

// Options say what kernel a test needs.
type Options struct {
	// Modules are loaded with what they depend on, by name: "ipip".
	Modules []string
	// MemoryMB is the size of the machine; 0 means 512.
	MemoryMB int
	// Timeout ends the kernel, and fails the test; 0 means five minutes.
	Timeout time.Duration
	// Env is added to the environment of the run inside: "KEY=value".
	Env []string
}

// Test makes the calling test, with all its subtests, run in a kernel of its
// own. It returns true there. Outside it returns false when the run inside has
// ended, and has failed t if that failed or did not run t at all. A test that
// uses it begins so:
//
//	if !uml.Test(t, uml.Options{Modules: []string{"ipip"}}) {
//		return
//	}
func Test(t *testing.T, o Options) bool {
	t.Helper()
	if Inside() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatalf("uml: must be root, is uid %d; run the tests with sudo", os.Geteuid())
	}
	dir := t.TempDir()
	self, err := binary(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t.Context(), o, dir, self, "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout=0")
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		t.Log(line)
	}
	switch {
	case err != nil:
		t.Fatal(err)
	case !strings.Contains(out, "--- PASS: "+t.Name()+" "):
		t.Fatalf("uml: %s did not run inside", t.Name())
	}
	return false
}

// binary returns the test binary that runs inside: this one, or the same without
// the race detector.
func binary(ctx context.Context, dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("uml: find the test binary: %w", err)
	}
	if !raced {
		return self, nil
	}
	self = filepath.Join(dir, "inside.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", self, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("uml: build the test binary without the race detector: %w: %s", err, out)
	}
	return self, nil
}

// program is the kernel, in Debian's package user-mode-linux.
const program = "linux.uml"

// run boots a kernel that runs argv in the present directory, and returns what
// that printed. The error is argv's, or the kernel's if it did not get so far.
func run(ctx context.Context, o Options, dir string, argv ...string) (string, error) {
	kernel, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("uml: %w; install the Debian package user-mode-linux", err)
	}
	modules, err := load(o.Modules)
	if err != nil {
		return "", err
	}
	pwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("uml: %w", err)
	}
	init, output, status := filepath.Join(dir, "init"), filepath.Join(dir, "output"), filepath.Join(dir, "status")
	script := initScript(modules, append(o.Env, env+"=1"), pwd, output, status, argv)
	if err := os.WriteFile(init, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("uml: %w", err)
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	var console bytes.Buffer
	cmd := exec.CommandContext(ctx, kernel, fmt.Sprintf("mem=%dM", max(o.MemoryMB, 512)),
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "init="+init, "umid=caracal"+strconv.Itoa(os.Getpid()),
		"uml_dir="+dir, "con=null", "con0=null,fd:1", "quiet")
	cmd.Stdout, cmd.Stderr = &console, &console
	// The kernel is several processes: all of them end with the group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	booted := cmd.Run()
	out, _ := os.ReadFile(output) // not there if the kernel did not get so far
	code, err := os.ReadFile(status)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return string(out), fmt.Errorf("uml: not done after %v; the kernel said:\n%s", o.Timeout, console.String())
	case err != nil:
		return string(out), fmt.Errorf("uml: the kernel ended before the test (%v); it said:\n%s", booted, console.String())
	case strings.TrimSpace(string(code)) != "0":
		return string(out), fmt.Errorf("uml: the run inside ended with status %s", bytes.TrimSpace(code))
	}
	return string(out), nil
}

// initScript is what the kernel runs as its first process. Of the machine's
// files everything is seen, but /run is empty, so that namespaces of the same
// names do not meet.
func initScript(modules, env []string, pwd, output, status string, argv []string) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t tmpfs tmpfs /run\nmkdir -p /run/netns /run/lock\n")
	fmt.Fprintf(&b, "exec >%s 2>&1\n", quote(output))
	for _, m := range modules {
		fmt.Fprintf(&b, "insmod %s\n", quote(m))
	}
	b.WriteString("ip link set lo up\nexport PATH=" + quote(os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin") + " HOME=/root TMPDIR=/run\n")
	for _, e := range env {
		b.WriteString("export " + quote(e) + "\n")
	}
	fmt.Fprintf(&b, "cd %s\n", quote(pwd))
	for i, a := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(a))
	}
	fmt.Fprintf(&b, "\necho $? >%s\nhalt -f\n", quote(status))
	return b.String()
}

// quote writes a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
