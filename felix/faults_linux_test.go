package felix

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"caracal.dev/caracal/internal/nstest"
)

// ipt runs the variant's program in the namespace: ipt(ns, backend,
// IPv4, "-F").
func ipt(ns *nstest.NS, backend string, family Family, args ...string) {
	ns.Run(program(backend, family, ""), args...)
}

func program(backend string, family Family, tail string) string {
	name := "iptables-"
	if family == IPv6 {
		name = "ip6tables-"
	}
	return name + backend + tail
}

// noise is what saved text has besides rules and members.
var (
	noise   = regexp.MustCompile(`(?m)^#.*(\n|$)| \[\d+:\d+\]$`)
	setHead = regexp.MustCompile(`(?m) hashsize .*$`)
)

// dump returns everything in the tables of a variant and in sets.
func dump(ns *nstest.NS, backend string) string {
	var b strings.Builder
	for _, family := range []Family{IPv4, IPv6} {
		for _, table := range []string{"raw", "filter", "nat"} {
			out := ns.Run(program(backend, family, "-save"), "-t", table)
			b.WriteString(noise.ReplaceAllString(out, "") + "\n")
		}
	}
	sets := strings.Split(setHead.ReplaceAllString(ns.Run("ipset", "save"), ""), "\n")
	slices.Sort(sets)
	return b.String() + strings.Join(sets, "\n")
}

// foreigners has others' rules, chains and sets beside ours: those of room ipip,
// and of some program.
func foreigners(ns *nstest.NS, backend string) {
	for _, family := range []Family{IPv4, IPv6} {
		ipt(ns, backend, family, "-N", "KUBE-FORWARD")
		ipt(ns, backend, family, "-A", "KUBE-FORWARD", "-p", "tcp", "-j", "ACCEPT")
		ipt(ns, backend, family, "-A", "FORWARD", "-j", "KUBE-FORWARD")
		ipt(ns, backend, family, "-t", "nat", "-A", "POSTROUTING", "-p", "udp", "-j", "ACCEPT")
	}
	ns.Run("ipset", "create", "caracal-ipip", "hash:ip")
	ns.Run("ipset", "create", "other", "hash:ip")
	ns.Run("ipset", "add", "other", "192.0.2.1")
	ipt(ns, backend, IPv4, "-A", "INPUT", "-p", "4", "-m", "set", "!", "--match-set", "caracal-ipip", "src",
		"-m", "comment", "--comment", "caracal:ipip-guard", "-j", "DROP")
}

// faults are what others may do to us.
var faults = []struct {
	name string
	do   func(ns *nstest.NS, ipt func(args ...string))
}{
	{"flush a chain", func(_ *nstest.NS, ipt func(...string)) { ipt("-F", "caracal-pods") }},
	{"flush ours and delete chains", func(_ *nstest.NS, ipt func(...string)) {
		for _, c := range []string{"caracal-forward", "caracal-pods", "caracal-to"} {
			ipt("-F", c)
		}
		ipt("-X", "caracal-pods")
	}},
	{"delete our first rule", func(_ *nstest.NS, ipt func(...string)) { ipt("-D", "FORWARD", "1") }},
	{"put a rule before ours", func(_ *nstest.NS, ipt func(...string)) {
		ipt("-I", "FORWARD", "-s", "198.51.100.1", "-j", "RETURN")
		ipt("-I", "FORWARD", "-s", "198.51.100.2", "-j", "RETURN")
	}},
	{"lead to a chain twice", func(ns *nstest.NS, ipt func(...string)) {
		ipt("-A", "FORWARD", "-m", "comment", "--comment", "caracal:0123456789abcdef old", "-j", "caracal-to")
	}},
	{"replace a rule", func(_ *nstest.NS, ipt func(...string)) { ipt("-R", "caracal-to", "1", "-j", "ACCEPT") }},
	{"add a rule", func(_ *nstest.NS, ipt func(...string)) { ipt("-I", "caracal-to", "-j", "ACCEPT") }},
	{"append a rule", func(_ *nstest.NS, ipt func(...string)) { ipt("-A", "caracal-raw", "-t", "raw", "-j", "ACCEPT") }},
	{"delete a rule", func(_ *nstest.NS, ipt func(...string)) { ipt("-D", "caracal-pods", "1") }},
	{"replace a rule and leave its comment", func(_ *nstest.NS, ipt func(...string)) {
		hash := newRuleHasher("caracal-to").next(Rule{Spec: "-j DROP", About: "caracal-to 0"})
		ipt("-R", "caracal-to", "1", "-m", "comment", "--comment", "caracal:"+string(hash[:])+" caracal-to 0", "-j", "ACCEPT")
	}},
	{"a chain of ours that nobody wants", func(_ *nstest.NS, ipt func(...string)) {
		ipt("-N", "caracal-old")
		ipt("-N", "caracal-older")
		ipt("-A", "caracal-old", "-j", "caracal-older")
		ipt("-A", "caracal-to", "-j", "caracal-old")
	}},
	{"flush a set", func(ns *nstest.NS, _ func(...string)) { ns.Run("ipset", "flush", "caracal-peers4") }},
	{"edit sets", func(ns *nstest.NS, _ func(...string)) {
		ns.Run("ipset", "add", "caracal-peers4", "198.51.100.1")
		ns.Run("ipset", "del", "caracal-ports6", "fd00::1,udp:53")
		ns.Run("ipset", "add", "caracal-local4", "10.0.0.0/24,car9")
		ns.Run("ipset", "del", "caracal-nonat6", "fd00:1::/64")
	}},
	{"a member that is none", func(ns *nstest.NS, _ func(...string)) {
		ns.Run("ipset", "add", "caracal-nonat4", "10.1.2.0/24", "nomatch")
	}},
	{"exchange a set by one whose members expire", func(ns *nstest.NS, _ func(...string)) {
		ns.Run("ipset", "create", "x", "hash:ip", "timeout", "100")
		ns.Run("ipset", "swap", "x", "caracal-peers4")
		ns.Run("ipset", "destroy", "x")
	}},
	{"exchange a set by a small one", func(ns *nstest.NS, _ func(...string)) {
		ns.Run("ipset", "create", "x", "hash:ip", "maxelem", "2")
		ns.Run("ipset", "add", "x", "10.0.0.7")
		ns.Run("ipset", "swap", "x", "caracal-peers4")
		ns.Run("ipset", "destroy", "x")
	}},
	{"a set of ours that nobody wants", func(ns *nstest.NS, _ func(...string)) {
		ns.Run("ipset", "create", "caracal-old", "bitmap:port", "range", "0-99")
	}},
}

