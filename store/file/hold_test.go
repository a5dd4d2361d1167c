package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
)

func TestRemoval(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	h.remove("cluster/nodes/e.yaml")
	h.remove("bgppeers/rack1.yaml")
	h.reload()
	h.wantProblems()
	h.wantNodes("a b c d")
	if h.store.Snapshot().Peers.Len() != 0 {
		t.Error("the peer was not removed")
	}
	h.restart()
	h.wantNodes("a b c d")
}

const heldNodes = "held: 4 of 5 objects of kind NodeConfig are gone from ETC at once (b, c, d, e); they stay in force until the removal is confirmed (caracal configure confirm) or the files are back"

func (h *host) removeFour() {
	for _, n := range []string{"b", "c", "d", "e"} {
		h.remove("cluster/nodes/" + n + ".yaml")
	}
}

func TestLargeRemovalIsHeld(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	before := h.store.Snapshot().Digest
	h.confirm() // nothing is held: no licence for what comes
	h.removeFour()
	h.reload()
	h.wantProblems(heldNodes)
	h.wantNodes("a b c d e")
	h.restart()
	h.wantProblems(heldNodes)
	if !h.store.Snapshot().Complete() {
		t.Error("held, but not complete")
	}
	h.cluster() // the files are back
	h.reload()
	h.wantProblems()
	if h.store.Snapshot().Digest != before {
		t.Error("another configuration")
	}
	h.remove("bgppeers/rack1.yaml") // no part of what was held a moment ago
	h.reload()
	h.wantProblems()
	h.removeFour()
	h.reload()
	h.wantProblems(heldNodes)
	h.confirm()
	h.wantProblems()
	h.wantNodes("a")
	h.restart()
	h.wantProblems()
	h.wantNodes("a")
}

// A tree that is deleted slowly is one step.
func TestSlowRemovalIsHeld(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	for _, n := range []string{"b", "c"} {
		h.clock.add(5 * time.Second)
		h.remove("cluster/nodes/" + n + ".yaml")
		h.reload()
		h.wantProblems()
	}
	h.remove("cluster/nodes/d.yaml")
	h.remove("cluster/nodes/e.yaml")
	h.reload()
	h.wantNodes("a d e")
	if got := h.problems(); len(got) != 1 || !strings.HasPrefix(got[0], "held: 2 of 3 objects") {
		t.Errorf("problems %q", got)
	}
	h.cluster()
	h.reload()
	h.clock.add(time.Minute) // long ago
	h.remove("cluster/nodes/b.yaml")
	h.reload()
	h.wantProblems()
}

func TestEmptiedDirectoryIsHeld(t *testing.T) {
	h := newHost(t)
	h.write("pool.yaml", pool())
	h.write("a.yaml", node("a", 1))
	h.start()
	h.stop()
	h.remove("pool.yaml")
	h.remove("a.yaml")
	h.clock.add(time.Hour)
	h.start()
	h.wantProblems("held: ETC holds no configuration at all; the 2 objects accepted before, the last at 2026-11-01T12:00:00Z, stay in force until the removal is confirmed (caracal configure confirm) or the files are back")
	h.wantNodes("a")
	s := h.store.Snapshot()
	if !s.Synced || !s.Problems[0].Since.Equal(h.clock.now()) {
		t.Errorf("synced %v, since %v", s.Synced, s.Problems[0].Since)
	}
	h.confirm()
	h.wantNodes("")
}

func TestDirectoryGone(t *testing.T) {
	h := newHost(t)
	h.notices()
	h.cluster()
	h.start()
	before := h.store.Snapshot().Digest
	gone := h.dir + ".gone"
	if err := os.Rename(h.dir, gone); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h.eventually("the directory is gone", func(s *caracal.Snapshot) bool { return len(s.Incomplete) == len(v1.Kinds()) })
		h.wantProblems("rejected: the configuration directory cannot be read: read ETC: no such file or directory; the 7 objects accepted before, the last at 2026-11-01T12:00:00Z, stay in force")
		if s := h.store.Snapshot(); s.Digest != before || !s.Synced || s.Complete() {
			t.Errorf("digest %s, synced %v, complete %v", s.Digest, s.Synced, s.Complete())
		}
		h.confirm() // must not let anything go
		h.restart()
	}
	if err := os.Rename(gone, h.dir); err != nil {
		t.Fatal(err)
	}
	h.eventually("the directory is back", (*caracal.Snapshot).Complete)
	h.wantProblems()
}

func TestPartGone(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	if err := os.Rename(filepath.Join(h.dir, "cluster"), h.dir+".gone"); err != nil {
		t.Fatal(err)
	}
	h.reload()
	h.wantNodes("a b c d e")
	h.wantProblems("rejected: cluster: cannot be read: it does not exist any more (to remove its objects, run: caracal configure confirm); the 6 objects accepted before, the last at 2026-11-01T12:00:00Z, stay in force")
	s := h.store.Snapshot()
	if len(s.Incomplete) != 2 || s.Incomplete["NodeConfig"] == "" || s.Incomplete["IPPool"] == "" {
		t.Errorf("incomplete: %v", s.Incomplete)
	}
	h.confirm()
	h.wantNodes("a")
}

