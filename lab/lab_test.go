package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// crashEnv makes the test binary a lab's owner that dies without cleaning up.
const crashEnv = "CARACAL_LAB_TEST_CRASH"

func TestMain(m *testing.M) {
	if id := os.Getenv(crashEnv); id != "" {
		crash(id)
	}
	if os.Getenv(mainEnv) != "" {
		runMain()
	}
	os.Exit(m.Run())
}

// crash builds a lab with a daemon in it, says so, and waits for its death.
func crash(id string) {
	os.Unsetenv(crashEnv)
	l, err := Up(context.Background(), Spec{ID: id, Topology: Mesh(MeshOptions{Nodes: 1})})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if _, err := l.Node("a").start("sleep", "sleep", "100"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// One that the state does not know: started just before the crash.
	if err := inNetns(l.Node("a").NS, l.command(context.Background(), []string{"sleep", "101"}).Start); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}

func up(t *testing.T, top Topology) *Lab {
	t.Helper()
	l, err := Up(t.Context(), Spec{Topology: top})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
		nothingLeft(t, l.ID())
	})
	return l
}

// nothingLeft fails if anything of a lab is still there.
func nothingLeft(t *testing.T, id string) {
	t.Helper()
	if left, _ := filepath.Glob(netnsPath(names{id}.node("*"))); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := os.Stat(labDir(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left (%v)", labDir(id), err)
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		if b, _ := os.ReadFile(path); slices.Contains(strings.Split(string(b), "\x00"), labEnv+"="+id) {
			t.Errorf("a process is left: %s", path)
		}
	}
}

// routeByHand gives the nodes the routes that a daemon would give them.
func routeByHand(t *testing.T, l *Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		for _, p := range n.Pods {
			for _, a := range p.Addrs {
				mustExec(t, n, "ip", "route", "add", a.String(), "dev", PodInterface(p.Name), "proto", fmt.Sprint(Proto))
			}
		}
		for _, other := range l.Nodes() {
			for _, f := range Families() {
				if other != n && other.Block(f).IsValid() {
					mustExec(t, n, "ip", "route", "add", other.Block(f).String(), "via", other.Addr(f).String(), "proto", fmt.Sprint(Proto))
				}
			}
		}
	}
}

// mustPing waits until every ping is answered: a new link may need a moment (carrier,
// neighbor discovery).
func mustPing(t *testing.T, l *Lab, f Family) *Matrix {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := l.WaitPing(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustExec(t *testing.T, n *Node, argv ...string) string {
	t.Helper()
	out, err := n.Exec(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMeshCarriesOnlyWithRoutes(t *testing.T) {
	start := time.Now()
	l := up(t, Mesh(MeshOptions{}))
	t.Logf("3 nodes and 6 pods in %v", time.Since(start))
	for _, n := range l.Nodes() {
		routes, err := n.Routes()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range routes {
			for _, pool := range l.Topology().Pools {
				if pool.CIDR.Overlaps(r.Dst) {
					t.Errorf("node %s has a route to pods from the beginning: %s", n.Name, r)
				}
			}
		}
	}
	for _, f := range Families() {
		m, err := l.PingMatrix(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if failed := m.Failed(); len(failed) != m.Pairs() || m.Pairs() != 30 {
			t.Errorf("%s without routes: %d of %d pings failed, want all of 30", f, len(failed), m.Pairs())
		}
	}
	routeByHand(t, l)
	for _, f := range Families() {
		// At once, with no retry: the first packet must not wait or be lost.
		m, err := l.PingMatrix(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if failed := m.Failed(); len(failed) > 0 {
			t.Errorf("%s with routes: %v", f, failed)
		}
	}
	own, err := l.Node("a").OwnRoutes()
	if err != nil {
		t.Fatal(err)
	}
	if len(own) != 8 {
		t.Errorf("node a has %d routes of protocol %d, want 8: %v", len(own), Proto, own)
	}
	if got, want := own[2].String(), "10.244.2.0/26 via 192.168.77.2 dev eth0 proto 67 metric 0"; got != want {
		t.Errorf("route %q, want %q", got, want)
	}
}

func TestPodPing(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1}))
	routeByHand(t, l)
	for _, f := range Families() {
		mustPing(t, l, f)
		c, err := l.Pod("a1").Ping(t.Context(), l.Pod("b1").Addr(f))
		if err != nil || !c.OK {
			t.Errorf("%s: %+v, %v", f, c, err)
		}
	}
	mustExec(t, l.Node("a"), "ip", "route", "replace", "unreachable", "10.244.2.2")
	c, err := l.Pod("a1").Ping(t.Context(), l.Pod("b1").Addr(IPv4))
	if err != nil || c.OK || !strings.HasPrefix(c.Why, "unreachable, says 192.168.77.1") {
		t.Errorf("with an unreachable route: %+v, %v", c, err)
	}
}

func TestAddAndRemoveNode(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1}))
	if _, err := l.AddNode(t.Context(), MeshNode(1, MeshOptions{})); err == nil {
		t.Error("a second node b was added")
	}
	if _, err := l.AddNode(t.Context(), MeshNode(2, MeshOptions{PodsPerNode: 1})); err != nil {
		t.Fatal(err)
	}
	routeByHand(t, l)
	if m := mustPing(t, l, IPv6); m.Pairs() != 6 {
		t.Errorf("with three nodes: %+v", m)
	}
	if err := l.RemoveNode(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if l.Node("b") != nil || l.Pod("b1") != nil {
		t.Error("node b is still there")
	}
	files, _ := os.ReadDir(l.clusterDir())
	var got []string
	for _, f := range files {
		got = append(got, f.Name())
	}
	if want := []string{"cluster.yaml", "node-a.yaml", "node-c.yaml"}; !slices.Equal(got, want) {
		t.Errorf("configuration %v, want %v", got, want)
	}
	if m := mustPing(t, l, IPv4); m.Pairs() != 2 {
		t.Errorf("without node b: %+v", m)
	}
}

func TestRemakePod(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 1}))
	routeByHand(t, l)
	if err := l.RemakePod(t.Context(), "a1"); err != nil {
		t.Fatal(err)
	}
	if own, err := l.Node("a").OwnRoutes(); err != nil || len(own) != 2 {
		t.Errorf("routes after the link's deletion: %v, %v; want the two of the other pod", own, err)
	}
	for _, a := range l.Pod("a1").Addrs {
		mustExec(t, l.Node("a"), "ip", "route", "add", a.String(), "dev", PodInterface("a1"))
	}
	mustPing(t, l, IPv6)
	if err := l.RemakePod(t.Context(), "zz"); err == nil {
		t.Error("a pod that is none was made anew")
	}
}

