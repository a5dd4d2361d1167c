package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// mainEnv makes the test binary the program "caracal lab".
const mainEnv = "CARACAL_LAB_TEST_MAIN"

func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommands(t *testing.T) {
	id := fmt.Sprintf("m%d", os.Getpid())
	t.Cleanup(func() { nothingLeft(t, id) })
	steps := []struct {
		args []string
		code int
		want string // in either output
	}{
		{[]string{}, 0, "usage: caracal lab COMMAND"},
		{[]string{"--help"}, 0, "usage: caracal lab COMMAND"},
		{[]string{"up", "--help"}, 0, "how many nodes (mesh: 3, the others: 4)"},
		{[]string{"fly"}, 2, `there is no command "fly"`},
		{[]string{"up", "--wings"}, 2, "caracal lab up: there is no flag --wings"},
		{[]string{"up", "--nodes", "0"}, 2, "from 1 to 250 nodes"},
		{[]string{"status", "a"}, 2, `takes no argument "a"`},
		{[]string{"down", "--id", id}, 1, `"lab up" makes one`},
		{[]string{"up", "--id", "Not OK", "--no-daemons", "--caracald", "/bin/true"}, 1, "must be 1 to 8 lower-case letters"},
		{[]string{"up", "--id", id, "--nodes", "2", "--pods", "1"}, 1, "build it with \"make build\""},
		{[]string{"up", "--id", id, "--nodes", "2", "--pods", "1", "--no-daemons", "--caracald", "/bin/true"}, 0,
			"try: " + os.Args[0] + " lab ping --id " + id + "\n     " + os.Args[0] + " lab exec --id " + id + " a caracal show route\n"},
		{[]string{"up", "--id", id, "--no-daemons", "--caracald", "/bin/true"}, 1, "caracal lab down --id " + id},
		{[]string{"status"}, 0, "lab " + id + " (mesh), up"},
		{[]string{"ping", "--id", id}, 1, "IPv4: 0 of 2 pings answered"},
		{[]string{"exec", "--id", id, "b1", "ip", "route"}, 0, "default via 169.254.1.1 dev eth0"},
		{[]string{"exec", "--id", id, "a", "sh", "-c", "echo $CARACAL_SOCKET; exit 7"}, 7, id + "/nodes/a/caracald.sock"},
		{[]string{"exec", "--id", id, "zz"}, 1, `no node or pod "zz"`},
		{[]string{"exec", "--id", id}, 2, "usage: caracal lab exec"},
		{[]string{"down", "--id", id}, 0, "is removed"},
	}
	for _, s := range steps {
		code, out, errs := call(t, s.args...)
		if code != s.code || !strings.Contains(out+errs, s.want) {
			t.Errorf("caracal lab %s: exit code %d, want %d with %q:\n%s%s", strings.Join(s.args, " "), code, s.code, s.want, out, errs)
		}
	}
}

// TestNeedsRoot runs the program as nobody.
func TestNeedsRoot(t *testing.T) {
	// A copy: nobody cannot reach where go test puts the binary.
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(dir+"/lab", program, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/lab", "demo")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), mainEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if want := "caracal lab demo: network namespaces need root; run it again with sudo\n"; err == nil || string(out) != want {
		t.Errorf("as nobody: %v, %q; want %q", err, out, want)
	}
}

func TestNeedsIP(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	code, _, errs := call(t, "up")
	if want := "caracal lab up: the program ip is not in PATH; install it (Debian: apt-get install iproute2)\n"; code != 1 || errs != want {
		t.Errorf("without ip: exit code %d, %q; want %q", code, errs, want)
	}
}

// runMain is the program "caracal lab" in the test binary.
func runMain() {
	os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
