package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pb "caracal.dev/caracal/proto"
)

func TestScript(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	for _, tc := range []struct {
		lines          string
		code           int
		stdout, stderr string
		asked          string
	}{
		{"", 0, "", "", ""},
		{"# nothing\n\n  disable mesh/b # now\nenable mesh/b", 0, "mesh/b: done\nmesh/b: done\n", "", "disable mesh/b; enable mesh/b"},
		{"bogus\nenable mesh/x\nenable mesh/b\n", 2, "mesh/b: done\n", `there is no command "bogus"`, "enable mesh/x; enable mesh/b"},
		{"enable mesh/x\nquit\nenable mesh/b\n", 1, "", "mesh/x", "enable mesh/x"},
		{"enable mesh/b -o json\nenable mesh/b", 0, "{\n  \"message\": \"mesh/b: done\"\n}\nmesh/b: done\n", "", "enable mesh/b; enable mesh/b"},
		{"--socket /x sh st", 2, "", "--socket and --timeout are given when the shell is started", ""},
		{"reload -h", 0, "  in   judge everything it announced anew, and choose again\n  out  announce everything to the neighbor again\n", "", ""},
		{"cleanup\ny\n", 2, "route 10.64", "nobody is there to ask", ""},
	} {
		d.done = nil
		code, stdout, stderr := runWith(t, testOptions(tc.lines), "--socket", path)
		if code != tc.code || !strings.HasPrefix(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) || d.history() != tc.asked {
			t.Errorf("%q: code %d, asked %q\n%s%s", tc.lines, code, d.history(), stdout, stderr)
		}
	}
}

// person is somebody at a terminal: a pty with the program at its other end.
type person struct {
	t      *testing.T
	master *os.File
	mu     sync.Mutex
	seen   bytes.Buffer
	looked int // up to where expect has looked
	ended  chan int
}

func sitDown(t *testing.T, o Options, args ...string) *person {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, master: master, ended: make(chan int, 1)}
	o.Stdin, o.Stdout, o.Stderr = slave, slave, slave
	go func() { p.ended <- Run(t.Context(), args, o) }()
	go p.look()
	t.Cleanup(func() { slave.Close(); master.Close() })
	return p
}

func (p *person) look() {
	buf := make([]byte, 4096)
	for {
		n, err := p.master.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.seen.Write(buf[:n])
		p.mu.Unlock()
	}
}

// expect waits until text appears after what was expected last.
func (p *person) expect(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		p.mu.Lock()
		all := p.seen.String()
		p.mu.Unlock()
		if i := strings.Index(all[p.looked:], text); i >= 0 {
			p.looked += i + len(text)
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%q did not appear; on the screen:\n%q", text, all[p.looked:])
		}
	}
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) leaves(want int) {
	p.t.Helper()
	select {
	case code := <-p.ended:
		if code != want {
			p.t.Errorf("exit code %d, want %d", code, want)
		}
	case <-time.After(30 * time.Second):
		p.t.Fatal("the shell does not end")
	}
}

