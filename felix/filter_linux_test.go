package felix

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal/internal/nstest"
)

// eachBackend runs a test with both variants of iptables, each in a network
// namespace of its own.
func eachBackend(t *testing.T, fn func(t *testing.T, ns *nstest.NS, backend string)) {
	for _, backend := range []string{BackendNFT, BackendLegacy} {
		t.Run(backend, func(t *testing.T) { fn(t, nstest.New(t), backend) })
	}
}

// openFilter opens the namespace's packet filter.
func openFilter(t testing.TB, ns *nstest.NS, o FilterOptions) *Filter {
	t.Helper()
	var f *Filter
	var err error
	ns.Do(func() { f, err = Open(o) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// mustAudit audits, and returns what that wrote.
func mustAudit(t testing.TB, f *Filter, rs Ruleset) Result {
	t.Helper()
	res, err := f.Audit(testContext(t), rs)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mustBeRight fails unless a new look finds nothing to write.
func mustBeRight(t testing.TB, f *Filter, rs Ruleset) {
	t.Helper()
	if res := mustAudit(t, f, rs); res.Wrote() || len(res.Repairs) > 0 {
		t.Fatalf("an audit of what should be right wrote %+v", res)
	}
}

func TestAuditAndApplyTwice(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		one := sampleRuleset()
		res := mustAudit(t, f, one)
		if res.Chains != 10 || res.Hooks != 6 || res.Sets != 8 || res.Added != 20 {
			t.Errorf("the first audit wrote %+v", res)
		}
		mustBeRight(t, f, one)

		two := one.clone()
		two.set("caracal-peers4", HashIP, IPv4, "10.0.0.7", "10.0.0.10")
		two.set("caracal-new6", HashNet, IPv6, "fd00:2::/48", "::/1", "8000::/1")
		delete(two.sets, "caracal-ports4")
		two.chain(IPv4, FilterTable, "caracal-pods", "-j caracal-more")
		two.chain(IPv4, FilterTable, "caracal-more", "-m set --match-set caracal-peers4 src -j ACCEPT")
		two.chain(IPv6, FilterTable, "caracal-more", "-m set --match-set caracal-new6 src -g caracal-to")
		delete(two.chains, ChainKey{IPv4, FilterTable, "caracal-to"})
		d := diffRulesets(one, two)
		for i := range 2 {
			res, err := f.Apply(testContext(t), two, d)
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 && res.Chains+res.Hooks > 0 {
				t.Errorf("the second Apply wrote %+v", res)
			}
		}
		res = mustAudit(t, f, two)
		if res.Sets != 1 || res.Chains+res.Added+res.Removed+res.Hooks > 0 {
			t.Errorf("the audit after Apply did more than destroy the unused set: %+v", res)
		}
		mustBeRight(t, f, two)
		if res := mustAudit(t, f, one); len(res.Repairs) > 0 {
			t.Errorf("a change of what is wanted counts as a repair: %q", res.Repairs)
		}
		settle(t, f, two)
		fresh := openFilter(t, ns, FilterOptions{Backend: backend})
		mustBeRight(t, fresh, two)
		if out := ns.Run("ipset", "list", "-n"); strings.Contains(out, "ports4") {
			t.Errorf("the unused set is still there:\n%s", out)
		}
	})
}

// TestManyChains makes more chains than one transaction does, which lead to each
// other.
func TestManyChains(t *testing.T) {
	eachBackend(t, func(t *testing.T, ns *nstest.NS, backend string) {
		rs := newPlainRuleset()
		const n = 2*chainsAtOnce + 10
		for i := range n {
			spec := "-j DROP"
			if i > 0 { // a tree whose root is the last
				spec = fmt.Sprintf("-i car%d -g caracal-c%d", i, i*7919%n*i/n)
			}
			rs.chain(IPv4, FilterTable, fmt.Sprintf("caracal-c%d", i), spec)
		}
		rs.hook(IPv4, FilterTable, "FORWARD", fmt.Sprintf("-j caracal-c%d", n-1))
		f := openFilter(t, ns, FilterOptions{Backend: backend})
		if res := mustAudit(t, f, rs); res.Chains != n || res.Hooks != 1 {
			t.Errorf("it wrote %+v", res)
		}
		mustBeRight(t, f, rs)
	})
}
