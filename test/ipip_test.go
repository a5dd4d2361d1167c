package test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/internal/uml"
	"caracal.dev/caracal/lab"
)

// tunnelModules are what the stories need of a kernel that has IPIP, beside ipip.
var tunnelModules = []string{
	"veth", "bridge", "ipv6", "ip_tables", "iptable_filter", "xt_set", "xt_comment", "ip_set_hash_ip",
	// And felix.
	"iptable_raw", "iptable_nat", "ip6_tables", "ip6table_filter", "ip6table_raw", "ip6table_nat", "nf_conntrack_netlink",
	"xt_conntrack", "xt_multiport", "xt_tcpudp", "xt_MASQUERADE", "ip_set_hash_net", "ip_set_hash_ipport", "ip_set_hash_netiface",
}

// inUML runs the calling test in a kernel with IPIP, which that of the machine
// may lack, or without; true there. Such a kernel has one processor, and each page that
// a program touches costs it dearly, so it does not share the machine with other tests.
func inUML(t *testing.T, ipip bool, within time.Duration) bool {
	t.Helper()
	modules := tunnelModules
	if ipip {
		modules = append([]string{"ipip"}, modules...)
	}
	return uml.Test(t, uml.Options{
		Modules: modules, MemoryMB: 1024, Timeout: slack * within,
		Env: []string{programsEnv + "=" + filepath.Dir(built.caracald)},
	})
}

// patience is for a kernel with one processor, which is a process among others.
const patience = 4 * time.Minute

// reach waits until all sessions are up and all pods reach each other.
func reach(t *testing.T, l *lab.Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitPing(ctx, lab.IPv4); err != nil {
		t.Fatal(err)
	}
}

// tunneled says how a node's routes to the blocks of the others differ from what
// a mode asks for; nothing if they do not.
func tunneled(t *testing.T, l *lab.Lab, n *lab.Node, mode string) string {
	t.Helper()
	var want []string
	for _, other := range l.Nodes() {
		if other.Name != n.Name {
			want = append(want, other.Block(lab.IPv4).String()+" "+way(n.NodeSpec, other.NodeSpec, mode))
		}
	}
	var got []string
	for _, r := range must(n.OwnRoutes())(t) {
		if len(r.Hops) == 1 && r.Hops[0].Via.IsValid() {
			got = append(got, fmt.Sprintf("%s via %s dev %s", r.Dst, r.Hops[0].Via, r.Hops[0].Dev))
		}
	}
	return same(got, want)
}

// way is the gateway and the device of the routes from one node to another.
func way(from, to lab.NodeSpec, mode string) string {
	near := from.Links[0].Addrs[0].Masked().Contains(to.Addr(lab.IPv4))
	switch {
	case mode == "Always" || mode == "CrossSubnet" && !near:
		return fmt.Sprintf("via %s dev tunl0", to.Addr(lab.IPv4))
	case near:
		return fmt.Sprintf("via %s dev eth0", to.Addr(lab.IPv4))
	}
	return fmt.Sprintf("via %s dev eth0", from.Routes[0].Via)
}

// poolFile is the lab's configuration with another ipipMode.
func poolFile(t *testing.T, l *lab.Lab, mode string) string {
	t.Helper()
	path := filepath.Join(l.ConfigDir(), "cluster", "cluster.yaml")
	text := string(must(os.ReadFile(path))(t))
	for _, was := range []string{"Never", "Always", "CrossSubnet"} {
		text = strings.ReplaceAll(text, "ipipMode: "+was, "ipipMode: "+mode)
	}
	return text
}

func eventuallyTunneled(t *testing.T, l *lab.Lab, mode string) time.Duration {
	t.Helper()
	return within(t, patience, func() string {
		for _, n := range l.Nodes() {
			if diff := tunneled(t, l, n, mode); diff != "" {
				return mode + ", node " + n.Name + ":\n" + diff
			}
		}
		return ""
	})
}

