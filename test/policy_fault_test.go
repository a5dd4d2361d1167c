package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"caracal.dev/caracal/lab"
)

// repairWait bounds how long what somebody else opened may stay open. Changes of
// chains are noticed at once; those of sets at the next audit, which the stories
// have every two seconds. Twenty times that is slack for a busy machine, on which one
// alone was seen to take five.
const repairWait = 40 * time.Second

// TestPolicyTampering: what others do to our chains and sets is repaired. What
// they open is open until then; the story says how long.
func TestPolicyTampering(t *testing.T) {
	t.Parallel()
	g := withGuard(t, "iptablesBackend: NFT")
	a := g.alarm()
	for _, f := range tamperings(g.peerSet("a"), g.l.Pod("a3").Addr(lab.IPv4).String(), g.l.Pod("b2").Addr(lab.IPv4).String()) {
		g.tamper(a, f)
	}
	a.stop()
	if out := g.status("a"); !strings.Contains(out, "repaired") {
		t.Errorf("show policy does not say that something was repaired:\n%s", out)
	}
}

// A tampering is what somebody else does to our rules.
type tampering struct {
	name string
	// opens says that the fault may let something through until it is repaired;
	// closes that it may drop what is allowed.
	opens, closes bool
	argv          [][]string
}

// tamperings are those of the story: peer is the set of the friends, near and far
// are strangers.
func tamperings(peer, near, far string) []tampering {
	return []tampering{
		{"iptables -F", true, false, [][]string{{"iptables-nft", "-F"}, {"ip6tables-nft", "-F"}}},
		{"iptables -F of raw", false, false, [][]string{{"iptables-nft", "-t", "raw", "-F"}, {"ip6tables-nft", "-t", "raw", "-F"}}},
		// Some of it may find rules that are back already, and fails then.
		{"iptables -F and -X of all tables", true, false, [][]string{{"sh", "-c", `for p in iptables ip6tables; do for t in filter raw nat; do
			$p-nft -t $t -F; $p-nft -t $t -X; done; done 2>/dev/null; true`}}},
		{"all chains and sets destroyed", true, true, [][]string{{"sh", "-c", `for p in iptables ip6tables; do for t in raw filter nat; do
			$p-nft -t $t -F; $p-nft -t $t -X; done; done 2>/dev/null; ipset destroy 2>/dev/null; true`}}},
		{"the hook deleted", true, false, [][]string{{"sh", "-c", "iptables-nft -D FORWARD 1"}}},
		{"a rule put before ours", true, false, [][]string{{"iptables-nft", "-I", "FORWARD", "1", "-p", "udp", "--dport", fmt.Sprint(floodPort), "-j", "ACCEPT"}}},
		{"a rule put into a chain of ours", true, false, [][]string{{"iptables-nft", "-I", "caracal-into", "1", "-j", "ACCEPT"}}},
		{"a rule of ours deleted", false, true, [][]string{{"iptables-nft", "-D", "caracal-forward", "1"}}},
		{"a chain of ours flushed", true, true, [][]string{{"iptables-nft", "-F", "caracal-forward"}}},
		{"a member put into a set", true, false, [][]string{{"ipset", "add", peer, far}, {"ipset", "add", peer, near}}},
		{"a set flushed", false, true, [][]string{{"ipset", "flush", peer}}},
		{"the set of local pods flushed", false, true, [][]string{{"ipset", "flush", "caracal-local4"}}},
		{"our set swapped for another", true, true, [][]string{{"sh", "-c", "ipset create other hash:ip && ipset add other " + far + " && ipset swap other " + peer + " && ipset destroy other"}}},
	}
}

