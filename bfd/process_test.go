package bfd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

func TestMain(m *testing.M) {
	if Work() {
		return
	}
	os.Exit(m.Run())
}

// daemon is what tests need of a Server and a Process.
type daemon interface {
	Apply([]Session) map[string]error
	Bell() <-chan struct{}
	Take() []Event
	Status() []Status
	Close(adminDown bool)
}

func newProcess(t testing.TB, ns *nstest.NS, stateFile string) (*station, *Process) {
	p := NewProcess(ProcessOptions{Log: quiet(), StateFile: stateFile, Hold: 30 * time.Second})
	p.inside = ns.Do
	t.Cleanup(func() { p.Close(true) })
	return &station{daemon: p, t: t}, p
}

func (p *Process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worker.cmd.Process.Pid
}

func TestProcess(t *testing.T) {
	w := newWorld(t)
	a, p := newProcess(t, w.a, "")
	b := newStation(t, w.b)
	sa, sb := both("link", fast)
	bad := Session{Name: "bad", BFD: fast}
	if failed := a.Apply([]Session{sa, bad}); len(failed) != 1 || !strings.Contains(failed["bad"].Error(), "address is not known") {
		t.Errorf("failed: %v", failed)
	}
	b.apply(sb)
	a.awaitUp("link")
	b.awaitUp("link")
	if st := a.status("link"); st.State != Up || st.Remote != addr("fe80::b") || st.RemoteDiscr == 0 {
		t.Errorf("status %+v", st)
	}
	if st := p.Stats(); !strings.HasPrefix(st.Thread, "real-time") {
		t.Errorf("stats %+v", st)
	}

	// The worker crashes: that is no failure of the neighbor, and it is replaced.
	old, err := os.FindProcess(p.pid())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := a.awaitDown("link"); e.Failure() || e.State != AdminDown {
		t.Errorf("event %+v", e)
	}
	if e := b.awaitDown("link"); !e.Failure() {
		t.Errorf("event of b %+v", e)
	}
	a.awaitUp("link")
	b.awaitUp("link")

	a.apply()
	if e := b.awaitDown("link"); e.Failure() {
		t.Errorf("event of b %+v", e)
	}
	a.awaitDown("link")
	a.apply(sa)
	a.awaitUp("link")
	b.awaitUp("link")
	a.Close(true)
	if e := b.awaitDown("link"); e.Failure() {
		t.Errorf("event of b at the end %+v", e)
	}
	if failed := a.Apply([]Session{sa}); failed["link"] == nil {
		t.Error("a closed process takes sessions")
	}
}

// TestProcessDies: the daemon ends without a word, another starts, and the
// neighbor sees nothing of it.
func TestProcessDies(t *testing.T) {
	w := newWorld(t)
	state := filepath.Join(t.TempDir(), "run", "bfd.json")
	a, p := newProcess(t, w.a, state)
	b := newStation(t, w.b)
	sa, sb := both("v4", fast)
	a.apply(sa)
	b.apply(sb)
	a.awaitUp("v4")
	b.awaitUp("v4")
	eventually(t, "the timers are agreed", func() bool { return b.status("v4").Detection == 300*ms && !a.status("v4").Polling })
	start := time.Now()
	p.mu.Lock()
	p.closed = true // so that it does not start another
	dead := p.worker
	dead.conn.Close() // as the kernel does for a process that is killed
	p.mu.Unlock()
	select {
	case <-dead.gone:
		t.Logf("the worker ended after %s", time.Since(start))
	case <-time.After(slack):
		t.Fatal("the worker does not end")
	}
	time.Sleep(500 * ms)

	a, _ = newProcess(t, w.a, state)
	a.apply(sa)
	if e := a.awaitUp("v4"); e.Reason == "" {
		t.Errorf("event %+v", e)
	}
	eventually(t, "the timers are agreed again", func() bool { return b.status("v4").Detection == 300*ms && !a.status("v4").Polling })
	b.calm()
	a.calm()
	if _, err := os.Stat(state); !os.IsNotExist(err) {
		t.Errorf("the state is still there: %v", err)
	}
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x", "bfd.json")
	if got, err := load(path); got != nil || err != nil {
		t.Errorf("nothing: %+v, %v", got, err)
	}
	want := Saved{Name: "a", Local: addr("fe80::1"), Remote: addr("fe80::2"), Interface: "up0", Discr: 5, RemoteDiscr: 6, Port: 50000,
		RemoteMultiplier: 3, RemoteMinTx: time.Second, RemoteMinRx: 100 * ms, RemoteCPI: true, Hold: time.Minute, Until: time.Unix(1e9, 0).UTC()}
	if err := save(path, []Saved{want}); err != nil {
		t.Fatal(err)
	}
	if got, err := load(path); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := load(path); got != nil || err != nil {
		t.Errorf("a second time: %+v, %v", got, err)
	}
	b, _ := json.Marshal(want)
	if err := os.WriteFile(path, b[1:], 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := load(path); got != nil || err == nil {
		t.Errorf("broken: %+v, %v", got, err)
	}
	// What is over or makes no sense is not resumed.
	conf := Session{Name: "a", Local: want.Local, Remote: want.Remote, Interface: "up0"}
	later := time.Now().Add(time.Minute)
	for _, c := range []struct {
		name   string
		change func(*Saved)
		ok     bool
	}{
		{"good", func(s *Saved) {}, true},
		{"over", func(s *Saved) { s.Until = time.Now().Add(-time.Second) }, false},
		{"no discriminator", func(s *Saved) { s.Discr = 0 }, false},
		{"no multiplier", func(s *Saved) { s.RemoteMultiplier = 0 }, false},
		{"another address", func(s *Saved) { s.Remote = addr("fe80::3") }, false},
		{"another name", func(s *Saved) { s.Name = "b" }, false},
	} {
		s := want
		s.Until = later
		c.change(&s)
		if _, ok := New(Options{Log: quiet(), Resume: []Saved{s}}).saved(conf); ok != c.ok {
			t.Errorf("%s: resumed %t", c.name, ok)
		}
	}
}
