package test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// These stories do not run beside others: BIRD and FRR have no more patience with
// a processor that is busy than the detection time.

// quick is BFD with 3 × 100 ms, as nodes are told. Where it must not end, steady has it
// last longer than a pause of the machine, and what it is to bear lasts longer still.
const (
	quick  = "  bfd: {transmitInterval: 100ms, receiveInterval: 100ms, multiplier: 3}\n"
	steady = "  bfd: {transmitInterval: 1s, receiveInterval: 1s, multiplier: 3}\n"

	steadyTime = 3 * time.Second
)

// TestBFDMovesTraffic freezes a switch that carries a flow: it forwards nothing,
// its BGP and its BFD say nothing, and no link goes down. The traffic moves to
// the other switch within a detection time; the hold time is 90 s.
func TestBFDMovesTraffic(t *testing.T) {
	for _, c := range []struct {
		name string
		o    tors
	}{
		{"BIRD", tors{daemon: "BIRD", bfd: "on", peer: quick}},
		{"FRR", tors{daemon: "FRR", bfd: "on", peer: quick}},
		{"BIRD on the node, for comparison", tors{daemon: "BIRD", bfd: "on", peer: quick, node: "BIRD"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startTors(t, c.o)
			waitBFD(t, l)
			tor, meter := carrying(t, l)
			n := l.Node(fmt.Sprintf("t%d", tor))
			frozen := time.Now()
			freeze(t, n, true)
			eventually(t, 10*time.Second, func() string {
				for name, far := range map[string]string{"a": "10.244.2.0/26", "b": "10.244.1.0/26"} {
					out := run(t, l.Node(name), "ip", "route", "show", far)
					if strings.Contains(out, fmt.Sprintf("dev eth%d", tor-1)) || !strings.Contains(out, fmt.Sprintf("dev eth%d", 2-tor)) {
						return name + " has " + out
					}
				}
				return ""
			})
			t.Logf("both nodes use the other switch alone after %v", time.Since(frozen).Round(time.Millisecond))
			time.Sleep(300 * time.Millisecond) // for what was under way
			r := meter.Stop()
			t.Logf("%s", r)
			// As long as a paused machine may take it to be, and far below the hold time.
			if r.LongestGap() > 10*time.Second {
				t.Errorf("traffic stood still for %v, should be under 400 ms", r.LongestGap())
			}
			if r.Lost() == 0 {
				t.Error("nothing was lost: the switch did not carry the flow")
			}
			freeze(t, n, false)
			back := time.Now()
			twoWays(t, l)
			t.Logf("two ways again after %v", time.Since(back).Round(time.Millisecond))
			waitBFD(t, l)
		})
	}
}

// carrying starts a meter between the two pods and returns the switch that its
// packets from a to b go by.
func carrying(t *testing.T, l *lab.Lab) (tor int, m *lab.LossMeter) {
	t.Helper()
	m = must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: "a1", B: "b1", Family: lab.IPv4}))(t)
	t.Cleanup(func() { m.Stop() })
	sent := func(dev string) (n int) {
		_, counts, _ := strings.Cut(run(t, l.Node("a"), "cat", "/proc/net/dev"), dev+":")
		if f := strings.Fields(counts); len(f) > 9 {
			n, _ = strconv.Atoi(f[9]) // packets that were transmitted
		}
		return n
	}
	before := [2]int{sent("eth0"), sent("eth1")}
	eventually(t, 5*time.Second, func() string {
		for i, dev := range []string{"eth0", "eth1"} {
			if sent(dev)-before[i] > 100 {
				tor = i + 1
				return ""
			}
		}
		return "nothing is sent"
	})
	return tor, m
}