// TestDo opens a socket in a node, and leaves this thread where it was.
func TestDo(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 1}))
	var in net.Listener
	err := l.Node("a").Do(func() (err error) {
		in, err = net.Listen("tcp", "192.168.77.1:179")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if out := mustExec(t, l.Node("a"), "ss", "-Hltn"); !strings.Contains(out, "192.168.77.1:179") {
		t.Errorf("the node does not listen: %s", out)
	}
	if out, err := net.Listen("tcp", "192.168.77.1:179"); err == nil {
		out.Close()
		t.Error("the node's address is also one of this machine")
	}
}

// TestTwoLabs runs two labs with the same addresses side by side.
func TestTwoLabs(t *testing.T) {
	one, two := up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1})), up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1}))
	routeByHand(t, one)
	mustPing(t, one, IPv4)
	if m, err := two.PingMatrix(t.Context(), IPv4); err != nil || len(m.Failed()) != m.Pairs() {
		t.Errorf("the lab without: %+v, %v", m, err)
	}
	if _, err := Up(t.Context(), Spec{ID: one.ID(), Topology: Mesh(MeshOptions{})}); err == nil ||
		!strings.Contains(err.Error(), "there is a lab") {
		t.Errorf("a third lab of the same name: %v", err)
	}
}

// TestOpen uses a lab through a second object, as another process would.
func TestOpen(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 1, PodsPerNode: 1}))
	p, err := l.Node("a").start("sleep", "sleep", "100")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Node("a").start("sleep", "sleep", "100"); err == nil {
		t.Error("the daemon was started twice")
	}
	other, err := Open(l.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer other.kernel.close()
	q := other.Node("a").Process("sleep")
	if q == nil || q.PID() != p.PID() || !q.Running() {
		t.Fatalf("the opened lab has process %+v, want PID %d", q, p.PID())
	}
	if err := q.Kill(os.Kill); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err == nil || p.Running() || q.Running() {
		t.Errorf("after the kill: Wait %v, running %v, %v", err, p.Running(), q.Running())
	}
	if _, err := Open("nosuch"); !errors.Is(err, errNoLab) {
		t.Errorf("opening no lab: %v", err)
	}
}

// TestCrash kills the owner of a lab and lets the next one clean up.
func TestCrash(t *testing.T) {
	id := fmt.Sprintf("c%d", os.Getpid())
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 200)
	n, _ := out.Read(b)
	if string(b[:n]) != "up\n" {
		t.Fatalf("the owner says %q", b[:n])
	}
	if gone, err := Prune(); err != nil || slices.Contains(gone, id) {
		t.Errorf("pruned %v while the owner lives; %v", gone, err)
	}
	// Before the crash: another program's Prune may be faster than ours.
	if _, err := os.Stat(netnsPath(names{id}.node("a"))); err != nil {
		t.Fatalf("there is no namespace to be left: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := Prune(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, id)
}

// TestUpCancelled ends the context before the lab is whole.
func TestUpCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	id := fmt.Sprintf("x%d", os.Getpid())
	time.AfterFunc(30*time.Millisecond, cancel)
	if _, err := Up(ctx, Spec{ID: id, Topology: Mesh(MeshOptions{Nodes: 100})}); !errors.Is(err, context.Canceled) {
		t.Errorf("Up: %v", err)
	}
	nothingLeft(t, id)
}

// TestSignalChecksStart holds a saved process against one that got its number.
func TestSignalChecksStart(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	id, ok := identify(cmd.Process.Pid)
	if !ok {
		t.Fatal("no identity of a running process")
	}
	stranger := processID{id.PID, id.Start - 1}
	if err := stranger.signal(os.Kill); !errors.Is(err, os.ErrProcessDone) || !id.alive() {
		t.Errorf("signal to an earlier holder of the PID: %v, alive %v", err, id.alive())
	}
	if err := id.signal(os.Kill); err != nil {
		t.Error(err)
	}
}
