package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/internal/nstest"
	"caracal.dev/caracal/store/file"
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
	if out, err = caracal(t, n, "cleanup", "--yes"); err != nil || !strings.Contains(out, "3 items deleted") {
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

// TestInit: what init writes is a configuration without a problem for each of
// its nodes, and is not overwritten.
func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := initialize(t.Context(), args, &out, &out)
		return code, out.String()
	}
	good := []string{"--pool", "10.244.0.0/16", "--pool=fd00:244::/64", "--node", "web1=192.0.2.1/24,2001:db8::1/64", "--node", "web2=192.0.2.2/24,2001:db8::2/64", "--out", dir}
	if code, out := run(good...); code != cli.ExitOK || !strings.Contains(out, "wrote "+dir+"/cluster/") {
		t.Fatalf("code %d: %s", code, out)
	}
	for _, node := range []string{"web1", "web2"} {
		snap, err := file.Load(dir, node)
		if err != nil || len(snap.Problems) > 0 || snap.Nodes.Len() != 2 || snap.Pools.Len() != 2 {
			t.Errorf("%s: %v, %v", node, err, snap)
		}
	}
	if code, out := run(good...); code != cli.ExitFailed || !strings.Contains(out, "is not overwritten") {
		t.Errorf("again: code %d: %s", code, out)
	}
	for _, tc := range []struct{ args, want string }{
		{"", "--pool, --node and --out must be given"},
		{"--pool x", "a pool is a range"},
		{"--node web1", `node "web1" must be NAME=ADDR/LEN`},
		{"--bogus", "caracal init: there is no flag --bogus\n"},
		{"--asn x", "for flag --asn: parse error"},
		{"web1", `"web1" is not a flag`},
		{"--asn 4294967296", "more than 32 bits"},
	} {
		if code, out := run(strings.Fields(tc.args)...); code != cli.ExitUsage || !strings.Contains(out, tc.want) || !strings.Contains(out, "usage: caracal init") {
			t.Errorf("%s: code %d: %s", tc.args, code, out)
		}
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
