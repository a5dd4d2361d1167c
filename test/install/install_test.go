package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// settle is how long the page's "after a few seconds" may be on a busy machine.
const settle = 2 * time.Minute

// TestInstall runs docs/INSTALL.md.
func TestInstall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatalf("must be root to make namespaces, is uid %d; run the tests with sudo", os.Geteuid())
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(repo, "docs", "INSTALL.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := parse(string(page))
	if err != nil {
		t.Fatalf("docs/INSTALL.md: %v", err)
	}
	requirePings(t, blocks)

	hosts := map[string]*host{"web1": newHost(t, "web1", repo), "web2": newHost(t, "web2", repo)}
	join(t, hosts["web1"], hosts["web2"], "192.0.2.1/24", "192.0.2.2/24")
	for _, b := range blocks {
		for _, name := range b.hosts {
			run := func(script string) (string, error) { return onBuilder(repo, script) }
			if name != "build" {
				h, ok := hosts[name]
				if !ok {
					t.Fatalf("docs/INSTALL.md:%d: no host %q", b.line, name)
				}
				run = h.run
			}
			follow(t, b, name, run)
			if t.Failed() {
				for _, h := range hosts {
					log, _ := h.run("tail -n 30 /var/log/caracald.log")
					t.Logf("%s: end of /var/log/caracald.log:\n%s", h.name, log)
				}
				return
			}
		}
	}
}

// requirePings keeps the page from losing its point: containers that reach each
// other in both directions.
func requirePings(t *testing.T, blocks []block) {
	t.Helper()
	for _, name := range []string{"web1", "web2"} {
		if !slices.ContainsFunc(blocks, func(b block) bool {
			return slices.Contains(b.hosts, name) && strings.Contains(b.script, "ip netns exec box ping")
		}) {
			t.Errorf("docs/INSTALL.md: no ping from the container on %s", name)
		}
	}
}

// follow does what a block says, as a patient reader would.
func follow(t *testing.T, b block, name string, run func(string) (string, error)) {
	t.Helper()
	for deadline := time.Now().Add(settle); ; time.Sleep(500 * time.Millisecond) {
		out, err := run(b.script)
		left := missing(b.want, out)
		if err == nil && len(left) == 0 {
			return
		}
		if b.want != nil && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			t.Errorf("docs/INSTALL.md:%d: on %s:\n%s%v", b.line, name, b.script, err)
		} else {
			t.Errorf("docs/INSTALL.md:%d: on %s:\n%sprinted\n%snot\n%s", b.line, name, b.script, out, strings.Join(left, "\n"))
		}
		return
	}
}

// onBuilder runs a script in the checkout on this machine. What make told the
// test about its own run must not reach the make of the page.
func onBuilder(repo, script string) (string, error) {
	args := []string{"-u", "MAKEFLAGS", "-u", "MAKELEVEL", "-u", "MFLAGS", "-u", "MAKEOVERRIDES", "-C", repo, "bash", "-euo", "pipefail", "-s"}
	return shell("env", args, script)
}
