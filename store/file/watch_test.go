package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/cputime"
)

func hasNode(name string) func(*caracal.Snapshot) bool {
	return func(s *caracal.Snapshot) bool { _, ok := s.Nodes.Get(name); return ok }
}

func hasBlock(cidr string) func(*caracal.Snapshot) bool {
	return func(s *caracal.Snapshot) bool {
		for p := range s.Blocks.All() {
			if p.String() == cidr {
				return true
			}
		}
		return false
	}
}

func TestNoticesChanges(t *testing.T) {
	h := newHost(t)
	h.notices()
	h.cluster()
	h.start()
	h.eventually("the start", hasNode("a"))
	h.write("cluster/nodes/deep/er/f.yaml", node("f", 6))
	h.eventually("a file in a new directory", hasNode("f"))
	h.write("cluster/nodes/deep/er/g.yaml", node("g", 7))
	h.eventually("another one there", hasNode("g"))
	h.remove("cluster/nodes/deep")
	h.eventually("a directory that was deleted", func(s *caracal.Snapshot) bool { return !hasNode("f")(s) && !hasNode("g")(s) })
	h.write("cluster/nodes/deep/f.yaml", node("f", 6))
	h.eventually("the directory made anew", hasNode("f"))
	h.write("cluster/nodes/deep/g.yaml", node("g", 7))
	h.eventually("a file in the directory made anew", hasNode("g"))
	h.wantProblems()
}

// The whole directory moves under our feet, as with configuration management
// that swaps a link, and with Kubernetes' mounted volumes.
func TestNoticesSwappedLinks(t *testing.T) {
	h := newHost(t)
	h.notices()
	version := func(i int) string {
		dir := fmt.Sprintf("%s.v%d", h.dir, i)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(pool()+"---\n"+node("a", i)), 0o644)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	swap := func(target, link string) {
		if err := errors.Join(os.Symlink(target, link+".new"), os.Rename(link+".new", link)); err != nil {
			t.Fatal(err)
		}
	}
	h.remove("")
	swap(version(1), h.dir)
	h.start()
	for i := 2; i < 5; i++ {
		swap(version(i), h.dir)
		h.eventually("the directory is a link that was swapped", hasBlock(fmt.Sprintf("10.0.%d.0/26", i)))
	}
	h.wantProblems()

	// ..data/FILE is linked to by FILE.
	h.remove("")
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	swap(version(5), filepath.Join(h.dir, "..data"))
	swap("..data/a.yaml", filepath.Join(h.dir, "a.yaml"))
	h.eventually("files behind links", hasBlock("10.0.5.0/26"))
	swap(version(6), filepath.Join(h.dir, "..data"))
	h.eventually("..data was swapped", hasBlock("10.0.6.0/26"))
	h.wantProblems()
}