const heldSelf = "held: NodeConfig a is that of this very node and is gone from ETC; it stays in force while caracald runs. Put it back; or, to take this host out of the cluster, stop caracald and run caracal cleanup --yes. Started again without it, caracald does nothing"

func TestOwnNodeIsHeld(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	h.remove("cluster/nodes/a.yaml")
	for range 2 {
		h.reload()
		h.wantProblems(heldSelf)
		h.wantNodes("a b c d e")
		h.confirm()
	}
	h.cluster()
	h.reload()
	h.wantProblems()
	h.remove("cluster/nodes/a.yaml")
	h.reload()
	h.restart() // the way to leave
	h.wantNodes("b c d e")
	h.wantProblems(`rejected: node "a" (from --node) has no NodeConfig in ETC; it has b, c, d, e. Start with --node NAME if it is one of these, or add a NodeConfig named a.`)
}

// A change of which one kind is held takes nothing of any kind.
func TestOneKindHeldHoldsAll(t *testing.T) {
	h := newHost(t)
	h.cluster()
	for _, n := range []string{"b", "c"} {
		text := node(n, int(n[0]-'a')+1)
		for i := range 3 {
			text += "---\n" + doc("Workload", fmt.Sprint(n, i), fmt.Sprintf("  node: %s\n  interfaceName: x%d\n  ipNetworks: [10.0.%d.%d]\n", n, i, n[0]-'a'+1, i+1))
		}
		h.write("cluster/nodes/"+n+".yaml", text)
	}
	h.start()
	h.remove("cluster/nodes/b.yaml")
	h.remove("cluster/nodes/c.yaml")
	h.reload()
	want := []string{
		"held: 2 of 5 objects of kind NodeConfig are gone from ETC at once (b, c); they stay in force until the removal is confirmed (caracal configure confirm) or the files are back",
		"held: 6 of 6 objects of kind Workload are gone from ETC at once (default/b0, default/b1, default/b2, default/c0, default/c1, default/c2); they stay in force until the removal is confirmed (caracal configure confirm) or the files are back"}
	h.wantProblems(want...)
	h.clock.add(time.Minute)
	h.remove("bgppeers/rack1.yaml") // another change, later
	h.reload()
	h.wantProblems(want...)
	if n := h.store.Snapshot().Peers.Len(); n != 0 {
		t.Errorf("%d peers", n)
	}
	h.confirm()
	h.wantProblems()
	h.wantNodes("a d e")
}

// Few as they are, all the other nodes do not go at once.
func TestLastNodesAreHeld(t *testing.T) {
	h := newHost(t)
	h.write("pool.yaml", pool())
	for i, n := range []string{"a", "b", "c"} {
		h.write(n+".yaml", node(n, i+1))
	}
	h.start()
	h.remove("b.yaml")
	h.remove("c.yaml")
	h.reload()
	h.wantNodes("a b c")
	if got := h.problems(); len(got) != 1 || !strings.HasPrefix(got[0], "held: 2 of 3 objects of kind NodeConfig") {
		t.Errorf("problems %q", got)
	}
	h.write("c.yaml", node("c", 3)) // what was held stays until it is confirmed
	h.reload()
	h.wantNodes("a b c")
	h.confirm()
	h.wantNodes("a c")
	h.clock.add(time.Minute)
	h.remove("c.yaml") // of two, the other one may go
	h.reload()
	h.wantProblems()
	h.wantNodes("a")
}

// A directory on a file system that fails is not an empty one. An unmounted one
// looks like a link to nowhere.
func TestPartUnreadable(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	if err := errors.Join(os.Rename(filepath.Join(h.dir, "cluster", "nodes"), h.dir+".gone"), os.Symlink("nodes", filepath.Join(h.dir, "cluster", "nodes"))); err != nil {
		t.Fatal(err)
	}
	h.reload()
	h.wantNodes("a b c d e")
	s := h.store.Snapshot()
	if len(s.Incomplete) != 1 || s.Incomplete["NodeConfig"] == "" || s.Complete() {
		t.Errorf("incomplete: %v", s.Incomplete)
	}
	h.wantProblems("rejected: cluster/nodes: cannot be read: stat ETC/cluster/nodes: too many levels of symbolic links; the 5 objects accepted before, the last at 2026-11-01T12:00:00Z, stay in force")
}

func TestDamagedRecords(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	h.stop()
	if err := os.Truncate(filepath.Join(h.state, "NodeConfig_b.json"), 100); err != nil {
		t.Fatal(err)
	}
	h.write("cluster/nodes/b.yaml", "[")
	h.start()
	h.wantNodes("a c d e")
	h.wantProblems("rejected: cluster/nodes/b.yaml: line 1: did not find expected node content",
		"warning: LIB/NodeConfig_b.json.corrupt: the record of an accepted object was damaged and is not used: its checksum does not fit its content; delete the file when you have seen this")
	if h.store.Snapshot().Complete() {
		t.Error("complete, though the record of b is lost and its file is bad")
	}
	h.cluster()
	h.reload()
	h.wantNodes("a b c d e")
	if !h.store.Snapshot().Complete() {
		t.Error("not complete, though all is there")
	}
	if err := os.Remove(filepath.Join(h.state, "NodeConfig_b.json.corrupt")); err != nil {
		t.Fatal(err)
	}
	h.reload()
	h.wantProblems()
}

