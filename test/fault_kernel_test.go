package test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// switchNS is the namespace of the mesh's one switch.
func switchNS(l *lab.Lab) string { return "cl-" + l.ID() + "-sw-sw" }

// addresses are the commands that give a node's eth0 what it had.
func addresses(n *lab.Node) [][]string {
	var out [][]string
	for _, p := range n.Links[0].Addrs {
		argv := []string{"ip", "addr", "replace", p.String(), "dev", "eth0"}
		if p.Addr().Is6() {
			argv = append(argv, "nodad")
		}
		out = append(out, argv)
	}
	return out
}

// TestLinks takes links and addresses away for longer than a moment. The routes
// by them are back soon after they are; the limit is ten times what is asked.
func TestLinks(t *testing.T) {
	t.Parallel()
	l := mixed(t, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	dev := lab.PodInterface("a1")
	wait := []string{"sleep", "3"}
	// A new device gets the old hardware address: nobody is to wait for ARP.
	mac := hardwareAddr(t, a)
	cases := []struct {
		name     string
		do, back [][]string
	}{
		{"node's link down and up", [][]string{{"ip", "link", "set", "eth0", "down"}, wait}, append([][]string{{"ip", "link", "set", "eth0", "up"}}, addresses(a)...)},
		{"pod's link down and up", [][]string{{"ip", "link", "set", dev, "down"}, wait}, [][]string{{"ip", "link", "set", dev, "up"}}},
		{"IPv4 address removed and added", [][]string{{"ip", "addr", "del", "192.168.77.1/24", "dev", "eth0"}, wait}, addresses(a)},
		{"IPv6 address removed and added", [][]string{{"ip", "addr", "del", "fd00:77::1/64", "dev", "eth0"}, wait}, addresses(a)},
		{"carrier lost", [][]string{{"ip", "netns", "exec", switchNS(l), "ip", "link", "set", "a-eth0", "down"}, wait},
			[][]string{{"ip", "netns", "exec", switchNS(l), "ip", "link", "set", "a-eth0", "up"}}},
		{"device deleted and made anew", [][]string{{"ip", "link", "del", "eth0"}, wait},
			append([][]string{
				{"ip", "link", "add", "eth0", "address", mac, "type", "veth", "peer", "name", "a-eth0", "netns", switchNS(l)},
				{"ip", "netns", "exec", switchNS(l), "ip", "link", "set", "a-eth0", "master", "br0", "up"},
				{"ip", "link", "set", "eth0", "up"}}, addresses(a)...)},
	}
	for _, c := range cases {
		for _, argv := range c.do {
			run(t, a, argv...)
		}
		for _, argv := range c.back {
			run(t, a, argv...)
		}
		took := within(t, 10*time.Second, func() string {
			if diff := same(own(t, a), want); diff != "" {
				return c.name + ":\n" + diff
			}
			return ""
		})
		t.Logf("%s: routes back %v after it was", c.name, took)
	}
	settle(t, l)
}

// TestRepair deletes and changes own routes by hand, one at a time.
func TestRepair(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	within(t, 10*time.Second, func() string { return same(own(t, a), want) })
	b4, b6 := l.Node("b").Block(lab.IPv4).String(), l.Node("b").Block(lab.IPv6).String()
	var worst time.Duration
	const rounds = 100
	for i := range rounds {
		argv := [][]string{
			{"ip", "route", "del", b4, "metric", "427"},
			{"ip", "-6", "route", "del", b6, "metric", "427"},
			{"ip", "route", "replace", b4, "via", "192.168.77.99", "metric", "427", "proto", "67"},
			{"ip", "route", "del", "unreachable", l.Node("a").Block(lab.IPv4).String(), "metric", "427"},
		}[i%4]
		run(t, a, argv...)
		worst = max(worst, within(t, repairTime, func() string { return same(own(t, a), want) }))
	}
	t.Logf("%d repairs: the slowest was seen after %v", rounds, worst)
}

// foreign are the routes of a node that are not ours.
func foreign(t *testing.T, n *lab.Node) []string {
	t.Helper()
	var out []string
	for _, r := range must(n.Routes())(t) {
		if r.Protocol != lab.Proto {
			out = append(out, r.String())
		}
	}
	slices.Sort(out)
	return out
}

// ipBatch has ip(8) run many commands in one process.
func ipBatch(t *testing.T, n *lab.Node, commands []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// It goes on after what fails, as deleting what is not there.
	if _, err := n.Exec(t.Context(), "ip", "-force", "-batch", file); err != nil && !strings.Contains(err.Error(), "exit status") {
		t.Fatal(err)
	}
}

// TestForeignRoutesRandom has another program add, replace and delete 10,000
// routes of the prefixes that are ours too, with other metrics and in other
// tables, while paths come and go. Its routes are as it made them at the end.
func TestForeignRoutesRandom(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	within(t, 10*time.Second, func() string { return same(own(t, a), want) })
	base := foreign(t, a)
	prefixes := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("10.244.0.0/16")}
	for _, n := range l.Nodes() {
		prefixes = append(prefixes, n.Block(lab.IPv4), netip.PrefixFrom(n.Block(lab.IPv4).Addr(), 32))
	}
	type key struct {
		dst    netip.Prefix
		table  int
		metric int
	}
	type route struct {
		via   string
		proto int
	}
	model := map[key]route{}
	line := func(k key, r route) string {
		text := fmt.Sprintf("%s via %s dev eth0 proto %d metric %d", k.dst, r.via, r.proto, k.metric)
		if k.table != 254 {
			text += fmt.Sprintf(" table %d", k.table)
		}
		return text
	}
	rng := rand.New(rand.NewPCG(3, 14))
	const operations, batch = 10_000, 500
	for done := 0; done < operations; done += batch {
		var commands []string
		for range batch {
			k := key{prefixes[rng.IntN(len(prefixes))], []int{254, 254, 100, 427}[rng.IntN(4)], []int{50, 426, 428, 1024}[rng.IntN(4)]}
			r := route{fmt.Sprintf("192.168.77.%d", 2+rng.IntN(2)), []int{3, 4, 12, 186}[rng.IntN(4)]}
			old, had := model[k]
			switch {
			case had && rng.IntN(2) == 0:
				commands = append(commands, "route del "+line(k, old))
				delete(model, k)
			default:
				commands = append(commands, "route replace "+line(k, r))
				model[k] = r
			}
		}
		ipBatch(t, a, commands)
		if done%(4*batch) == 0 {
			// The daemon is to have something to do meanwhile.
			run(t, a, "ip", "route", "flush", "proto", "67")
			l.Node("b").CLI(t.Context(), "restart", "mesh/a") // refused while the last one is not over
		}
		expect := slices.Clone(base)
		for k, r := range model {
			expect = append(expect, line(k, r))
		}
		if diff := same(foreign(t, a), expect); diff != "" {
			t.Fatalf("after %d operations foreign routes differ:\n%s", done+batch, diff)
		}
	}
	eventually(t, 20*time.Second, func() string { return same(own(t, a), want) })
	if len(must(a.Status(t.Context()))(t).Problems) != 0 {
		t.Errorf("problems: %+v", must(a.Status(t.Context()))(t).Problems)
	}
}

