package test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/lab"
	"caracal.dev/caracal/store/kube/apiserver"
	"caracal.dev/caracal/store/kube/collect"
	"caracal.dev/caracal/store/kube/records"
	"caracal.dev/caracal/test/runtimes"
)

const day = 24 * time.Hour

// What the collector of this story takes in the place of minutes.
const (
	clockLook  = time.Second
	clockGrace = 12 * time.Second
	clockLease = 15 * time.Second
)

// clocks is a cluster whose daemons have wall clocks of their own.
type clocks struct {
	*cluster
	program string
	shifts  map[string]*os.File
	// left is when the last node to go had nothing to give back yet, sawGone when it
	// was found gone.
	left, sawGone time.Time
}

// wrongClock builds a caracald whose clock can be set (testdata/clock), and whose
// collector does not take minutes. Only its package main differs from the one that all
// other stories use, so it costs a link.
func wrongClock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	main := must(filepath.Abs("../cmd/caracald"))(t)
	source := filepath.Join(main, "source_kube.go")
	text := string(must(os.ReadFile(source))(t))
	const options = "Namespace: podNamespace(), Log: log})"
	if strings.Count(text, options) != 1 || strings.Count(text, "collect.Options{") != 1 {
		t.Fatalf("%s does not make a collector as this test knows it, with %q: mend the test", source, options)
	}
	quick := strings.Replace(text, options, fmt.Sprintf("Namespace: podNamespace(), Interval: %d, Grace: %d, Lease: %d, Log: log})",
		clockLook, clockGrace, clockLease), 1)
	patched := filepath.Join(dir, "source_kube.go")
	if err := os.WriteFile(patched, []byte(quick), 0o600); err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{source: patched}
	for _, f := range []string{"clock.go", "clock_amd64.s"} {
		replace[filepath.Join(main, "test_"+f)] = must(filepath.Abs(filepath.Join("testdata/clock", f)))(t)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, must(json.Marshal(map[string]any{"Replace": replace}))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "caracald")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", program, main)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a daemon with a clock of its own (of this machine's architecture there must be an assembler file in testdata/clock): %v\n%s", err, out)
	}
	return program
}

// set sets the clock of a node's daemon so much before or after the true one, whether
// the daemon runs or not.
func (c *clocks) set(name string, shift time.Duration) {
	c.t.Helper()
	f := c.shifts[name]
	if f == nil {
		f = must(os.OpenFile(filepath.Join(c.l.Node(name).Dir(), "clock"), os.O_RDWR|os.O_CREATE, 0o600))(c.t)
		c.shifts[name] = f
		c.t.Cleanup(func() { f.Close() })
	}
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(shift/time.Second)), 0); err != nil {
		c.t.Fatal(err)
	}
}

// begin starts the daemon of a node.
func (c *clocks) begin(name string) {
	c.t.Helper()
	must(c.l.Node(name).StartCaracaldAs(c.program, c.flags(name)...))(c.t)
}

// join brings a node into the cluster whose clock is so much wrong.
func (c *clocks) join(name string, shift time.Duration) {
	c.t.Helper()
	c.register(name)
	c.set(name, shift)
	c.begin(name)
	h := must(runtimes.NewHost(c.l, name, built.dir))(c.t)
	c.hosts[name] = h
	if err := h.Configure(alone, runtimes.CNI11, h.Caracal()); err != nil {
		c.t.Fatal(err)
	}
	c.untilStatus(name)
}

// pod runs a Pod, of which the runtime says the UID.
func (c *clocks) pod(node, name string) (*runtimes.Container, *lab.Pod) {
	c.t.Helper()
	p := c.create(node, name, nil)
	ctr := c.container(node, name)
	ctr.Args = append(ctr.Args, [2]string{"K8S_POD_UID", string(p.UID)})
	c.add(node, ctr)
	c.started(p, ctr.Addrs)
	return ctr, c.adopt(node, name, ctr.NetNS, ctr.Addrs)
}