// tamper does one, and waits for the repair.
func (g *guarded) tamper(a *alarm, fault tampering) {
	t, n := g.t, g.l.Node("a")
	t.Helper()
	before := g.rules("a")
	seen := a.sniffer.Count()
	stop := func() {}
	if !fault.closes {
		stop = g.lossless()
	}
	begin := time.Now()
	for _, argv := range fault.argv {
		run(t, n, argv...)
	}
	within(t, repairWait, func() string {
		return same(g.withoutOthers(g.rules("a")), g.withoutOthers(before))
	})
	took := time.Since(begin)
	// That it is closed again is looked at below: what came before may only be read now.
	through := a.sniffer.Count() - seen
	_, last := a.sniffer.From()
	if fault.name == "a rule put before ours" {
		// It is another's rule and stays; ours come before it again.
		run(t, n, "iptables-nft", "-D", "FORWARD", "-p", "udp", "--dport", fmt.Sprint(floodPort), "-j", "ACCEPT")
	}
	if through > 0 && !fault.opens {
		t.Errorf("%s: %d forbidden datagrams came through", fault.name, through)
	}
	t.Logf("%s: repaired after %v, %d datagrams came through for %v", fault.name, took.Round(time.Millisecond), through, max(0, last.Sub(begin)).Round(time.Millisecond))
	stop()
	g.allowed("b1", "a1", true)
	within(t, repairWait, func() string { return g.policyError("a") })
	after := a.sniffer.Count()
	g.allowed("b2", "a1", false)
	if n := a.sniffer.Count() - after; n > 0 {
		t.Errorf("%s: %d forbidden datagrams came through after the repair", fault.name, n)
	}
}

// withoutOthers leaves out rules and sets that are not ours.
func (g *guarded) withoutOthers(rules []string) (out []string) {
	for _, r := range rules {
		if strings.Contains(r, "caracal-") {
			out = append(out, r)
		}
	}
	return out
}

// peerSet is the set of the friends' IPv4 addresses.
func (g *guarded) peerSet(node string) string {
	g.t.Helper()
	friend := g.l.Pod("b1").Addr(lab.IPv4).String()
	for line := range strings.Lines(run(g.t, g.l.Node(node), "ipset", "save")) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "add" && f[2] == friend && strings.HasPrefix(f[1], "caracal-p4") {
			return f[1]
		}
	}
	g.t.Fatal("no set holds " + friend)
	return ""
}

// TestPolicyHammer: another program writes rules of its own all the time, under the
// same lock, in the same tables; ours go in nevertheless, nothing that is forbidden
// gets through and nothing that is allowed is lost.
func TestPolicyHammer(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"NFT", "Legacy"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			g := withGuard(t, "iptablesBackend: "+backend)
			a, stop := g.alarm(), g.lossless()
			tool := "iptables-" + strings.ToLower(backend)
			script := fmt.Sprintf(`%[1]s -w -N foreign; i=0; while [ $i -lt 400 ]; do i=$((i+1))
				%[1]s -w -I FORWARD 1 -s 203.0.113.$((i%%250)) -j foreign; %[1]s -w -A foreign -s 198.51.100.1 -j RETURN
				%[1]s -w -D FORWARD -s 203.0.113.$((i%%250)) -j foreign; %[1]s-save >/dev/null; done`, tool)
			hammer := must(g.l.Node("a").Start("hammer", "sh", "-c", script))(t)
			slowest := time.Duration(0)
			for i := range 10 {
				open := i%2 == 0
				spec := `{podSelector: {matchLabels: {role: stranger}}, policyTypes: [Ingress]}`
				if open {
					spec = `{podSelector: {matchLabels: {role: stranger}}, ingress: [{}]}`
				}
				begin := time.Now()
				g.policy("more", spec)
				g.allowed("b3", "a3", open)
				slowest = max(slowest, time.Since(begin))
			}
			if err := hammer.Kill(os.Kill); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d forbidden datagrams were sent; the slowest change took %v", a.stop(), slowest.Round(time.Millisecond))
			a.silent("the hammering")
			stop()
			// The lock is one for all namespaces, so of all stories.
			if out := run(t, g.l.Node("a"), tool, "-w", "-S", "foreign"); !strings.Contains(out, "198.51.100.1") {
				t.Errorf("the other program's chain is gone:\n%s", out)
			}
			within(t, repairWait, func() string { return g.policyError("a") })
		})
	}
}