func TestRepairs(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		foreigners(ns, backend)
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		rs := sampleRuleset()
		mustAudit(t, f, rs)
		mustBeRight(t, f, rs)
		right := dump(ns, backend)
		for _, fault := range faults {
			t.Run(fault.name, func(t *testing.T) {
				fault.do(ns, func(args ...string) { ipt(ns, backend, IPv4, args...) })
				res := mustAudit(t, f, rs)
				if !res.Wrote() || len(res.Repairs) == 0 && res.Sets == 0 {
					t.Errorf("nothing was repaired: %+v", res)
				}
				mustAudit(t, f, rs) // destroys what the repair left
				mustBeRight(t, f, rs)
				got := dump(ns, backend)
				if strings.Contains(fault.name, "before ours") { // they stay, after ours
					ipt(ns, backend, IPv4, "-D", "FORWARD", "-s", "198.51.100.1", "-j", "RETURN")
					ipt(ns, backend, IPv4, "-D", "FORWARD", "-s", "198.51.100.2", "-j", "RETURN")
					if !strings.Contains(got, "198.51.100.1") {
						t.Error("the rules of others are gone")
					}
					got = dump(ns, backend)
				}
				if got != right {
					t.Errorf("after the repair\n%s\nwant\n%s", got, right)
				}
			})
		}
	})
}

// TestFlushAndDestroyAll is the worst that an operator may do.
func TestFlushAndDestroyAll(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		rs := sampleRuleset()
		mustAudit(t, f, rs)
		mustBeRight(t, f, rs)
		right := dump(ns, backend)
		for _, family := range []Family{IPv4, IPv6} {
			for _, table := range []string{"raw", "filter", "nat"} {
				ipt(ns, backend, family, "-t", table, "-F")
				ipt(ns, backend, family, "-t", table, "-X")
			}
		}
		ns.Run("ipset", "destroy")
		ns.Run("ipset", "create", "caracal-peers4", "hash:net", "family", "inet6")
		mustAudit(t, f, rs)
		mustBeRight(t, f, rs)
		if got := dump(ns, backend); got != right {
			t.Errorf("after the repair\n%s\nwant\n%s", got, right)
		}
	})
}

// TestWrongTypeInUse has a set of another type under the rules of ours, as only a
// program that has our names may make it.
func TestWrongTypeInUse(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		ns.Run("ipset", "create", "caracal-peers4", "hash:net")
		ipt(ns, backend, IPv4, "-N", "caracal-pods")
		ipt(ns, backend, IPv4, "-A", "caracal-pods", "-m", "set", "--match-set", "caracal-peers4", "src", "-j", "ACCEPT")
		ns.Run("ipset", "create", "caracal-nonat4", "hash:ip")
		ipt(ns, backend, IPv4, "-t", "nat", "-N", "caracal-nat")
		ipt(ns, backend, IPv4, "-t", "nat", "-A", "caracal-nat", "-m", "set", "--match-set", "caracal-nonat4", "src", "-j", "RETURN")
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		rs := sampleRuleset()
		mustAudit(t, f, rs)
		mustBeRight(t, f, rs)
	})
}

// TestForeignRuleHoldsOurs has a rule of others lead to a chain and a set that we
// want no longer: they stay, and the rest is done.
func TestForeignRuleHoldsOurs(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		rs := sampleRuleset()
		mustAudit(t, f, rs)
		ipt(ns, backend, IPv4, "-A", "OUTPUT", "-j", "caracal-to")
		ipt(ns, backend, IPv4, "-A", "OUTPUT", "-m", "set", "--match-set", "caracal-ports4", "dst,dst")
		less := rs.clone()
		delete(less.chains, ChainKey{IPv4, FilterTable, "caracal-to"})
		delete(less.sets, "caracal-ports4")
		less.chain(IPv4, FilterTable, "caracal-pods", "-j DROP")
		_, err := f.Audit(testContext(t), less)
		if err == nil || !strings.Contains(err.Error(), "caracal-to") {
			t.Errorf("the error is %v", err)
		}
		if got := ns.Run(program(backend, IPv4, ""), "-S", "caracal-pods"); !strings.Contains(got, "-j DROP") {
			t.Errorf("what could be written is not: %s", got)
		}
		ipt(ns, backend, IPv4, "-F", "OUTPUT")
		mustAudit(t, f, less)
		mustBeRight(t, f, less)
	})
}
