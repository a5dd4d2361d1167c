package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	pb "caracal.dev/caracal/proto"
)

func TestRun(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	for _, tc := range []struct {
		args   string
		code   int
		stdout string // contained
		stderr string // contained
		asked  string // what the daemon was told
	}{
		{"show status", 0, "a: not ready", "", ""},
		{"sh pro", 0, "mesh/b                192.0.2.2", "", ""},
		{"sh pro mesh/c all", 0, "mesh/c: Established for 2s", "", ""},
		{"sh pro mesh/x", 1, "", `caracal: there is no neighbor "mesh/x"`, ""},
		{"sh ro", 0, "5 prefixes, 8 paths", "", "routes"},
		{"sh ro 10.64.1.0/26 ta adj-rib-in mesh/b", 0, "PREFIX", "", "routes adj-rib-in 10.64.1.0/26 mesh/b"},
		{"sh ro ta adj-rib-out mesh/b", 0, "LOCAL PREF", "", "routes adj-rib-out mesh/b"},
		{"sh ro for 10.64.1.7 all", 0, "AS path 65001 64999", "", "routes 10.64.1.7"},
		{"sh ro 10.9.9.0/24", 1, "", "no route for exactly 10.9.9.0/24; for the route that packets take: caracal show route for 10.9.9.0\n", "routes 10.9.9.0/24"},
		{"sh ro 10.9.9.0/24 pro mesh/b", 1, "", "no route for exactly 10.9.9.0/24 from mesh/b;", "routes 10.9.9.0/24 mesh/b"},
		{"sh ro 10.9.9.0/24 -o json", 1, `"paths": []`, "no route for exactly 10.9.9.0/24", "routes 10.9.9.0/24"},
		{"sh fib", 0, "5 routes: 2 installed, 2 failed", "", ""},
		{"sh fib -o json", 0, `"onLink": true`, "", ""},
		{"-o yaml sh no", 0, "- asn: 64512", "", ""},
		{"sh workloads", 0, "elsewhere", "", ""},
		{"sh interfaces", 0, "rp_filter", "", ""},
		{"disable mesh/b", 0, "mesh/b: done\n", "", "disable mesh/b"},
		{"enable mesh/x", 1, "", `there is no neighbor "mesh/x"`, "enable mesh/x"},
		{"rel in mesh/b -o json", 0, `"message": "mesh/b: done"`, "", "reload-in mesh/b"},
		{"configure", 0, "nothing changes", "", "configure"},
		{"conf check", 0, "nothing changes", "", "configure check"},
		{"conf check --from /etc/caracal.new", 0, "nothing changes", "", "configure check /etc/caracal.new"},
		{"conf --from /etc/caracal.new", 2, "", "--from is for configure check only", ""},
		{"conf confirm", 0, "nothing changes", "", "configure confirm"},
		{"cleanup", 2, "route 10.64.1.0/26 via", "Delete 2 items? To delete without asking: cleanup --yes", ""},
		{"cleanup --yes", 0, "2 items deleted", "", "cleanup"},
		{"cleanup -o json", 0, `"total": 2`, "", ""},
		{"cleanup --yes -o json", 0, `"deleted": 2`, "", "cleanup"},
		{"sh ro for 10.9.9.9", 1, "", "there is no route for 10.9.9.9", "routes 10.9.9.9"},
		{"sh pro c all", 0, "mesh/c: Established for 2s", "", ""},
		{"sh pro tor", 0, "peer/tor@192.0.2.250", "", ""},
		{"disable 192.0.2.4", 0, "mesh/d: done", "", "disable 192.0.2.4; disable mesh/d"},
		{"disable twin", 1, "", `"twin" could be peer/twin@192.0.2.7 or peer/twin@192.0.2.8`, "disable twin"},
		{"disable nobody", 1, "", `there is no neighbor "nobody"`, "disable nobody"},
		{"sh ro pro b", 0, "8 paths", "", "routes b; routes mesh/b"},
		{"disable ?", 0, "  mesh/b                192.0.2.2, Established\n", "", ""},
		{"help show", 0, "interfaces", "", ""},
		{"help sh ro", 0, "only this prefix", "", ""},
		{"help route", 0, "only this prefix", "", ""},
		{"help bogus", 2, "", `there is no command "bogus"`, ""},
		{"--bogus", 2, "", "caracal: there is no flag --bogus; see caracal help\n", ""},
		{"show statsu", 2, "", `caracal: "statsu" cannot follow "show"; did you mean status?`, ""},
		{"version -o json", 0, "{\n  \"caracal\": \"v0.1.0\",\n  \"caracald\": \"v0.1.0\"\n}\n", "", ""},
		{"version -o yaml", 0, "caracal: v0.1.0\ncaracald: v0.1.0\n", "", ""},
		{"version", 0, "caracal  v0.1.0\ncaracald v0.1.0\n", "", ""},
		{"--version", 0, "caracald v0.1.0", "", ""},
		{"help", 0, "exit codes:", "", ""},
		{"--help", 0, "exit codes:", "", ""},
		{"show route --help", 0, "only this prefix", "", ""},
		{"show ?", 0, "interfaces", "", ""},
		{"show", 2, "", `after "show" can follow:`, ""},
		{"bogus", 2, "", "caracal: there is no command \"bogus\"\ncommands:\n", ""},
		{"-o xml sh st", 2, "", `-o takes table, json or yaml, not "xml"`, ""},
		{"--timeout never sh st", 2, "", "--timeout takes a time", ""},
		{"sh st --socket", 2, "", "--socket needs a value", ""},
		{"completion bash", 0, "complete -F _caracal caracal", "", ""},
	} {
		d.done = nil
		code, stdout, stderr := runWith(t, testOptions(""), append([]string{"--socket=" + path}, strings.Fields(tc.args)...)...)
		if code != tc.code || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) || d.history() != tc.asked {
			t.Errorf("%s: code %d, want %d; asked %q, want %q\nstdout: %s\nstderr: %s", tc.args, code, tc.code, d.history(), tc.asked, stdout, stderr)
		}
		if tc.stderr == "" && stderr != "" {
			t.Errorf("%s: stderr %s", tc.args, stderr)
		}
	}
}

