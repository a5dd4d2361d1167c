package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
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

// floodPort is what the floods of forbidden datagrams are sent to.
const floodPort = 7777

// guarded is a lab of two nodes on which pod a1 accepts friends only: a2 on its
// own node and b1 on the other. a3 and b2 are strangers.
type guarded struct {
	t *testing.T
	l *lab.Lab
}

const guard = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard}
spec:
  podSelector: {matchLabels: {role: guarded}}
  ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}]}]
`

// policySettings are a DataplaneConfiguration: audits come often, so that stories
// see them.
func policySettings(options string) string {
	return "apiVersion: caracal.dev/v1\nkind: DataplaneConfiguration\nmetadata: {name: default}\nspec: {auditInterval: 2s, policy: {" + options + "}}\n"
}

// policed is the topology of [guarded].
func policed(options string) lab.Topology {
	top := lab.Mesh(lab.MeshOptions{Nodes: 2, PodsPerNode: 3})
	roles := map[string]string{"a1": "guarded", "a2": "friend", "b1": "friend", "a3": "stranger", "b2": "stranger", "b3": "other"}
	for _, n := range top.Nodes {
		for i := range n.Pods {
			n.Pods[i].Labels = map[string]string{"role": roles[n.Pods[i].Name]}
		}
	}
	top.Objects = append(top.Objects, guard, policySettings(options))
	return top
}

// withGuard builds the lab, starts its daemons, and waits until what is allowed
// goes through.
func withGuard(t *testing.T, options string) *guarded {
	t.Helper()
	l := start(t, policed(options))
	if err := l.StartAll(); err != nil {
		t.Fatal(err)
	}
	settle(t, l, "a1", "a2", "b1")
	g := &guarded{t, l}
	eventually(t, 20*time.Second, func() string { return g.policyError("a") + g.policyError("b") })
	return g
}

// status is what a node says of its rules.
func (g *guarded) status(node string) (text string) {
	g.t.Helper()
	out, err := g.l.Node(node).CLI(g.t.Context(), "show", "policy")
	if err != nil {
		return out + err.Error()
	}
	return out
}

// policyError is what is wrong with a node's rules; empty if nothing is.
func (g *guarded) policyError(node string) string {
	g.t.Helper()
	out, err := g.l.Node(node).CLI(g.t.Context(), "show", "status", "-o", "json")
	if err != nil {
		return err.Error()
	}
	var st struct {
		Policy struct{ Problem, Waiting, Since string }
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return err.Error() + ": " + out
	}
	if st.Policy.Since == "" {
		return "no rules yet: " + out
	}
	return st.Policy.Problem + st.Policy.Waiting
}

// An alarm is a flood of strangers towards a1 from both nodes by both families,
// and the sniffer at a1 that must see nothing of it.
type alarm struct {
	t       *testing.T
	floods  []*lab.Flood
	sniffer *lab.Sniffer
}

func (g *guarded) alarm() *alarm {
	g.t.Helper()
	a := &alarm{t: g.t, sniffer: must(lab.Sniff(g.l.Pod("a1").NS, floodPort))(g.t)}
	g.t.Cleanup(func() { a.sniffer.Stop() })
	var to []netip.AddrPort
	for _, addr := range g.l.Pod("a1").Addrs {
		to = append(to, netip.AddrPortFrom(addr, floodPort))
	}
	for _, from := range []string{"a3", "b2"} {
		f := must(g.l.Pod(from).StartFlood(g.t.Context(), to, 200*time.Microsecond))(g.t)
		g.t.Cleanup(func() { f.Stop() })
		a.floods = append(a.floods, f)
	}
	return a
}

// silent fails the test if a datagram has come through, or none was sent.
func (a *alarm) silent(after string) {
	a.t.Helper()
	if n := a.sniffer.Count(); n > 0 {
		from, _ := a.sniffer.From()
		a.t.Errorf("after %s: %d forbidden datagrams have come through, from %v", after, n, from)
	}
	for _, f := range a.floods {
		if f.Sent() == 0 {
			a.t.Errorf("after %s: the flood has sent nothing", after)
		}
	}
}

// stop ends the floods and says how many were sent.
func (a *alarm) stop() (sent int) {
	for _, f := range a.floods {
		sent += f.Stop()
		if err := f.Err(); err != nil {
			a.t.Logf("the last error of a flood: %v", err)
		}
	}
	a.sniffer.Stop()
	return sent
}

// lossless starts an allowed flow of each family between friends and a1, of the
// same node and of the other; stop fails the test if a packet was lost.
func (g *guarded) lossless() (stop func()) {
	g.t.Helper()
	near, far := flows(g.t, g.l, "a1", "a2"), flows(g.t, g.l, "a1", "b1")
	return func() {
		g.t.Helper()
		for _, r := range []lab.LossReport{near(), far()} {
			if r.Lost() > 0 {
				g.t.Errorf("an allowed flow lost packets: %v", r)
			}
		}
	}
}

// reaches tries a UDP datagram, in each family, and returns which arrive.
func (g *guarded) reaches(from, to string) (open []string) {
	g.t.Helper()
	for _, a := range g.l.Pod(to).Addrs {
		var here, there net.PacketConn
		err := errors.Join(
			g.l.Pod(to).Do(func() (err error) {
				// A program that is just being started has our sockets, the last of these
				// among them, until it is executed.
				for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
					there, err = net.ListenPacket("udp", netip.AddrPortFrom(a, 9).String())
					if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
						return err
					}
				}
			}),
			g.l.Pod(from).Do(func() (err error) {
				here, err = net.ListenPacket("udp", "")
				return err
			}))
		if err != nil {
			g.t.Fatal(err)
		}
		for range 30 {
			here.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
			there.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, _, err := there.ReadFrom(make([]byte, 1)); err == nil {
				open = append(open, a.String())
				break
			}
		}
		here.Close()
		there.Close()
	}
	return open
}

// allowed waits until a pod reaches another, or does not.
func (g *guarded) allowed(from, to string, want bool) {
	g.t.Helper()
	eventually(g.t, 20*time.Second, func() string {
		open := g.reaches(from, to)
		if want && len(open) < len(g.l.Pod(to).Addrs) || !want && len(open) > 0 {
			return fmt.Sprintf("%s reaches %s at %v; wanted: %t", from, to, open, want)
		}
		return ""
	})
}

// policy writes or replaces a policy of the namespace default.
func (g *guarded) policy(name, spec string) {
	g.t.Helper()
	doc := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
	if err := g.l.WriteConfig("policy-"+name+".yaml", doc); err != nil {
		g.t.Fatal(err)
	}
}

// TestPolicyRestart: when the daemon is dead the rules stay, and a start moves
// nothing.
func TestPolicyRestart(t *testing.T) {
	t.Parallel()
	g := withGuard(t, "")
	a, stop := g.alarm(), g.lossless()
	for i, sig := range []os.Signal{os.Kill, syscall.SIGTERM, os.Kill} {
		n := g.l.Node("a")
		before := g.rules("a")
		if err := n.Kill(sig); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			time.Sleep(300 * time.Millisecond)
		}
		if diff := same(g.rules("a"), before); diff != "" {
			t.Errorf("the end by %v changed rules:\n%s", sig, diff)
		}
		a.silent(fmt.Sprint("the end by ", sig))
		must(n.Restart(os.Kill))(t)
		eventually(t, 20*time.Second, func() string { return g.policyError("a") })
		if diff := same(g.rules("a"), before); diff != "" {
			t.Errorf("the start after %v changed rules:\n%s", sig, diff)
		}
	}
	t.Logf("%d forbidden datagrams were sent", a.stop())
	a.silent("three restarts")
	stop()
}

// rules are the rules of all tables that are there, and the members of all sets.
func (g *guarded) rules(node string) (out []string) {
	g.t.Helper()
	for _, argv := range [][]string{{"iptables-save"}, {"ip6tables-save"}, {"ipset", "save", "-sorted"}} {
		for line := range strings.Lines(run(g.t, g.l.Node(node), argv...)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ":") {
				continue // times and counters
			}
			// Of a set only what it holds: its size in memory is its own affair.
			if strings.HasPrefix(line, "create ") {
				line, _, _ = strings.Cut(line, " hashsize")
			}
			// The same line may be in both families, and be gone from one.
			out = append(out, argv[0]+": "+line)
		}
	}
	slices.Sort(out)
	return out
}

// TestPolicyExplain: explain says what the kernel does, and its counter counts.
func TestPolicyExplain(t *testing.T) {
	t.Parallel()
	g := withGuard(t, "")
	a := g.l.Node("a")
	pods := map[string]bool{"a2": true, "b1": true, "a3": false, "b2": false}
	for _, from := range slices.Sorted(maps.Keys(pods)) {
		out, _ := a.CLI(t.Context(), "explain", "policy", "--from", from, "--to", "a1", "--port", "9/udp")
		if allowed := strings.HasPrefix(out, "allowed"); allowed != pods[from] || strings.HasPrefix(out, "denied") == pods[from] {
			t.Errorf("explain of %s to a1, which is allowed: %t:\n%s", from, pods[from], out)
		}
		if !pods[from] {
			g.allowed(from, "a1", false)
			continue
		}
		if !strings.Contains(out, "default/guard") {
			t.Errorf("explain does not name the policy:\n%s", out)
		}
		before := counted(t, a, from)
		g.allowed(from, "a1", true)
		if after := counted(t, a, from); after <= before {
			t.Errorf("the rule that allows %s has counted %d packets before a connection and %d after", from, before, after)
		}
	}
}

// counted is how many packets the rule has counted that lets a pod in to a1.
func counted(t *testing.T, n *lab.Node, from string) int {
	t.Helper()
	out, err := n.CLI(t.Context(), "explain", "policy", "--from", from, "--to", "a1", "--port", "9/udp", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Ingress struct {
			Packets json.Number
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	packets, _ := v.Ingress.Packets.Int64()
	return int(packets)
}

// TestPolicyFlushConntrack: with flushConntrack a deny ends a connection that it
// forbids, and no other; without, the connection goes on.
func TestPolicyFlushConntrack(t *testing.T) {
	t.Parallel()
	for _, flush := range []bool{true, false} {
		t.Run(fmt.Sprint(flush), func(t *testing.T) {
			t.Parallel()
			g := withGuard(t, fmt.Sprintf("flushConntrack: %t", flush))
			forbidden, kept := g.connect("b1", "a1"), g.connect("a2", "a1")
			g.policy("guard2", `{podSelector: {matchLabels: {role: other}}}`) // a change that forbids neither
			forbidden(true)
			kept(true)
			// From now on b1 is no friend.
			text := must(os.ReadFile(filepath.Join(g.l.ConfigDir(), "cluster", "node-b.yaml")))(t)
			if err := g.l.WriteConfig("node-b.yaml", strings.Replace(string(text), `role: "friend"`, `role: "foe"`, 1)); err != nil {
				t.Fatal(err)
			}
			g.allowed("b1", "a1", false)
			forbidden(!flush)
			kept(true)
		})
	}
}

// TestPolicyAllowedAgain forbids what two pods say to each other, which both go on to
// say, and allows it again while it is still looked for more to end: no connection that
// is made then is ended.
func TestPolicyAllowedAgain(t *testing.T) {
	t.Parallel()
	g := withGuard(t, "flushConntrack: true")
	flows(t, g.l, "b1", "a1")
	text := string(must(os.ReadFile(filepath.Join(g.l.ConfigDir(), "cluster", "node-b.yaml")))(t))
	write := func(text string) {
		if err := g.l.WriteConfig("node-b.yaml", text); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		write(strings.Replace(text, `role: "friend"`, `role: "foe"`, 1))
		g.allowed("b1", "a1", false)
		write(text)
		g.allowed("b1", "a1", true)
		// The server begins: what it says is in the middle of a connection that the
		// kernel does not know, if that was ended.
		clients, servers := g.dial("b1", "a1")
		for range 15 {
			g.carry(servers, clients, true)
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// connect makes TCP connections of each family from one pod to another; what it
// returns holds that they still carry data of the client, or that they do not.
func (g *guarded) connect(from, to string) func(alive bool) {
	g.t.Helper()
	clients, servers := g.dial(from, to)
	return func(alive bool) {
		g.t.Helper()
		g.carry(clients, servers, alive)
	}
}

// dial makes TCP connections of each family from one pod to another.
func (g *guarded) dial(from, to string) (clients, servers []net.Conn) {
	g.t.Helper()
	for _, addr := range g.l.Pod(to).Addrs {
		srv := listen(g.t, g.l.Pod(to), addr, 0)
		var c net.Conn
		err := g.l.Pod(from).Do(func() (err error) {
			c, err = net.DialTimeout("tcp", srv.Addr().String(), 5*time.Second)
			return err
		})
		if err != nil {
			g.t.Fatal(err)
		}
		s := must(srv.Accept())(g.t)
		g.t.Cleanup(func() { c.Close(); s.Close() })
		clients, servers = append(clients, c), append(servers, s)
	}
	return clients, servers
}

// carry holds that what is written to connections arrives, or that it soon does not any
// more: connections are ended after the rules are in force.
func (g *guarded) carry(from, to []net.Conn, alive bool) {
	g.t.Helper()
	for i, c := range from {
		arrives := func(wait time.Duration) error {
			if _, err := c.Write([]byte("x")); err != nil {
				g.t.Fatal(err)
			}
			to[i].SetReadDeadline(time.Now().Add(wait))
			_, err := to[i].Read(make([]byte, 1))
			return err
		}
		way := fmt.Sprintf("connection %s to %s", c.LocalAddr(), to[i].LocalAddr())
		if alive {
			if err := arrives(10 * time.Second); err != nil {
				g.t.Fatalf("%s is dead: %v", way, err)
			}
			continue
		}
		eventually(g.t, 5*time.Second, func() string {
			if arrives(time.Second) == nil {
				return way + " is alive"
			}
			return ""
		})
	}
}
