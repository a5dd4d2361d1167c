package bfd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

// patience is the detection time with the other daemons, of 30 x 100 ms: the machine
// may stop one of them, or us, for a second or two, and none may see the other go.
const patience = 3 * time.Second

// patient are timers with that multiplier.
func patient(interval time.Duration) caracal.BFD {
	b := timers(interval, interval)
	b.Multiplier = 30
	return b
}

// router is another BFD daemon in namespace b, with the sessions "v4", "v6" and
// "multi4" of 30 x 100 ms.
type router interface {
	start(t *testing.T, ns *nstest.NS)
	// daemon is the process that speaks BFD.
	daemon() *os.Process
	// up returns how many of its sessions are up.
	up(t *testing.T) int
	// adminDown has it take down its IPv4 single-hop session on purpose. It returns
	// false for a daemon that knows no AdminDown of its own.
	adminDown(t *testing.T) bool
}

func TestInteropBIRD(t *testing.T) { interop(t, &bird{}) }
func TestInteropFRR(t *testing.T)  { interop(t, &frr{}) }

// interop is the whole story with one daemon.
func interop(t *testing.T, r router) {
	w := newWorld(t)
	a := newStation(t, w.a)
	var want []Session
	for _, name := range []string{"v4", "v6", "multi4"} {
		s, _ := both(name, patient(100*ms))
		want = append(want, s)
	}
	r.start(t, w.b)
	a.apply(want...)
	agreed := func() bool {
		for _, s := range want {
			if st := a.status(s.Name); st.State != Up || st.Polling || st.Detection != patience {
				return false
			}
		}
		return r.up(t) == len(want)
	}
	eventually(t, "all sessions are up with the timers that both ends want", agreed)
	for _, st := range a.Status() {
		t.Logf("%s: C bit %t, demand %t", st.Name, st.RemoteCPI, st.RemoteDemand)
	}

	// New timers: no session goes down at either end.
	slow := append([]Session{}, want...)
	for i := range slow {
		slow[i].BFD = patient(400 * ms)
	}
	a.Take()
	a.apply(slow...)
	eventually(t, "slower timers are agreed", func() bool {
		st := a.status("v4")
		return !st.Polling && st.Transmit == 400*ms && st.Detection == 4*patience
	})
	a.apply(want...)
	eventually(t, "the old timers are agreed", agreed)
	a.calm()

	a = a.restart(w.a, want)
	eventually(t, "all go on after the restart", agreed)
	time.Sleep(patience)
	a.calm()

	a.freeze(r, want)
	eventually(t, "all are up again", agreed)
	a.catchUp()

	// AdminDown, from there and from here.
	if r.adminDown(t) {
		if e := a.awaitDown("v4"); e.Failure() || !e.RemoteAdminDown {
			t.Errorf("AdminDown of the neighbor: %+v", e)
		}
	}
	before := r.up(t)
	start := time.Now()
	a.apply()
	eventually(t, "the neighbor has no session up", func() bool { return r.up(t) == 0 })
	t.Logf("after our AdminDown %d sessions were down in %s", before, time.Since(start))
}

// restart is a planned one that takes twice the detection time, which the
// neighbor does not see.
func (s *station) restart(ns *nstest.NS, want []Session) *station {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), slack)
	defer cancel()
	saved := s.s.Pause(ctx, 20*time.Second)
	s.Close(false)
	time.Sleep(2 * patience)
	next := newStation(s.t, ns, saved...)
	next.apply(want...)
	for range want {
		if e := next.await("resumed", func(Event) bool { return true }); e.State != Up {
			s.t.Errorf("after the restart: %+v", e)
		}
	}
	return next
}

// freeze stops the neighbor's daemon for a while: each session goes down by
// itself within its detection time.
func (s *station) freeze(r router, want []Session) {
	s.t.Helper()
	s.catchUp()
	start := time.Now()
	if err := r.daemon().Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	from := s.seen
	for _, w := range want {
		s.seen = from
		e := s.awaitDown(w.Name)
		took, silence := e.At.Sub(start), e.At.Sub(s.status(w.Name).LastReceived)
		s.t.Logf("%s Down %s after SIGSTOP: %s", w.Name, took.Round(ms), e.Reason)
		if !e.Failure() || took > patience+slack || silence < patience {
			s.t.Errorf("event %+v after %s, of which %s were silent", e, took, silence)
		}
	}
	if err := r.daemon().Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
}

// catchUp forgets the events so far.
func (s *station) catchUp() {
	s.events = append(s.events, s.Take()...)
	s.seen = len(s.events)
}

