package bfd

import (
	"errors"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// saturate keeps every processor busy for a while: with four times as many
// processes as there are processors and, if inside is set, as many goroutines of
// this process as well. It returns when all is over.
func saturate(t *testing.T, d time.Duration, inside bool) {
	t.Helper()
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for range 4 * runtime.NumCPU() {
		// timeout(1) ends it, whatever happens to us.
		c := exec.Command("timeout", strconv.Itoa(int(d.Seconds())), "sh", "-c", "while :; do :; done")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all.Go(func() { _ = c.Wait() })
		if inside {
			all.Go(func() {
				for time.Now().Before(end) {
					for i := range 1 << 16 {
						_ = i * i
					}
				}
			})
		}
	}
	all.Wait()
}

// steadfast holds two servers with a few sessions of 3 x 100 ms each against a
// saturated machine: none may go down.
func steadfast(t *testing.T, d time.Duration, inside bool) {
	w := newWorld(t)
	a, pa := newProcess(t, w.a, "")
	b, pb := newProcess(t, w.b, "")
	var as, bs []Session
	for _, name := range []string{"v4", "v6", "link", "multi4"} {
		sa, sb := both(name, fast)
		as, bs = append(as, sa), append(bs, sb)
	}
	a.apply(as...)
	b.apply(bs...)
	for _, s := range as {
		eventually(t, s.Name+" is up", func() bool { return a.status(s.Name).Detection == 300*ms && b.status(s.Name).Detection == 300*ms })
	}
	a.catchUp()
	b.catchUp()
	saturate(t, d, inside)
	a.calm()
	b.calm()
	for _, p := range []*Process{pa, pb} {
		st := p.Stats()
		t.Logf("%s; at most %s late; relieved %d times", st.Thread, st.Late, st.Relieved)
	}
}

// TestSaturation is the short form of TestSoakSaturation.
func TestSaturation(t *testing.T) {
	t.Run("processes", func(t *testing.T) { steadfast(t, 5*time.Second, false) })
	t.Run("goroutines", func(t *testing.T) { steadfast(t, 5*time.Second, true) })
}

// TestNoPriority: where the thread's priority may not be raised, all works.
func TestNoPriority(t *testing.T) {
	w := newWorld(t)
	a, b := newStation(t, w.a), newStation(t, w.b)
	for _, s := range []*station{a, b} {
		s.s.raise = func() (string, error) { return "", errors.New("not allowed") }
	}
	sa, sb := both("v4", fast)
	a.apply(sa)
	b.apply(sb)
	a.awaitUp("v4")
	b.awaitUp("v4")
	if st := a.s.Stats(); st.Thread != "normal" {
		t.Errorf("thread: %s", st.Thread)
	}
}
