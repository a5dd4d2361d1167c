package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
)

// clock is a clock that a test sets; it also moves by itself by nothing.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// host is a store on a directory of its own.
type host struct {
	t      *testing.T
	dir    string
	state  string
	clock  *clock
	opts   Options
	store  *Store
	cancel context.CancelFunc
	ended  chan error
}

// newHost returns one whose store takes nothing by itself: the steps of a change are
// one change, however long a test takes for them. See notices.
func newHost(t *testing.T) *host {
	t.Helper()
	base := t.TempDir()
	h := &host{t: t, dir: filepath.Join(base, "etc"), state: filepath.Join(base, "lib"), clock: &clock{t: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}}
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.opts = Options{Dir: h.dir, StateDir: h.state, Node: "a", NodeFrom: "--node", Now: h.clock.now, Quiet: time.Hour, MaxWait: time.Hour}
	t.Cleanup(func() { h.stop() })
	return h
}

// notices has the store, from its next start, take what changes without being asked.
func (h *host) notices() { h.opts.Quiet, h.opts.MaxWait = 20*time.Millisecond, time.Second }

// start runs the store until its first pass is done.
func (h *host) start() {
	h.t.Helper()
	h.store = New(h.opts)
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.ended = cancel, make(chan error, 1)
	go func() { h.ended <- h.store.Run(ctx) }()
	h.reload()
}

func (h *host) stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	if err := <-h.ended; err != nil {
		h.t.Error(err)
	}
	h.cancel = nil
}

func (h *host) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

func (h *host) reload() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := h.store.Reload(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) confirm() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := h.store.Confirm(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// problems returns the messages with their severity, with the directories named
// ETC and LIB.
func (h *host) problems() []string {
	var list []string
	for _, p := range h.store.Snapshot().Problems {
		list = append(list, h.plain(p.Severity.String()+": "+p.Message))
	}
	return list
}

func (h *host) plain(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, h.dir, "ETC"), h.state, "LIB")
}

func (h *host) wantProblems(want ...string) {
	h.t.Helper()
	if got := h.problems(); !slices.Equal(got, want) {
		h.t.Errorf("problems:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (h *host) nodes() string {
	var names []string
	for name := range h.store.Snapshot().Nodes.All() {
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func (h *host) wantNodes(want string) {
	h.t.Helper()
	if got := h.nodes(); got != want {
		h.t.Errorf("nodes %q, want %q", got, want)
	}
}

// eventually waits for the store to notice something by itself.
func (h *host) eventually(what string, ok func(*caracal.Snapshot) bool) {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok(h.store.Snapshot()) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not noticed: %s; problems %v", what, h.problems())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func doc(kind, name, spec string) string {
	return "apiVersion: caracal.dev/v1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

func node(name string, i int) string {
	return doc("NodeConfig", name, fmt.Sprintf("  addresses: [192.0.2.%d/24]\n  blocks: [10.0.%d.0/26]\n", i, i))
}

func pool() string { return doc("IPPool", "pods", "  cidr: 10.0.0.0/16\n") }

func peer(name string, i int) string {
	return doc("BGPPeer", name, fmt.Sprintf("  peerIP: 198.51.100.%d\n  asNumber: 64512\n", i))
}

// clusterFiles are a pool, five nodes and a peer.
func clusterFiles() map[string]string {
	files := map[string]string{"cluster/pool.yaml": pool(), "bgppeers/rack1.yaml": peer("rack1", 1)}
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		files["cluster/nodes/"+name+".yaml"] = node(name, i+1)
	}
	return files
}

func (h *host) cluster() { h.apply(clusterFiles()) }

// repair undoes what apply did to a cluster.
func (h *host) repair(files map[string]string) {
	h.cluster()
	for name := range files {
		if _, ok := clusterFiles()[name]; !ok {
			h.remove(name)
		}
	}
}

func TestSnapshot(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.write("local/vm.yaml", doc("Workload", "vm", "  node: a\n  interfaceName: vm0\n  ipNetworks: [10.0.1.9]\n"))
	h.write(".hidden.yaml", "[")
	h.write("README.txt", "[")
	h.start()
	h.wantProblems()
	s := h.store.Snapshot()
	if !s.Complete() || s.Generation != 1 || s.Self != "a" {
		t.Errorf("complete %v, generation %d, self %q", s.Complete(), s.Generation, s.Self)
	}
	n, ok := s.SelfNode()
	if !ok || n.ASN != 64512 || n.Port != 179 || n.RouterID.String() != "192.0.2.1" || !n.MeshEnabled {
		t.Errorf("self: %+v", n)
	}
	if s.Nodes.Len() != 5 || s.Pools.Len() != 1 || s.Blocks.Len() != 5 || s.Peers.Len() != 1 || s.Workloads.Len() != 1 {
		t.Errorf("%d nodes, %d pools, %d blocks, %d peers, %d workloads", s.Nodes.Len(), s.Pools.Len(), s.Blocks.Len(), s.Peers.Len(), s.Workloads.Len())
	}
	if s.BGP.HoldTime != 90*time.Second || s.Dataplane.Table != 254 || s.Dataplane.Metric != 427 || !s.Dataplane.SetSysctls {
		t.Errorf("settings: %+v %+v", s.BGP, s.Dataplane)
	}
	h.reload()
	if h.store.Snapshot() != s {
		t.Error("a reload without a change published a Snapshot")
	}
}

func TestEmptyDirectoryIsNotSynced(t *testing.T) {
	h := newHost(t)
	h.start()
	if h.store.Snapshot().Synced {
		t.Error("synced with nothing")
	}
	h.wantProblems(
		`rejected: node "a" (from --node) has no NodeConfig in ETC; it has none at all. Add one named a, or write a first configuration with caracal init.`,
		`warning: ETC holds no configuration; write one (caracal init makes a first one)`)
	h.remove("")
	h.reload()
	if s := h.store.Snapshot(); s.Synced || len(s.Incomplete) == 0 {
		t.Errorf("synced %v, incomplete %v", s.Synced, s.Incomplete)
	}
}

// time2 passes between the acceptance of a cluster and the next change.
const time2 = time.Hour