// A broken host is a directory with stand-ins for the programs of iptables, which
// do as a file beside them says.
type brokenHost struct{ dir string }

// breakable makes stand-ins, and a program that starts caracald with them in its
// PATH.
func breakable(t *testing.T) (b brokenHost, caracald string) {
	t.Helper()
	b.dir = t.TempDir()
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"", "-nft", "-legacy"} {
			for _, verb := range []string{"", "-restore", "-save"} {
				name := family + variant + verb
				real, err := exec.LookPath(name)
				if err != nil {
					t.Fatal(err)
				}
				fault := ""
				if verb == "-restore" {
					fault = fmt.Sprintf("case $(cat %s/mode) in\nmissing) exit 127;;\nfail) echo 'iptables-restore: line 1 failed' >&2; exit 1;;\nhang) exec sleep 300;;\nlate) sleep 1;;\nesac\n", b.dir)
				}
				if err := os.WriteFile(filepath.Join(b.dir, name), []byte("#!/bin/sh\n"+fault+"exec "+real+" \"$@\"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	b.mode(t, "ok")
	caracald = filepath.Join(b.dir, "caracald")
	script := fmt.Sprintf("#!/bin/sh\nPATH=%s:$PATH exec %s \"$@\"\n", b.dir, built.caracald)
	if err := os.WriteFile(caracald, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return b, caracald
}

func (b brokenHost) mode(t *testing.T, mode string) {
	t.Helper()
	tmp := filepath.Join(b.dir, ".mode")
	if err := os.WriteFile(tmp, []byte(mode), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(b.dir, "mode")); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyBrokenPrograms: while iptables-restore is missing, fails or hangs the
// rules that are in stay, the status says why, and a change goes in when it is
// well again.
func TestPolicyBrokenPrograms(t *testing.T) {
	t.Parallel()
	b, caracald := breakable(t)
	l := start(t, policed(""))
	must(l.Node("a").StartCaracaldAs(caracald))(t)
	must(l.Node("b").StartCaracald())(t)
	settle(t, l, "a1", "a2", "b1")
	g := &guarded{t, l}
	eventually(t, 20*time.Second, func() string { return g.policyError("a") + g.policyError("b") })
	a, stop := g.alarm(), g.lossless()
	for i, mode := range []string{"missing", "fail", "hang"} {
		b.mode(t, mode)
		// A change of chains and of sets; neither concerns the guard.
		g.policy("more", fmt.Sprintf(`{podSelector: {matchLabels: {role: stranger}}, ingress: [{ports: [{port: %d, protocol: UDP}]}]}`, 1000+i))
		said := ""
		wait := 100 * time.Second // a program that hangs is given up after a while, half a minute in an audit
		within(t, wait, func() string {
			if said = g.policyError("a"); said == "" {
				return "no error of " + mode + " is shown"
			}
			return ""
		})
		t.Logf("%s: %s", mode, said)
		if !strings.Contains(said, "iptables") {
			t.Errorf("%s: the status says %q, without a word of iptables", mode, said)
		}
		a.silent("iptables-restore: " + mode)
		b.mode(t, "ok")
		eventually(t, 60*time.Second, func() string { return g.policyError("a") })
		g.allowed("b3", "a3", false)
	}
	t.Logf("%d forbidden datagrams were sent", a.stop())
	a.silent("broken programs")
	stop()
}

// TestPolicyKilled: a daemon that is killed at any point of writing leaves nothing
// open and nothing allowed closed, and the next one finishes what it was at.
func TestPolicyKilled(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"NFT", "Legacy"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			g := withGuard(t, "iptablesBackend: "+backend)
			n := g.l.Node("a")
			a, stop := g.alarm(), g.lossless()
			for i := range 15 {
				// The guard itself is written another way, which means the same.
				rule := `{from: [{podSelector: {matchLabels: {role: friend}}}]}`
				extra := fmt.Sprintf(`{from: [{podSelector: {matchLabels: {role: nobody%d}}}], ports: [{port: %d}]}`, i, 100+i)
				list := []string{rule, extra}
				if i%2 == 1 {
					list = []string{extra, rule}
				}
				doc := fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: second}\nspec: {podSelector: {matchLabels: {role: guarded}}, ingress: [%s]}\n", strings.Join(list, ", "))
				if err := g.l.WriteConfig("policy-second.yaml", doc); err != nil {
					t.Fatal(err)
				}
				time.Sleep(rand.N(150 * time.Millisecond))
				must(n.Restart(os.Kill))(t)
				if i%3 == 0 {
					eventually(t, 20*time.Second, func() string { return g.policyError("a") })
				} else {
					time.Sleep(rand.N(250 * time.Millisecond))
				}
				a.silent(fmt.Sprintf("kill %d", i))
			}
			eventually(t, 20*time.Second, func() string { return g.policyError("a") })
			t.Logf("%d forbidden datagrams were sent", a.stop())
			a.silent("15 kills")
			stop()
			// What is in the kernel is what a daemon that was never killed writes.
			before := g.rules("a")
			must(n.Restart(syscall.SIGTERM))(t)
			eventually(t, 20*time.Second, func() string { return g.policyError("a") })
			if diff := same(g.rules("a"), before); diff != "" {
				t.Errorf("the next start still changed rules:\n%s", diff)
			}
		})
	}
}

// TestPolicyOtherBackend: rules that an earlier run left in the other variant of
// iptables go, and at no time is open what both close.
func TestPolicyOtherBackend(t *testing.T) {
	t.Parallel()
	g := withGuard(t, "iptablesBackend: Legacy")
	n := g.l.Node("a")
	a, stop := g.alarm(), g.lossless()
	if out := run(t, n, "iptables-legacy-save"); !strings.Contains(out, "caracal-into") {
		t.Fatalf("no rules in legacy:\n%s", out)
	}
	for _, to := range []string{"NFT", "Legacy", "NFT"} {
		text := policySettings("iptablesBackend: " + to)
		if err := g.l.WriteConfig("cluster.yaml", strings.Replace(g.cluster(), g.settings(), text, 1)); err != nil {
			t.Fatal(err)
		}
		here, gone := "iptables-"+strings.ToLower(to)+"-save", "iptables-legacy-save"
		if to == "Legacy" {
			gone = "iptables-nft-save"
		}
		within(t, repairWait, func() string {
			if !strings.Contains(run(t, n, here), "caracal-into") {
				return "no rules in " + to
			}
			if strings.Contains(run(t, n, gone), "caracal-") {
				return "the rules in the other variant are still there:\n" + run(t, n, gone)
			}
			return ""
		})
		a.silent("the change to " + to)
	}
	// A daemon that begins with the other one.
	if err := n.Kill(os.Kill); err != nil {
		t.Fatal(err)
	}
	if err := g.l.WriteConfig("cluster.yaml", strings.Replace(g.cluster(), g.settings(), policySettings("iptablesBackend: Legacy"), 1)); err != nil {
		t.Fatal(err)
	}
	must(n.Restart(os.Kill))(t)
	within(t, repairWait, func() string {
		if out := run(t, n, "iptables-nft-save"); strings.Contains(out, "caracal-") {
			return out
		}
		return g.policyError("a")
	})
	t.Logf("%d forbidden datagrams were sent", a.stop())
	a.silent("four changes")
	stop()
}

// cluster is the text of the cluster's configuration, settings that of its
// DataplaneConfiguration.
func (g *guarded) cluster() string {
	return string(must(os.ReadFile(filepath.Join(g.l.ConfigDir(), "cluster", "cluster.yaml")))(g.t))
}

func (g *guarded) settings() string {
	for _, doc := range strings.Split(g.cluster(), "---\n") {
		if strings.Contains(doc, "DataplaneConfiguration") {
			return doc
		}
	}
	g.t.Fatal("no settings")
	return ""
}