func TestSocketFromEnvironment(t *testing.T) {
	o := testOptions("")
	path := serve(t, &fakeDaemon{})
	o.Env = func(name string) string { return map[string]string{"CARACAL_SOCKET": path}[name] }
	if code, stdout, stderr := runWith(t, o, "sh", "st"); code != 0 || stdout == "" {
		t.Errorf("code %d: %s", code, stderr)
	}
}

// TestNoDaemon: whoever meets these is in a hurry; the message says what to do.
func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for path, want := range map[string]string{
		dir + "/missing": "caracal: caracald is not running or " + dir + "/missing is not its socket: no such file or directory. Start it with systemctl start caracald, or give --socket\n",
		stale:            "caracal: caracald is not running or " + stale + " is not its socket: connection refused. Start it with systemctl start caracald, or give --socket\n",
	} {
		for _, cmd := range []string{"sh st", "sh ro", "monitor", "disable mesh/b"} {
			code, _, stderr := runWith(t, testOptions(""), append([]string{"--socket", path}, strings.Fields(cmd)...)...)
			if code != ExitNoDaemon || stderr != want {
				t.Errorf("%s: code %d, %s\nwant %s", cmd, code, stderr, want)
			}
		}
	}
}

func TestNoPermission(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	if err := errors.Join(os.WriteFile(path, nil, 0o660), os.Chown(path, 0, 65534)); err != nil {
		t.Fatal(err)
	}
	f := unreachable(path, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	want := "no permission to open " + path + ": it is for the group nogroup. Use sudo, or join the group: usermod -aG nogroup YOU, then log in again"
	if f.code != ExitNoDaemon || f.msg != want {
		t.Errorf("got %d %s\nwant %s", f.code, f.msg, want)
	}
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if f := unreachable(path, syscall.EACCES); f.msg != "no permission to open "+path+". Use sudo" {
		t.Errorf("got %s", f.msg)
	}
}

func TestTimeout(t *testing.T) {
	path := serve(t, &fakeDaemon{silent: true})
	code, _, stderr := runWith(t, testOptions(""), "sh", "st", "--timeout", "50ms", "--socket", path)
	if want := "caracald did not answer within 50ms"; code != ExitTimeout || !strings.Contains(stderr, want) {
		t.Errorf("code %d, %s", code, stderr)
	}
}

func TestConfigureCode(t *testing.T) {
	d := &fakeDaemon{reply: &pb.ConfigureReply{Changes: []string{"x"}, Problems: []*pb.Problem{{Severity: "warning", Message: "m"}}}}
	path := serve(t, d)
	run := func() int {
		code, _, _ := runWith(t, testOptions(""), "conf", "check", "--socket", path)
		return code
	}
	if code := run(); code != ExitOK {
		t.Errorf("a warning gives %d", code)
	}
	d.reply.Problems[0].Severity = "rejected"
	if code := run(); code != ExitFailed {
		t.Errorf("a rejected object gives %d", code)
	}
	d.reply.Problems, d.reply.Held = nil, []string{"y"}
	if code := run(); code != ExitFailed {
		t.Errorf("a held removal gives %d", code)
	}
}

func TestCleanupWithoutDaemon(t *testing.T) {
	var calls []bool
	o := testOptions("")
	o.Cleanup = func(_ context.Context, yes bool) (*pb.CleanupReply, error) {
		calls = append(calls, yes)
		if yes {
			return &pb.CleanupReply{Deleted: 1, Failed: []string{"route 10.0.0.0/24: busy"}}, nil
		}
		return &pb.CleanupReply{Items: []string{"route 10.0.0.0/24"}, Total: 3}, nil
	}
	code, stdout, _ := runWith(t, o, "cleanup", "--yes", "--socket", "/nonexistent/s")
	want := "route 10.0.0.0/24\nand 2 more\n1 item deleted\nfailed: route 10.0.0.0/24: busy\n"
	if code != ExitFailed || stdout != want || fmt.Sprint(calls) != "[false true]" {
		t.Errorf("code %d, calls %v, %s", code, calls, stdout)
	}
	o.Cleanup = nil
	if code, _, _ := runWith(t, o, "cleanup", "--yes", "--socket", "/nonexistent/s"); code != ExitNoDaemon {
		t.Errorf("without the function: code %d", code)
	}
}

func TestExternal(t *testing.T) {
	o := testOptions("")
	o.Commands = []External{{Name: "lab", Help: "a lab", Run: func(ctx context.Context, args []string, stdout, _ io.Writer) int {
		fmt.Fprintf(stdout, "%q", args)
		return len(args)
	}}}
	code, stdout, stderr := runWith(t, o, "-o", "json", "lab", "up", "--socket", "x", "?", "-h")
	if code != 5 || stdout != `["up" "--socket" "x" "?" "-h"]` || stderr != "" {
		t.Errorf("code %d, %s, %s", code, stdout, stderr)
	}
	for _, line := range []string{"lab ?", "help lab", "lab --help"} {
		if code, stdout, _ := runWith(t, o, strings.Fields(line)...); code != 1 || stdout != `["--help"]` {
			t.Errorf("%s: code %d, %s", line, code, stdout)
		}
	}
	if code, stdout, _ := runWith(t, o, "lab"); code != 0 || stdout != `[]` {
		t.Errorf("code %d, %s", code, stdout)
	}
}

func TestMonitor(t *testing.T) {
	d := &fakeDaemon{events: make(chan *pb.EventList, 3)}
	path := serve(t, d)
	events := func() {
		d.events <- &pb.EventList{Events: []*pb.Event{
			{At: ago(0), Kind: "session", Neighbor: "mesh/b", Action: "Established"},
			{At: ago(0), Kind: "route", Neighbor: "mesh/b", Prefix: "10.64.1.0/26", Action: "refused", Detail: "it belongs to node c"},
			{At: ago(0), Kind: "fib", Prefix: "10.64.1.0/26", Action: "installed", Detail: "10.64.1.0/26 via 192.0.2.2 dev eth0"},
		}, Dropped: 12}
	}
	events()
	close(d.events)
	code, stdout, stderr := runWith(t, testOptions(""), "mon", "se", "ro", "--socket", path, "--timeout", "3s")
	want := `2026-11-22 03:00:00.000 session Established mesh/b
2026-11-22 03:00:00.000 route   refused     mesh/b 10.64.1.0/26      it belongs to node c
2026-11-22 03:00:00.000 fib     installed          10.64.1.0/26      via 192.0.2.2 dev eth0
                        12 events were lost here: this terminal was slower than caracald
`
	if code != ExitNoDaemon || stdout != want || !strings.Contains(stderr, "caracald is stopping") || !strings.HasPrefix(d.history(), "monitor session,route") {
		t.Errorf("code %d, asked %s\n%s%s", code, d.history(), stdout, stderr)
	}
	d.events = make(chan *pb.EventList, 3)
	events()
	close(d.events)
	_, stdout, _ = runWith(t, testOptions(""), "mon", "-o", "json", "--socket", path, "--timeout", "3s")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var ev pb.Event
	if len(lines) != 4 || protojson.Unmarshal([]byte(lines[1]), &ev) != nil || ev.Detail != "it belongs to node c" || lines[3] != `{"events":[],"dropped":12}` {
		t.Errorf("got %s", stdout)
	}
}

// TestMonitorComesBack: a daemon that starts itself anew does not end monitor.
func TestMonitorComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	defer r.Close()
	var errs bytes.Buffer
	o := testOptions("")
	o.Stdout, o.Stderr = w, &errs
	first := &fakeDaemon{events: make(chan *pb.EventList, 1)}
	stop := serveAt(t, first, path)
	code := make(chan int, 1)
	go func() { code <- Run(ctx, []string{"monitor", "--socket", path}, o); w.Close() }()
	lines := bufio.NewScanner(r)
	for _, action := range []string{"Idle", "Established"} {
		first.events <- &pb.EventList{Events: []*pb.Event{{At: ago(0), Kind: "session", Neighbor: "mesh/b", Action: action}}}
		if !lines.Scan() || !strings.Contains(lines.Text(), action) {
			t.Fatalf("%s: %q, %v", action, lines.Text(), lines.Err())
		}
		stop()
		time.Sleep(50 * time.Millisecond)
		first = &fakeDaemon{events: make(chan *pb.EventList, 1)}
		stop = serveAt(t, first, path)
	}
	for deadline := time.Now().Add(30 * time.Second); first.history() == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if got := <-code; got != ExitOK || strings.Count(errs.String(), "caracald is back") < 1 {
		t.Errorf("code %d: %s", got, errs.String())
	}
}

