package soak

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"caracal.dev/caracal/bench/stand"
)

// How much is changed and in what time. A flag rather than a build tag, since
// there is one for any length.
var (
	changes  = flag.Int("changes", 20_000, "how many changes of routes")
	over     = flag.Duration("over", 4*time.Second, "the time they are spread over; 0 for as fast as they go")
	seed     = flag.Uint64("seed", 0, "of the random order; 0 for another each time")
	caracald = flag.String("caracald", "", "the program to test; empty to build it")
)

const (
	stations = 8
	// parts is how often all views are compared and usage is read.
	parts = 4
)

// TestChanges ends with what is announced, the mirror and the kernel equal, and
// with a daemon that is not larger than it was after a quarter of the way.
func TestChanges(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("%d changes over %v, seed %d", *changes, *over, *seed)
	c := newChurn(t, program(t))
	var at []usage
	for part := range parts {
		c.run(*changes/parts, *over/parts)
		if quarter := part == parts/4-1; quarter || part == parts-1 {
			c.allBack() // and otherwise what is left of those away shows as stale
		}
		c.settle()
		u, err := c.views.usage()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d/%d: %d paths, %d drops: %v", part+1, parts, c.paths(), c.drops, u)
		at = append(at, u)
		// A block moves to another node, and another block comes from there.
		c.swap(part%stations, (part+1)%stations)
		c.settle()
	}
	// What is live is what the last collection found: in the midst of a burst, also what
	// was on its way. Reading the views makes for others.
	wrong := grown(at[parts/4-1], at[parts-1])
	for try := 0; wrong != "" && try < 50; try++ {
		c.settle()
		u, err := c.views.usage()
		if err != nil {
			t.Fatal(err)
		}
		wrong = grown(at[parts/4-1], u)
	}
	if wrong != "" {
		t.Error(wrong)
	}
}

// grown says what of the daemon has grown; nothing if it has not.
func grown(quarter, end usage) (wrong string) {
	for _, g := range []struct {
		what       string
		from, to   int
		part, more int // allowed growth: one part in that many, and that much
	}{
		{"resident bytes", quarter.resident, end.resident, 4, 32 << 20},
		{"live bytes of the heap", quarter.live, end.live, 5, 16 << 20},
		{"goroutines", quarter.goroutines, end.goroutines, 1 << 30, 8},
		{"descriptors", quarter.descriptors, end.descriptors, 1 << 30, 4},
	} {
		if limit := g.from + g.from/g.part + g.more; g.to > limit {
			wrong += fmt.Sprintf("%s grew from %d at a quarter of the way to %d at its end, over %d\n", g.what, g.from, g.to, limit)
		}
	}
	return wrong
}

// program returns the caracald to test.
func program(t *testing.T) string {
	if *caracald != "" {
		return *caracald
	}
	path := filepath.Join(t.TempDir(), "caracald")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "../../cmd/caracald")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build caracald: %v\n%s", err, out)
	}
	return path
}

// settle waits until the three views are equal.
func (c *churn) settle() {
	c.t.Helper()
	mirror, kernel := c.want()
	var wrong string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if wrong = c.differ(mirror, kernel); wrong == "" {
			return
		}
	}
	c.t.Fatalf("the views are not equal after 30 s:\n%s", wrong)
}

func (c *churn) differ(mirror map[string]string, kernel map[netip.Prefix]netip.Addr) string {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	gotMirror, err := c.views.mirror(ctx)
	if err != nil {
		return "read the mirror: " + err.Error()
	}
	gotKernel, err := c.views.kernel()
	if err != nil {
		return "read the kernel: " + err.Error()
	}
	return difference("mirror", gotMirror, mirror) + difference("kernel", gotKernel, kernel)
}

// difference names the first differences.
func difference[K, V comparable](what string, got, want map[K]V) string {
	if maps.Equal(got, want) {
		return ""
	}
	out := fmt.Sprintf("%s: has %d, should have %d\n", what, len(got), len(want))
	n := 0
	for k, v := range want {
		if g, ok := got[k]; n < 8 && (!ok || g != v) {
			out += fmt.Sprintf("  %v: has %v (%t), should have %v\n", k, g, ok, v)
			n++
		}
	}
	for k, v := range got {
		if _, ok := want[k]; n < 12 && !ok {
			out += fmt.Sprintf("  %v: has %v, should have nothing\n", k, v)
			n++
		}
	}
	return out
}

// newChurn starts the daemon and brings up the sessions.
func newChurn(t *testing.T, binary string) *churn {
	t.Helper()
	each := 1250 // prefixes of one node
	if *changes < 100_000 {
		each = 400
	}
	shares, err := stand.Split(stations*each, stations)
	if err != nil {
		t.Fatal(err)
	}
	w, err := stand.NewWorld(stations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	dir := t.TempDir()
	d, err := stand.Caracald{Binary: binary}.Start(w, dir, shares)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("log of the daemon:\n" + d.LastWords())
		}
	})
	c := &churn{
		model: model{addrs: w.Addrs, each: each},
		t:     t, w: w, d: d, dir: dir, shares: shares, views: newViews(t, w, d, dir),
		rnd: rand.New(rand.NewPCG(*seed, 1)), returned: make(chan arrival, stations),
	}
	for i, s := range shares {
		c.prefixes = append(c.prefixes, s.Routes...)
		c.owner = append(c.owner, i)
		// One in four does not restart gracefully.
		c.stations = append(c.stations, &station{graceful: i%4 != 3, says: map[int]version{}, has: map[int]held{}})
		c.sessions = append(c.sessions, nil)
	}
	c.fill()
	for i := range c.stations {
		c.dial(i, false)
	}
	c.allBack()
	t.Cleanup(func() {
		for _, s := range c.sessions {
			if s != nil {
				s.Abort()
			}
		}
	})
	return c
}
