package uml

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKernel(t *testing.T) {
	if !Test(t, Options{Modules: []string{"ipip", "veth", "ipv6"}, Env: []string{"WORD=it's one"}}) {
		return
	}
	if _, err := net.InterfaceByName("tunl0"); err != nil {
		t.Errorf("no tunl0 with module ipip: %v", err)
	}
	if os.Getenv("WORD") != "it's one" {
		t.Errorf("WORD is %q", os.Getenv("WORD"))
	}
	if _, err := os.Stat("uml_test.go"); err != nil {
		t.Errorf("not in the package's directory: %v", err)
	}
	b, err := os.ReadFile("/proc/version")
	if err != nil || !strings.HasPrefix(string(b), "Linux version") {
		t.Errorf("/proc/version: %q, %v", b, err)
	}
}

// What fails inside must be seen outside.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		what string
		o    Options
		argv []string
		want string
	}{
		{"a status", Options{}, []string{"sh", "-c", "echo hello; exit 3"}, "status 3"},
		{"no such program", Options{}, []string{"/no/such/program"}, "status 127"},
		{"no such module", Options{Modules: []string{"nosuch"}}, []string{"true"}, "no module nosuch"},
		{"too long", Options{Timeout: 4 * time.Second}, []string{"sleep", "60"}, "not done after 4s"},
		{"a kernel that ends", Options{}, []string{"halt", "-f"}, "ended before the test"},
	} {
		out, err := run(t.Context(), c.o, t.TempDir(), c.argv...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
		if c.what == "a status" && !strings.Contains(out, "hello") {
			t.Errorf("%s: output %q", c.what, out)
		}
	}
}

func TestResolve(t *testing.T) {
	const dep = "kernel/a.ko: kernel/b.ko kernel/c-d.ko\nkernel/b.ko: kernel/c-d.ko\nkernel/c-d.ko:\n"
	got, err := resolve(dep, []string{"a", "c_d"})
	if want := []string{"kernel/c-d.ko", "kernel/b.ko", "kernel/a.ko"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := resolve(dep, []string{"x"}); err == nil {
		t.Error("a module that is not there was found")
	}
}
