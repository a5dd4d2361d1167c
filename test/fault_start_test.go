package test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/lab"
)

// forger is a BGP speaker of ours in the place of a node, for what no real
// daemon would say.
type forger struct {
	*sender.Session
	mu   sync.Mutex
	sent map[byte][][]byte // what the other end sent, by type of message
}

// forge lets a node of a lab, which runs no daemon, speak BGP with another. Its
// address must be the lower one: then the other waits for it.
func forge(t *testing.T, l *lab.Lab, from, to string) *forger {
	t.Helper()
	self, other := l.Node(from), l.Node(to)
	return speak(t, self, sender.Config{
		Local: self.Addr(lab.IPv4), Remote: netip.AddrPortFrom(other.Addr(lab.IPv4), 179), ASN: l.Topology().ASN(), RouterID: self.Addr(lab.IPv4),
		IPv4: true, IPv6: true, GracefulRestart: true, RestartTime: 30 * time.Second,
	})
}

// speak brings a session up from a node. OnMessage is called after the message
// was taken down.
func speak(t *testing.T, from *lab.Node, c sender.Config) *forger {
	t.Helper()
	f := &forger{sent: map[byte][][]byte{}}
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	c.Dialer = func(ctx context.Context) (conn net.Conn, err error) {
		err = from.Do(func() (err error) {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.Local, 0))}
			conn, err = d.DialContext(ctx, "tcp", c.Remote.String())
			return err
		})
		return conn, err
	}
	also := c.OnMessage
	c.OnMessage = func(kind byte, body []byte) {
		f.mu.Lock()
		f.sent[kind] = append(f.sent[kind], slices.Clone(body))
		f.mu.Unlock()
		if also != nil {
			also(kind, body)
		}
	}
	f.Session = must(sender.Dial(ctx, c))(t)
	t.Cleanup(f.Abort)
	return f
}

func (f *forger) received(kind byte) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent[kind])
}

// gracefulBits returns the R bit and the F bits of both families in the OPEN
// that was received (RFC 4724 section 3).
func (f *forger) gracefulBits(t *testing.T) (restarted bool, preserved []bool) {
	t.Helper()
	opens := f.received(sender.Open)
	if len(opens) == 0 {
		t.Fatal("no OPEN was received")
	}
	params := opens[len(opens)-1][10:]
	for len(params) > 2 {
		value := params[2 : 2+params[1]]
		for params[0] == 2 && len(value) > 1 {
			if value[0] == 64 {
				restarted = binary.BigEndian.Uint16(value[2:])&0x8000 != 0
				for rest := value[4 : 2+value[1]]; len(rest) >= 4; rest = rest[4:] {
					preserved = append(preserved, rest[3]&0x80 != 0)
				}
				return restarted, preserved
			}
			value = value[2+value[1]:]
		}
		params = params[2+params[1]:]
	}
	t.Fatal("OPEN has no graceful restart capability")
	return false, nil
}

// TestBitsOnTheWire looks at what a daemon says in OPEN, and as its last word: it
// claims to have kept forwarding only if its routes are there, which after a
// boot they are not, and SIGTERM sends no NOTIFICATION.
func TestBitsOnTheWire(t *testing.T) {
	t.Parallel()
	l := start(t, lab.Mesh(lab.MeshOptions{PodsPerNode: 1}))
	b := l.Node("b")
	must(b.StartCaracald())(t)
	must(l.Node("c").StartCaracald())(t)
	for _, c := range []struct {
		name string
		sig  os.Signal
		boot bool
		want bool
	}{
		{"first start", nil, false, false},
		{"killed", syscall.SIGKILL, false, true},
		{"terminated", syscall.SIGTERM, false, true},
		{"booted", syscall.SIGKILL, true, false},
	} {
		if c.sig != nil {
			last := forge(t, l, "a", "b")
			if err := b.Kill(c.sig); err != nil {
				t.Fatal(err)
			}
			<-last.Done()
			if n := last.received(sender.Notification); len(n) != 0 {
				t.Errorf("%s: it took its leave with NOTIFICATION % x", c.name, n)
			}
			if c.boot {
				run(t, b, "ip", "route", "flush", "proto", "67")
				run(t, b, "ip", "-6", "route", "flush", "proto", "67")
			}
			must(b.StartCaracald())(t)
		}
		f := forge(t, l, "a", "b")
		restarted, preserved := f.gracefulBits(t)
		if restarted != c.want || len(preserved) != 2 || preserved[0] != c.want || preserved[1] != c.want {
			t.Errorf("%s: restart bit %v, forwarding bits %v, want %v", c.name, restarted, preserved, c.want)
		}
		f.Abort()
		eventually(t, 10*time.Second, func() string { return notUp(t, b, "c") })
	}
}