// TestIPIP has pods in three subnets, whose router knows nothing of them.
func TestIPIP(t *testing.T) {
	if !inUML(t, true, 9*time.Minute) {
		return
	}
	l := start(t, lab.Subnets(lab.SubnetOptions{PodsPerNode: 1}))
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	reach(t, l)
	t.Run("wire", func(t *testing.T) { tunnelWire(t, l) })
	t.Run("status", func(t *testing.T) { tunnelStatus(t, l) })
	t.Run("guard", func(t *testing.T) { tunnelGuard(t, l) })
	t.Run("sizes", func(t *testing.T) { tunnelSizes(t, l) })
	t.Run("repair", func(t *testing.T) { tunnelRepair(t, l) })
	t.Run("restart", func(t *testing.T) { tunnelRestart(t, l) })
	t.Run("narrow", func(t *testing.T) { tunnelNarrow(t, l) })
	t.Run("move", func(t *testing.T) { tunnelMove(t, l) })
	t.Run("bird", func(t *testing.T) { tunnelBIRD(t, l) })
}

// tunnelWire captures what is on the wire in each mode, at both ends.
func tunnelWire(t *testing.T, l *lab.Lab) {
	a := l.Node("a")
	for _, mode := range []string{"CrossSubnet", "Always", "CrossSubnet"} {
		if err := l.WriteConfig("cluster.yaml", poolFile(t, l, mode)); err != nil {
			t.Fatal(err)
		}
		eventuallyTunneled(t, l, mode)
		for _, other := range []string{"b", "c", "d"} {
			to, pod := l.Node(other), l.Pod(other+"1")
			near, far := watchWire(t, a, "eth0"), watchWire(t, to, "eth0")
			src, dst := l.Pod("a1").Addr(lab.IPv4), pod.Addr(lab.IPv4)
			want := fmt.Sprintf("plain %s>%s", src, dst)
			if strings.HasSuffix(way(a.NodeSpec, to.NodeSpec, mode), "tunl0") {
				want = fmt.Sprintf("ipip %s>%s %s>%s", a.Addr(lab.IPv4), to.Addr(lab.IPv4), src, dst)
			}
			if c := must(l.Pod("a1").Ping(t.Context(), dst))(t); !c.OK {
				t.Errorf("%s: a1 to %s: %s", mode, pod.Name, c.Why)
			}
			for end, w := range map[string]*wire{"a": near, other: far} {
				eventually(t, 10*time.Second, func() string {
					if !w.saw(want) {
						return fmt.Sprintf("%s: on the wire of %s there is %q, not %q", mode, end, w.about(dst), want)
					}
					return ""
				})
				for _, what := range w.about(dst) {
					if what != want && !strings.HasSuffix(what, fmt.Sprintf("%s>%s", dst, src)) {
						t.Errorf("%s: on the wire of %s there is also %q", mode, end, what)
					}
				}
			}
			get := run(t, a, "ip", "route", "get", dst.String())
			if !strings.Contains(get, way(a.NodeSpec, to.NodeSpec, mode)) {
				t.Errorf("%s: ip route get %s: %s", mode, dst, get)
			}
		}
	}
}

// tunnelStatus asks the daemon.
func tunnelStatus(t *testing.T, l *lab.Lab) {
	a := l.Node("a")
	for line, want := range map[string][]string{
		"show status":    {"ready", "Pod MTU", "1480 bytes"},
		"show tunnels":   {"tunl0, up", "10.244.1.1", "eth0, 1500 bytes", "CrossSubnet", "192.168.102.3"},
		"check tunnel b": {"b: good", "1500 bytes"},
	} {
		out, err := a.CLI(t.Context(), strings.Fields(line)...)
		for _, w := range want {
			if err != nil || !strings.Contains(out, w) {
				t.Errorf("%s: %v, without %q:\n%s", line, err, w, out)
			}
		}
	}
}