func TestDiskFull(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(h.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", h.state).CombinedOutput(); err != nil {
		t.Fatalf("mount a small tmpfs (the tests run as root): %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(h.state, unix.MNT_DETACH) })
	h.cluster()
	h.start()
	h.wantProblems()
	if err := os.WriteFile(filepath.Join(h.state, "ballast"), make([]byte, 60<<10), 0o600); err == nil {
		_ = os.WriteFile(filepath.Join(h.state, "ballast2"), make([]byte, 60<<10), 0o600)
	}
	h.write("bgppeers/rack2.yaml", peer("rack2", 2))
	h.reload()
	if got := h.problems(); len(got) != 1 || !strings.HasPrefix(got[0], "warning: the accepted configuration cannot be kept on disk, so a restart could not fall back on it: accepted: save into LIB: ") || !strings.HasSuffix(got[0], "no space left on device") {
		t.Errorf("problems: %q", got)
	}
	if h.store.Snapshot().Peers.Len() != 2 {
		t.Error("the change is not in force")
	}
	_, _ = os.Remove(filepath.Join(h.state, "ballast")), os.Remove(filepath.Join(h.state, "ballast2"))
	h.reload()
	h.wantProblems()
	h.write("bgppeers/rack2.yaml", "[")
	h.restart()
	if h.store.Snapshot().Peers.Len() != 2 {
		t.Error("rack2 was not kept on disk when there was room again")
	}
}

func TestNoSelf(t *testing.T) {
	many := []string{}
	for i := range 12 {
		many = append(many, fmt.Sprintf("n%02d", i))
	}
	for _, c := range []struct {
		self, from string
		nodes      []string
		want       string
	}{
		{"web1.example.com", "hostname", []string{"web1", "web2"}, `node "web1.example.com" (from hostname) has no NodeConfig in /etc/caracal; it has web1, web2. Start with --node web1.`},
		{"WEB1", "hostname", []string{"web1", "web2"}, `node "WEB1" (from hostname) has no NodeConfig in /etc/caracal; it has web1, web2. Start with --node web1.`},
		{"web1", "--node", []string{"web1.a", "web2.a"}, `node "web1" (from --node) has no NodeConfig in /etc/caracal; it has web1.a, web2.a. Start with --node web1.a.`},
		{"web1", "--node", []string{"web1.a", "web1.b"}, `node "web1" (from --node) has no NodeConfig in /etc/caracal; it has web1.a, web1.b. Start with --node NAME if it is one of these, or add a NodeConfig named web1.`},
		{"x", "hostname", nil, `node "x" (from hostname) has no NodeConfig in /etc/caracal; it has none at all. Add one named x, or write a first configuration with caracal init.`},
		{"x", "hostname", many, `node "x" (from hostname) has no NodeConfig in /etc/caracal; it has n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more. Start with --node NAME if it is one of these, or add a NodeConfig named x.`},
	} {
		if got := noSelf("/etc/caracal", c.self, c.from, c.nodes); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestCheckTakesNothing(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	was := h.store.Snapshot()
	same, err := h.store.Check(ctx)
	if err != nil || same.Generation != was.Generation {
		t.Errorf("%v, generation %d", err, same.Generation)
	}
	h.write("bgppeers/rack2.yaml", peer("rack2", 2))
	h.write("bgppeers/rack3.yaml", "[")
	would, err := h.store.Check(ctx)
	if err != nil || would.Peers.Len() != 2 || len(would.Problems) != 1 || would.Generation != was.Generation+1 {
		t.Errorf("%v, %d peers, problems %v", err, would.Peers.Len(), would.Problems)
	}
	if h.store.Snapshot() != was {
		t.Error("a check took the change")
	}
	draft := t.TempDir()
	if err := os.CopyFS(draft, os.DirFS(h.opts.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(draft, "bgppeers/rack3.yaml")); err != nil {
		t.Fatal(err)
	}
	would, err = h.store.CheckDir(ctx, draft)
	if err != nil || would.Peers.Len() != 2 || len(would.Problems) != 0 {
		t.Errorf("%v, %d peers, problems %v", err, would.Peers.Len(), would.Problems)
	}
	if _, err := h.store.CheckDir(ctx, draft+"/not"); err == nil {
		t.Error("a directory that is not there gives no error")
	}
	if h.store.Snapshot() != was {
		t.Error("a check of another directory took it")
	}
	h.stop()
	if _, err := h.store.Check(ctx); !errors.Is(err, errStopped) {
		t.Errorf("after the end: %v", err)
	}
}