// notUp says so if a node has no session with another.
func notUp(t *testing.T, n *lab.Node, other string) string {
	t.Helper()
	all, err := n.Neighbors(t.Context())
	if err != nil {
		return err.Error() // it may be starting
	}
	for _, nb := range all {
		if nb.Node == other && nb.State == "Established" {
			return ""
		}
	}
	return fmt.Sprintf("%s has no session with %s: %+v", n.Name, other, all)
}

// TestUpgrade ends a daemon with SIGTERM and starts another binary in its place.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	l := mixed(t, lab.BGPSettings{})
	a := l.Node("a")
	undisturbed(t, l, func() {
		if err := a.Kill(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(t.TempDir(), "caracald-next")
		writeProgram(t, next, must(os.ReadFile(built.caracald))(t))
		must(a.StartCaracaldAs(next))(t)
		settle(t, l)
		time.Sleep(sweepTime)
	})
	if out := must(l.Node("c").BIRDC(t.Context(), "show", "protocols", "all", "mesh_a"))(t); strings.Contains(out, "Cease") {
		t.Errorf("BIRD was told a Cease:\n%s", out)
	}
}

// TestSlowRestart is away for as long as a neighbor can be expected to wait, less
// the time that the session needs to come up.
func TestSlowRestart(t *testing.T) {
	t.Parallel()
	slowRestartStory(t, 40*time.Second, 20*time.Second)
}

func slowRestartStory(t *testing.T, restart, away time.Duration) {
	l := mixedWith(t, lab.BGPSettings{RestartTime: restart}, restart)
	undisturbed(t, l, func() {
		crash(t, l.Node("a"), syscall.SIGKILL, away)
		settle(t, l)
		time.Sleep(sweepTime)
	})
}

// TestTwoRestart kills two daemons at once. Each finds the other gone: the one
// that is back first must not take that for its end.
func TestTwoRestart(t *testing.T) {
	t.Parallel()
	twoRestartStory(t, time.Second, 6*time.Second)
}

func twoRestartStory(t *testing.T, first, second time.Duration) {
	l := mixed(t, lab.BGPSettings{})
	a, b := l.Node("a"), l.Node("b")
	undisturbed(t, l, func() {
		for _, n := range []*lab.Node{a, b} {
			if err := n.Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(first)
		must(a.StartCaracald())(t)
		time.Sleep(second - first)
		must(b.StartCaracald())(t)
		settle(t, l)
		time.Sleep(sweepTime)
	})
}

// TestMovedWhileAway moves a block between the other nodes, and takes a node
// away, while a's daemon is down.
func TestMovedWhileAway(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{Nodes: 4, PodsPerNode: 1}, lab.BGPSettings{})
	a, b := l.Node("a"), l.Node("b")
	if err := a.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone, moved := l.Node("d").Blocks, l.Node("c").Block(lab.IPv4)
	if err := l.RemoveNode(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	for node, replace := range map[string][2]string{
		"c": {fmt.Sprintf("  - %q\n", moved), ""},
		"b": {"  blocks:\n", fmt.Sprintf("  blocks:\n  - %q\n", moved)},
	} {
		file := filepath.Join(l.ConfigDir(), "cluster", "node-"+node+".yaml")
		text := string(must(os.ReadFile(file))(t))
		if err := l.WriteConfig("node-"+node+".yaml", strings.Replace(text, replace[0], replace[1], 1)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, func() string { // b announces it
		if !strings.Contains(strings.Join(own(t, b), "\n"), "unreachable "+moved.String()) {
			return "b has not taken the block:\n" + lines(own(t, b))
		}
		return ""
	})
	started := time.Now()
	must(a.StartCaracald())(t)
	eventually(t, 15*time.Second, func() string {
		if want := fmt.Sprintf("%s via %s ", moved, b.Addr(lab.IPv4)); !strings.Contains(strings.Join(own(t, a), "\n"), want) {
			return "no route " + want + ":\n" + lines(own(t, a))
		}
		return ""
	})
	t.Logf("the new route was in %v after the start (session up %v after it)", time.Since(started), session(t, a, "b").Since.Sub(started))
	eventually(t, 20*time.Second, func() string {
		for _, r := range own(t, a) {
			for _, p := range gone {
				if strings.HasPrefix(r, p.String()) {
					return "still there: " + r
				}
			}
		}
		return ""
	})
	t.Logf("the stale routes were gone %v after the start", time.Since(started))
}
