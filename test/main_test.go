package test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/uml"
	"caracal.dev/caracal/lab"
)

// programs are the binaries under test, built by TestMain into one directory: the
// daemon, the CLI, and the plugin that runtimes look for there.
type programs struct{ dir, caracald, caracal, cnitool string }

func programsIn(dir string) programs {
	in := func(name string) string { return filepath.Join(dir, name) }
	return programs{dir, in("caracald"), in("caracal"), in("cnitool")}
}

// built is set once, before any test runs.
var built programs

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// programsEnv names the directory of the programs for a run in user-mode-linux,
// where building them would take long.
const programsEnv = "CARACAL_TEST_PROGRAMS"

func runAll(m *testing.M) int {
	if uml.Inside() {
		built = programsIn(os.Getenv(programsEnv))
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "caracal-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "../cmd/caracald", "../cmd/caracal", "../cmd/caracal-cni",
		"github.com/containernetworking/cni/cnitool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs under test: %v\n%s", err, out)
		return 1
	}
	// The stories mostly wait for timers: more of them fit side by side than there
	// are processors.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("6")
	}
	built = programsIn(dir)
	return m.Run()
}

// start builds a lab without daemons, and removes it at the end of the test. A
// test that fails shows the daemons' logs.
func start(t *testing.T, top lab.Topology) *lab.Lab {
	t.Helper()
	l, err := lab.Up(t.Context(), lab.Spec{Topology: top, Caracald: built.caracald, Caracal: built.caracal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// showLogs prints the end of every daemon's log.
func showLogs(t *testing.T, l *lab.Lab) {
	for _, n := range l.Nodes() {
		logs, _ := filepath.Glob(filepath.Join(n.Dir(), "*.log"))
		for _, path := range logs {
			text, _ := os.ReadFile(path)
			t.Logf("--- %s %s\n%s", n.Name, filepath.Base(path), text[max(0, len(text)-6000):])
		}
		if routes, err := n.Routes(); err == nil {
			t.Logf("--- %s routes\n%s", n.Name, lines(routes))
		}
	}
}

// mesh builds a lab in which every node runs caracald and every pod reaches
// every other.
func mesh(t *testing.T, o lab.MeshOptions, settings lab.BGPSettings) *lab.Lab {
	t.Helper()
	top := lab.Mesh(o)
	top.BGP = settings
	l := start(t, top)
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	return l
}

// settleTime is how long nodes may take to reach each other: a second or two, but on
// a machine that has other things to do.
const settleTime = 2 * time.Minute

// settle waits until all sessions are up and the pods named, or all, reach each
// other.
func settle(t *testing.T, l *lab.Lab, pods ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	if err := l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
	for _, f := range lab.Families() {
		if _, err := l.WaitPing(ctx, f, pods...); err != nil {
			t.Fatal(err)
		}
	}
}

// slack is how many times longer than it should a thing may take whose time is not what
// a story asks for: several stories run at once, on machines of any kind.
const slack = 3

// eventually waits until look returns nothing, and returns how long that took; what
// look returns is what is still wrong. It has slack.
func eventually(t *testing.T, usual time.Duration, look func() string) time.Duration {
	t.Helper()
	return within(t, slack*usual, look)
}

// within is eventually for a time that is a bound.
func within(t *testing.T, limit time.Duration, look func() string) time.Duration {
	t.Helper()
	begin := time.Now()
	for {
		wrong := look()
		if wrong == "" {
			return time.Since(begin)
		}
		if time.Since(begin) > limit {
			t.Fatalf("after %v: %s", limit, wrong)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// run runs a command in a node and fails the test with it.
func run(t *testing.T, n *lab.Node, argv ...string) string {
	t.Helper()
	out, err := n.Exec(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// must fails the test if there is an error, else returns the value.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// own returns a node's routes of our protocol as text, one in a line.
func own(t *testing.T, n *lab.Node) []string {
	t.Helper()
	var out []string
	for _, r := range must(n.OwnRoutes())(t) {
		out = append(out, r.String())
	}
	return out
}

// lines prints values one below the other.
func lines[T any](list []T) string {
	var b strings.Builder
	for _, v := range list {
		fmt.Fprintf(&b, "\t%v\n", v)
	}
	return b.String()
}

// same says how two lists of lines differ; nothing if they do not.
func same(got, want []string) string {
	var b strings.Builder
	for _, s := range want {
		if !slices.Contains(got, s) {
			b.WriteString("missing: " + s + "\n")
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) {
			b.WriteString("too many: " + s + "\n")
		}
	}
	return b.String()
}

// flows starts a loss meter of each family between two pods.
func flows(t *testing.T, l *lab.Lab, a, b string) (stop func() lab.LossReport) {
	t.Helper()
	var meters []*lab.LossMeter
	for _, f := range lab.Families() {
		m := must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: a, B: b, Family: f}))(t)
		t.Cleanup(func() { m.Stop() })
		meters = append(meters, m)
	}
	return func() lab.LossReport {
		var worst lab.LossReport
		for i, m := range meters {
			r := m.Stop()
			t.Logf("%s: %s", lab.Families()[i], r)
			if r.Sent() == 0 {
				t.Errorf("the meter sent nothing")
			}
			if i == 0 || r.Lost() > worst.Lost() {
				worst = r
			}
		}
		return worst
	}
}

// watchRoutes monitors the routes of all nodes; stop returns every change.
func watchRoutes(t *testing.T, l *lab.Lab) (stop func() []string) {
	t.Helper()
	monitors := map[string]*lab.RouteMonitor{}
	for _, n := range l.Nodes() {
		m := must(l.MonitorRoutes(t.Context(), n.Name))(t)
		t.Cleanup(func() { m.Stop() })
		monitors[n.Name] = m
	}
	return func() []string {
		var out []string
		for name, m := range monitors {
			for _, line := range m.Stop() {
				out = append(out, name+": "+line)
			}
		}
		return out
	}
}

// session returns what a node says of its session with another.
func session(t *testing.T, n *lab.Node, other string) lab.Neighbor {
	t.Helper()
	for _, nb := range must(n.Neighbors(t.Context()))(t) {
		if nb.Node == other {
			return nb
		}
	}
	t.Fatalf("node %s has no session with %s", n.Name, other)
	return lab.Neighbor{}
}
