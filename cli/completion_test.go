package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the program, for shells that call it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_CARACAL") != "" {
		o := Options{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv}
		os.Exit(Run(context.Background(), os.Args[1:], o))
	}
	os.Exit(m.Run())
}

// pressTab presses again, if something is wanted, as long as nothing comes: a Tab
// waits for the daemon for completePatience only, which may be too short here.
func pressTab(wanted bool, tab func() (something bool)) {
	for end := time.Now().Add(time.Minute); !tab() && wanted && time.Now().Before(end); {
	}
}

func TestCompleteForShell(t *testing.T) {
	path := serve(t, &fakeDaemon{})
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"dis"}, "disable\ttake a neighbor down until it is enabled\n"},
		{[]string{"--socket", path, "disable", "mesh/b"}, "mesh/b\t192.0.2.2, Established\n"},
		{[]string{"-o", "json", "sh", "fib"}, "fib\tour routes in the kernel\n"},
		{[]string{"--socket", path, "release", "address", "2"}, "2001:db8:64::3\tdefault/web\n"},
		{[]string{"--socket", path, "detach", ""}, "box\t10.64.0.5\n"},
		{[]string{"--s"}, "--socket\tflag\n"},
		{[]string{"cleanup", "--"}, "--yes\tdelete without asking\n--stay\tdo not end after that, as a Pod of a DaemonSet must not\n--output\tflag\n--socket\tflag\n--timeout\tflag\n--help\tflag\n--version\tflag\n"},
		{[]string{"bogus", ""}, ""},
		{[]string{"--socket", ""}, ""},
	} {
		var code int
		var stdout, stderr string
		pressTab(tc.want != "", func() bool {
			code, stdout, stderr = runWith(t, testOptions(""), append([]string{completeWord}, tc.words...)...)
			return stdout != ""
		})
		if code != 0 || stdout != tc.want || stderr != "" {
			t.Errorf("%q: %d, %q, %s", tc.words, code, stdout, stderr)
		}
	}
	if _, stdout, _ := runWith(t, testOptions(""), completeWord); !strings.HasPrefix(stdout, "show\t") {
		t.Errorf("nothing yet: %q", stdout)
	}
}

// TestBashCompletion runs the script in bash as Tab would, which cuts words at
// ":" and "@".
func TestBashCompletion(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(dir, "caracal")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ line, words, want string }{
		{"caracal sh", "(caracal sh)", "show"},
		{"caracal show ", `(caracal show "")`, "status protocols neighbors bfd filters tor-config route fib tunnels interfaces workloads services policy sets endpoint ipam nodes"},
		{"caracal disable peer/to", "(caracal disable peer/to)", "peer/tor@192.0.2.250"},
		{"caracal disable peer/tor@19", "(caracal disable peer/tor @ 19)", "192.0.2.250"},
	} {
		script := bashCompletion + `COMP_LINE="` + tc.line + `" COMP_POINT=${#COMP_LINE} COMP_WORDS=` + tc.words +
			"\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_caracal\necho \"${COMPREPLY[@]}\""
		env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "BE_CARACAL=1", "CARACAL_SOCKET="+serve(t, &fakeDaemon{}))
		var got string
		pressTab(true, func() bool {
			cmd := exec.Command("bash", "-c", script)
			cmd.Env = env
			var out []byte
			out, err = cmd.CombinedOutput()
			got = strings.TrimSpace(string(out))
			return got != ""
		})
		if err != nil || got != tc.want {
			t.Errorf("%q: %v, %q, want %q", tc.line, err, got, tc.want)
		}
	}
}
