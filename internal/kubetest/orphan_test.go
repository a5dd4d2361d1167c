package kubetest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// orphanEnv makes this test binary one that starts an API and dies.
const orphanEnv = "KUBETEST_ORPHAN"

// A test that panics runs no cleanup; neither does one that is killed.
func TestNothingOutlivesTheTest(t *testing.T) {
	if os.Getenv(orphanEnv) != "" {
		api := Start(t, Options{})
		fmt.Printf("pids %d %d\n", api.etcd.cmd.Process.Pid, api.server.cmd.Process.Pid)
		fmt.Printf("dir %s\n", api.dir)
		panic("as a test may")
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), orphanEnv+"=1")
	out, _ := child.CombinedOutput() // it panics
	var pids [2]int
	var dir string
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		_, _ = fmt.Sscanf(s.Text(), "pids %d %d", &pids[0], &pids[1])
		_, _ = fmt.Sscanf(s.Text(), "dir %s", &dir)
	}
	if pids[0] == 0 || pids[1] == 0 || dir == "" {
		t.Fatalf("the child said %s", out)
	}
	defer os.RemoveAll(dir)
	for _, pid := range pids {
		for end := time.Now().Add(60 * time.Second); unix.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("process %d is still there", pid)
				break
			}
		}
	}
}