// comesAndGoes wants that a new Pod of a node gets its network, and gives it back.
func (c *clocks) comesAndGoes(node, name string) {
	c.t.Helper()
	ctr, pod := c.pod(node, name)
	c.ping(pod, c.l.Pod("pb"))
	c.end(node, ctr)
	c.consistent(node)
}

// logged counts the lines of a daemon's log, and of those before it, that hold a text.
func (c *clocks) logged(name, text string) (n int) {
	c.t.Helper()
	for _, path := range must(filepath.Glob(filepath.Join(c.l.Node(name).Dir(), "caracald*.log")))(c.t) {
		n += strings.Count(string(must(os.ReadFile(path))(c.t)), text)
	}
	return n
}

// leader reads the Lease of the collector.
func (c *clocks) leader() (holder string, transitions int32) {
	c.t.Helper()
	l, err := c.api.Core().CoordinationV1().Leases("caracal-system").Get(c.t.Context(), collect.LeaseName, metav1.GetOptions{})
	if err != nil {
		return "", 0 // not yet
	}
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	if l.Spec.LeaseTransitions != nil {
		transitions = *l.Spec.LeaseTransitions
	}
	return holder, transitions
}

// elections counts how often a daemon said that it is elected.
func (c *clocks) elections() (n int) {
	for name := range c.shifts {
		n += c.logged(name, "collector: elected;")
	}
	return n
}

// flaps are how often sessions broke, and BFD's, as all nodes have seen it.
func (c *clocks) flaps() string {
	c.t.Helper()
	var out []string
	for _, name := range []string{"a", "b", "c"} {
		for _, n := range must(c.l.Node(name).Neighbors(c.t.Context()))(c.t) {
			out = append(out, fmt.Sprintf("%s-%s %s %d", name, n.Node, n.State, n.Flaps))
		}
		bfd := must(c.l.Node(name).CLI(c.t.Context(), "show", "bfd"))(c.t)
		out = append(out, fmt.Sprintf("%s: %d BFD sessions up", name, strings.Count(bfd, "Up")))
	}
	return strings.Join(out, "\n")
}

// TestKubernetesClocks is the life of a cluster whose clocks are wrong: one node's by
// 26 hours, one's by 50 minutes the other way, and one's is set while its daemon runs.
func TestKubernetesClocks(t *testing.T) {
	t.Parallel()
	c := &clocks{cluster: newCluster(t, kubeTopology(3), apiAddr), program: wrongClock(t), shifts: map[string]*os.File{}}
	c.api.ApplyYAML(t, "apiVersion: caracal.dev/v1\nkind: BGPConfiguration\nmetadata: {name: default}\nspec: {bfd: {nodeMeshEnabled: true, transmitInterval: 1s, receiveInterval: 1s, multiplier: 5}}\n")
	c.join("c", 0)
	eventually(t, 30*time.Second, func() string {
		if holder, _ := c.leader(); holder != "c" {
			return fmt.Sprintf("c alone is not elected, but %q", holder)
		}
		return ""
	})
	c.join("a", 26*time.Hour)
	c.join("b", -50*time.Minute)
	c.sessions("a", "b", "c")
	c.ready("a", "b", "c")
	_, podA := c.pod("a", "pa")
	_, podB := c.pod("b", "pb")
	_, podC := c.pod("c", "pc")
	for _, pair := range [][2]*lab.Pod{{podA, podB}, {podB, podC}, {podC, podA}} {
		c.ping(pair[0], pair[1])
		c.ping(pair[1], pair[0])
	}
	for _, p := range []struct {
		name string
		fn   func(t *testing.T)
	}{
		{"jumps", c.jumps}, {"reports", c.tells}, {"handed over", c.handedOver}, {"restart", c.startsInThePast}, {"certificates", c.outOfTime},
	} {
		if t.Failed() {
			return
		}
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			defer func() { c.t = nil }()
			p.fn(t)
		})
	}
	c.t = t
	if n := c.allocated(); n != 6 {
		t.Errorf("%d addresses are given, want 6", n)
	}
	c.consistent("a", "b", "c")
}

