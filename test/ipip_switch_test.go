package test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// TestIPIPSwitch goes from each mode to each other while packets flow, on all
// nodes at once and then node by node. The router knows the pods here, so that
// they reach each other without a tunnel too.
func TestIPIPSwitch(t *testing.T) {
	if !inUML(t, true, 4*time.Minute+8*4*switchPause) {
		return
	}
	top := lab.Subnets(lab.SubnetOptions{PodsPerNode: 1, IPIP: "Never", Informed: true})
	for i := range top.Nodes {
		if !switchAddresses {
			top.Nodes[i].Tunnel = netip.Addr{}
		}
	}
	l := start(t, top)
	for _, n := range l.Nodes() { // each reads files of its own
		if err := os.CopyFS(ownConfig(n), os.DirFS(l.ConfigDir())); err != nil {
			t.Fatal(err)
		}
		must(n.StartCaracald("--config", ownConfig(n)))(t)
	}
	reach(t, l)
	if switchAddresses {
		tunnelsUp(t, l)
	}
	modes := []string{"Always", "CrossSubnet", "Never", "CrossSubnet", "Always", "Never"}
	for _, mode := range modes {
		switchModes(t, l, "all at once", mode, 0)
	}
	for _, mode := range modes[:4] {
		switchModes(t, l, "node by node", mode, switchPause)
	}
	if err := setMode(t, l, l.Nodes(), "Always"); err != nil {
		t.Fatal(err)
	}
	eventuallyTunneled(t, l, "Always")
	// The pods' interfaces take 1,500 bytes, as before.
	for _, to := range []string{"b1", "d1"} {
		t.Logf("10 MB from a1 to %s in %v", to, transfer(t, l, "a1", to, 10<<20, patience))
	}
}

// tunnelsUp waits until each node takes what comes through the tunnel. Nodes
// with an address for it do so soon after their start, before any pool asks for
// it; others send as soon as one does.
func tunnelsUp(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		within(t, patience, func() string {
			out, err := n.CLI(t.Context(), "-o", "json", "show", "tunnels")
			var tunnel struct {
				Up      bool
				Problem string
			}
			if err == nil {
				err = json.Unmarshal([]byte(out), &tunnel)
			}
			if err != nil || !tunnel.Up || tunnel.Problem != "" {
				return fmt.Sprintf("the tunnel of %s is not up: %v\n%s", n.Name, err, out)
			}
			return ""
		})
	}
}

// ownConfig is the directory that one node alone reads.
func ownConfig(n *lab.Node) string { return filepath.Join(n.Dir(), "config") }

// switchModes puts a mode in force, with a pause after each node if they are to
// go one after the other, and demands that no packet is lost.
func switchModes(t *testing.T, l *lab.Lab, how, mode string, pause time.Duration) {
	t.Helper()
	meters := map[string]*lab.LossMeter{}
	for _, pair := range []string{"a1 b1", "a1 d1", "b1 c1", "c1 d1"} {
		a, b, _ := strings.Cut(pair, " ")
		meters[pair] = must(l.StartLossMeter(t.Context(), lab.MeterSpec{A: a, B: b, Family: lab.IPv4, Rate: 100}))(t)
	}
	if pause == 0 {
		if err := setMode(t, l, l.Nodes(), mode); err != nil {
			t.Fatal(err)
		}
	} else {
		for _, n := range l.Nodes() {
			if err := setMode(t, l, []*lab.Node{n}, mode); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause) // what an operator who is careful does
		}
	}
	took := eventuallyTunneled(t, l, mode)
	time.Sleep(300 * time.Millisecond) // packets that were under way
	for pair, m := range meters {
		if r := m.Stop(); r.Lost() != 0 || r.Sent() == 0 {
			t.Errorf("to %s, %s, %s: %s", mode, how, pair, r)
		}
	}
	t.Logf("to %s, %s: done after %v", mode, how, took)
}

// setMode gives the pool of the nodes' own configuration a mode.
func setMode(t *testing.T, l *lab.Lab, nodes []*lab.Node, mode string) error {
	t.Helper()
	text := poolFile(t, l, mode)
	for _, n := range nodes {
		path := filepath.Join(ownConfig(n), "cluster", "cluster.yaml")
		next := filepath.Join(filepath.Dir(path), ".next")
		if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Rename(next, path); err != nil {
			return err
		}
	}
	return nil
}

// TestIPIPMissing has a kernel without IPIP: pools that do not ask for it work in
// full, and of the one that does status says why not.
func TestIPIPMissing(t *testing.T) {
	if !inUML(t, false, 3*time.Minute) {
		return
	}
	top := lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 1})
	top.Pools = append(top.Pools, lab.PoolSpec{Name: "far", CIDR: netip.MustParsePrefix("10.250.0.0/16"), BlockSize: 26, IPIP: "Always"})
	for i, block := range []string{"10.250.1.0/26", "10.250.2.0/26"} {
		top.Nodes[i].Blocks = append(top.Nodes[i].Blocks, netip.MustParsePrefix(block))
	}
	l := start(t, top)
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	reach(t, l)
	a := l.Node("a")
	within(t, patience, func() string {
		out, err := a.CLI(t.Context(), "show", "status")
		text := strings.Join(strings.Fields(out), " ")
		for _, want := range []string{"a: ready", "IPPool far asks for ipipMode: Always, which this node cannot do", "load the module ipip"} {
			if err != nil || !strings.Contains(text, want) {
				return out
			}
		}
		return ""
	})
	within(t, patience, func() string { // the path may come after the problem
		if out, err := a.CLI(t.Context(), "show", "fib"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "tunnel device tunl0 does not exist") {
			return fmt.Sprintf("show fib: %v\n%s", err, out)
		}
		return ""
	})
	if out, err := a.CLI(t.Context(), "show", "tunnels"); err != nil || !strings.Contains(out, "the kernel does not have it") {
		t.Errorf("show tunnels: %v\n%s", err, out)
	}
	for _, want := range []string{"10.244.2.0/26 via 192.168.77.2 dev eth0", "fd00:244:0:2::/122 via fd00:77::2 dev eth0"} {
		within(t, patience, func() string { // the pods were pinged by IPv4 alone
			if routes := lines(own(t, a)); !strings.Contains(routes, want) {
				return fmt.Sprintf("no %s among\n%s", want, routes)
			}
			return ""
		})
	}
	before := session(t, a, "b")
	if err := l.WriteConfig("cluster.yaml", poolFile(t, l, "Never")); err != nil {
		t.Fatal(err)
	}
	within(t, patience, func() string {
		out, err := a.CLI(t.Context(), "show", "status")
		if err != nil || strings.Contains(out, "IPPool far") {
			return "the problem does not end: " + out
		}
		if routes := lines(own(t, a)); !strings.Contains(routes, "10.250.2.0/26 via 192.168.77.2 dev eth0") {
			return "no route without a tunnel among\n" + routes
		}
		return ""
	})
	if now := session(t, a, "b"); !now.Since.Equal(before.Since) || now.Flaps != before.Flaps {
		t.Errorf("the session was reset: %+v, was %+v", now, before)
	}
}