// A file written in pieces is taken when it is whole, and in between the old
// version stays.
func TestSlowWriter(t *testing.T) {
	h := newHost(t)
	h.notices()
	h.opts.Now = time.Now
	h.cluster()
	h.start()
	bell := h.store.Subscribe()
	f, err := os.Create(filepath.Join(h.dir, "bgppeers/rack1.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(peer("rack1", 1), "64512", "65002", 1)
	for i := range len(text) {
		if _, err := f.WriteString(text[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			time.Sleep(30 * time.Millisecond) // longer than Quiet
		}
		if p, ok := h.store.Snapshot().Peers.Get("rack1"); !ok || p.ASN != 64512 && i < len(text)-1 {
			t.Fatalf("after %d bytes: %+v", i, p)
		}
	}
	f.Close()
	h.eventually("the end of the file", func(s *caracal.Snapshot) bool { p, _ := s.Peers.Get("rack1"); return p.ASN == 65002 })
	select {
	case <-bell: // it rings after the Snapshot is there
	case <-time.After(time.Minute):
		t.Error("no bell")
	}
}

// Half of a file may be valid by itself: what is not in it yet is not removed
// while its writer has it open. One who never closes it is not waited for.
func TestFileWithWriter(t *testing.T) {
	h := newHost(t)
	h.notices()
	h.opts.Now = time.Now
	both := pool() + "---\n" + node("a", 1) + "---\n" + node("b", 2)
	h.write("all.yaml", both)
	h.start()
	h.eventually("the start", hasNode("b"))
	half := len(both) - len("---\n"+node("b", 2))
	write := func(text string) *os.File {
		f, err := os.Create(filepath.Join(h.dir, "all.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f
	}
	begin := time.Now()
	f := write(both[:half])
	for ; time.Since(begin) < time.Second; time.Sleep(10 * time.Millisecond) {
		has := hasNode("b")(h.store.Snapshot())
		if took := time.Since(begin); !has && took < writeTime {
			t.Fatalf("%v after half of the file was written its other half is gone", took)
		}
	}
	if _, err := f.WriteString(strings.Replace(both[half:], "192.0.2.2/", "192.0.2.9/", 1)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	h.eventually("the whole file", func(s *caracal.Snapshot) bool {
		n, _ := s.Nodes.Get("b")
		return n.IPv4.Addr().String() == "192.0.2.9"
	})
	begin = time.Now()
	defer write(both[:half]).Close()
	h.eventually("a file that stays open", func(s *caracal.Snapshot) bool { return !hasNode("b")(s) })
	if d := time.Since(begin); d < writeTime/2 {
		t.Errorf("taken after %v", d)
	}
}

// A settled batch is one Snapshot.
func TestBatchIsOneTransaction(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.opts.Quiet = 2 * time.Second // many times what it takes to write a batch
	h.write("pool.yaml", pool())
	h.write("nodes/a.yaml", node("a", 1))
	h.start()
	time.Sleep(2 * h.opts.Quiet) // what the start itself has to look at again
	before := h.store.Snapshot().Generation
	for i := 2; i < 100; i++ {
		h.write(fmt.Sprintf("nodes/n%d.yaml", i), node(fmt.Sprintf("n%d", i), i))
	}
	h.eventually("the batch", hasNode("n99"))
	if got := h.store.Snapshot().Generation - before; got != 1 {
		t.Errorf("%d Snapshots for one batch", got)
	}
	// Also if it removes something.
	h.remove("nodes/n50.yaml")
	h.write("nodes/a.yaml", node("a", 200))
	h.eventually("the removal", func(s *caracal.Snapshot) bool { return !hasNode("n50")(s) })
	time.Sleep(2 * h.opts.Quiet)
	if got := h.store.Snapshot().Generation - before; got != 2 || !hasBlock("10.0.200.0/26")(h.store.Snapshot()) {
		t.Errorf("%d Snapshots for two batches", got)
	}
}

// One change in a large directory is one change in the Snapshot.
func TestSharesStructure(t *testing.T) {
	h := newHost(t)
	h.write("pool.yaml", doc("IPPool", "pods", "  cidr: 10.0.0.0/8\n"))
	const n = 1000
	for i := range n {
		h.write(fmt.Sprintf("nodes/n%d.yaml", i), doc("NodeConfig", fmt.Sprintf("n%d", i),
			fmt.Sprintf("  addresses: [172.16.%d.%d/12]\n  blocks: [10.%d.%d.0/26]\n", 1+i/250, 1+i%250, i/250, i%250)))
	}
	h.opts.Node = "n0"
	h.start()
	h.wantProblems()
	before := h.store.Snapshot()
	h.write("nodes/n7.yaml", doc("NodeConfig", "n7", "  addresses: [172.16.1.8/12]\n  blocks: [10.200.0.0/26]\n"))
	begin := cputime.Used()
	h.reload()
	took := cputime.Used() - begin
	after := h.store.Snapshot()
	compared := 0
	equal := func(a, b caracal.Node) bool { compared++; return reflect.DeepEqual(a, b) }
	after.Nodes.Diff(before.Nodes, equal, func(name string, _, _ *caracal.Node) {
		if name != "n7" {
			t.Errorf("%s differs", name)
		}
	})
	if compared > 100 { // the way to one key in a tree of 1,000
		t.Errorf("%d of %d nodes are not shared", compared, n)
	}
	t.Logf("one change in %d files took %v", n, took)
	if took > 3*time.Second {
		t.Errorf("one change in %d files took %v", n, took)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(pool()+"---\n"+node("a", 1), 20)
	f.Add("# c\n...\n--- \nkind: x\r---\n", 3)
	f.Add("\xef\xbb\xbf"+peer("x", 1), 70)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		a := &file{path: "f.yaml"}
		a.parse([]byte(text), nil)
		if a.refused != "" && len(a.docs) > 0 {
			t.Fatal("documents of a refused file")
		}
		now := time.Unix(1e9, 0)
		first := plan(input{dir: "/d", self: "a", scan: &scan{files: []*file{a}}, now: now})
		// The same again is no change; a part of it never removes more than it may.
		second := plan(input{dir: "/d", self: "a", old: first.state, scan: &scan{files: []*file{a}}, now: now})
		if len(second.objects) != len(first.objects) {
			t.Fatalf("%d objects, then %d", len(first.objects), len(second.objects))
		}
		b := &file{path: "f.yaml"}
		b.parse([]byte(text[:max(0, min(cut, len(text)))]), nil)
		torn := plan(input{dir: "/d", self: "a", old: first.state, scan: &scan{files: []*file{b}}, now: now})
		if b.refused != "" && len(torn.objects) != len(first.objects) {
			t.Fatalf("a refused file removed %d of %d objects", len(first.objects)-len(torn.objects), len(first.objects))
		}
	})
}
