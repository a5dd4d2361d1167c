package test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// sweepTime is longer than the time that adopted routes of neighbors that were
// heard are kept: what would be swept wrongly after a start is gone by then.
const sweepTime = 6 * time.Second

// mixed is a mesh of four whose nodes run caracald (a and b), BIRD (c) and FRR
// (d). The daemon on a is the one that suffers.
func mixed(t *testing.T, settings lab.BGPSettings) *lab.Lab {
	t.Helper()
	return mixedWith(t, settings, 120*time.Second)
}

// mixedWith is mixed with the restart time that BIRD and FRR announce.
func mixedWith(t *testing.T, settings lab.BGPSettings, restart time.Duration) *lab.Lab {
	t.Helper()
	top := lab.Mesh(lab.MeshOptions{Nodes: 4, PodsPerNode: 1})
	top.BGP = settings
	l := start(t, top)
	bird := strings.ReplaceAll(lab.MeshBIRD(top, "c"), "\tgraceful restart on;\n",
		fmt.Sprintf("\tgraceful restart on; graceful restart time %.0f; error wait time 1, 5;\n", restart.Seconds()))
	must(l.Node("c").StartBIRD(bird))(t)
	frr := lab.MeshFRR(top, "d")
	frr.BGP = strings.Replace(frr.BGP, " timers bgp", fmt.Sprintf(" bgp graceful-restart restart-time %.0f\n timers bgp", restart.Seconds()), 1)
	if err := l.Node("d").StartFRR(frr); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		must(l.Node(name).StartCaracald())(t)
	}
	settle(t, l)
	eventually(t, 10*time.Second, func() string { return same(own(t, l.Node("a")), wantRoutes(l, l.Node("a"))) })
	return l
}

// undisturbed runs do while packets flow both ways between the first pod and
// each other one, 1,000 a second for each pair and family, and fails the test if
// one is lost or "ip monitor route" prints a line on any node.
func undisturbed(t *testing.T, l *lab.Lab, do func()) {
	t.Helper()
	var others []string
	for _, n := range l.Nodes()[1:] {
		others = append(others, n.Name)
	}
	undisturbedFrom(t, l, others, do)
}

// undisturbedFrom is undisturbed with only the pods of some nodes as the other
// ends.
func undisturbedFrom(t *testing.T, l *lab.Lab, others []string, do func()) {
	t.Helper()
	var stops []func() lab.LossReport
	changes := watchRoutes(t, l)
	for _, n := range others {
		stops = append(stops, flows(t, l, l.Pods()[0].Name, l.Node(n).Pods[0].Name))
	}
	time.Sleep(200 * time.Millisecond)
	do()
	for _, stop := range stops {
		if r := stop(); r.Lost() != 0 {
			t.Errorf("packets lost: %s", r)
		}
	}
	if got := changes(); len(got) != 0 {
		t.Errorf("routes changed:\n%s", lines(got))
	}
}

// crash kills a node's daemon and starts it again after a while.
func crash(t *testing.T, n *lab.Node, sig os.Signal, away time.Duration) {
	t.Helper()
	if err := n.Kill(sig); err != nil {
		t.Fatal(err)
	}
	time.Sleep(away)
	must(n.StartCaracald())(t)
}

// TestCrash kills a daemon beside each kind of neighbor.
func TestCrash(t *testing.T) {
	for _, away := range []time.Duration{200 * time.Millisecond, 2 * time.Second} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			crashStory(t, away)
		})
	}
}

func crashStory(t *testing.T, away time.Duration) {
	l := mixed(t, lab.BGPSettings{})
	undisturbed(t, l, func() {
		crash(t, l.Node("a"), syscall.SIGKILL, away)
		settle(t, l)
		time.Sleep(sweepTime)
	})
}

// TestCrashLoop kills a daemon again and again, in the moments after its start
// in which it has told its neighbors only part of what it has.
func TestCrashLoop(t *testing.T) {
	for _, every := range []time.Duration{500 * time.Millisecond, 3 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			crashLoopStory(t, every)
		})
	}
}

func crashLoopStory(t *testing.T, every time.Duration) {
	l := mixed(t, lab.BGPSettings{})
	undisturbed(t, l, func() {
		for range 5 {
			crash(t, l.Node("a"), syscall.SIGKILL, 0)
			time.Sleep(every)
		}
		eventually(t, 30*time.Second, func() string {
			if st := must(l.Node("a").Status(t.Context()))(t); !st.Ready.Holds {
				return fmt.Sprintf("not ready: %+v", st.Ready)
			}
			return ""
		})
		settle(t, l)
		time.Sleep(sweepTime)
	})
}