// jumps sets the clock of the elected collector's node forth by a year, and then back
// to a day before. What it saw once is not freed any sooner by that, nor any later.
func (c *clocks) jumps(t *testing.T) {
	c.during("pa", "pc", func() {
		var before string
		eventually(t, 20*time.Second, func() string {
			if before = c.flaps(); strings.Count(before, " 2 BFD sessions up") != 3 {
				return "not every session has BFD:\n" + before
			}
			return ""
		})
		c.leaves("d")
		c.set("c", 365*day)
		for time.Since(c.sawGone) < clockGrace*2/3 {
			// A look may take long: only what it saw in that time is too early.
			if n := c.of("d"); n != 1 && time.Since(c.left) < clockGrace {
				t.Fatalf("%v after it was found gone, node d has %d addresses: it must be seen so for %v", time.Since(c.sawGone), n, clockGrace)
			}
			c.ready("a", "b", "c")
			time.Sleep(100 * time.Millisecond)
		}
		eventually(t, 60*time.Second, func() string { return c.freed("d") })
		c.comesAndGoes("c", "forth")
		if there := time.Now().Add(365 * day).UTC().Format("time=2006-"); c.logged("c", there) == 0 {
			t.Fatalf("the log has no line of the year that c is in, %s", there)
		}
		c.leaves("e")
		c.set("c", -day)
		c.ready("a", "b", "c")
		eventually(t, 60*time.Second, func() string { return c.freed("e") })
		c.comesAndGoes("c", "back")
		if after := c.flaps(); after != before {
			t.Errorf("sessions were lost:\n%s\nbefore:\n%s", after, before)
		}
	})
	if holder, n := c.leader(); holder != "c" || n != 0 || c.elections() != 1 {
		t.Errorf("the Lease is %s's after %d transitions and %d elections; nobody was to take it from c", holder, n, c.elections())
	}
}

// leaves makes a node that has an address and is no more, and returns when the
// collector has found it gone.
func (c *clocks) leaves(node string) {
	c.t.Helper()
	c.left = time.Now()
	a := ipam.New(c.records(), ipam.WithShared())
	a.Configure(ipam.Plan{Node: node, Mode: ipam.ModeBlocks, Pools: []caracal.Pool{{Name: "pods-v4", CIDR: netip.MustParsePrefix("10.244.0.0/16"), BlockSize: 26}}})
	if _, err := a.Assign(c.t.Context(), ipam.Request{Handle: "left", V4: 1}); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 30*time.Second, func() string {
		if c.logged("c", "they are freed if it stays so\" node="+node) == 0 {
			return "the collector does not find " + node + " gone"
		}
		return ""
	})
	c.sawGone = time.Now()
}

// records is the address records of the cluster, for one who may write all of them.
func (c *clocks) records() *records.Store {
	c.t.Helper()
	config := c.api.Admin()
	return records.New(&apiserver.Client{Config: config, Core: must(kubernetes.NewForConfig(config))(c.t), Own: must(dynamic.NewForConfig(config))(c.t)})
}

// of counts the addresses that a node has.
func (c *clocks) of(node string) (n int) {
	c.t.Helper()
	blocks, bad, err := c.records().List(c.t.Context(), "block/")
	if err != nil || len(bad) > 0 {
		c.t.Fatal(bad, err)
	}
	for _, r := range blocks {
		for _, a := range must(ipam.ReadBlock(r))(c.t).Allocations {
			if a.Node == node {
				n++
			}
		}
	}
	return n
}

func (c *clocks) freed(node string) string {
	if n := c.of(node); n > 0 {
		return fmt.Sprintf("node %s, which is gone, still has %d addresses", node, n)
	}
	return ""
}

