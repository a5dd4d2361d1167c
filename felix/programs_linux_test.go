package felix

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal/internal/nstest"
)

// shims makes a directory with links to the programs of iptables, which a test
// may replace by others.
func shims(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, stem := range []string{"iptables", "ip6tables"} {
		for _, tail := range []string{"", "-nft", "-legacy", "-nft-save", "-nft-restore", "-legacy-save", "-legacy-restore"} {
			path, err := exec.LookPath(stem + tail)
			if err != nil {
				t.Fatalf("%v; install iptables", err)
			}
			if err := os.Symlink(path, filepath.Join(dir, stem+tail)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// replace puts a script, or nothing, in the place of a program.
func replace(t *testing.T, path, script string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if script == "" {
		return
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestProgramsFail(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		for _, c := range []struct{ name, tail, script, say string }{
			{"missing", "-restore", "", "install iptables"},
			{"save missing", "-save", "", "install iptables"},
			{"failing", "-restore", `echo "iptables-restore: line 3 failed: why" >&2; exit 1`, `line 3 is "`},
			{"hanging", "-restore", "sleep 100 & wait", "longer than 500ms"},
			{"save hanging", "-save", "echo '*filter'; sleep 100 & wait", "longer than 500ms"},
			{"save cut short", "-save", "echo '*filter'; exit 1", "exit status 1"},
			{"save without an end", "-save", "echo '*filter'", "COMMIT"},
		} {
			t.Run(c.name, func(t *testing.T) {
				dir := shims(t)
				f := openFilter(t, ns, FilterOptions{Backend: backend, Programs: dir, Patience: 30 * time.Second})
				rs := sampleRuleset()
				mustAudit(t, f, rs)
				if strings.Contains(c.say, "500ms") { // the others must not fail by the time
					f.host.Tables.(*programs).patience = 500 * time.Millisecond
				}
				path := filepath.Join(dir, program(backend, IPv4, c.tail))
				real, err := os.Readlink(path)
				if err != nil {
					t.Fatal(err)
				}
				replace(t, path, c.script)
				two := rs.clone()
				two.chain(IPv4, FilterTable, "caracal-to", "-j DROP", "-j RETURN")
				two.set("caracal-peers4", HashIP, IPv4, "10.0.0.7")
				_, err = f.Apply(testContext(t), two, diffRulesets(rs, two))
				if c.tail == "-save" && err == nil {
					_, err = f.Audit(testContext(t), two)
				}
				if err == nil || !strings.Contains(err.Error(), c.say) {
					t.Errorf("the error does not say %q: %v", c.say, err)
				}
				f.host.Tables.(*programs).patience = 30 * time.Second
				if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				if err := os.Symlink(real, path); err != nil {
					t.Fatal(err)
				}
				mustAudit(t, f, two)
				mustBeRight(t, f, two)
				mustAudit(t, f, rs)
			})
		}
	})
}

// TestLockHeld has another program hold the lock of iptables-legacy: the error
// names it.
func TestLockHeld(t *testing.T) {
	ns := nstest.New(t)
	lock := filepath.Join(t.TempDir(), "lock")
	t.Setenv("XTABLES_LOCKFILE", lock)
	f := openFilter(t, ns, FilterOptions{Backend: BackendLegacy, Patience: 30 * time.Second})
	file, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	rs := sampleRuleset()
	f.host.Tables.(*programs).patience = 2 * time.Second
	if _, err = f.Audit(testContext(t), rs); err == nil || !strings.Contains(err.Error(), "is held by process") {
		t.Errorf("the error is %v", err)
	}
	f.host.Tables.(*programs).patience = 30 * time.Second
	file.Close()
	mustAudit(t, f, rs)
	mustBeRight(t, f, rs)
}

// TestOtherBackend has the variant changed: what is left of ours in the one before
// goes once ours is in the other, and what is others' stays.
func TestOtherBackend(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		other := map[string]string{BackendNFT: BackendLegacy, BackendLegacy: BackendNFT}[backend]
		foreigners(ns, other)
		before := dump(ns, other)
		rs := sampleRuleset()
		mustAudit(t, openFilter(t, ns, FilterOptions{Backend: other}), rs)
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		mustAudit(t, f, rs)
		mustBeRight(t, f, rs)
		for _, family := range []Family{IPv4, IPv6} {
			if out := ns.Run(program(other, family, "-save")); strings.Contains(out, Prefix+"pods") {
				t.Errorf("in the other variant is left\n%s", out)
			}
		}
		var remains []string
		ns.Do(func() {
			var err error
			if remains, err = Remains(testContext(t), FilterOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := Remove(testContext(t), FilterOptions{}); err != nil {
				t.Fatal(err)
			}
		})
		if text := strings.Join(remains, "\n"); !strings.Contains(text, "3 chains in IPv4 filter ("+backend+"), with 1 rules") || !strings.Contains(text, "8 ipsets") {
			t.Errorf("of ours there is\n%s", text)
		}
		if after := dump(ns, other); after != before {
			t.Errorf("after all of ours is removed there is\n%s\nwant\n%s", after, before)
		}
		ns.Do(func() {
			if res, err := Remove(testContext(t), FilterOptions{}); err != nil || res.Wrote() {
				t.Errorf("the second time %+v, %v", res, err)
			}
		})
	})
}

func TestOpenChooses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(ns *nstest.NS)
		want string
	}{
		{"nothing there", func(*nstest.NS) {}, BackendNFT},
		{"rules in legacy", func(ns *nstest.NS) {
			ipt(ns, BackendLegacy, IPv4, "-A", "FORWARD", "-j", "ACCEPT")
		}, BackendLegacy},
		{"more rules in nft", func(ns *nstest.NS) {
			ipt(ns, BackendLegacy, IPv4, "-A", "FORWARD", "-j", "ACCEPT")
			ipt(ns, BackendNFT, IPv4, "-A", "FORWARD", "-j", "ACCEPT")
			ipt(ns, BackendNFT, IPv6, "-t", "nat", "-A", "POSTROUTING", "-j", "ACCEPT")
		}, BackendNFT},
		{"kubelet's hint", func(ns *nstest.NS) {
			ipt(ns, BackendLegacy, IPv4, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
			ipt(ns, BackendNFT, IPv4, "-A", "FORWARD", "-j", "ACCEPT")
		}, BackendLegacy},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := nstest.New(t)
			c.make(ns)
			f := openFilter(t, ns, FilterOptions{})
			if f.Backend() != c.want {
				t.Errorf("chose %s (%s), want %s", f.Backend(), f.Why(), c.want)
			}
			// To look must not make tables.
			if c.name == "nothing there" {
				mustAudit(t, f, sampleRuleset())
				if got := ns.Run("cat", "/proc/net/ip_tables_names"); got != "" {
					t.Errorf("there are tables of the other variant: %s", got)
				}
			}
			// What is ours counts for nothing.
			mustAudit(t, f, sampleRuleset())
			if again := openFilter(t, ns, FilterOptions{}); again.Backend() != c.want {
				t.Errorf("with ours in %s it chose %s (%s)", f.Backend(), again.Backend(), again.Why())
			}
		})
	}
}

