package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMeterCountsExactly takes a route away for a while and holds the meter's
// count against what the kernel counted as dropped.
func TestMeterCountsExactly(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1}))
	routeByHand(t, l)
	for _, f := range Families() {
		mustPing(t, l, f)
		m, err := l.StartLossMeter(t.Context(), MeterSpec{A: "a1", B: "b1", Family: f})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		dst := l.Pod("b1").Addr(f).String()
		mustExec(t, l.Node("b"), "ip", "route", "replace", "blackhole", dst, "metric", "0")
		time.Sleep(200 * time.Millisecond)
		mustExec(t, l.Node("b"), "ip", "route", "replace", dst, "dev", PodInterface("b1"), "metric", "0")
		time.Sleep(300 * time.Millisecond)
		catchUp(m, 750)
		r := m.Stop()
		t.Log(f, r)
		if r.BA.Lost != 0 {
			t.Errorf("%s: lost on the way that stayed: %s", f, r.BA)
		}
		if r.AB.Lost < 150 || r.AB.LongestRun != r.AB.Lost || r.AB.LongestGap < 150*time.Millisecond {
			t.Errorf("%s: 200 ms of blackhole: %+v", f, r.AB)
		}
		if r.AB.Sent < 700 || r.AB.Sent != r.AB.Received+r.AB.Lost || r.AB.Duplicates != 0 {
			t.Errorf("%s: counts do not add up: %+v", f, r.AB)
		}
	}
}

// catchUp lets the senders, if a pause of the machine has just held them up, send what
// is due: so many packets each.
func catchUp(m *LossMeter, packets int64) {
	until(500*time.Millisecond, func() bool { return m.ab.sent.Load() >= packets && m.ba.sent.Load() >= packets })
}

func TestMeterLosesNothingByItself(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 2, PodsPerNode: 1}))
	routeByHand(t, l)
	mustPing(t, l, IPv6)
	m, err := l.StartLossMeter(t.Context(), MeterSpec{A: "a1", B: "b1", Family: IPv6})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	catchUp(m, 750)
	if r := m.Stop(); r.Lost() != 0 || r.Sent() < 1500 || r.LongestGap() == 0 {
		t.Errorf("on a quiet path: %s", r)
	}
	if _, err := l.StartLossMeter(t.Context(), MeterSpec{A: "a1", B: "zz", Family: IPv6}); err == nil {
		t.Error("a meter to no pod started")
	}
}

// TestMonitorRoutes adds a route in the moment in which the monitor is said to
// listen. With many links the program takes its time to get that far.
func TestMonitorRoutes(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 1, PodsPerNode: 1}))
	for i := range 100 {
		mustExec(t, l.Node("a"), "ip", "link", "add", fmt.Sprintf("many%d", i), "type", "bridge")
	}
	m, err := l.MonitorRoutes(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, l.Node("a"), "ip", "route", "add", "198.51.100.0/24", "via", "192.168.77.9", "proto", "67")
	mustExec(t, l.Node("a"), "ip", "route", "del", "198.51.100.0/24")
	// The kernel may still be telling of the links' own addresses.
	ofTest := func(lines []string) []string {
		return slices.DeleteFunc(lines, func(s string) bool { return !strings.Contains(s, "198.51.100.0/24") })
	}
	until(30*time.Second, func() bool { return len(ofTest(m.Lines())) >= 2 })
	const route = "unicast 198.51.100.0/24 via 192.168.77.9 dev eth0 table main proto 67 scope global"
	if got, want := ofTest(m.Stop()), []string{route, "Deleted " + route}; !slices.Equal(got, want) {
		t.Errorf("monitor: %q, want %q", got, want)
	}
}

// TestWaitReach times a route that appears: the measure must be finer than a
// ping's timeout. It counts the least of some times, since the machine may pause.
func TestWaitReach(t *testing.T) {
	l := up(t, Mesh(MeshOptions{Nodes: 1}))
	least := time.Hour
	for range 5 {
		mustExec(t, l.Node("a"), "ip", "route", "flush", "proto", fmt.Sprint(Proto))
		mustExec(t, l.Node("a"), "ip", "-6", "route", "flush", "proto", fmt.Sprint(Proto))
		start := time.Now()
		reached := make(chan error, 1)
		go func() { reached <- l.Pod("a1").WaitReach(t.Context(), l.Pod("a2").Addr(IPv6)) }()
		time.Sleep(300 * time.Millisecond)
		routeByHand(t, l)
		if err := <-reached; err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		if took < 300*time.Millisecond {
			t.Errorf("reached after %v, and the routes came after 300 ms", took)
		}
		least = min(least, took)
	}
	if least > time.Second {
		t.Errorf("reached after %v, want a little more than 300 ms", least)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Pod("a1").WaitReach(ctx, netip.MustParseAddr("198.51.100.1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("to nowhere: %v", err)
	}
}
