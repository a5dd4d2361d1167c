package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemo runs the demo as a user does. It judges itself by its exit code.
func TestDemo(t *testing.T) {
	out, err := exec.Command(built.caracal, "lab", "demo", "--id", "tdemo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"first ping from a1 to b1", "0 of ", "proto 67", "nothing is left behind", "everything was as expected"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	t.Logf("\n%s", out)
	gone(t, "tdemo")
}

// TestDemoReflector is the same with reflectors in the place of the mesh.
func TestDemoReflector(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(built.caracal, "lab", "demo", "--topology", "reflector", "--id", "treflect").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("everything was as expected")) {
		t.Errorf("%v\n%s", err, out)
	}
	gone(t, "treflect")
}

// TestDemoInterrupted ends it in the middle, as Ctrl-C does.
func TestDemoInterrupted(t *testing.T) {
	for _, after := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
		cmd := exec.Command(built.caracal, "lab", "demo", "--id", "tint")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("an interrupted demo ends with exit code 0:\n%s", &out)
		}
		gone(t, "tint")
	}
}

// TestDemoReaderLeaves ends the reader of the demo's output after a line.
func TestDemoReaderLeaves(t *testing.T) {
	cmd := exec.Command(built.caracal, "lab", "demo", "--id", "tpipe")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("a demo that nobody reads ends with exit code 0")
	}
	gone(t, "tpipe")
}

// TestLabCommands walks through the lab's commands as a user does.
func TestLabCommands(t *testing.T) {
	const id = "tcmd"
	ask := func(want string, args ...string) string {
		out, err := exec.Command(built.caracal, append([]string{"lab"}, args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			return fmt.Sprintf("caracal lab %s: %v, want %q:\n%s", strings.Join(args, " "), err, want, out)
		}
		return ""
	}
	try := func(want string, args ...string) {
		t.Helper()
		if wrong := ask(want, args...); wrong != "" {
			t.Error(wrong)
		}
	}
	try("is up after", "up", "--id", id, "--nodes", "2", "--pods", "1")
	t.Cleanup(func() { gone(t, id) })
	try("10.244.2.2", "status", "--id", id)
	eventually(t, 20*time.Second, func() string { // up waits for the sessions alone
		return ask("IPv6: 2 of 2 pings answered", "ping", "--id", id)
	})
	try("Established", "exec", "--id", id, "a", "caracal", "show", "protocols")
	try("169.254.1.1", "exec", "--id", id, "b1", "ip", "route")
	try("is removed", "down", "--id", id)
}

// gone fails if anything of a lab is left, and removes it.
func gone(t *testing.T, id string) {
	t.Helper()
	left, _ := filepath.Glob("/run/netns/cl-" + id + "-*")
	if _, err := os.Stat("/run/caracal-lab/" + id); err == nil {
		left = append(left, "/run/caracal-lab/"+id)
	}
	if len(left) > 0 {
		out, err := exec.Command(built.caracal, "lab", "down", "--id", id).CombinedOutput()
		t.Errorf("left behind: %v (lab down: %s, %v)", left, out, err)
	}
}