// tunnelGuard sends from an address that is no node's: the router's.
func tunnelGuard(t *testing.T, l *lab.Lab) {
	a, router := l.Node("a"), l.Node("router")
	run(t, router, "ip", "link", "set", "tunl0", "up")
	run(t, router, "ip", "route", "add", a.Block(lab.IPv4).String(), "via", a.Addr(lab.IPv4).String(), "dev", "tunl0", "onlink")
	w := watchWire(t, a, "eth0")
	router.Exec(t.Context(), "ping", "-c", "2", "-W", "1", l.Pod("a1").Addr(lab.IPv4).String())
	eventually(t, 10*time.Second, func() string {
		if !slices.ContainsFunc(w.about(l.Pod("a1").Addr(lab.IPv4)), func(s string) bool { return strings.HasPrefix(s, "ipip") }) {
			return "nothing arrived that the guard could have dropped"
		}
		return ""
	})
	if out := run(t, a, "iptables-legacy", "-w", "-L", "INPUT", "-v", "-x", "-n"); !strings.Contains(out, "caracal:ipip-guard") || strings.Contains(out, "       0        0 DROP") {
		t.Errorf("the guard dropped nothing:\n%s", out)
	}
	run(t, router, "ip", "route", "del", a.Block(lab.IPv4).String())
	run(t, router, "ip", "link", "set", "tunl0", "down")
}

// tunnelSizes sends packets that may not be fragmented from pods whose
// interfaces take 1,500 bytes.
func tunnelSizes(t *testing.T, l *lab.Lab) {
	pod := l.Pod("a1")
	for _, c := range []struct {
		to   string
		size int
		want echo
	}{
		{"b1", 1400, echo{ok: true}},
		{"b1", 1480, echo{ok: true}},
		{"b1", 1481, echo{mtu: 1480}},
		{"b1", 1500, echo{mtu: 1480}},
		{"d1", 1500, echo{ok: true}}, // in the same subnet, without the tunnel
	} {
		got := pingDF(t, pod, l.Pod(c.to).Addr(lab.IPv4), c.size)
		who := got.who
		got.who = netip.Addr{}
		if got != c.want {
			t.Errorf("%d bytes to %s: %+v, want %+v", c.size, c.to, got, c.want)
		}
		if c.want.mtu > 0 && who != l.Node("a").Addr(lab.IPv4) && who != l.Node("a").Tunnel {
			t.Errorf("%d bytes to %s: refused by %s, not by the node", c.size, c.to, who)
		}
	}
	transfer(t, l, "a1", "b1", 10<<20, patience)
}

// tunnelRepair breaks the device by hand.
func tunnelRepair(t *testing.T, l *lab.Lab) {
	a := l.Node("a")
	for _, c := range [][]string{
		{"ip", "link", "set", "tunl0", "down"},
		{"ip", "addr", "flush", "dev", "tunl0"},
		{"ip", "link", "set", "tunl0", "mtu", "1000"},
		{"iptables-legacy", "-w", "-F", "INPUT"},
	} {
		run(t, a, c...)
		if c[0] == "iptables-legacy" { // which says nothing: the next look
			if err := l.WriteConfig("touch.yaml", fmt.Sprintf("# %v\n", time.Now())); err != nil {
				t.Fatal(err)
			}
			continue
		}
		took := eventually(t, 20*time.Second, func() string {
			out := run(t, a, "ip", "-o", "addr", "show", "dev", "tunl0") + run(t, a, "ip", "-o", "link", "show", "dev", "tunl0")
			for _, want := range []string{"10.244.1.1/32", "mtu 1480", ",UP,"} {
				if !strings.Contains(out, want) {
					return fmt.Sprintf("after %q: no %s in\n%s", c, want, out)
				}
			}
			return tunneled(t, l, a, "CrossSubnet")
		})
		t.Logf("%q: repaired after %v", strings.Join(c, " "), took)
		if c := must(l.Pod("a1").Ping(t.Context(), l.Pod("b1").Addr(lab.IPv4)))(t); !c.OK {
			t.Errorf("after that: %s", c.Why)
		}
	}
}