// process is a daemon in a namespace, killed at the end of the test. It runs in
// the real-time class, as we do, so that its own lateness on a busy machine is not
// seen.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func startProcess(t *testing.T, ns *nstest.NS, name string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: ns.Command("chrt", append([]string{"--rr", "5", name}, args...)...)}
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		if t.Failed() {
			p.mu.Lock()
			t.Logf("%s: %s", name, p.out.String())
			p.mu.Unlock()
		}
	})
	return p
}

type bird struct {
	ns   *nstest.NS
	ctl  string
	proc *process
}

const birdConf = `router id 192.0.2.2;
protocol device {}
protocol bfd watch {
	interface "up0" { min rx interval 100 ms; min tx interval 100 ms; idle tx interval 1 s; multiplier 30; };
	multihop { min rx interval 100 ms; min tx interval 100 ms; idle tx interval 1 s; multiplier 30; };
	neighbor 192.0.2.1 dev "up0" local 192.0.2.2;
	neighbor 2001:db8::1 dev "up0" local 2001:db8::2;
	neighbor 192.0.2.1 local 192.0.2.2 multihop on;
}
`

func (b *bird) start(t *testing.T, ns *nstest.NS) {
	t.Helper()
	dir := t.TempDir()
	b.ns, b.ctl = ns, filepath.Join(dir, "ctl")
	conf := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(conf, []byte(birdConf), 0o644); err != nil {
		t.Fatal(err)
	}
	b.proc = startProcess(t, ns, "bird", "-f", "-c", conf, "-s", b.ctl, "-P", filepath.Join(dir, "pid"))
	eventually(t, "BIRD answers", func() bool { _, err := b.ns.Try("birdc", "-s", b.ctl, "show", "status"); return err == nil })
}

func (b *bird) daemon() *os.Process { return b.proc.Process }

func (b *bird) up(*testing.T) int {
	out, _ := b.ns.Try("birdc", "-s", b.ctl, "show", "bfd", "sessions")
	return strings.Count(out, " Up ")
}

// adminDown: BIRD falls silent when its protocol is disabled.
func (b *bird) adminDown(*testing.T) bool { return false }

type frr struct {
	ns   *nstest.NS
	dir  string
	proc *process
}

func (f *frr) start(t *testing.T, ns *nstest.NS) {
	t.Helper()
	u, err := user.Lookup("frr")
	if err != nil {
		t.Fatalf("%v; install FRR (Debian: apt-get install frr)", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	f.ns = ns
	// The daemons give up root, and a socket's path may not be long.
	if f.dir, err = os.MkdirTemp("", "frr"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(f.dir) })
	if err := os.Chown(f.dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	var conf strings.Builder
	conf.WriteString("bfd\n")
	for _, peer := range []string{"192.0.2.1 local-address 192.0.2.2 interface up0", "2001:db8::1 local-address 2001:db8::2 interface up0",
		"192.0.2.1 multihop local-address 192.0.2.2"} {
		fmt.Fprintf(&conf, " peer %s\n  transmit-interval 100\n  receive-interval 100\n  detect-multiplier 30\n !\n", peer)
	}
	zserv := filepath.Join(f.dir, "zserv.api")
	for _, d := range []struct {
		name, conf string
		more       []string
	}{{name: "zebra"}, {"bfdd", conf.String(), []string{"--bfdctl", filepath.Join(f.dir, "bfdd.sock")}}} {
		file := filepath.Join(f.dir, d.name+".conf")
		if err := os.WriteFile(file, []byte(d.conf), 0o644); err != nil {
			t.Fatal(err)
		}
		f.proc = startProcess(t, ns, "/usr/lib/frr/"+d.name, append(d.more, "-f", file, "-i", filepath.Join(f.dir, d.name+".pid"),
			"-z", zserv, "--vty_socket", f.dir, "--log", "stdout")...)
		eventually(t, d.name+" answers", func() bool { _, err := os.Stat(filepath.Join(f.dir, d.name+".vty")); return err == nil })
	}
}

func (f *frr) daemon() *os.Process { return f.proc.Process }

func (f *frr) vtysh(commands ...string) (string, error) {
	args := []string{"--vty_socket", f.dir}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return f.ns.Try("vtysh", args...)
}

func (f *frr) up(*testing.T) int {
	out, _ := f.vtysh("show bfd peers")
	return strings.Count(out, "Status: up")
}

func (f *frr) adminDown(t *testing.T) bool {
	t.Helper()
	if out, err := f.vtysh("configure terminal", "bfd", "peer 192.0.2.1 local-address 192.0.2.2 interface up0", "shutdown"); err != nil {
		t.Fatal(out, err)
	}
	return true
}