func TestShell(t *testing.T) {
	d := &fakeDaemon{events: make(chan *pb.EventList, 1)}
	home := t.TempDir()
	o := testOptions("")
	o.Env = func(name string) string { return map[string]string{"HOME": home}[name] }
	p := sitDown(t, o, "--socket", serve(t, d))
	p.expect("caracald v0.1.0 on a: not ready")
	p.expect("Ctrl-D leaves")
	p.expect("caracal> ")

	p.types("sh n?") // at once, without Enter
	p.expect("neighbors  the same as protocols\r\n")
	p.expect("nodes      the nodes of the cluster\r\n")
	p.expect("caracal> sh n")
	p.types("\x03") // Ctrl-C empties the line and leaves nothing
	p.types("dis\t")
	p.expect("able ")
	p.types("me\t")
	p.expect("mesh/")
	p.types("\t")
	p.expect("mesh/b  192.0.2.2, Established\r\n")
	p.expect("mesh/d  192.0.2.4, Active\r\n")
	p.types("b\r")
	p.expect("mesh/b: done\r\n")
	p.expect("caracal> ")

	p.types("bogus\r")
	p.expect("there is no command")
	p.expect("caracal> ")
	p.types("\x1b[A\x1b[A\r") // up, up: the command before
	p.expect("mesh/b: done\r\n")
	p.expect("caracal> ")

	p.types("cleanup\r")
	p.expect("Delete 2 items? [y/N] ")
	p.types("n\r")
	p.expect("nothing was deleted")
	p.expect("caracal> ")
	p.types("cleanup\r")
	p.expect("[y/N] ")
	p.types("y\r")
	p.expect("2 items deleted")
	p.expect("caracal> ")

	p.types("monitor\r")
	d.events <- &pb.EventList{Events: []*pb.Event{{At: ago(0), Kind: "link", Action: "down"}}}
	p.expect("link    down")
	// The terminal of the test is not the controlling one, so its Ctrl-C has to
	// be sent as the signal that it would become.
	syscall.Kill(os.Getpid(), syscall.SIGINT)
	p.expect("caracal> ")

	p.types("\x04")
	p.leaves(ExitOK)
	if want := "disable mesh/b; disable mesh/b; cleanup; monitor "; d.history() != want {
		t.Errorf("the daemon was asked %q, want %q", d.history(), want)
	}
	checkHistory(t, filepath.Join(home, ".local", "state", "caracal", "history"), "disable mesh/b\nbogus\ndisable mesh/b\ncleanup\nmonitor\n")
}

func checkHistory(t *testing.T, path, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != want {
		t.Errorf("history %q, %v, want %q", text, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("history: %v, %v", info.Mode(), err)
	}
}

// TestShellKilled: a signal at the prompt leaves the terminal as it was.
func TestShellKilled(t *testing.T) {
	p := sitDown(t, testOptions(""), "--socket", serve(t, &fakeDaemon{}))
	state := func() uint32 {
		got, err := unix.IoctlGetTermios(int(p.master.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return got.Lflag & (unix.ICANON | unix.ECHO)
	}
	p.expect("caracal> ")
	for deadline := time.Now().Add(30 * time.Second); state() != 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // until it is raw
	}
	syscall.Kill(os.Getpid(), syscall.SIGTERM)
	p.leaves(128 + int(syscall.SIGTERM))
	if state() != unix.ICANON|unix.ECHO {
		t.Error("the terminal is raw")
	}
}

// TestShellWithoutDaemon: it starts all the same, as the daemon may be about to.
func TestShellWithoutDaemon(t *testing.T) {
	p := sitDown(t, testOptions(""), "--socket", "/nonexistent/s")
	p.expect("caracald is not running")
	p.expect("caracal> ")
	p.types("quit\r")
	p.leaves(ExitOK)
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "caracal", "history")
	h := openHistory(path)
	for _, line := range []string{"a", "a", " b ", ""} {
		h.Add(line)
	}
	if h.Len() != 2 || h.At(0) != "b" || h.At(1) != "a" {
		t.Errorf("got %q", h.lines)
	}
	checkHistory(t, path, "a\nb\n")
	for i := range historySize {
		h.Add(fmt.Sprint("line ", i))
	}
	if again := openHistory(path); again.Len() != historySize || again.At(0) != "line 499" || again.At(historySize-1) != "line 0" {
		t.Errorf("after a restart: %d lines, newest %q", again.Len(), again.At(0))
	}
	openHistory("").Add("not kept")
	openHistory("/proc/nonexistent/history").Add("cannot be kept")
}

func TestHistoryPath(t *testing.T) {
	for _, tc := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/caracal/history"}, {"relative", "/h", "/h/.local/state/caracal/history"}, {"", "", ""},
	} {
		env := func(name string) string {
			return map[string]string{"XDG_STATE_HOME": tc.state, "HOME": tc.home}[name]
		}
		if got := historyPath(env); got != tc.want {
			t.Errorf("%+v: got %s", tc, got)
		}
	}
}