// tells wants what daemons tell the cluster, with whatever clock.
func (c *clocks) tells(t *testing.T) {
	c.api.ApplyYAML(t, "apiVersion: caracal.dev/v1\nkind: IPPool\nmetadata: {name: twice}\nspec: {cidr: 10.244.128.0/17, blockSize: 26}\n")
	for _, name := range []string{"a", "b", "c"} {
		eventually(t, 120*time.Second, func() string {
			st, err := c.report(name)
			if err != nil {
				return err.Error()
			}
			if !st.Ready || st.SessionsSummary != "2/2" || st.ProblemCount == 0 || st.IPAM.Allocated != 2 {
				return fmt.Sprintf("%s reports %+v", name, st)
			}
			return ""
		})
		if got := network(c.node(name)); got != "False CaracalIsUp" {
			t.Errorf("%s: NetworkUnavailable is %s", name, got)
		}
	}
	eventually(t, 60*time.Second, func() string {
		if text := c.events("Rejected"); !strings.Contains(text, "IPPool twice") {
			return "no Event about the pool: " + text
		}
		return ""
	})
	c.api.Kubectl(t, "delete", "ippool", "twice")
}

// handedOver kills the daemon that holds the Lease: one other takes it, and no more.
func (c *clocks) handedOver(t *testing.T) {
	c.during("pa", "pc", func() {
		if err := c.l.Node("c").Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var holder string
		eventually(t, 60*time.Second, func() string {
			var n int32
			if holder, n = c.leader(); holder == "c" || holder == "" || n != 1 {
				return fmt.Sprintf("the Lease is %q's, after %d transitions", holder, n)
			}
			return ""
		})
		c.set("c", 0)
		c.begin("c")
		c.ready("c")
		for end := time.Now().Add(2 * clockLease); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if is, n := c.leader(); is != "" && (is != holder || n != 1) {
				t.Fatalf("the Lease went from %s to %s, %d transitions", holder, is, n)
			}
		}
	})
	if n := c.elections(); n != 2 {
		t.Errorf("%d times a daemon took itself for elected, want 2", n)
	}
	c.sessions("a", "b", "c")
}

// startsInThePast kills a daemon and starts it two days before, while the API is away:
// it has what it kept, and takes its containers as they are.
func (c *clocks) startsInThePast(t *testing.T) {
	c.kept("c")
	c.during("pa", "pc", func() {
		c.api.Kill()
		if err := c.l.Node("c").Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.set("c", -2*day)
		c.begin("c")
		c.ready("c")
		c.sessions("a", "b", "c")
		time.Sleep(sweepTime) // in which nothing may go that is not known yet
		c.api.Restart(t)
		eventually(t, 60*time.Second, func() string { return said(c.hosts["c"].Status(t.Context(), alone)) })
		c.comesAndGoes("c", "past")
	})
}

// outOfTime sets a clock to before the API's certificate: what is wrong is said where
// an operator looks, nothing else changes, and all is well once the clock is right.
func (c *clocks) outOfTime(t *testing.T) {
	n := c.l.Node("c")
	const says = "set the clock"
	show := func() string { out, _ := n.CLI(context.WithoutCancel(t.Context()), "show", "status"); return out }
	c.during("pa", "pc", func() {
		if err := n.Kill(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.set("c", -200*day)
		c.begin("c")
		eventually(t, 60*time.Second, func() string {
			if out := show(); !strings.Contains(out, says) || !strings.Contains(out, "not valid yet") || !strings.Contains(out, time.Now().Add(-200*day).UTC().Format(time.DateOnly)) {
				return "status does not say that the clock is wrong: " + out
			}
			return ""
		})
		c.ready("c")
		c.set("c", 0)
		eventually(t, 90*time.Second, func() string {
			if out := show(); strings.Contains(out, says) {
				return "the clock is right, and it is said to be wrong: " + out
			}
			return said(c.hosts["c"].Status(t.Context(), alone))
		})
		c.comesAndGoes("c", "right")
	})
}
