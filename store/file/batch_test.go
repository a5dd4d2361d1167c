package file

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func (h *host) rename(from, to string) {
	h.t.Helper()
	if err := os.Rename(filepath.Join(h.dir, from), filepath.Join(h.dir, to)); err != nil {
		h.t.Fatal(err)
	}
}

// TestObjectBetweenTwoFiles has a batch that takes longer than MaxWait, in which
// an object is for a while in no file.
func TestObjectBetweenTwoFiles(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	// Many times what is between two steps, lest a pause pass for the end of the batch.
	h.opts.Quiet, h.opts.MaxWait = 4*time.Second, 600*time.Millisecond
	h.cluster()
	h.start()
	time.Sleep(2 * h.opts.MaxWait)
	var early bool
	for i := range 50 { // 2 s
		switch i {
		case 5:
			h.remove("cluster/nodes/b.yaml")
		case 40:
			h.write("cluster/nodes/rack1-b.yaml", node("b", 2))
		}
		h.write("cluster/nodes/f.yaml", node("f", 6+i))
		time.Sleep(40 * time.Millisecond)
		if !hasNode("b")(h.store.Snapshot()) {
			t.Fatalf("node b is gone after step %d", i)
		}
		early = early || hasNode("f")(h.store.Snapshot())
	}
	if !early {
		t.Error("additions wait for the end of a long batch")
	}
	h.eventually("the end of the batch", hasBlock("10.0.55.0/26"))
	time.Sleep(h.opts.Quiet)
	h.wantNodes("a b c d e f")
	h.wantProblems()
	h.remove("cluster/nodes/rack1-b.yaml")
	h.eventually("a true removal", func(s *caracal.Snapshot) bool { return !hasNode("b")(s) })
}

// TestRenamedWhileRead renames a file when its directory was listed and the file
// was not read yet.
func TestRenamedWhileRead(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", pool())
	h.write("b.yaml", node("b", 2))
	time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
	var rename func()
	s := newScanner(h.dir, func() time.Time {
		if rename != nil {
			rename()
		}
		return time.Now()
	})
	names := []string{"b.yaml", "rack1-b.yaml"}
	swap := func() {
		h.rename(names[0], names[1])
		slices.Reverse(names)
	}
	rename = func() { swap(); rename = nil }
	found := s.scan()
	if len(found.files) != 2 || found.files[1].path != "rack1-b.yaml" || found.moving {
		t.Errorf("found %d files, moving %v", len(found.files), found.moving)
	}
	// One that never holds still.
	h.write("a.yaml", pool()+"# read it again, whatever its age\n")
	time.Sleep(20 * time.Millisecond)
	rename = func() {
		h.write("a.yaml", pool()) // so that it is read each time
		swap()
		time.Sleep(20 * time.Millisecond)
	}
	if found := s.scan(); !found.moving {
		t.Error("a directory that never holds still passes for a still one")
	}
}

// TestChangedWhileRead changes a file after it was read: what is missing may be
// there now.
func TestChangedWhileRead(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", pool())
	h.write("b.yaml", node("b", 2))
	s := newScanner(h.dir, time.Now)
	found := s.scan()
	if !s.still(found) {
		t.Error("nothing changed")
	}
	h.write("a.yaml", pool()+"---\n"+node("b", 2))
	if s.still(found) {
		t.Error("a change went unseen")
	}
}

// TestUnsettled holds what a pass in the middle of a batch makes of removals: the
// new ones wait, those that are held stay held.
func TestUnsettled(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	h.removeFour()
	h.reload()
	h.wantProblems(heldNodes)
	h.stop()
	h.remove("bgppeers/rack1.yaml")
	h.write("cluster/nodes/f.yaml", node("f", 6))
	s := h.store
	out := plan(s.input(s.scanner.scan(), false, false))
	if len(out.deferred) != 1 || out.deferred[0].Name != "rack1" {
		t.Errorf("deferred %v", out.deferred)
	}
	if len(out.state.held) != 4 || len(out.state.accepted) != len(s.state.accepted)+1 {
		t.Errorf("held %v, accepted %d", out.state.held, len(out.state.accepted))
	}
	if len(out.problems) != 1 || out.problems[0].Severity != caracal.Held {
		t.Errorf("problems %v", out.problems)
	}
}

// TestRemovalWithoutAWatch takes two looks at the directory for a removal, where
// no event tells whether it was left alone.
func TestRemovalWithoutAWatch(t *testing.T) {
	h := newHost(t)
	h.cluster()
	h.start()
	h.stop()
	s := h.store
	look := func() time.Duration {
		return s.pass(passOptions{watcher: &watcher{err: errors.New("no inotify")}}).again
	}
	// later has the last look be longer ago than the quiet time.
	later := func() { s.lastAt = s.lastAt.Add(-h.opts.Quiet) }
	look()
	h.remove("bgppeers/rack1.yaml")
	later()
	if again := look(); again != h.opts.Quiet || s.Snapshot().Peers.Len() != 1 {
		t.Errorf("after the first look: again in %v, %d peers", again, s.Snapshot().Peers.Len())
	}
	if look(); s.Snapshot().Peers.Len() != 1 {
		t.Error("the second look came too early to tell")
	}
	later()
	if again := look(); again != 0 || s.Snapshot().Peers.Len() != 0 {
		t.Errorf("after the last look: again in %v, %d peers", again, s.Snapshot().Peers.Len())
	}
	// One that waits for long is told of.
	s.deferredSince = time.Now().Add(-time.Minute)
	h.remove("cluster/nodes/e.yaml")
	look()
	if got := h.problems(); !slices.ContainsFunc(got, func(p string) bool {
		return strings.Contains(p, "the removal of e waits until ETC is left alone for 1h0m0s")
	}) {
		t.Errorf("problems %q", got)
	}
}
