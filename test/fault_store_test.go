package test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/lab"
)

// breakage makes the file store useless; mend undoes it.
type breakage struct {
	name        string
	spoil, mend func(config string) error
	says        string // part of what status says
}

func breakages() []breakage {
	away := func(config string) error { return os.Rename(config+"/cluster", config+".away") }
	back := func(config string) error {
		return errors.Join(os.RemoveAll(config+"/cluster"), os.Rename(config+".away", config+"/cluster"))
	}
	return []breakage{
		{"empty", func(c string) error { return errors.Join(away(c), os.Mkdir(c+"/cluster", 0o755)) }, back, "no configuration at all"},
		{"gone", func(c string) error { return os.Rename(c, c+".all") }, func(c string) error { return os.Rename(c+".all", c) }, "no such file or directory"},
		{"a file in its place", func(c string) error { return errors.Join(away(c), os.WriteFile(c+"/cluster", nil, 0o644)) }, back, "cluster: cannot be read"},
		{"a loop of links", func(c string) error { return errors.Join(away(c), os.Symlink("cluster", c+"/cluster")) }, back, "cluster: cannot be read"},
	}
}

// TestStartOnBrokenStore starts a daemon while its configuration is not to be
// read: it goes on with what it accepted last, and says so.
func TestStartOnBrokenStore(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	undisturbed(t, l, func() {
		for _, b := range breakages() {
			if err := a.Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := b.spoil(l.ConfigDir()); err != nil {
				t.Fatal(err)
			}
			must(a.StartCaracald())(t)
			settle(t, l)
			eventually(t, 10*time.Second, func() string { return saysProblem(t, a, b.says) })
			time.Sleep(time.Second)
			if err := b.mend(l.ConfigDir()); err != nil {
				t.Fatal(err)
			}
			eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "") })
		}
		time.Sleep(sweepTime)
	})
}

// saysProblem reports whether status has a problem with a text in it; with none,
// whether it has no problem.
func saysProblem(t *testing.T, n *lab.Node, text string) string {
	t.Helper()
	st, err := n.Status(t.Context())
	switch {
	case err != nil:
		return err.Error()
	case text == "" && len(st.Problems) > 0:
		return "status still reports:\n" + lines(st.Problems)
	case text != "" && !mentions(st.Problems, "", text):
		return fmt.Sprintf("status does not say %q:\n%s", text, lines(st.Problems))
	}
	return ""
}

// TestStartOnNothing has lost the accepted configuration too: the daemon knows
// nothing at all, and touches nothing.
func TestStartOnNothing(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	undisturbed(t, l, func() {
		if err := a.Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		config := l.ConfigDir()
		if err := errors.Join(os.RemoveAll(a.StateDir()), os.Rename(config+"/cluster", config+".away"), os.Mkdir(config+"/cluster", 0o755)); err != nil {
			t.Fatal(err)
		}
		must(a.StartCaracald())(t)
		eventually(t, 10*time.Second, func() string {
			st, err := a.Status(t.Context())
			if err != nil {
				return err.Error()
			}
			if st.Ready.Holds || st.Ready.Reason == "" {
				return fmt.Sprintf("status does not say what it waits for: %+v", st.Ready)
			}
			return ""
		})
		t.Logf("status: %s", must(a.Status(t.Context()))(t).Ready.Reason)
		time.Sleep(sweepTime)
		if err := errors.Join(os.Remove(config+"/cluster"), os.Rename(config+".away", config+"/cluster")); err != nil {
			t.Fatal(err)
		}
		settle(t, l)
		time.Sleep(sweepTime)
	})
}