// TestMonitorIsPatient: silence after the first sign of life is no timeout, and
// Ctrl-C is a success.
func TestMonitorIsPatient(t *testing.T) {
	d := &fakeDaemon{}
	path := serve(t, d)
	ended := make(chan struct{})
	go func() {
		for d.history() == "" && t.Context().Err() == nil { // from here on the signal is caught
			time.Sleep(time.Millisecond)
		}
		select {
		case <-ended: // nobody would catch it
		case <-time.After(4 * time.Second):
			syscall.Kill(os.Getpid(), syscall.SIGINT)
		}
	}()
	code, stdout, stderr := runWith(t, testOptions(""), "monitor", "--timeout", "3s", "--socket", path)
	close(ended)
	if code != 0 || stdout+stderr != "" {
		t.Errorf("code %d: %s%s", code, stdout, stderr)
	}
}

func TestManyRoutes(t *testing.T) {
	d := &fakeDaemon{}
	const pages, each = 200, 500
	for p := range pages {
		page := &pb.RouteList{}
		for i := range each {
			page.Paths = append(page.Paths, &pb.Path{Prefix: fmt.Sprintf("10.%d.%d.%d/32", p, i>>8, i&255), Neighbor: "mesh/b", Best: true, Installed: true,
				Received: ago(time.Minute), Attributes: &pb.Attributes{NextHop: "192.0.2.2"}})
		}
		d.routes = append(d.routes, page)
	}
	path := serve(t, d)
	begin := time.Now()
	code, stdout, _ := runWith(t, testOptions(""), "sh", "ro", "--socket", path)
	if code != 0 || strings.Count(stdout, "\n") != pages*each+3 {
		t.Errorf("code %d, %d lines", code, strings.Count(stdout, "\n"))
	}
	if took := time.Since(begin); took > 2*time.Minute { // 7 s with the race detector
		t.Errorf("100,000 routes took %v", took)
	} else {
		t.Logf("100,000 routes took %v", took)
	}
}