func TestChooseBackend(t *testing.T) {
	for _, c := range []struct {
		nft, legacy survey
		usual, want string
	}{
		{survey{}, survey{}, "", ""},
		{survey{usable: true}, survey{}, BackendLegacy, BackendNFT},
		{survey{}, survey{usable: true}, BackendNFT, BackendLegacy},
		{survey{usable: true}, survey{usable: true}, BackendLegacy, BackendLegacy},
		{survey{usable: true}, survey{usable: true}, "", BackendNFT},
		{survey{usable: true, hint: true}, survey{usable: true, rules: 9}, BackendLegacy, BackendNFT},
		{survey{usable: true, hint: true, rules: 1}, survey{usable: true, hint: true, rules: 9}, BackendNFT, BackendLegacy},
	} {
		if got, _ := chooseBackend(c.nft, c.legacy, c.usual); got != c.want {
			t.Errorf("chooseBackend(%+v, %+v, %q) is %q, want %q", c.nft, c.legacy, c.usual, got, c.want)
		}
	}
}

// TestNoIP6Tables lacks the programs of IPv6 on a kernel that has it: IPv4 is
// protected all the same, and it is said that IPv6 is not.
func TestNoIP6Tables(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		dir := shims(t)
		replace(t, filepath.Join(dir, program(backend, IPv6, "-restore")), "")
		f := openFilter(t, ns, FilterOptions{Backend: backend, Programs: dir})
		four := sampleRuleset().clone()
		four.set("caracal-local6", HashNetIface, IPv6)
		res := mustAudit(t, f, four)
		if len(res.Unfiltered) != 1 || !strings.Contains(res.Unfiltered[0], "IPv6 is not filtered") {
			t.Errorf("unfiltered is %q", res.Unfiltered)
		}
		if _, err := f.Audit(testContext(t), sampleRuleset()); err == nil || !strings.Contains(err.Error(), "a workload has IPv6 addresses") {
			t.Errorf("the error is %v", err)
		}
	})
}
