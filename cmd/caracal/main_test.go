package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/internal/nstest"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("BE_CARACAL") != "" {
		main()
	}
	os.Exit(m.Run())
}

// caracal runs the program in a namespace, where no daemon runs.
func caracal(t *testing.T, n *nstest.NS, args ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("BE_CARACAL", "1")
	return n.Try(exe, append([]string{"--socket", "/nonexistent/caracal.sock"}, args...)...)
}

// TestCleanup: on a real kernel, only what carries our mark is listed and
// deleted.
func TestCleanup(t *testing.T) {
	n := nstest.New(t)
	n.Device("eth0", "192.0.2.1/24", "2001:db8::1/64")
	for _, route := range []string{
		"10.64.1.0/26 via 192.0.2.2 proto 67 metric 427",
		"blackhole 10.64.0.0/26 proto 67 metric 427",
		"2001:db8:64::/122 via 2001:db8::2 proto 67 metric 427",
		"10.64.1.0/26 via 192.0.2.3 proto static metric 50",
		"10.64.2.0/26 via 192.0.2.3 proto 67 metric 50",
	} {
		n.Run("ip", strings.Fields("route add "+route)...)
	}
	out, err := caracal(t, n, "cleanup")
	if err == nil || strings.Count(out, "route ") != 3 || !strings.Contains(out, "Delete 3 items?") {
		t.Fatalf("listing: %v\n%s", err, out)
	}
	if out, err = caracal(t, n, "cleanup", "--yes"); err != nil || !strings.Contains(out, "3 deleted") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err = caracal(t, n, "cleanup"); err != nil || out != "nothing of ours is in the kernel" {
		t.Errorf("%v\n%s", err, out)
	}
	left := n.Run("ip", "route", "show", "10.64.0.0/16") + n.Run("ip", "route", "show", "root", "10.64.0.0/16") + n.Run("ip", "-6", "route", "show", "2001:db8:64::/122")
	if strings.Contains(left, "metric 427") || strings.Count(left, "metric 50") != 2 {
		t.Errorf("left in the kernel:\n%s", left)
	}
}

// TestCommands: no command that another room brings hides one of the grammar.
func TestCommands(t *testing.T) {
	seen := map[string]bool{}
	for _, w := range cli.Grammar(commands()...).Next {
		if seen[w.Name] {
			t.Errorf("%s is there twice", w.Name)
		}
		seen[w.Name] = true
	}
	for _, x := range commands() {
		if code := x.Run(context.Background(), []string{"--help"}, os.Stdout, os.Stderr); code != 0 {
			t.Errorf("%s --help: exit code %d", x.Name, code)
		}
	}
}