// tunnelRestart kills the daemon and starts it again.
func tunnelRestart(t *testing.T, l *lab.Lab) {
	a := l.Node("a")
	before := run(t, a, "ip", "-o", "-d", "link", "show", "dev", "tunl0") + run(t, a, "ip", "-o", "addr", "show", "dev", "tunl0")
	stopWatching := watchRoutes(t, l)
	m := must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: "a1", B: "b1", Family: lab.IPv4, Rate: 100}))(t)
	must(a.Restart(syscall.SIGKILL))(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.WaitSessions(ctx); err != nil {
		t.Fatal(err)
	}
	within(t, patience, func() string {
		if out, err := a.CLI(t.Context(), "show", "status"); err != nil || !strings.Contains(out, "a: ready") {
			return out
		}
		return ""
	})
	if r := m.Stop(); r.Lost() != 0 || r.Sent() == 0 {
		t.Errorf("lost: %s", r)
	}
	if moved := stopWatching(); len(moved) != 0 {
		t.Errorf("routes moved:\n%s", lines(moved))
	}
	if after := run(t, a, "ip", "-o", "-d", "link", "show", "dev", "tunl0") + run(t, a, "ip", "-o", "addr", "show", "dev", "tunl0"); after != before {
		t.Errorf("the device was\n%s\nand is\n%s", before, after)
	}
}

// tunnelNarrow makes the way to b's subnet narrower: first all of it but b knows
// nothing, as far as a can tell, then b too.
func tunnelNarrow(t *testing.T, l *lab.Lab) {
	a, b, router := l.Node("a"), l.Node("b"), l.Node("router")
	run(t, router, "ip", "link", "set", "net2", "mtu", "1400")
	run(t, b, "ip", "link", "set", "eth0", "mtu", "1400")
	took := eventually(t, 20*time.Second, func() string {
		if out := run(t, b, "ip", "-o", "link", "show", "dev", "tunl0"); !strings.Contains(out, "mtu 1380") {
			return "b's tunnel does not follow: " + out
		}
		return ""
	})
	t.Logf("followed after %v", took)
	out, err := a.CLI(t.Context(), "check", "tunnel", "b")
	if err == nil || !strings.Contains(out, "1400 bytes") || !strings.Contains(strings.Join(strings.Fields(out), " "), "tunnelMTU: 1380") {
		t.Errorf("check tunnel b: %v\n%s", err, out)
	}
	for _, pair := range [][2]string{{"a1", "b1"}, {"b1", "a1"}} {
		t.Logf("10 MB from %s to %s in %v", pair[0], pair[1], transfer(t, l, pair[0], pair[1], 10<<20, patience))
	}
	run(t, router, "ip", "link", "set", "net2", "mtu", "1500")
	run(t, b, "ip", "link", "set", "eth0", "mtu", "1500")
	eventually(t, 20*time.Second, func() string {
		if out := run(t, b, "ip", "-o", "link", "show", "dev", "tunl0"); !strings.Contains(out, "mtu 1480") {
			return "b's tunnel does not follow back: " + out
		}
		return ""
	})
}