// overrunTime is for reading the whole kernel again, which takes 10 s and more on a busy
// machine. No audit does it meanwhile, after [noAudit].
const overrunTime = 2 * time.Minute

// noAudit leaves it to notifications, and to the news that some were lost, to tell the
// daemons what has changed.
func noAudit(t *testing.T, l *lab.Lab) {
	t.Helper()
	write(t, l, "dataplane.yaml", "DataplaneConfiguration", "default", "{auditInterval: 24h}")
}

// TestOverrun has another program write 100,000 routes at full speed while ours
// are deleted behind the daemon's back: whatever notifications the kernel drops
// for that, nothing differs soon after.
func TestOverrun(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	within(t, 10*time.Second, func() string { return same(own(t, a), want) })
	noAudit(t, l)
	const routes = 100_000
	add, del := make([]string, 0, routes), make([]string, 0, routes)
	for i := range routes {
		dst := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		add = append(add, fmt.Sprintf("route add %s/32 via 192.168.77.2 metric 100 proto static", dst))
		del = append(del, fmt.Sprintf("route del %s/32 via 192.168.77.2 metric 100 proto static", dst))
		if i%10_000 == 0 {
			for _, other := range []string{"b", "c"} {
				ours := "route del " + l.Node(other).Block(lab.IPv4).String() + " metric 427"
				add, del = append(add, ours), append(del, ours)
			}
		}
	}
	for _, c := range []struct {
		name     string
		commands []string
	}{{"adding", add}, {"deleting", del}} {
		begin := time.Now()
		ipBatch(t, a, c.commands)
		wrote := time.Since(begin)
		took := within(t, overrunTime, func() string { return same(own(t, a), want) })
		st := must(a.Status(t.Context()))(t)
		t.Logf("%s %d routes took %v; all was right %v later (%d routes repaired so far)", c.name, routes, wrote, took, st.Counts.DriftRepaired)
	}
	settle(t, l)
}

// hardwareAddr returns that of a node's eth0.
func hardwareAddr(t *testing.T, n *lab.Node) string {
	t.Helper()
	words := strings.Fields(run(t, n, "ip", "-o", "link", "show", "eth0"))
	i := slices.Index(words, "link/ether")
	if i < 0 || i+1 == len(words) {
		t.Fatalf("no hardware address in %q", words)
	}
	return words[i+1]
}

// TestOverrunWhileStopped changes 300,000 routes while the daemon does not run at
// all, so that its socket must overflow: it finds out what it missed.
func TestOverrunWhileStopped(t *testing.T) {
	t.Parallel()
	l := mesh(t, lab.MeshOptions{PodsPerNode: 1}, lab.BGPSettings{})
	a := l.Node("a")
	want := wantRoutes(l, a)
	within(t, 10*time.Second, func() string { return same(own(t, a), want) })
	noAudit(t, l)
	daemon := a.Process("caracald")
	if err := daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Signal(syscall.SIGCONT) })
	const prefixes, rounds = 50_000, 3
	commands := make([]string, 0, 2*prefixes)
	for _, verb := range []string{"add", "del"} {
		for i := range prefixes {
			dst := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
			commands = append(commands, fmt.Sprintf("route %s %s/32 via 192.168.77.2 metric 100 proto static", verb, dst))
		}
	}
	for range rounds {
		ipBatch(t, a, commands)
	}
	run(t, a, "ip", "route", "flush", "proto", "67")
	run(t, a, "ip", "-6", "route", "flush", "proto", "67")
	if err := daemon.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	took := within(t, overrunTime, func() string { return same(own(t, a), want) })
	t.Logf("%d changes in the kernel unseen: all was right %v after", 2*prefixes*rounds, took)
	if !strings.Contains(daemon.Log(), "notifications were lost") {
		t.Error("the log does not say that notifications were lost")
	}
	settle(t, l)
}