// freeze stops all daemons of a switch, and its forwarding, or lets them go on.
func freeze(t *testing.T, n *lab.Node, stop bool) {
	t.Helper()
	forward, sig := "1", syscall.SIGCONT
	if stop {
		forward, sig = "0", syscall.SIGSTOP
	}
	run(t, n, "sysctl", "-qw", "net.ipv4.ip_forward="+forward)
	for _, name := range []string{"bird", "zebra", "bgpd", "bfdd"} {
		if p := n.Process(name); p != nil {
			if err := p.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// waitBFD waits until both nodes, where caracald runs, have two sessions up.
func waitBFD(t *testing.T, l *lab.Lab) {
	t.Helper()
	eventually(t, 15*time.Second, func() string {
		for _, name := range []string{"a", "b"} {
			n := l.Node(name)
			if n.Process("caracald") == nil {
				if out, _ := n.BIRDC(t.Context(), "show", "bfd", "sessions"); strings.Count(out, " Up ") != 2 {
					return name + " has " + out
				}
				continue
			}
			out := must(n.CLI(t.Context(), "show", "bfd"))(t)
			if strings.Count(out, " Up ") != 2 {
				return name + " has " + out
			}
		}
		return ""
	})
}

// TestBFDOverARestart restarts caracald as an operator does while BFD watches
// it: the neighbors see no end of BFD, and no packet is lost.
func TestBFDOverARestart(t *testing.T) {
	for _, c := range []struct {
		name string
		o    tors
	}{
		{"BIRD", tors{daemon: "BIRD", bfd: "on", peer: steady}},
		{"BIRD graceful", tors{daemon: "BIRD", bfd: "graceful", peer: steady}},
		{"FRR", tors{daemon: "FRR", bfd: "on", peer: steady}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startTors(t, c.o)
			waitBFD(t, l)
			_, meter := carrying(t, l)
			before := upSince(t, l, c.o)
			if err := l.Node("a").Kill(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			time.Sleep(steadyTime + time.Second)
			must(l.Node("a").Restart(syscall.SIGTERM))(t)
			sessionsUp(t, l)
			waitBFD(t, l)
			twoWays(t, l)
			time.Sleep(steadyTime + time.Second) // past the end of the pause
			waitBFD(t, l)
			// BIRD counts the time back from now, and so comes to another millisecond.
			if after := upSince(t, l, c.o); after.Sub(before).Abs() > 100*time.Millisecond {
				t.Errorf("the switch saw BFD end: up since %s, before %s", after, before)
			}
			if r := meter.Stop(); r.Lost() != 0 {
				t.Errorf("packets were lost over a restart: %s", r)
			} else {
				t.Log(r)
			}
		})
	}
}

// upSince is since when BIRD on t1 has BFD with a up, as a time of the day; FRR does not
// say. BIRD counts it back from a clock that it looks at a little later than at the one
// that it began with, so one that was held up between is too late: the earliest counts.
func upSince(t *testing.T, l *lab.Lab, o tors) time.Time {
	t.Helper()
	if o.daemon != "BIRD" {
		return time.Time{}
	}
	first := upSinceNow(t, l)
	for range 4 {
		if at := upSinceNow(t, l); at.Before(first) {
			first = at
		}
	}
	return first
}

func upSinceNow(t *testing.T, l *lab.Lab) time.Time {
	t.Helper()
	out := must(l.Node("t1").BIRDC(t.Context(), "show", "bfd", "sessions"))(t)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && f[0] == nodeAddr(1, 0).Addr().String() {
			if f[2] == "Up" {
				return must(time.Parse("15:04:05.000", f[3]))(t)
			}
		}
	}
	t.Fatalf("BIRD has no BFD with a:\n%s", out)
	return time.Time{}
}

// sessionsUp waits for all sessions, also while a daemon still starts.
func sessionsUp(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	if err := l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestBFDAndACrash kills caracald, which its BFD process survives long enough to
// ask for patience; and both at once, as a supervisor or the kernel may do. What
// neighbors do about a BFD that ends without a word is theirs: BIRD's plain `bfd`
// drops the routes.
func TestBFDAndACrash(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     tors
		both  bool
		costs bool
	}{
		{"BIRD", tors{daemon: "BIRD", bfd: "on", peer: steady}, false, false},
		{"FRR", tors{daemon: "FRR", bfd: "on", peer: steady}, false, false},
		{"BIRD, both processes", tors{daemon: "BIRD", bfd: "on", peer: steady}, true, true},
		{"BIRD graceful, both processes", tors{daemon: "BIRD", bfd: "graceful", peer: steady}, true, false},
		{"FRR, both processes", tors{daemon: "FRR", bfd: "on", peer: steady}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startTors(t, c.o)
			waitBFD(t, l)
			_, meter := carrying(t, l)
			if c.both {
				killWorker(t, l.Node("a"))
			}
			if err := l.Node("a").Kill(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			time.Sleep(steadyTime + time.Second)
			must(l.Node("a").Restart(syscall.SIGKILL))(t)
			sessionsUp(t, l)
			twoWays(t, l)
			waitBFD(t, l)
			time.Sleep(steadyTime + time.Second)
			twoWays(t, l)
			r := meter.Stop()
			t.Log(r)
			if !c.costs && r.Lost() != 0 {
				t.Errorf("packets were lost: %s", r)
			}
		})
	}
}

// killWorker kills the BFD process of a node's caracald, and nothing else: it is
// the only child that runs the same program. Others, as iptables, come and go.
func killWorker(t *testing.T, n *lab.Node) {
	t.Helper()
	pid := n.Process("caracald").PID()
	program := must(os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)))(t)
	var children []string
	eventually(t, 5*time.Second, func() string { // between fork and exec any child runs it
		children = nil
		for _, task := range must(os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)))(t) { // a child is its thread's
			more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
			for _, child := range strings.Fields(string(more)) {
				if exe, err := os.Readlink("/proc/" + child + "/exe"); err == nil && exe == program {
					children = append(children, child)
				}
			}
		}
		if len(children) != 1 {
			return fmt.Sprintf("caracald has the children %v", children)
		}
		return ""
	})
	child, _ := strconv.Atoi(children[0])
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