// TestStoreHalved removes more than half of the nodes at once, and then one.
func TestStoreHalved(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 10, PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	// A directory of their own goes at one instant, on a busy machine as well.
	cluster := filepath.Join(l.ConfigDir(), "cluster")
	half, aside := filepath.Join(cluster, "half"), filepath.Join(l.Dir(), "aside")
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	undisturbedFrom(t, l, []string{"b", "f", "j"}, func() {
		for _, n := range []string{"e", "f", "g", "h", "i", "j"} {
			move(filepath.Join(cluster, "node-"+n+".yaml"), filepath.Join(half, "node-"+n+".yaml"))
		}
		eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "") })
		move(half, aside)
		eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "stay in force until the removal is confirmed") })
		crash(t, a, syscall.SIGKILL, 0)
		settle(t, l, "a1", "b1")
		time.Sleep(sweepTime)
		if err := saysProblem(t, a, "stay in force until the removal is confirmed"); err != "" {
			t.Errorf("after a restart: %s", err)
		}
		move(aside, half)
		eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "") })
	})
	if err := os.Remove(filepath.Join(half, "node-j.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() string {
		if strings.Contains(strings.Join(own(t, a), "\n"), l.Node("j").Block(lab.IPv4).String()) {
			return "the routes of one removed node are still there"
		}
		return ""
	})
}

// TestTornFiles writes a file in place in pieces, again and again, as an editor
// or a full disk does, and kills the daemon in the middle of it.
func TestTornFiles(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	eventually(t, 10*time.Second, func() string { return same(own(t, a), wantRoutes(l, a)) })
	rng := rand.New(rand.NewPCG(2, 71))
	undisturbed(t, l, func() {
		for i := range 60 {
			node := []string{"a", "b", "c"}[i%3]
			tear(t, filepath.Join(l.ConfigDir(), "cluster", "node-"+node+".yaml"), rng, func() {
				if i%15 == 7 {
					crash(t, a, syscall.SIGKILL, 0)
				}
			})
		}
		settle(t, l)
		eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "") })
		time.Sleep(sweepTime)
	})
}

// tear writes a file's own text over it in pieces, with pauses of up to a second
// between; do is called when half of it is there.
func tear(t *testing.T, path string, rng *rand.Rand, do func()) {
	t.Helper()
	text := must(os.ReadFile(path))(t)
	f := must(os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0))(t)
	defer f.Close()
	pause := func() { time.Sleep(time.Duration(rng.IntN(10)*rng.IntN(10)*rng.IntN(10)) * time.Millisecond) }
	half := rng.IntN(len(text))
	pause()
	must(f.Write(text[:half]))(t)
	do()
	pause()
	must(f.Write(text[half:]))(t)
}

// TestDiskFull fills the disk that the state is kept on. What is accepted is in
// force all the same, status says that it cannot be kept, and what was kept
// before is whole.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1}))
	a := l.Node("a")
	if err := os.MkdirAll(a.StateDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", a.StateDir(), "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Kill(syscall.SIGKILL)
		unix.Unmount(a.StateDir(), unix.MNT_DETACH)
	})
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	filler := filepath.Join(a.StateDir(), "filler")
	undisturbed(t, l, func() {
		if err := os.WriteFile(filler, make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling the disk: %v", err)
		}
		if err := l.WriteConfig("extra.yaml", workload("extra", "b", "caraextra", "10.244.2.40")); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() string { return saysProblem(t, a, "cannot be kept on disk") })
		// Over a restart on the full disk, and one without the store.
		crash(t, a, syscall.SIGKILL, 0)
		settle(t, l)
		eventually(t, 10*time.Second, func() string { return saysProblem(t, a, "cannot be kept on disk") })
		crash(t, a, syscall.SIGKILL, 0)
		cluster := l.ConfigDir() + "/cluster"
		if err := os.Rename(cluster, cluster+".away"); err != nil {
			t.Fatal(err)
		}
		crash(t, a, syscall.SIGKILL, 0)
		settle(t, l)
		if err := errors.Join(os.Rename(cluster+".away", cluster), os.Remove(filler)); err != nil {
			t.Fatal(err)
		}
		eventually(t, 15*time.Second, func() string { return saysProblem(t, a, "") })
		time.Sleep(sweepTime)
	})
}