// tunnelMove moves c from its subnet to that of a and d.
func tunnelMove(t *testing.T, l *lab.Lab) {
	c := l.Node("c")
	ip := must(find("ip"))(t)
	sw := func(name string) string { return strings.TrimSuffix(c.NS, "c") + "sw-" + name }
	for _, argv := range [][]string{
		{"-n", c.NS, "addr", "del", "192.168.103.4/24", "dev", "eth0"},
		{"-n", sw("net3"), "link", "set", "c-eth0", "netns", sw("net1")},
		{"-n", sw("net1"), "link", "set", "c-eth0", "master", "br0", "up"},
		{"-n", c.NS, "addr", "add", "192.168.101.4/24", "dev", "eth0"},
		{"-n", c.NS, "route", "replace", "default", "via", "192.168.101.1"},
	} {
		run(t, c, append([]string{ip}, argv...)...)
	}
	path := filepath.Join(l.ConfigDir(), "cluster", "node-c.yaml")
	text := strings.ReplaceAll(string(must(os.ReadFile(path))(t)), "192.168.103.4", "192.168.101.4")
	if err := l.WriteConfig("node-c.yaml", text); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[string]string{
		"a": "10.244.3.0/26 via 192.168.101.4 dev eth0", "d": "10.244.3.0/26 via 192.168.101.4 dev eth0",
		"b": "10.244.3.0/26 via 192.168.101.4 dev tunl0",
	} {
		within(t, patience, func() string {
			if routes := own(t, l.Node(n)); !slices.ContainsFunc(routes, func(r string) bool { return strings.HasPrefix(r, want+" ") }) {
				return "node " + n + ": no " + want + " among\n" + lines(routes)
			}
			return ""
		})
	}
	reach(t, l)
}

func find(program string) (string, error) {
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + program); err == nil {
			return dir + program, nil
		}
	}
	return "", fmt.Errorf("there is no program %s", program)
}

// tunnelBIRD has BIRD take the place of d, which is in a's subnet: what it
// announces goes the same ways.
func tunnelBIRD(t *testing.T, l *lab.Lab) {
	d, b := l.Node("d"), l.Node("b")
	if err := d.Kill(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	out, err := d.CLI(t.Context(), "cleanup", "--yes")
	if err != nil || !strings.Contains(out, "deleted") {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	left := run(t, d, "ip", "-o", "addr", "show", "dev", "tunl0") + run(t, d, "iptables-legacy", "-w", "-S", "INPUT") + run(t, d, "ip", "-o", "link", "show", "up", "dev", "tunl0")
	if strings.Contains(left, "caracal") || strings.Contains(left, "tunl0") {
		t.Errorf("left by cleanup:\n%s", left)
	}
	run(t, d, "ip", "link", "set", "tunl0", "up")
	top := l.Topology()
	i := slices.IndexFunc(top.Nodes, func(n lab.NodeSpec) bool { return n.Name == "c" })
	top.Nodes[i].Links = slices.Clone(top.Nodes[i].Links)
	top.Nodes[i].Links[0].Addrs = []netip.Prefix{netip.MustParsePrefix("192.168.101.4/24")} // it moved
	must(d.StartBIRD(lab.MeshBIRD(top, "d")))(t)
	within(t, patience, func() string {
		if nb := session(t, b, "d"); nb.State != "Established" {
			return "b's session with d is " + nb.State
		}
		return ""
	})
	for n, want := range map[string]string{"a": "via 192.168.101.5 dev eth0", "b": "via 192.168.101.5 dev tunl0"} {
		within(t, patience, func() string {
			if routes := own(t, l.Node(n)); !slices.ContainsFunc(routes, func(r string) bool { return strings.HasPrefix(r, "10.244.4.0/26 "+want+" ") }) {
				return "node " + n + ": no " + want + " among\n" + lines(routes)
			}
			return ""
		})
	}
	// BIRD knows no tunnels: the way back is given by hand.
	run(t, d, "ip", "route", "replace", b.Block(lab.IPv4).String(), "via", b.Addr(lab.IPv4).String(), "dev", "tunl0", "onlink")
	for _, pod := range []string{"a1", "b1"} {
		within(t, patience, func() string {
			if c := must(l.Pod(pod).Ping(t.Context(), l.Pod("d1").Addr(lab.IPv4)))(t); !c.OK {
				return pod + " to d1: " + c.Why
			}
			return ""
		})
	}
}