// A Pod of a DaemonSet ends when kubelet says so, and not when the work is done; what
// failed ends it at once, so that it is seen.
func TestCleanupStays(t *testing.T) {
	o := testOptions("")
	o.Cleanup = func(context.Context, bool) (*pb.CleanupReply, error) { return &pb.CleanupReply{}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	r, w := io.Pipe()
	defer r.Close()
	o.Stdout = w
	go func() {
		ended <- Run(ctx, []string{"cleanup", "--yes", "--stay", "--socket", "/nonexistent/s"}, o)
		w.Close()
	}()
	if line, err := bufio.NewReader(r).ReadString('\n'); !strings.Contains(line, "nothing of ours") {
		t.Errorf("it printed %q, %v", line, err)
	}
	select {
	case code := <-ended:
		t.Errorf("it ended by itself, with %d", code)
	case <-time.After(200 * time.Millisecond):
		cancel()
		if code := <-ended; code != ExitOK {
			t.Errorf("code %d", code)
		}
	}
	o.Cleanup = func(context.Context, bool) (*pb.CleanupReply, error) { return nil, errors.New("no right") }
	if code, _, _ := runWith(t, o, "cleanup", "--yes", "--stay", "--socket", "/nonexistent/s"); code == ExitOK {
		t.Error("it does not tell of a failure")
	}
}
